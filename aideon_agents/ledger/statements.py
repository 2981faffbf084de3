"""The ledger's statements, each written once from the shape whose fields it holds."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from aideon_agents.ledger.rows import CallEnd, CallStart, RunStart
from aideon_agents.ledger.usage import Usage

if TYPE_CHECKING:
    from collections.abc import Sequence


def _names(shape: type[Any], *, without: tuple[str, ...] = ()) -> tuple[str, ...]:
    return tuple(f.name for f in dataclasses.fields(shape) if f.name not in without)


def _insert(table: str, columns: Sequence[str]) -> str:
    named = ", ".join(f'"{column}"' for column in columns)  # user is a word of SQL's own
    places = ", ".join(f":{column}" for column in columns)
    return f"INSERT INTO {table} ({named}) VALUES ({places})"  # noqa: S608 - our names


def _update(table: str, columns: Sequence[str], where: str) -> str:
    changes = ", ".join(f"{column} = :{column}" for column in columns)
    return f"UPDATE {table} SET {changes} WHERE {where}"  # noqa: S608 - our names


def fields(shape: object, names: Sequence[str]) -> dict[str, Any]:
    """A row's values. dataclasses.asdict copies deeply and takes longer than the insert."""
    return {name: getattr(shape, name) for name in names}


RUN_START = _names(RunStart)
CALL_START = _names(CallStart)
END_COLUMNS = _names(CallEnd, without=("usage", "error"))
USAGE = _names(Usage)
NO_USAGE = dict.fromkeys(USAGE)
OWNER = ("host", "pid", "process_start")
JSON = ("options", "graph")
"""Columns of a run's start that hold JSON."""

MOST_ROWS = 2**62
"""More than any ledger has."""

START_RUN = _insert("runs", (*RUN_START, "status", *OWNER, "started_at"))
ONE_RUN = "SELECT * FROM runs WHERE run_id = :run_id"
RESUME_RUN = (
    "UPDATE runs SET status = 'running', stop_reason = NULL, error = NULL, error_type = NULL,"
    " ended_at = NULL, host = :host, pid = :pid, process_start = :process_start"
    " WHERE run_id = :run_id"
)
FINISH_RUN = _update(
    "runs",
    ("status", "stop_reason", "error", "error_type", "output", "results", "ended_at"),
    "run_id = :run_id AND status = 'running'",
)
# A call that two handlers report is one call: the first row stands.
START_CALL = _insert("calls", (*CALL_START, "status")) + " ON CONFLICT DO NOTHING"
UNMAKE_CALL = "DELETE FROM calls WHERE call_id = :call_id AND status = 'started'"
FINISH_CALL = _update(
    "calls", (*END_COLUMNS, "error", *USAGE), "call_id = :call_id AND status = 'started'"
)
RUNS_FROM = "SELECT * FROM runs WHERE run_id >= :first AND run_id <= :last ORDER BY run_id"
NEWEST_RUNS = "SELECT * FROM runs ORDER BY started_at DESC, run_id DESC LIMIT :most"
# Ids of calls grow with time, so they tell the order within a microsecond.
CALLS_OF_RUN = "SELECT * FROM calls WHERE run_id = :run_id ORDER BY started_at, call_id"
RECORD_PROMPT = _insert("contents", ("call_id", "prompt")) + " ON CONFLICT DO NOTHING"
RECORD_ANSWER = "UPDATE contents SET answer = :answer WHERE call_id = :call_id"
CONTENTS_OF_RUN = (
    "SELECT contents.* FROM contents JOIN calls USING (call_id) WHERE run_id = :run_id"
    " ORDER BY started_at, call_id"
)
