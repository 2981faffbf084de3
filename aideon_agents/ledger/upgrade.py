"""Bring a ledger that an older version made up to date: take the steps of the schema that it lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from aideon_agents.errors import LedgerError
from aideon_agents.ledger import schema
from aideon_agents.ledger.database import Statements

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


class Upgradable(Protocol):
    """A database that records which steps its ledger has taken."""

    @property
    def name(self) -> str: ...

    def transaction(self) -> AbstractContextManager[Statements]: ...

    def steps_taken(self) -> list[str]:
        """Names of the steps, in the order in which they were taken; empty: there are no tables."""
        ...

    def take_step(self, step: schema.Step) -> None:
        """Run a step inside the transaction that is open, and record its name."""
        ...


def bring_up_to_date(database: Upgradable) -> None:
    """Take the steps that a ledger lacks, all of them or none."""
    if _missing(database):
        with database.transaction():
            # Another process may have taken them before this one got the lock.
            for step in _missing(database):
                database.take_step(step)


def _missing(database: Upgradable) -> list[schema.Step]:
    """The steps that have not been taken, in their order."""
    taken = database.steps_taken()
    known = {step.__name__ for step in schema.STEPS}
    if unknown := [name for name in taken if name not in known]:
        raise LedgerError(
            f"the ledger {database.name} was made by a newer version ({unknown[-1]}):"
            " upgrade aideon-agents, or name another ledger with AIDEON_LEDGER"
        )
    return [step for step in schema.STEPS if step.__name__ not in taken]
