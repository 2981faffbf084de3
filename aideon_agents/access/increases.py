"""Requests of users for higher quotas, and what an administrator decides about them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aideon_agents.access import audit
from aideon_agents.access.quotas import audited, checked, checked_most, limits_of, write
from aideon_agents.errors import Conflict, InputError, NotFound, shown
from aideon_agents.ledger.budgets.units import in_unit
from aideon_agents.ledger.identity import new_run_id, now, utc_text

if TYPE_CHECKING:
    from aideon_agents.access.audit import By
    from aideon_agents.access.callers import Caller
    from aideon_agents.ledger.database import Row
    from aideon_agents.ledger.store import Ledger


def ask(
    ledger: Ledger,
    caller: Caller,
    feature: str,
    unit: str,
    by: By,
    *,
    most: float,
    reason: str | None = None,
) -> dict[str, Any]:
    """Ask for a higher quota; returns the request, which waits for a decision."""
    named = checked(feature, unit)
    counted = checked_most(named[1], most)
    if reason is not None and len(reason) > 2000:  # noqa: PLR2004 - a page
        raise InputError("a reason has at most 2,000 characters")
    with ledger.database.transaction() as tx:
        has = limits_of(tx, caller.user, caller.tier)[named]
        if has is None or has >= counted:
            had = "no limit" if has is None else f"a limit of {in_unit(named[1], has):,g}"
            raise InputError(
                f"{caller.user} has {had} of {unit} of {feature} already: ask for more"
            )
        row: dict[str, Any] = {"id": new_run_id(), "user_id": caller.user}
        row |= {"feature": named[0], "unit": named[1], "asked": counted, "reason": reason}
        row |= {"status": "open", "asked_at": utc_text(now())}
        tx.write(_ASK, row)
        audit.record(tx, by, "quota.asked", row["id"], after=audited(named, counted))
    return request_in({**row, "decided_by": None, "decided_at": None})


def decide(ledger: Ledger, request_id: str, by: By, *, approve: bool) -> dict[str, Any]:
    """Approve a request, which sets the user's quota, or decline it; a decision is final."""
    with ledger.database.transaction() as tx:
        found = tx.select(f"{_REQUESTS} WHERE id = :id", {"id": request_id.strip().upper()})
        if not found:
            raise NotFound(
                f"there is no request {shown(request_id)}: `aideon quotas requests` shows them"
            )
        row: dict[str, Any] = dict(found[0])
        if row["status"] != "open":
            raise Conflict(
                f"the request {row['id']} was {row['status']} by {row['decided_by']} already"
            )
        row |= {"status": "approved" if approve else "declined"}
        row |= {"decided_by": by.actor, "decided_at": utc_text(now())}
        tx.write(_DECIDE, row)
        audit.record(tx, by, f"quota.{row['status']}", row["id"], after={"user": row["user_id"]})
        if approve:
            write(tx, f"user:{row['user_id']}", (row["feature"], row["unit"]), row["asked"], by)
    return request_in(row)


def requests(
    ledger: Ledger, *, user: str | None = None, status: str | None = None
) -> list[dict[str, Any]]:
    """Requests for higher quotas, the newest first."""
    rows = ledger.select(f"{_REQUESTS} ORDER BY id DESC", {})
    return [
        request_in(row)
        for row in rows
        if user in {None, row["user_id"]} and status in {None, row["status"]}
    ]


def request_in(row: Row) -> dict[str, Any]:
    """A request as a document, in its unit."""
    return {**row, "asked": in_unit(row["unit"], row["asked"])}


_ASK = (
    "INSERT INTO quota_requests (id, user_id, feature, unit, asked, reason, status, asked_at)"
    " VALUES (:id, :user_id, :feature, :unit, :asked, :reason, :status, :asked_at)"
)
_REQUESTS = (
    "SELECT id, user_id, feature, unit, asked, reason, status, asked_at, decided_by, decided_at"
    " FROM quota_requests"
)
_DECIDE = (
    "UPDATE quota_requests SET status = :status, decided_by = :decided_by,"
    " decided_at = :decided_at WHERE id = :id"
)
