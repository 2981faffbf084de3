"""A run in progress, for the pages that show it: its current state and the changes since.

The ledger is read only while a page is open, through its own connection, and only for a small part
of the time, so that watching does not slow the run. Nothing is written.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from typing import Any, TypeAlias

from aideon_agents.drawing.figures import figures
from aideon_agents.drawing.notes import annotated
from aideon_agents.drawing.page.document import written
from aideon_agents.drawing.page.record import (
    FIELDS,
    Record,
    Span,
    content_line,
    drawn_views,
    recorded,
    rows,
    since,
    summary,
    views,
)
from aideon_agents.drawing.svg import unstyled
from aideon_agents.errors import RunNotFound
from aideon_agents.graphs.topology import Topology
from aideon_agents.ledger.identity import now, utc_text
from aideon_agents.ledger.store import Ledger

_PAUSE = 0.4
"""The least number of seconds between two reads."""
_REST = 9
"""A read also waits for this multiple of the last one's duration."""


_Parts: TypeAlias = dict[str, tuple[Any, int]]
"""Values, each with the version in which it last changed."""


class Live:
    """A run in progress."""

    def __init__(self, ledger: str, run_id: str, topology: Topology | None) -> None:
        self._url = ledger
        self._run_id = run_id
        self._topology = topology
        self._ledger: Ledger | None = None
        self._levels = views(topology, by_level=True) if topology else {}
        for smallest in list(self._levels.values())[-1:]:
            unstyled(smallest)  # a missing extra is reported before the run begins
        self._spans: dict[tuple[str, int], tuple[str, str, str | None, str | None]] = {}
        self._asking: set[str] = set()
        self._news = threading.Condition()
        self._reported = 0
        """The number of events so far."""
        self._over = False
        self._reading = threading.Lock()
        self._read = -1
        """The number of events that are known here."""
        self._due = 0.0
        self._version = 0
        self._parts: _Parts = {}
        self._calls: _Parts = {}
        self._contents: _Parts = {}
        self._final = False

    def started(self, path: str, role: str, number: int) -> None:
        """Record that a node began its n-th round."""
        with self._news:
            self._spans[path, number] = (role, utc_text(now()), None, None)
            self._happened()

    def ended(self, path: str, number: int, error: str | None) -> None:
        """Record that a node ended; None: without an error."""
        with self._news:
            role, began, *_ = self._spans.get((path, number), ("", utc_text(now())))
            self._spans[path, number] = (role, began, utc_text(now()), error)
            self._happened()

    def asked(self, path: str) -> None:
        """Record that a node waits for an answer."""
        with self._news:
            self._asking.add(path)
            self._happened()

    def answered(self) -> None:
        """Record that no node waits for an answer any more."""
        with self._news:
            self._asking.clear()
            self._happened()

    def over(self) -> None:
        """Record that the run has ended; its row holds the status."""
        with self._news:
            self._over = True
            self._happened()

    def _happened(self) -> None:
        self._reported += 1
        self._news.notify_all()

    def page(self, viewer: int, *, patience: float = 5.0) -> str | None:
        """A page of the current state, which asks for changes."""
        until = time.monotonic() + patience
        while not self._refresh(at_once=True):
            if self._over or time.monotonic() > until:
                return None
            time.sleep(_PAUSE / 8)
        with self._reading:
            values = self._since(0)
            contents = values.pop("contents")
            values |= {"seen": self._version, "viewer": viewer}
            return written(values, contents, live=True)

    def changes(self, seen: int, patience: float) -> tuple[int, dict[str, Any], bool] | None:
        """The version that a page has next, the values that changed, and whether the run ended."""
        with self._news:
            self._news.wait_for(lambda: self._over or self._reported > self._read, patience)
        self._refresh()
        with self._reading:
            if self._version <= seen and not self._final:
                return None
            return self._version, self._since(seen), self._final

    @property
    def is_final(self) -> bool:
        """Whether the known state is the run's final one."""
        return self._final

    def close(self) -> None:
        """Close the connection to the ledger."""
        with self._reading:
            if self._ledger:
                self._ledger.close()

    def _since(self, seen: int) -> dict[str, Any]:
        def news(parts: _Parts) -> dict[str, Any]:
            return {name: value for name, (value, version) in parts.items() if version > seen}

        calls, lines = list(news(self._calls).values()), list(news(self._contents).values())
        return {**news(self._parts), "fields": FIELDS, "calls": calls, "contents": lines}

    def _refresh(self, *, at_once: bool = False) -> bool:
        """Read the ledger if it is time to; return whether there is something to show."""
        due = self._due
        with self._reading:
            # when several pages wait, the first one reads for all
            if self._final or (self._due != due and not self._over):
                return True
            if not self._over and not (at_once and not self._parts):
                with self._news:
                    self._news.wait_for(lambda: self._over, max(0.0, self._due - time.monotonic()))
            final, reported = self._over, self._reported
            began = time.monotonic()
            try:
                self._learn(final=final)
            except RunNotFound:
                return False
            self._final, self._read = final, reported
            took = time.monotonic() - began
            self._due = time.monotonic() + max(_PAUSE, took * _REST)
            return True

    def _learn(self, *, final: bool) -> None:
        """Store what the ledger says now."""
        if self._ledger is None:
            self._ledger = Ledger.from_url(self._url)
        record = recorded(self._ledger, self._ledger.find_run(self._run_id))
        record = dataclasses.replace(record, spans=self._spanned(record.run.started_at))
        version = self._version + 1
        values = summary(record) | {"views": self._views(record, final=final)}
        changed = [_put(self._parts, name, value, version) for name, value in values.items()]
        changed += [_put(self._calls, row[0], row, version) for row in rows(record)]
        changed += [
            _put(self._contents, one.call_id, content_line(one), version) for one in record.contents
        ]
        if any(changed):
            self._version = version

    def _views(self, record: Record, *, final: bool) -> list[dict[str, Any]]:
        if self._topology is None:
            return []
        whole = self._topology
        with self._news:
            waiting = {record.run.run_id: frozenset(self._asking)}
        spent = figures([record.trace], whole, waiting=waiting)
        shown = views(whole) if final else self._levels
        return drawn_views(
            shown, lambda drawn: annotated(spent, whole, drawn, tools=record.tools_called)
        )

    def _spanned(self, began: str) -> list[Span]:
        with self._news:
            known = list(self._spans.items())
        return [
            (
                path,
                role,
                number,
                since(began, start),
                None if end is None else since(began, end),
                error,
            )
            for (path, number), (role, start, end, error) in known
        ]


def _put(parts: _Parts, name: str, value: Any, version: int) -> bool:
    """Store a value; return whether it changed."""
    if name in parts and parts[name][0] == value:
        return False
    parts[name] = value, version
    return True
