"""The figures by which the founding documents measure success, each beside its target."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query, Response

from aideon_agents.dashboard.pages import Visit, visiting
from aideon_agents.ledger.identity import now
from aideon_agents.ledger.pricing import PricedModel
from aideon_agents.ledger.reports import ReportRow, reports
from aideon_agents.ledger.selection import CALLS, Selection, first_moment
from aideon_agents.models import catalog

if TYPE_CHECKING:
    from aideon_agents.ledger.store import Ledger

router = APIRouter()

_DAYS = 30
_AGAINST = "openai:gpt-6.1-terra"
"""The model whose price the spending is compared with, unless another one is named."""
_SAVED, _SECONDS, _AVAILABLE = 0.8, 2.0, 0.99
"""The targets: the share of the cost that is saved, the mean time of an answer, and completed runs."""

_ANSWERED = """
SELECT COUNT(*) AS answered, SUM(calls.duration_ms) AS milliseconds,
       COUNT(*) FILTER (WHERE calls.candidate > 0 AND calls.economized = 0) AS fallbacks
"""
_RATINGS = """
SELECT COALESCE(runs.tier, 'none') AS tier, AVG(outcomes.score) AS score, COUNT(*) AS ratings
FROM outcomes JOIN runs ON runs.run_id = outcomes.run_id
WHERE outcomes.source IN ('person', 'user') AND outcomes.recorded_at >= :since
GROUP BY COALESCE(runs.tier, 'none') ORDER BY 1
"""
_USERS = (
    "SELECT tier, COUNT(*) AS users FROM users WHERE blocked_at IS NULL GROUP BY tier ORDER BY 1"
)
_UPGRADES = """
SELECT COUNT(*) AS upgrades FROM audit
WHERE body LIKE '%"action": "user.changed"%' AND body LIKE '%"before": {%"tier": "free"%'
"""


@router.get("/success")
def success(
    visit: Annotated[Visit, visiting("usage:any")],
    against: Annotated[str, Query(max_length=200)] = _AGAINST,
) -> Response:
    """Show the figures of the last 30 days."""
    ledger, settings = visit.service.ledger, visit.service.settings
    known = catalog.load(settings.catalog, settings.profile)
    model = PricedModel(str(known.checked(against)))
    since = now().date() - dt.timedelta(days=_DAYS - 1)
    selection = Selection(since=since)
    (report,) = reports(ledger, ("workflow",), selection, against=model, top=0)
    return visit.page(
        "success.html",
        "Success",
        tiles=_tiles(ledger, selection, report.total),
        against=against,
        ratings=ledger.select(_RATINGS, {"since": first_moment(since)}),
        users=ledger.select(_USERS),
        upgrades=ledger.select(_UPGRADES)[0]["upgrades"],
        days=_DAYS,
    )


def _tiles(ledger: Ledger, selection: Selection, total: ReportRow) -> list[dict[str, Any]]:
    """Each figure with its target, and whether it is met; None: there is nothing to measure yet."""
    where = f"FROM {CALLS} WHERE calls.status = 'ok' AND {selection.where('calls')}"
    (found,) = ledger.select(_ANSWERED + where, selection.values)
    answered = found["answered"]
    elsewhere = total.against.usd if total.against else None
    saved = float(1 - total.usd / elsewhere) if elsewhere else None
    mean = float(found["milliseconds"] or 0) / answered / 1000 if answered else None
    runs = total.run_success_rate
    return [
        {"name": "Saved", "share": saved, "target": f"{_SAVED:.0%}", "met": _met(saved, _SAVED)},
        {
            "name": "Mean time of an answer",
            "seconds": mean,
            "target": f"{_SECONDS:g} s at most",
            "met": None if mean is None else mean <= _SECONDS,
        },
        {
            "name": "Completed runs",
            "share": runs,
            "target": f"{_AVAILABLE:.0%}",
            "met": _met(runs, _AVAILABLE),
        },
        {
            "name": "Answers by a fallback",
            "share": found["fallbacks"] / answered if answered else None,
            "target": None,
            "met": None,
        },
    ]


def _met(value: float | None, least: float) -> bool | None:
    return None if value is None else value >= least
