"""What a run's calls may still cost: asked before each of them, by whoever makes it."""

from __future__ import annotations

import dataclasses
import threading
import time
from typing import TYPE_CHECKING

from aideon_agents.ledger import call_rows
from aideon_agents.ledger.budgets import accounts, holds
from aideon_agents.ledger.budgets.channels import tell
from aideon_agents.ledger.budgets.leases import Leases
from aideon_agents.ledger.clock import now, utc_text

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from pathlib import Path

    from aideon_agents.ledger.budgets.accounts import Standing
    from aideon_agents.ledger.budgets.alerts import Alert
    from aideon_agents.ledger.budgets.holds import Refusal
    from aideon_agents.ledger.budgets.scopes import Place
    from aideon_agents.ledger.database import Database
    from aideon_agents.ledger.rows import CallStart

_LOOK_FOR_DEAD = 1.0
"""Seconds between two looks for processes that died with money held."""

_NEAR = 80
"""Percentage of a run's, day's or month's budget from which cheaper models are preferred."""


class Budgets:
    """The budgets of one ledger, as the calls of this process meet them.

    Args:
        database: The ledger's.
        folder: Where alert channels are written down.
    """

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
        self._lock = threading.Lock()
        self._looked = 0.0

    def take(
        self, call_id: str, place: Place, amount: int | None, *, row: CallStart | None = None
    ) -> Refusal | None:
        """Hold a call's worst case; see `holds.take`.

        Args:
            call_id: The call.
            place: What it is counted by.
            amount: Its worst case in nano-dollars; None: it has no known price.
            row: Its row, to be begun in the same transaction: a commit less for each call. None: it
                is begun by whoever makes it.

        Returns:
            None when it is held; else why not.
        """
        refused = self._take(call_id, place, amount, row)
        if refused and refused.waits and self._is_due():
            self.forfeit_dead()
            refused = self._take(call_id, place, amount, row)
        if refused is None:
            self._leases.add(call_id)
            if row:
                self._begun[call_id] = row
        return refused

    def begun(self, call_id: str) -> CallStart | None:
        """The row of a call that was begun when its money was held; None: it is to be begun."""
        return self._begun.get(call_id)

    def made(self, call_id: str) -> None:
        """Say that a call is made: its row tells of it from now on."""
        self._begun.pop(call_id, None)

    def settled(self, call_id: str, alerts: Iterable[Alert]) -> None:
        """Say that a call's end is counted, and tell of limits that passed a threshold by it."""
        self._leases.drop(call_id)
        self.settlements += 1
        tell(alerts, self.folder)

    def let_go(self, call_id: str) -> None:
        """Say that nobody waits for a call any more: if it was never made, its hold is released.

        Its hold is renewed no more. One whose end is still to be told stays until then.
        """
        if self._leases.drop(call_id):
            is_unmade = self._begun.pop(call_id, None) is not None
            with self._database.transaction() as tx:
                if is_unmade:
                    call_rows.unmake(tx, call_id)
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

    def is_near(self, place: Place, percent: int) -> bool:
        """Whether so much of an enforced budget is spent; see `accounts.is_near`."""
        return accounts.is_near(self._database, place, percent)

    def close(self) -> None:
        """Renew no holds any more."""
        self._leases.close()

    def _take(
        self, call_id: str, place: Place, amount: int | None, row: CallStart | None
    ) -> Refusal | None:
        with self._database.transaction() as tx:
            refused = holds.take(tx, call_id, place, amount)
            if row and not refused:
                call_rows.begin(tx, row)
            return refused

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
        """The purse of a call that runs make which were begun inside this one.

        Args:
            inner: Theirs. Of those who keep another ledger nothing is known here.

        Returns:
            One in which all their limits hold.
        """
        places = tuple(one.of_run for one in inner if one.budgets.ledger == self.budgets.ledger)
        if not places:
            return self
        return dataclasses.replace(self, of_run=dataclasses.replace(self.of_run, inner=places))

    def is_nearly_empty(self) -> bool:
        """Whether four fifths of an enforced budget of the run, the day or the month are spent."""
        return self.budgets.is_near(self.place("", "", now()), _NEAR)
