"""What a workflow costs at most, found by rehearsing it at its dearest.

Every loop comes round until its rounds are used up and every answer is as long as `max_tokens`
lets it be, so each prompt that quotes one is as long as it can get. The routes and the number of
planned steps are those of an ordinary rehearsal, and nothing fails: no retries, no fallbacks.
"""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aideon_agents.ledger.reports import Cost
    from aideon_agents.runner.running import Running


async def most(running: Running) -> Cost:
    """Rehearse a run once more, at its dearest.

    The graph's plain functions run once more as well. Nothing is written to the run's ledger.
    """
    with tempfile.TemporaryDirectory() as folder:
        dearest = dataclasses.replace(
            running,
            context=dataclasses.replace(running.context, longest=True),
            start=dataclasses.replace(running.start, thread=None),
            ledger=Path(folder) / "ledger.db",
            records=False,
            keeps=False,
        )
        result = await dearest.to_end()
    is_whole = result.cost.complete and result.status == "completed"
    return dataclasses.replace(result.cost, complete=is_whole)
