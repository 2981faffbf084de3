"""A batch as one JSON document: its state, its items by status, and what it has cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aideon_agents.batch.output.paths import out_of
from aideon_agents.ledger import batch_items, batches, outputs
from aideon_agents.ledger.money import usd_text

if TYPE_CHECKING:
    from aideon_agents.ledger.batches import Batch
    from aideon_agents.ledger.store import Ledger

_FIRST = ("batch_id", "workflow", "target", "status", "stop_reason", "engine", "rehearsed")


def summary(ledger: Ledger, batch: Batch) -> dict[str, Any]:
    """The document of a batch, as `aideon batches list --json` shows it."""
    counts = batch_items.counts(ledger, batch.batch_id)
    done = {status: counts.get(status, 0) for status in batch_items.DONE}
    running = counts.get("running", 0) if batch.status == "running" else 0
    money = batches.money(ledger, batch.batch_id)
    return {
        **{name: getattr(batch, name) for name in _FIRST},
        "simulated": batches.is_simulated(ledger, batch.batch_id),
        "items": batch.items,
        **done,
        "pending": batch.items - sum(done.values()),
        "in_flight": running,
        "waiting": counts.get("waiting", 0),
        "carried": outputs.carried(ledger, batch.batch_id) if batch.carried_from else 0,
        "carried_from": batch.carried_from,
        "usd": usd_text(money.usd),
        "complete": money.complete,
        "held_usd": usd_text(batches.held_usd(ledger, batch.batch_id)),
        "out": out_of(batch.out_path),
        "started_at": batch.started_at,
        "ended_at": batch.ended_at,
    }
