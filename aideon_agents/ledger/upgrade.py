"""Bring a ledger that an older version made up to date: take the steps of the schema that it lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from aideon_agents.errors import LedgerError
from aideon_agents.ledger import schema
from aideon_agents.ledger.database import Row, Statements

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager


class Upgradable(Protocol):
    """A database that records which steps its ledger has taken."""

    @property
    def name(self) -> str: ...

    def select(self, sql: str, values: Mapping[str, object]) -> list[Row]: ...

    def transaction(self) -> AbstractContextManager[Statements]: ...

    def steps_taken(self) -> list[str]:
        """Names of the steps, in the order in which they were taken; empty: there are no tables."""
        ...

    def take_step(self, step: schema.Step) -> None:
        """Run a step inside the transaction that is open, and record its name."""
        ...


def bring_up_to_date(database: Upgradable) -> None:
    """Take the steps that a ledger lacks, all of them or none.

    A ledger may have steps that are not known here: those of a newer version that works beside this
    one. It is refused unless all of them are recorded as additive.
    """
    if _missing(database):
        with database.transaction() as tx:
            # Another process may have taken them before this one got the lock.
            for step in _missing(database):
                database.take_step(step)
            # All of them: some were taken before there was the table.
            for step in schema.STEPS if _HAS_TABLE in database.steps_taken() else ():
                if step.__name__ not in schema.BREAKING:
                    tx.write(_RECORD_ADDITIVE, {"name": step.__name__})


def _missing(database: Upgradable) -> list[schema.Step]:
    """The steps that have not been taken, in their order."""
    taken = database.steps_taken()
    known = {step.__name__ for step in schema.STEPS}
    if unknown := [name for name in taken if name not in known]:
        rows = database.select(_ADDITIVE, {}) if _HAS_TABLE in taken else []
        additive = {row["name"] for row in rows}
        if breaking := [name for name in unknown if name not in additive]:
            raise LedgerError(
                f"the ledger {database.name} was made by a newer version ({breaking[-1]}):"
                " upgrade aideon-agents, or name another ledger with AIDEON_LEDGER"
            )
    return [step for step in schema.STEPS if step.__name__ not in taken]


_HAS_TABLE = "m021_quotas"
_ADDITIVE = "SELECT name FROM additive_steps"
_RECORD_ADDITIVE = "INSERT INTO additive_steps (name) VALUES (:name) ON CONFLICT DO NOTHING"
