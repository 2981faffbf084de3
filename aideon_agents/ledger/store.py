"""The ledger itself: one SQLite file that many threads and processes write to.

Every row is committed by itself, at the moment it is known, so that a killed process loses none.
Callbacks arrive from many threads, so one connection stands behind one lock.
"""

from __future__ import annotations

import dataclasses
import json
import sqlite3
import threading
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aideon_agents.errors import RunNotFound
from aideon_agents.ledger.clock import now, utc_text
from aideon_agents.ledger.opening import explained, ledger_path, open_ledger
from aideon_agents.ledger.processes import Process, is_gone, this_process
from aideon_agents.ledger.redaction import stored_line
from aideon_agents.ledger.rows import (
    Call,
    CallEnd,
    CallStart,
    Content,
    Run,
    RunStart,
    RunStatus,
)
from aideon_agents.ledger.usage import Usage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Self

    Values = Sequence[object] | Mapping[str, object]

_NAMED_AT_MOST = 5
"""How many runs an error lists when a reference fits several."""


class Ledger:
    """What every run and every call cost, in one file.

    Args:
        path: The file; it, its folder and its tables are made when missing.
        busy_seconds: How long to wait for another process that is writing.

    Raises:
        LedgerError: It cannot be opened, read or written; so does every method.
    """

    def __init__(self, path: str | Path, *, busy_seconds: float = 5.0) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()
        self._connection = open_ledger(self.path, busy_seconds)

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Open the ledger at an address.

        Args:
            url: `sqlite:///relative/path`, `sqlite:////absolute/path`, or a bare path.

        Returns:
            The ledger, open.

        Raises:
            LedgerError: The address is of another kind, or the file cannot be opened.
        """
        return cls(ledger_path(url))

    def start_run(self, start: RunStart) -> str:
        """Write a run's row, `running` in this process, and return its id."""
        process = this_process()
        owner = (process.host, process.pid, process.start)
        self._write(_START_RUN, (*_RUN_START(start), "running", *owner, utc_text(now())))
        return start.run_id

    def resume_run(self, run_id: str) -> None:
        """Set a run to `running` again, now in this process."""
        process = this_process()
        self._write(_RESUME_RUN, (process.host, process.pid, process.start, run_id))

    def mark_rehearsed(self, run_id: str) -> None:
        """Say of a run that its answers are rehearsed, which only its first call can tell."""
        self._write("UPDATE runs SET rehearsed = 1 WHERE run_id = ?", (run_id,))

    def finish_run(
        self,
        run_id: str,
        status: RunStatus,
        *,
        stop_reason: str | None = None,
        error: str | None = None,
        error_type: str | None = None,
        output: str | None = None,
        results: Mapping[str, Any] | None = None,
    ) -> bool:
        """Complete a run's row. The first finish stands, until the run is resumed.

        Args:
            run_id: The run.
            status: How it ended.
            stop_reason: Why it ended; None: there is nothing to say.
            error: What went wrong; kept as one line without keys.
            error_type: The name of the error's class.
            output: The last result's text, given only when content is recorded.
            results: Every node's result as JSON values, given only when content is recorded.

        Returns:
            Whether the run was running.
        """
        kept = None if results is None else json.dumps(results, ensure_ascii=False)
        line = None if error is None else stored_line(error)
        values = (status, stop_reason, line, error_type, output, kept, utc_text(now()), run_id)
        return self._write(_FINISH_RUN, values) == 1

    def start_call(self, start: CallStart) -> None:
        """Write a call's row, `started`: from here on money may be spent."""
        self._write(_START_CALL, (*_CALL_START(start), "started"))

    def finish_call(self, call_id: str, end: CallEnd) -> bool:
        """Complete a call's row, its error as one line without keys.

        Args:
            call_id: The call.
            end: How it ended.

        Returns:
            Whether this was the first end heard of the call. A call is settled once: later ends
            change nothing.
        """
        line = None if end.error is None else stored_line(end.error)
        counts = _USAGE(end.usage) if end.usage else _NO_USAGE
        return self._write(_FINISH_CALL, (*_CALL_END(end), line, *counts, call_id)) == 1

    def record_prompt(self, call_id: str, prompt: str) -> None:
        """Keep what a call asks, as JSON. Only of a run that was told to record content."""
        self._write(_RECORD_PROMPT, (call_id, prompt))

    def record_answer(self, call_id: str, answer: str) -> None:
        """Keep what a call was answered, as JSON, beside its prompt."""
        self._write("UPDATE contents SET answer = ? WHERE call_id = ?", (answer, call_id))

    def contents(self, run_id: str) -> list[Content]:
        """What was asked and answered in a run, by its whole id, in the order of its calls.

        Empty unless the run was told to record content.
        """
        return [
            Content(
                call_id=row["call_id"],
                prompt=json.loads(row["prompt"]),
                answer=None if row["answer"] is None else json.loads(row["answer"]),
            )
            for row in self.select(_CONTENTS_OF_RUN, (run_id,))
        ]

    def find_run(self, ref: str) -> Run:
        """The run that a reference means.

        Args:
            ref: A run id, the unique beginning of one in either case, or `last`.

        Returns:
            The run.

        Raises:
            RunNotFound: None or several answer to it; the message says what to write.
        """
        if ref == "last":
            if newest := self.runs(limit=1):
                return newest[0]
            raise RunNotFound(f"no run in {self.path} yet: start one with `aideon run`")
        start = ref.strip().upper()
        found = self.select(_RUNS_FROM, (start, start + "\uffff")) if start else []
        exact = [row for row in found if row["run_id"] == start]
        rows = exact or found
        if len(rows) == 1:
            return _run(rows[0])
        if not rows:
            raise RunNotFound(f"no run {ref!r} in {self.path}: `aideon runs list` shows them")
        named = ", ".join(row["run_id"] for row in rows[:_NAMED_AT_MOST])
        more = ", ..." if len(rows) > _NAMED_AT_MOST else ""
        raise RunNotFound(f"several runs begin with {ref!r}, write more of one: {named}{more}")

    def runs(self, limit: int | None = None) -> list[Run]:
        """Runs, the newest first.

        Args:
            limit: How many at most; None: all.

        Returns:
            Their rows. A run whose process is gone reads `crashed`.
        """
        return [_run(row) for row in self.select(_NEWEST_RUNS, (-1 if limit is None else limit,))]

    def calls(self, run_id: str) -> list[Call]:
        """A run's calls, by its whole id, in the order in which they started."""
        return [_call(row) for row in self.select(_CALLS_OF_RUN, (run_id,))]

    def select(self, sql: str, values: Values = ()) -> list[sqlite3.Row]:
        """Read rows; the way in for the reports of this room."""
        try:
            with self._lock:
                return self._connection.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise explained(self.path, error) from error

    def close(self) -> None:
        """Close the file. Rows are safe without it."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Ledger({str(self.path)!r})"

    def _write(self, sql: str, values: Sequence[object]) -> int:
        try:
            with self._lock:
                return self._connection.execute(sql, values).rowcount
        except (sqlite3.Error, OverflowError) as error:
            raise explained(self.path, error) from error


def _names(shape: type[Any], *, without: tuple[str, ...] = ()) -> tuple[str, ...]:
    return tuple(f.name for f in dataclasses.fields(shape) if f.name not in without)


def _insert(table: str, columns: Sequence[str]) -> str:
    places = ", ".join("?" * len(columns))
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})"  # noqa: S608 - our names


def _update(table: str, columns: Sequence[str], where: str) -> str:
    changes = ", ".join(f"{column} = ?" for column in columns)
    return f"UPDATE {table} SET {changes} WHERE {where}"  # noqa: S608 - our names


# Each statement is written once from the shape whose fields it holds, and each shape is read by
# one attrgetter: dataclasses.astuple copies deeply and takes longer than the insert.
_RUN_START = attrgetter(*_names(RunStart))
_CALL_START = attrgetter(*_names(CallStart))
_END_COLUMNS = _names(CallEnd, without=("usage", "error"))
_CALL_END = attrgetter(*_END_COLUMNS)
_USAGE = attrgetter(*_names(Usage))
_NO_USAGE = (None,) * len(_names(Usage))
_OWNER = ("host", "pid", "process_start")

_START_RUN = _insert("runs", (*_names(RunStart), "status", *_OWNER, "started_at"))
_RESUME_RUN = (
    "UPDATE runs SET status = 'running', stop_reason = NULL, error = NULL, error_type = NULL,"
    " ended_at = NULL, host = ?, pid = ?, process_start = ? WHERE run_id = ?"
)
_FINISH_RUN = _update(
    "runs",
    ("status", "stop_reason", "error", "error_type", "output", "results", "ended_at"),
    "run_id = ? AND status = 'running'",
)
# A call that two handlers report is one call: the first row stands.
_START_CALL = _insert("calls", (*_names(CallStart), "status")) + " ON CONFLICT DO NOTHING"
_FINISH_CALL = _update(
    "calls", (*_END_COLUMNS, "error", *_names(Usage)), "call_id = ? AND status = 'started'"
)
_RUNS_FROM = "SELECT * FROM runs WHERE run_id >= ? AND run_id < ? ORDER BY run_id"
_NEWEST_RUNS = "SELECT * FROM runs ORDER BY started_at DESC, run_id DESC LIMIT ?"
_CALLS_OF_RUN = "SELECT * FROM calls WHERE run_id = ? ORDER BY started_at, rowid"
_RECORD_PROMPT = _insert("contents", ("call_id", "prompt")) + " ON CONFLICT DO NOTHING"
_CONTENTS_OF_RUN = (
    "SELECT contents.* FROM contents JOIN calls USING (call_id) WHERE run_id = ?"
    " ORDER BY started_at, calls.rowid"
)


def _run(row: sqlite3.Row) -> Run:
    fields = dict(row)
    owner = Process(fields.pop("host"), fields.pop("pid"), fields.pop("process_start"))
    if fields["status"] == "running" and is_gone(owner):
        fields["status"] = "crashed"
    fields["rehearsed"] = bool(fields["rehearsed"])
    fields["results"] = None if fields["results"] is None else json.loads(fields["results"])
    return Run(**fields)


def _call(row: sqlite3.Row) -> Call:
    fields = dict(row)
    fields["shortened"] = bool(fields["shortened"])
    fields["rehearsed"] = bool(fields["rehearsed"])
    return Call(**fields)
