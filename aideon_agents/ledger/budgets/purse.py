"""What a run's calls may still cost: asked before each of them, by whoever makes it."""

from __future__ import annotations

import dataclasses
import threading
import time
from typing import TYPE_CHECKING

from aideon_agents.ledger import rows
from aideon_agents.ledger.budgets import accounts, holds
from aideon_agents.ledger.budgets.accounts import Standing
from aideon_agents.ledger.budgets.alerts import tell
from aideon_agents.ledger.budgets.holds import Leases, Refusal, Settled, Taken
from aideon_agents.ledger.budgets.limits import Place
from aideon_agents.ledger.database import Database, Statements
from aideon_agents.ledger.identity import now, utc_text
from aideon_agents.ledger.rows import CallStart

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from pathlib import Path


_LOOK_FOR_DEAD = 1.0
"""Seconds between two looks for processes that died with money held."""

_REMEMBERED = 1024
"""Runs of which is known whether a budget is nearly used up."""

_NEAR = 80
"""Percentage of a run's, day's or month's budget from which cheaper models are preferred."""


class Budgets:
    """The budgets of one ledger, as the calls of this process meet them."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.folder = folder
        self.ledger = database.name
        """Which one it is: a run may be begun inside another with a connection of its own."""
        self.settlements = 0
        """How often something was settled here: whoever waits for room looks again then."""
        self._database = database
        self._leases = Leases(database)
        self._begun: dict[str, CallStart] = {}
        """The rows of calls that nobody has made yet."""
        self._taken: dict[str, Taken] = {}
        """What is held for calls that have not ended."""
        self._near: dict[str | None, bool] = {}
        """Whether a budget of a run was nearly used up when it was last looked at, latest last."""
        self._lock = threading.Lock()
        self._looked = 0.0

    def take(
        self, call_id: str, place: Place, amount: int | None, *, row: CallStart | None = None
    ) -> Refusal | None:
        """Hold a call's worst case; see `holds.take`."""
        taken = self._take(call_id, place, amount, row)
        if isinstance(taken, Refusal) and taken.waits and self._is_due():
            self.forfeit_dead()
            taken = self._take(call_id, place, amount, row)
        if isinstance(taken, Refusal):
            return taken
        self._taken[call_id] = taken
        self._leases.add(call_id)
        self._note(place, taken.limits)
        if row:
            self._begun[call_id] = row
        return None

    def begun(self, call_id: str) -> CallStart | None:
        """The row of a call that was begun when its money was held; None: it is to be begun."""
        return self._begun.get(call_id)

    def made(self, call_id: str) -> None:
        """Say that a call is made: its row tells of it from now on."""
        self._begun.pop(call_id, None)

    def settle(self, tx: Statements, call_id: str, cost: int | None) -> Settled:
        """Count a call's end; see `holds.settle`."""
        return holds.settle(tx, call_id, cost, self._taken.get(call_id))

    def settled(self, call_id: str, by: Settled) -> None:
        """Say that a call's end is counted, and tell of limits that passed a threshold by it."""
        taken = self._taken.pop(call_id, None)
        if taken and by.limits is not None:
            self._note(taken.place, by.limits)
        self._leases.drop(call_id)
        self.settlements += 1
        tell(by.alerts, self.folder)

    def let_go(self, call_id: str) -> None:
        """Say that nobody waits for a call any more: if it was never made, its hold is released.

        Its hold is renewed no more. One whose end is still to be told stays until then.
        """
        if self._leases.drop(call_id):
            is_unmade = self._begun.pop(call_id, None) is not None
            self._taken.pop(call_id, None)
            with self._database.transaction() as tx:
                if is_unmade:
                    rows.unmake(tx, call_id)
                holds.release(tx, call_id)
            self.settlements += 1

    def forfeit_dead(self) -> None:
        """Count what processes hold that are gone, or silent for too long, as spent."""
        with self._database.transaction() as tx:
            self._leases.renew(tx)  # after a sleep of the machine it looks before its thread does
            alerts = holds.forfeit_dead(tx)
        tell(alerts, self.folder)

    def standings(self, place: Place) -> list[Standing]:
        """The limits that hold for a call, and how they stand."""
        with self._database.transaction() as tx:
            return accounts.standings(tx, place)

    def seen(self, place: Place) -> list[Standing]:
        """The same as far as it is counted already, without keeping other processes waiting."""
        return accounts.standings(self._database, place, opens=False)

    def is_near(self, place: Place) -> bool:
        """Whether four fifths of an enforced budget of the run, the day or the month are spent.

        As the last call of the same run found it in this process, where there was one: what others
        spend meanwhile makes a cheaper model be preferred one call later.
        """
        known = None if place.inner else self._near.get(place.run)
        return accounts.are_near(self.seen(place), _NEAR) if known is None else known

    def forget_limits(self) -> None:
        """Say that a limit was changed here."""
        with self._lock:
            self._near.clear()

    def close(self) -> None:
        """Renew no holds any more."""
        self._leases.close()

    def _take(
        self, call_id: str, place: Place, amount: int | None, row: CallStart | None
    ) -> Refusal | Taken:
        with self._database.transaction() as tx:
            taken = holds.take(tx, call_id, place, amount)
            if row and isinstance(taken, Taken):
                rows.begin(tx, row)
            return taken

    def _note(self, place: Place, limits: Iterable[Standing]) -> None:
        """Remember of a run whether a budget is nearly used up."""
        if place.inner:  # whose budgets are not its own
            return
        with self._lock:
            self._near.pop(place.run, None)
            self._near[place.run] = accounts.are_near(limits, _NEAR)
            if len(self._near) > _REMEMBERED:
                del self._near[next(iter(self._near))]

    def _is_due(self) -> bool:
        with self._lock:
            is_due = time.monotonic() - self._looked >= _LOOK_FOR_DEAD
            if is_due:
                self._looked = time.monotonic()
            return is_due


@dataclasses.dataclass(frozen=True)
class Purse:
    """What one run's calls may still cost."""

    budgets: Budgets
    of_run: Place
    """What its calls are counted by, as far as the run says."""

    def place(self, node_path: str, provider: str, at: datetime) -> Place:
        """What a call is counted by that begins at some time."""
        return dataclasses.replace(self.of_run, at=utc_text(at), node=node_path, provider=provider)

    def around(self, inner: Iterable[Purse]) -> Purse:
        """The purse of a call that runs make which were begun inside this one."""
        places = tuple(one.of_run for one in inner if one.budgets.ledger == self.budgets.ledger)
        if not places:
            return self
        return dataclasses.replace(self, of_run=dataclasses.replace(self.of_run, inner=places))

    def is_nearly_empty(self) -> bool:
        """Whether cheaper models are to be preferred; see `Budgets.is_near`."""
        return self.budgets.is_near(self.place("", "", now()))
