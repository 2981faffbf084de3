"""Removes the state and content of old runs, so that they are kept no longer than needed.

Rows and costs are kept: they hold no content, and reports need them.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from aideon_agents.ledger.checkpoints import conversation_name, graph_name, questions_name, remove
from aideon_agents.ledger.database import Row
from aideon_agents.ledger.store import Ledger

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pruned:
    """How much was removed."""

    runs: int
    """Runs that had ended by then, whether anything was left of them or not."""
    checkpoints: int
    """Runs among them whose state was kept, with which they could have been resumed."""
    conversations: int
    """Threads without a later run."""
    contents: int
    """Recorded prompts, with their answers."""
    results: int
    """Runs whose recorded results are gone."""


async def prune(ledger: Ledger, before: str) -> Pruned:
    """Remove the state and content of runs that ended before a time."""
    rows = ledger.select(_RUNS)
    ended = [row for row in rows if (row["ended_at"] or row["started_at"]) < before]
    ended = [row for row in ended if _is_over(ledger, row)]
    ids = [row["run_id"] for row in ended]
    with ledger.database.transaction() as tx:
        contents = sum(tx.write(_NO_CONTENTS, {"run_id": one}) for one in ids)
        results = sum(tx.write(_NO_RESULTS, {"run_id": one}) for one in ids)
    gone = set(ids)
    later = _threads(row for row in rows if row["run_id"] not in gone)
    await remove(ledger, [questions_name(one) for one in ids])
    return Pruned(
        runs=len(ids),
        checkpoints=await remove(ledger, ids),
        conversations=await remove(ledger, _threads(ended) - later),
        contents=contents,
        results=results,
    )


def _is_over(ledger: Ledger, row: Row) -> bool:
    """Whether a run is over; if its row holds `running`, its process may be gone."""
    return row["status"] != "running" or ledger.find_run(row["run_id"]).status == "crashed"


def _threads(rows: Iterable[Row]) -> set[str]:
    """The names under which the threads of some runs keep something."""
    names: set[str] = set()
    for row in rows:
        if row["thread"] is not None:
            rehearsed = bool(row["rehearsed"])
            names.add(conversation_name(row["thread"], rehearsed=rehearsed))
            names.add(graph_name(row["workflow"], row["thread"], rehearsed=rehearsed))
    return names


_RUNS = "SELECT run_id, workflow, status, thread, rehearsed, started_at, ended_at FROM runs"
_NO_CONTENTS = (
    "DELETE FROM contents WHERE call_id IN (SELECT call_id FROM calls WHERE run_id = :run_id)"
)
_NO_RESULTS = (
    "UPDATE runs SET output = NULL, results = NULL"
    " WHERE run_id = :run_id AND (output IS NOT NULL OR results IS NOT NULL)"
)
