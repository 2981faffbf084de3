"""What runs have in common that are told the same: worked out once, also for a million of them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from aideon_agents.runner.running import Earlier, Running

if TYPE_CHECKING:
    from pathlib import Path

    from aideon_agents.ledger.batch_items import ItemStart
    from aideon_agents.ledger.budgets.budget import Budget
    from aideon_agents.ledger.rows import RunStart
    from aideon_agents.ledger.savers import Checkpoints
    from aideon_agents.ledger.store import Ledger
    from aideon_agents.runner.roots import Root
    from aideon_agents.state import Context


@dataclasses.dataclass(frozen=True, kw_only=True)
class Common:
    """Everything about a run but its id, its task and its inputs; fields as in `Running`."""

    root: Root
    context: Context
    start: RunStart
    """The beginning of every run's row."""
    seconds: float | None
    budget: Budget | None
    ledger: Ledger | str | Path
    records: bool
    keeps: bool
    saver: Checkpoints | None = None

    def running(
        self,
        start: RunStart,
        task: str,
        entry: dict[str, Any],
        *,
        earlier: Earlier | None = None,
        item: ItemStart | None = None,
    ) -> Running:
        """One run, about to begin."""
        return Running(
            root=self.root,
            task=task,
            entry=entry,
            context=self.context,
            start=start,
            seconds=self.seconds,
            budget=self.budget,
            ledger=self.ledger,
            records=self.records,
            keeps=self.keeps,
            saver=self.saver,
            earlier=earlier,
            item=item,
        )
