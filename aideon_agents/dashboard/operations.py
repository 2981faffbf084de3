"""How the service does: its providers, its budgets and the alerts that were sent, and the audit log."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

from fastapi import APIRouter, Query, Response

from aideon_agents.access import audit
from aideon_agents.dashboard import pages
from aideon_agents.dashboard.pages import Visit, visiting
from aideon_agents.ledger.budgets import accounts, alerts
from aideon_agents.ledger.budgets.limits import Scope, nanousd
from aideon_agents.ledger.identity import now
from aideon_agents.ledger.models.status import statuses

router = APIRouter()

_HOURS = 6
_MOST = 50


@router.get("/providers")
def providers(visit: Annotated[Visit, visiting("usage:own")]) -> Response:
    """Show how each provider and model does."""
    since = now() - dt.timedelta(hours=_HOURS)
    ledger = visit.service.ledger
    found = [(by, statuses(ledger, since, by=by)) for by in ("provider", "model")]
    return visit.page("providers.html", "Providers", found=dict(found), hours=_HOURS)


@router.get("/audit")
def audit_page(
    visit: Annotated[Visit, visiting("audit")],
    before: Annotated[int | None, Query(ge=1, le=2**53)] = None,
) -> Response:
    """List the audit log, the newest entries first."""
    ledger = visit.service.ledger
    found = audit.entries(ledger, before=before, most=_MOST + 1)
    number, digest = audit.head(ledger)
    after = found[_MOST - 1]["number"] if len(found) > _MOST else None
    return visit.page(
        "audit.html", "Audit", entries=found[:_MOST], after=after, head=digest, number=number
    )


@router.get("/alerts")
def alerts_page(visit: Annotated[Visit, visiting("budgets")]) -> Response:
    """Show each budget with what is left, the alerts that were sent, and where they go."""
    database = visit.service.ledger.database
    channels, wrong = alerts.channels(database.folder)
    return visit.page(
        "alerts.html",
        "Alerts",
        limits=accounts.limits(database),
        sent=accounts.sent(database, _MOST),
        channels=channels,
        wrong=wrong,
        reports=visit.service.settings.daily_report,
    )


@router.post("/alerts")
def set_budget(visit: Annotated[Visit, visiting("budgets")]) -> Response:
    """Set or remove a budget."""
    database, by = visit.service.ledger.database, visit.by
    scope = str(Scope.parse(visit.text("scope")))
    if visit.text("do") == "remove":
        accounts.remove_limit(
            database, scope, also=lambda tx: audit.record(tx, by, "budget.removed", scope)
        )
        return pages.to("alerts", "budget")
    after = {"usd": visit.text("usd"), "enforced": visit.text("warns") != "on"}
    accounts.set_limit(
        database,
        scope,
        nanousd(visit.text("usd")),
        warns=visit.text("warns") == "on",
        also=lambda tx: audit.record(tx, by, "budget.set", scope, after=after),
    )
    return pages.to("alerts", "budget")
