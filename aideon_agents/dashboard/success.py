"""The figures by which the founding documents measure success, each beside its target."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query, Response

from aideon_agents.access import users
from aideon_agents.dashboard.pages import Visit, visiting
from aideon_agents.ledger.identity import now
from aideon_agents.ledger.models import outcomes
from aideon_agents.ledger.pricing import PricedModel
from aideon_agents.ledger.reports import figures, reports
from aideon_agents.ledger.selection import Selection, first_moment
from aideon_agents.models import catalog

if TYPE_CHECKING:
    from aideon_agents.ledger.reports import Figures

router = APIRouter()

_DAYS = 30
_AGAINST = "openai:gpt-6.1-terra"
"""The model whose price the spending is compared with, unless another one is named."""
_SAVED, _SECONDS, _AVAILABLE = 0.8, 2.0, 0.99
"""The targets: the share of the cost that is saved, the mean time of an answer, and the availability."""


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
    spent, elsewhere = report.total.usd, report.total.against
    saved = float(1 - spent / elsewhere.usd) if elsewhere and elsewhere.usd else None
    people = users.by_tier(ledger, first_moment(since))
    free = sum(row["users"] for row in people if row["tier"] == "free")
    upgraded = len(users.upgraded(ledger))
    return visit.page(
        "success.html",
        "Success",
        tiles=_tiles(figures(ledger, selection), saved),
        against=against,
        spent=spent,
        elsewhere=elsewhere,
        ratings=outcomes.ratings_by_tier(ledger.database, first_moment(since)),
        users=people,
        upgraded=upgraded,
        conversion=upgraded / (free + upgraded) if free + upgraded else None,
        days=_DAYS,
    )


def _tiles(found: Figures, saved: float | None) -> list[dict[str, Any]]:
    """Each figure with its target, and whether it is met; None: there is nothing to measure yet."""
    mean = None if found.mean_ms is None else found.mean_ms / 1000
    is_quick = None if mean is None else mean <= _SECONDS
    return [
        {
            "name": "Saved",
            "share": saved,
            "target": f"{100 * _SAVED:g} %",
            "met": _met(saved, _SAVED),
        },
        {
            "name": "Mean response time",
            "seconds": mean,
            "target": f"{_SECONDS:g} s at most",
            "met": is_quick,
        },
        {
            "name": "Availability",
            "share": found.availability,
            "target": f"{100 * _AVAILABLE:g} %",
            "met": _met(found.availability, _AVAILABLE),
        },
        {"name": "Fallback rate", "share": found.fallback_share, "target": None, "met": None},
    ]


def _met(value: float | None, least: float) -> bool | None:
    return None if value is None else value >= least
