"""The limits that stand in a ledger, whatever is run."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from aideon_agents.errors import UserError
from aideon_agents.ledger.budgets import accounts
from aideon_agents.ledger.budgets.scopes import Place, Scope
from aideon_agents.ledger.clock import now, utc_text

if TYPE_CHECKING:
    from aideon_agents.ledger.database import Database, Statements


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limit:
    """A standing limit, and how it stands."""

    scope: str
    limit_nanousd: int
    warns: bool
    """It only warns and refuses nothing."""
    window: str | None
    """The day or month that counts now; None: it counts for good."""
    spent_nanousd: int | None
    """None: it is a limit for each one by itself, and there may be many."""
    held_nanousd: int | None
    """Worst cases of calls under way; None as above."""


def set_limit(database: Database, scope: str, limit: int, *, warns: bool = False) -> None:
    """Set a standing limit, in place of one on the same scope."""
    parsed = Scope.parse(scope)
    with database.transaction() as tx:
        tx.write(_SET, {"scope": str(parsed), "limit": limit, "warns": int(warns)})


def remove_limit(database: Database, scope: str) -> None:
    """Remove a standing limit."""
    named = str(Scope.parse(scope))
    with database.transaction() as tx:
        gone = tx.write("DELETE FROM budgets WHERE scope = :scope", {"scope": named})
        accounts.close_unlimited(tx)
    if not gone:
        raise UserError(f"there is no budget on {named}: `aideon budget list` shows what there is")


def limits(database: Database) -> list[Limit]:
    """The standing limits, by scope, as they stand now."""
    found: list[Limit] = []
    with database.transaction() as tx:
        for row in tx.select("SELECT * FROM budgets ORDER BY scope", {}):
            scope = Scope.parse(row["scope"])
            standing = next(iter(_account(tx, scope)), None)
            found.append(
                Limit(
                    scope=str(scope),
                    limit_nanousd=row["limit_nanousd"],
                    warns=bool(row["warns"]),
                    window=standing.account.begins if standing else None,
                    spent_nanousd=standing.spent if standing else None,
                    held_nanousd=standing.held if standing else None,
                )
            )
    return found


def _account(tx: Statements, scope: Scope) -> list[accounts.Standing]:
    """How a limit stands whose account is known without a call: that of a name, day or month."""
    if scope.kind is not None and scope.name is None:
        return []
    at = utc_text(now())
    named = {scope.kind: scope.name} if scope.kind else {}
    if scope.kind == "item":
        batch, _, item = (scope.name or "").partition("/")
        named = {"batch": batch, "item": item}
    place = Place(at=at, **named)  # pyright: ignore[reportArgumentType] - kinds are its fields
    return [one for one in accounts.standings(tx, place) if one.scope == scope]


_SET = (
    "INSERT INTO budgets (scope, limit_nanousd, warns) VALUES (:scope, :limit, :warns)"
    " ON CONFLICT (scope) DO UPDATE SET limit_nanousd = :limit, warns = :warns"
)
