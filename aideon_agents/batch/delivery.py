"""From the ledger to OUT: results wait there until those before them are written."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aideon_agents.ledger import batch_outputs

if TYPE_CHECKING:
    from aideon_agents.batch.output import Out
    from aideon_agents.ledger.store import Ledger

_LINES = 200
"""Lines that are written at a time."""


async def deliver(book: Ledger, batch_id: str, out: Out) -> None:
    """Write lines to OUT until one is not there yet; what OUT holds the ledger forgets."""
    while True:
        first = out.lines
        lines = batch_outputs.outputs(book, batch_id, first, _LINES)
        if not lines:
            return
        await asyncio.to_thread(out.append, lines, first)
        batch_outputs.written(book, batch_id, out.lines)
