"""What runs left in the ledger that a picture of them is made of: their ends and their calls.

Whole rows of a batch of ten thousand runs would each bring the model of a graph with them. Here
come only the columns that figures are made of, a few hundred runs to a question.
"""

from __future__ import annotations

import dataclasses
import json
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from aideon_agents.ledger.database import Row
from aideon_agents.ledger.identity import Process, is_gone
from aideon_agents.ledger.rows import CallStatus, RunStatus
from aideon_agents.ledger.store import Ledger

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


_AT_ONCE = 500
"""Runs to a question: fewer than any database takes parameters."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CallTrace:
    """One attempt at a model; fields as in `rows.Call`."""

    node_path: str
    role: str
    round: int
    candidate: int
    attempt: int
    economized: bool
    model: str
    """`provider:model`, the one that answered, or was asked when none did."""
    status: CallStatus
    input_tokens: int | None
    output_tokens: int | None
    nanousd: int | None
    """None: unknown."""
    started_ms: int
    """Milliseconds since 1970."""
    duration_ms: int | None
    """None: nothing was heard of its end."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunTrace:
    """One run."""

    run_id: str
    workflow: str
    status: RunStatus
    stop_reason: str | None
    rehearsed: bool
    duration_ms: int | None
    """From its start to its end; None: it has none, or its row does not tell. Of a run that went on
    later, the time between counts."""
    given: frozenset[str]
    """Paths of the nodes that gave a result; empty unless content is recorded."""
    calls: tuple[CallTrace, ...]
    """In the order in which they started. A run that is not rehearsed counts no rehearsed ones."""


def traces(ledger: Ledger, run_ids: Sequence[str]) -> Iterator[RunTrace]:
    """What runs left."""
    for first in range(0, len(run_ids), _AT_ONCE):
        some = run_ids[first : first + _AT_ONCE]
        values = {f"r{index}": run_id for index, run_id in enumerate(some)}
        listed = ", ".join(f":{name}" for name in values)
        runs = {row["run_id"]: row for row in ledger.select(_RUNS.format(listed), values)}
        calls: dict[str, list[CallTrace]] = {run_id: [] for run_id in runs}
        for row in ledger.select(_CALLS.format(listed), values):
            if row["run_id"] in runs and (runs[row["run_id"]]["rehearsed"] or not row["rehearsed"]):
                calls[row["run_id"]].append(_call(row))
        yield from (_run(runs[one], calls[one]) for one in some if one in runs)


def runs_of_batch(ledger: Ledger, batch_id: str) -> list[str]:
    """The runs of a batch, lost ones included, in the order in which they started."""
    return [row["run_id"] for row in ledger.select(_OF_BATCH, {"batch_id": batch_id})]


def _run(row: Row, calls: Sequence[CallTrace]) -> RunTrace:
    status = cast("RunStatus", row["status"])
    if status == "running" and is_gone(Process(row["host"], row["pid"], row["process_start"])):
        status = "crashed"
    ended = row["ended_at"]
    return RunTrace(
        run_id=row["run_id"],
        workflow=row["workflow"],
        status=status,
        stop_reason=row["stop_reason"],
        rehearsed=bool(row["rehearsed"]),
        duration_ms=None
        if ended is None
        else _milliseconds(ended) - _milliseconds(row["started_at"]),
        given=_given(row["results"]),
        calls=tuple(calls),
    )


def _given(results: str | None) -> frozenset[str]:
    return frozenset(json.loads(results) if results else ())


def _call(row: Row) -> CallTrace:
    fields: dict[str, Any] = {name: row[name] for name in _SAME}
    return CallTrace(
        **fields,
        economized=bool(row["economized"]),
        model=f"{row['provider']}:{row['response_model'] or row['requested_model']}",
        nanousd=row["cost_nanousd"],
        started_ms=_milliseconds(row["started_at"]),
    )


def _milliseconds(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


_SAME = (
    "node_path",
    "role",
    "round",
    "candidate",
    "attempt",
    "status",
    "input_tokens",
    "output_tokens",
    "duration_ms",
)
_RUNS = """
    SELECT run_id, workflow, status, stop_reason, rehearsed, started_at, ended_at, results, host,
        pid, process_start
    FROM runs WHERE run_id IN ({})
"""
_CALLS = """
    SELECT run_id, node_path, role, round, candidate, attempt, economized, provider,
        requested_model, response_model, status, input_tokens, output_tokens, cost_nanousd,
        started_at, duration_ms, rehearsed
    FROM calls WHERE run_id IN ({}) ORDER BY started_at, call_id
"""
_OF_BATCH = "SELECT run_id FROM runs WHERE batch_id = :batch_id ORDER BY started_at, run_id"
