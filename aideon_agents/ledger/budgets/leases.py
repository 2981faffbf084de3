"""Renews the holds of this process, so that they live as long as their calls.

A thread, because an event loop that is busy must not look like a process that has died.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from aideon_agents.errors import LedgerError
from aideon_agents.ledger.budgets import holds

if TYPE_CHECKING:
    from aideon_agents.ledger.database import Database, Statements

_log = logging.getLogger("aideon_agents.budgets")


class Leases:
    """The holds of calls that are under way here."""

    def __init__(self, database: Database, *, seconds: float = holds.LEASE / 3) -> None:
        self._database = database
        self._seconds = seconds
        self._lock = threading.Lock()
        self._live: set[str] = set()
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()

    def add(self, call_id: str) -> None:
        """Renew a hold from now on."""
        with self._lock:
            self._live.add(call_id)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._renew, name="aideon-leases", daemon=True
                )
                self._thread.start()

    def drop(self, call_id: str) -> bool:
        """Renew a hold no more; returns whether it was renewed until now."""
        with self._lock:
            was_live = call_id in self._live
            self._live.discard(call_id)
        return was_live

    def renew(self, tx: Statements) -> None:
        """Renew all of them in a transaction: they live, however far the clock has jumped."""
        with self._lock:
            live = sorted(self._live)
        holds.renew(tx, live)

    def close(self) -> None:
        """Renew nothing more."""
        self._closed.set()

    def _renew(self) -> None:
        while not self._closed.wait(self._seconds):
            with self._lock:
                if not self._live:  # the next hold starts another
                    self._thread = None
                    return
            try:
                with self._database.transaction() as tx:
                    self.renew(tx)
            except LedgerError as refused:
                _log.warning("holds are not renewed: %s", refused)
