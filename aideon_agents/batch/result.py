"""What came of a batch, as an object and as a JSON document."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Literal

from aideon_agents.ledger.pricing import usd_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from decimal import Decimal

    from aideon_agents.ledger.batches import NodeTotals

StopReason = Literal["budget", "interrupted", "cancelled", "max_failures", "waiting"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchResult:
    """What came of a batch. Its fields are those of the last line of `aideon batch`, and more."""

    batch_id: str
    items: int
    completed: int
    failed: int
    invalid: int
    pending: int
    """Items that are not finished; the same command goes on with them."""
    usd: Decimal
    """What all runs of all items have cost, in every call of this batch."""
    complete: bool
    """Whether that is all; if not, it is a lower bound."""
    stop_reason: StopReason | None
    """Why items are pending; None: none is. `waiting`: somebody has to answer what they ask."""
    wall_s: float
    """Seconds that this call took."""
    waiting: Sequence[str]
    """Runs that wait for an answer, the first few; `aideon runs resume RUN` answers."""
    nodes: Sequence[NodeTotals]
    """What each node has cost over the whole batch, the dearest first."""


def document(result: BatchResult) -> dict[str, Any]:
    """A batch as the JSON document that `aideon batch` ends with."""
    return {
        "batch_id": result.batch_id,
        "items": result.items,
        "completed": result.completed,
        "failed": result.failed,
        "invalid": result.invalid,
        "pending": result.pending,
        "usd": usd_text(result.usd),
        "complete": result.complete,
        "stop_reason": result.stop_reason,
        "wall_s": round(result.wall_s, 3),
    }
