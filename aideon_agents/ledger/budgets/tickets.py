"""Tickets, which keep the order of the calls that wait for money in several processes.

The first call of each process that waits for a budget takes a ticket. While a ticket exists, no
call that comes later is admitted to its accounts: small calls would otherwise take what a large one
waits for, again and again. A ticket counts for a few seconds after its call has looked last, so
that a process that ends or stalls blocks no other for long.

The server names the call that may be next whenever money is given back. A thread listens for that
while calls of this process wait, because they would otherwise look only four times a second.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from typing import TYPE_CHECKING

from aideon_agents.errors import LedgerError
from aideon_agents.ledger.identity import is_gone

if TYPE_CHECKING:
    from collections.abc import Callable

    from aideon_agents.ledger.database import Database, Statements


_LISTENS = 0.25
"""Seconds after which the thread sees that no call waits any more."""

_FORGOTTEN = 60.0
"""Seconds after which a ticket that is not renewed is deleted."""

_log = logging.getLogger("aideon_agents.budgets")


@dataclasses.dataclass
class Tickets:
    """The tickets of this process in one ledger. A file has none."""

    _database: Database
    _woken: Callable[[], None]
    waiting: set[str] = dataclasses.field(default_factory=set[str])
    """The ids of calls that may have one."""
    _lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)
    _listener: threading.Thread | None = None
    """None: no call waits."""
    _is_closed: bool = False

    def taken(self, call_id: str) -> None:
        """Listen for the turn of a call."""
        if self._database.call is None:
            return
        with self._lock:
            self.waiting.add(call_id)
            if self._listener is None:
                self._listener = threading.Thread(
                    target=self._listen, name="aideon-tickets", daemon=True
                )
                self._listener.start()

    def leave(self, call_id: str) -> None:
        """Delete the ticket of a call that waits no longer."""
        if call_id not in self.waiting or self._database.call is None:
            return
        self.waiting.discard(call_id)
        try:
            self._database.call("aideon_leave", call_id)
        except LedgerError as refused:
            _log.warning("the ticket of call %s stays until it expires: %s", call_id, refused)

    def drop_dead(self, tx: Statements) -> None:
        """Delete the tickets of processes that ended, or did not renew them."""
        for row in (
            tx.select("SELECT call_id, expires_at, host, pid, process_start FROM tickets", {})
            if self._database.call
            else ()
        ):
            if is_gone(row) or row["expires_at"] < time.time() - _FORGOTTEN:
                tx.later(
                    "DELETE FROM tickets WHERE call_id = :call_id", {"call_id": row["call_id"]}
                )

    def close(self) -> None:
        """Stop listening."""
        self._is_closed = True

    def _listen(self) -> None:
        notices = self._database.notices(_LISTENS)
        for call_id in notices:
            if call_id is None or call_id in self.waiting:
                self._woken()
            with self._lock:
                if self._is_closed or not self.waiting:
                    self._listener = None
                    break
        notices.close()
