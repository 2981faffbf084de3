"""The ledger's tables on a server: the same steps as in a file, taken by exactly one process.

The steps are written once, in SQLite's words. Postgres has the same words but for the types: its
INTEGER is too short for nano-dollars, and it orders text as some language does, where the ledger
compares ids and times by their characters. Which steps were taken stands in a table of ours, by
the names that they have everywhere.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from aideon_agents.errors import LedgerError
from aideon_agents.ledger.clock import now, utc_text
from aideon_agents.ledger.migrations import STEPS

if TYPE_CHECKING:
    from collections.abc import Callable

    from aideon_agents.ledger.database import Database, Statements

Step: TypeAlias = "Callable[[Any], None]"
"""Makes what one version added, on something that has `execute`."""

_OURS = {"INTEGER": "BIGINT", "TEXT": 'TEXT COLLATE "C"', "user": '"user"'}
_WORD = re.compile(r"\b(?:INTEGER|TEXT|user(?= TEXT))\b")

# Not to_regclass: in a transaction that has waited it still says what was before.
_EXISTS = (
    "SELECT relname FROM pg_catalog.pg_class"
    " WHERE relname = 'aideon_steps' AND pg_catalog.pg_table_is_visible(oid)"
)
_MAKE = 'CREATE TABLE aideon_steps (name TEXT COLLATE "C" PRIMARY KEY, taken_at TEXT NOT NULL)'
_TAKEN = "SELECT name FROM aideon_steps ORDER BY taken_at, name"
_TAKE = "INSERT INTO aideon_steps (name, taken_at) VALUES (:name, :taken_at)"


class _InPostgres:
    """What a step runs its statements on."""

    def __init__(self, tx: Statements) -> None:
        self._tx = tx

    def execute(self, sql: str) -> None:
        """Run a statement that is written for SQLite."""
        self._tx.write(_WORD.sub(lambda word: _OURS[word[0]], sql), {})


def bring_up_to_date(database: Database) -> None:
    """Take the steps that a ledger lacks, all of them or none."""
    if _lacking(database, database.name):
        with database.transaction() as tx:
            if not _is_made(tx):
                tx.write(_MAKE, {})
            for step in _lacking(tx, database.name):  # another process may have been here meanwhile
                step(cast("Any", _InPostgres(tx)))
                tx.write(_TAKE, {"name": step.__name__, "taken_at": utc_text(now())})


def table_names() -> list[str]:
    """The tables that the steps make."""
    names = _Names()
    for step in STEPS:
        step(cast("Any", names))
    return names.found


class _Names:
    """Hears which tables a step makes."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def execute(self, sql: str) -> None:
        self.found += re.findall(r"CREATE TABLE (\w+)", sql)


def _lacking(statements: Statements, name: str) -> list[Step]:
    """The steps that have not been taken, in their order."""
    taken: list[str] = []
    if _is_made(statements):
        taken = [row["name"] for row in statements.select(_TAKEN, {})]
    known = {step.__name__ for step in STEPS}
    if unknown := [name for name in taken if name not in known]:
        raise LedgerError(
            f"the ledger {name} was made by a newer version ({unknown[-1]}):"
            " upgrade aideon-agents, or name another database with AIDEON_LEDGER"
        )
    return [step for step in STEPS if step.__name__ not in taken]


def _is_made(statements: Statements) -> bool:
    return bool(statements.select(_EXISTS, {}))
