"""The event log of a run: its process writes it, and every process can read it.

Events hold content. They are deleted soon after their run is over (`Service`), so content is kept no
longer than the state of the run is. The end of a run is written in the transaction that completes
its row: a process that is killed leaves either both or neither.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any

from aideon_agents.errors import LedgerError
from aideon_agents.ledger.documents import node_document
from aideon_agents.ledger.identity import now, utc_text
from aideon_agents.runner import NodeEnded, NodeStarted, Question, Restart, Token
from aideon_agents.runner.outcome import recorded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aideon_agents.ledger.database import Database, Statements
    from aideon_agents.ledger.store import Ledger
    from aideon_agents.runner import Event

ENDED = "run_ended"
ASKED = "asked"
"""The event with number 0: what a run was asked. It is not sent to anyone."""

_log = logging.getLogger("aideon_agents.serving")

_EVERY = 0.1
"""Seconds for which events are collected. While a client watches here, only tokens are."""


def event_of(event: Event) -> tuple[str, dict[str, Any]]:
    """The kind of an event, and its document; the end of a run is written by `EventLog.end`."""
    if isinstance(event, NodeStarted):
        started = ("node_path", "role", "round")
        return "node_started", {name: getattr(event, name) for name in started}
    if isinstance(event, Token):
        return "token", {"node_path": event.node_path, "text": event.text}
    if isinstance(event, Restart):
        return "restart", {"node_path": event.node_path}
    if isinstance(event, Question):
        return "question", event.document()
    if isinstance(event, NodeEnded):
        results = recorded({event.node_path: event.result}) if event.result else {}
        return "node_ended", {
            "node_path": event.node_path,
            "role": event.role,
            "round": event.round,
            "result": results.get(event.node_path),
            "cost": None if event.cost is None else node_document(event.cost),
            "error": event.error,
        }
    return ENDED, {}


class EventLog:
    """Writes the events of one run, in order, from the event loop that runs it."""

    def __init__(
        self, database: Database, run_id: str, watched: Mapping[str, asyncio.Event]
    ) -> None:
        self._database = database
        self._run_id = run_id
        self._watched = watched
        self._number: int | None = None
        """The number of the last event; None: it was not read yet."""
        self._pending: list[tuple[str, str, dict[str, Any]]] = []
        self._timer: asyncio.TimerHandle | None = None

    def receive(self, event: Event) -> None:
        """Take in an event. Tokens of one node that follow each other become one event."""
        kind, document = event_of(event)
        last = self._pending[-1] if self._pending else None
        is_token = kind == "token"
        if is_token and last and last[1] == kind and last[2]["node_path"] == event.node_path:  # type: ignore[union-attr]
            last[2]["text"] += document["text"]
        else:
            self._pending.append((utc_text(now()), kind, document))
        if not is_token and self._run_id in self._watched:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_EVERY, self.flush)

    def flush(self) -> None:
        """Write what is pending. What cannot be written now is written with the next event."""
        self._stop_timer()
        if not self._pending:
            return
        pending = self._pending.copy()
        try:
            with self._database.transaction() as tx:
                self._write(tx)
        except LedgerError as error:
            self._number, self._pending = None, pending
            _log.warning("events of run %s are not written yet: %s", self._run_id, error)
            return
        self._wake()

    def flush_within(self, tx: Statements) -> None:
        """Write what is pending in a transaction."""
        self._stop_timer()
        self._write(tx)
        asyncio.get_running_loop().call_soon(self._wake)

    def end(self, tx: Statements, document: dict[str, Any]) -> None:
        """Write what is pending and the end of the run, in the transaction that completes its row."""
        self._pending.append((utc_text(now()), ENDED, document))
        self.flush_within(tx)

    def _write(self, tx: Statements) -> None:
        if self._number is None:
            (row,) = tx.select(_LAST, {"run_id": self._run_id})
            self._number = int(row["number"] or 0)
        for number, (at, kind, document) in enumerate(self._pending, self._number + 1):
            text = json.dumps(document, ensure_ascii=False)
            values = {"run_id": self._run_id, "number": number, "at": at, "kind": kind}
            tx.later(_INSERT, {**values, "document": text})
        self._number += len(self._pending)
        self._pending.clear()

    def _wake(self) -> None:
        if happened := self._watched.get(self._run_id):
            happened.set()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def ask(tx: Statements, run_id: str, document: dict[str, Any]) -> None:
    """Write what a run is asked, for a process that has to begin it again."""
    values = {"run_id": run_id, "number": 0, "at": utc_text(now()), "kind": ASKED}
    tx.later(_INSERT, {**values, "document": json.dumps(document, ensure_ascii=False)})


def asked(ledger: Ledger, run_id: str) -> dict[str, Any] | None:
    """What a run was asked; None: it is not kept any more."""
    found = ledger.select(_ASKED, {"run_id": run_id})
    return json.loads(found[0]["document"]) if found else None


def read(
    ledger: Ledger, run_id: str, after: int, most: int = 500
) -> list[tuple[int, str, dict[str, Any]]]:
    """Events after a number, in order: number, kind and document."""
    rows = ledger.select(_READ, {"run_id": run_id, "after": max(after, 0), "most": most})
    return [(row["number"], row["kind"], json.loads(row["document"])) for row in rows]


def end_of(ledger: Ledger, run_id: str) -> dict[str, Any]:
    """What the last end of a run had: `output`, `results`; empty: it is not kept (any more)."""
    found = ledger.select(_END, {"run_id": run_id, "kind": ENDED})
    return json.loads(found[0]["document"]) if found else {}


def last(ledger: Ledger, run_id: str) -> int:
    """The number of the last event of a run; 0: it has none."""
    return int(ledger.select(_LAST, {"run_id": run_id})[0]["number"] or 0)


def last_begin(ledger: Ledger, run_id: str) -> int:
    """The number of the event after which a run resumed the last time; 0: it did not."""
    values = {"run_id": run_id, "kind": ENDED, "last": last(ledger, run_id)}
    return int(ledger.select(_BEGIN, values)[0]["number"] or 0)


_LAST = "SELECT MAX(number) AS number FROM run_events WHERE run_id = :run_id"
_BEGIN = (
    "SELECT MAX(number) AS number FROM run_events"
    " WHERE run_id = :run_id AND kind = :kind AND number < :last"
)
_INSERT = (
    "INSERT INTO run_events (run_id, number, at, kind, document)"
    " VALUES (:run_id, :number, :at, :kind, :document)"
)
_READ = (
    "SELECT number, kind, document FROM run_events WHERE run_id = :run_id AND number > :after"
    " ORDER BY number LIMIT :most"
)
_ASKED = "SELECT document FROM run_events WHERE run_id = :run_id AND number = 0"
_END = (
    "SELECT document FROM run_events WHERE run_id = :run_id AND kind = :kind"
    " ORDER BY number DESC LIMIT 1"
)
