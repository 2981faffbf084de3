"""A batch as the JSON values of a page: its items, and what each node cost over all of them.

A batch may have ten thousand items and many calls for each. So an item is a list in the order of
`ITEM_FIELDS`, and the page has no calls: each item names its run, which has a page of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aideon_agents.drawing.page.record import certainty, since, without_run
from aideon_agents.graphs.topology import declared_paths, in_declared_order
from aideon_agents.ledger import batch_items, batches
from aideon_agents.ledger.costs import cost
from aideon_agents.ledger.documents import cost_document, node_document
from aideon_agents.ledger.money import usd, usd_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from aideon_agents.ledger.batches import Batch
    from aideon_agents.ledger.costs import Trace
    from aideon_agents.ledger.store import Ledger

ITEM_FIELDS = (
    "number",
    "id",
    "status",
    "attempts",
    "usd",
    "complete",
    "duration_ms",
    "error",
    "run_id",
)

_NOTHING = (0, 0, 0)


class ItemSums:
    """What each item cost in all of its runs, added up while these are read for the graph."""

    def __init__(self) -> None:
        self._sums: dict[str | None, tuple[int, int, int]] = {}

    def reading(self, runs: Iterable[Trace]) -> Iterator[Trace]:
        """Pass on runs and their calls."""
        for run, calls in runs:
            nanos, unknown, took = self._sums.get(run.item_id, _NOTHING)
            self._sums[run.item_id] = (
                nanos + sum(call.cost_nanousd or 0 for call in calls),
                unknown + sum(call.cost_nanousd is None for call in calls),
                took + (since(run.started_at, run.ended_at) if run.ended_at else 0),
            )
            yield run, calls

    def of(self, item_id: str) -> tuple[str | None, bool, int | None]:
        """US dollars, whether that is all, and milliseconds; None: it had no run."""
        if item_id not in self._sums:
            return None, True, None
        nanos, unknown, took = self._sums[item_id]
        return usd_text(usd(nanos)), not unknown, took


def batch_values(ledger: Ledger, batch: Batch, sums: ItemSums) -> dict[str, Any]:
    """The values of the batch as a whole, of its nodes and of its items."""
    whole = cost(ledger.database, batch_id=batch.batch_id, with_models=True)
    graph = batches.graph_of(ledger, batch.batch_id)
    by_node = in_declared_order(whole.by_node, graph)
    ended = batch.ended_at or (None if batch.status == "running" else batch.seen_at)
    values = without_run(batch.workflow)
    values["run"] |= {
        "run_id": batch.batch_id,
        "target": batch.target,
        "status": batch.status,
        "stop_reason": batch.stop_reason,
        "rehearsed": batch.rehearsed,
        "simulated": batches.is_simulated(ledger, batch.batch_id),
        "started_at": batch.started_at,
        "ended_at": batch.ended_at,
        "duration_ms": ended and since(batch.started_at, ended),
    }
    items = _items(ledger, batch, sums)
    return values | {
        "totals": {**cost_document(whole), **certainty(whole)},
        "nodes": [{**node_document(one), **certainty(one)} for one in by_node.values()],
        "order": declared_paths(graph),
        "batch": {"items": batch.items, **_counted(items, batch.items)},
        "failures": [one._asdict() for one in batch_items.failures(ledger, batch.batch_id)],
        "item_fields": ITEM_FIELDS,
        "items": items,
    }


def _items(ledger: Ledger, batch: Batch, sums: ItemSums) -> list[list[Any]]:
    """The items that were started or refused, in order."""
    goes_on = batch.status == "running"
    return [
        [
            row.position + 1,
            row.item_id,
            "pending" if row.status == "running" and not goes_on else row.status,
            row.attempts,
            *(sums.of(row.item_id) if row.run_id else (None, True, None)),
            row.error,
            row.run_id,
        ]
        for row in batch_items.rows(ledger, batch.batch_id, 0, batch.items)
    ]


def _counted(items: Iterable[list[Any]], number: int) -> Mapping[str, int]:
    """The number of items by status; one that was not started is pending."""
    statuses = ("completed", "failed", "invalid", "waiting", "running", "pending")
    counts: dict[str, int] = dict.fromkeys(statuses, 0)
    at = ITEM_FIELDS.index("status")
    for item in items:
        counts[item[at]] += 1
    counts["pending"] += number - sum(counts.values())
    return counts
