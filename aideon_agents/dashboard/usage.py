"""What was spent, how well it went, what would be cheaper, and whether it is a success."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Annotated, cast, get_args
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Response

from aideon_agents.dashboard import charts
from aideon_agents.dashboard.pages import Visit, day, visiting
from aideon_agents.ledger.advice import advice
from aideon_agents.ledger.advice.cells import Advice
from aideon_agents.ledger.identity import now
from aideon_agents.ledger.money import usd
from aideon_agents.ledger.reports import figures, reports
from aideon_agents.ledger.selection import CALL_KEYS, ReportBy, Selection, sums
from aideon_agents.models import catalog

if TYPE_CHECKING:
    from decimal import Decimal

router = APIRouter()

_DAYS = 30
_SHOWN = 50
_FORMS = ("csv", "json", "xlsx")
BY: tuple[ReportBy, ...] = ("workflow", "node", "model", "user", "key", "day")


@router.get("/usage")
def usage(
    *,
    visit: Annotated[Visit, visiting("usage:own")],
    by: Annotated[str, Query(max_length=20)] = "workflow",
    since: Annotated[str, Query(max_length=10)] = "",
    until: Annotated[str, Query(max_length=10)] = "",
    user: Annotated[str, Query(max_length=200)] = "",
    rehearsed: Annotated[str, Query(max_length=5)] = "",
) -> Response:
    """Show what was spent: one's own, or for those who may see it everybody's."""
    sees_all = visit.caller.may("usage:any")
    chosen = cast("ReportBy", by if by in get_args(ReportBy) else "workflow")
    first, last = day(since) or now().date() - dt.timedelta(days=_DAYS - 1), day(until)
    whose = (user or None) if sees_all else visit.caller.user
    more = bool(rehearsed)
    selection = Selection(user=whose, since=first, until=last, rehearsed=more, simulated=more)
    (report,) = reports(visit.service.ledger, (chosen,), selection, top=_SHOWN)
    asked = {"by": chosen, "since": first.isoformat(), "until": last.isoformat() if last else ""}
    own = f"/api/v1/{'usage' if sees_all else 'me/usage'}"
    return visit.page(
        "usage.html",
        "Usage",
        report=report,
        chart=_chart(visit, selection, first, last),
        tiles=report.total,
        mean_ms=figures(visit.service.ledger, selection).mean_ms,
        dimensions=[one for one in BY if sees_all or one != "user"],
        asked={**asked, "user": user, "rehearsed": rehearsed},
        sees_all=sees_all,
        files={form: own + _query(asked, user, form, also=more) for form in _FORMS},
        advice=_advice(visit, selection),
    )


def _advice(visit: Visit, selection: Selection) -> tuple[Advice, ...]:
    settings = visit.service.settings
    known = catalog.load(settings.catalog, settings.profile)
    rungs = {rung: [str(name) for name in names] for rung, names in known.rungs.items()}
    return advice(visit.service.ledger, selection, rungs)


def _query(asked: dict[str, str], user: str, form: str, *, also: bool) -> str:
    more = dict.fromkeys(("rehearsed", "simulated"), "true") if also else {}
    given = {**asked, "user": user, "format": form, **more}
    return "?" + urlencode({name: one for name, one in given.items() if one})


def _chart(
    visit: Visit, selection: Selection, first: dt.date, last: dt.date | None
) -> charts.Chart:
    """US dollars a day, by workflow."""
    end = last or now().date()
    days = [(end - dt.timedelta(days=one)).isoformat() for one in range(_DAYS)][::-1]
    keys = {"day": CALL_KEYS["day"], "key": CALL_KEYS["workflow"]}
    where, values = selection.where("calls"), selection.values
    found = sums(visit.service.ledger.database, where, values, by=keys)
    spent: dict[tuple[str, str], Decimal] = {
        (row["day"], row["key"] or "no workflow"): usd(row["nanousd"]) for row in found
    }
    shown = [day for day in days if day >= first.isoformat()]
    return charts.stacked(shown, {at: one for at, one in spent.items() if at[0] in shown})
