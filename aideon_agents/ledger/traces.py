"""The runs and calls that a picture of many runs is made of.

Whole rows of a batch of ten thousand runs would each bring the model of a graph with them. Here
graphs and options are left out, and a few hundred runs are read at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from aideon_agents.ledger.costs import counted
from aideon_agents.ledger.rows import Call, Run, call_in, run_in
from aideon_agents.ledger.store import Ledger

if TYPE_CHECKING:
    from collections.abc import Iterator

Trace: TypeAlias = tuple[Run, Sequence[Call]]
"""A run, without its options and its graph, and the calls that are part of its cost, in the order
in which they started."""

_AT_ONCE = 500
"""Runs in one statement: fewer than the number of parameters that any database takes."""


def traces(ledger: Ledger, run_ids: Sequence[str]) -> Iterator[Trace]:
    """Read runs in the order of their ids; an id that does not exist is left out."""
    for first in range(0, len(run_ids), _AT_ONCE):
        some = run_ids[first : first + _AT_ONCE]
        values = {f"r{index}": run_id for index, run_id in enumerate(some)}
        listed = ", ".join(f":{name}" for name in values)
        runs = {row["run_id"]: run_in(row) for row in ledger.select(_RUNS.format(listed), values)}
        calls: dict[str, list[Call]] = {run_id: [] for run_id in some}
        for row in ledger.select(_CALLS.format(listed), values):
            calls[row["run_id"]].append(call_in(row))
        yield from ((runs[one], counted(runs[one], calls[one])) for one in some if one in runs)


def runs_of_batch(ledger: Ledger, batch_id: str) -> list[str]:
    """The runs of a batch, lost ones included, in the order in which they started."""
    return [row["run_id"] for row in ledger.select(_OF_BATCH, {"batch_id": batch_id})]


_RUNS = """
    SELECT run_id, workflow, target, status, stop_reason, error, error_type, "user", tier, thread,
        rehearsed, started_at, ended_at, output, results, NULL AS options, target_hash,
        NULL AS graph, batch_id, item_id, host, pid, process_start
    FROM runs WHERE run_id IN ({})
"""
_CALLS = "SELECT * FROM calls WHERE run_id IN ({}) ORDER BY started_at, call_id"
_OF_BATCH = "SELECT run_id FROM runs WHERE batch_id = :batch_id ORDER BY started_at, run_id"
