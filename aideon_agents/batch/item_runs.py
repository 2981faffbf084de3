"""The runs of a batch's items: how one begins and how it goes on, whichever engine runs it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from aideon_agents.ledger.batch_items import ItemStart
from aideon_agents.ledger.ids import new_run_id
from aideon_agents.runner.answers import NOTHING
from aideon_agents.runner.conversation import kept_as
from aideon_agents.runner.running import Earlier

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aideon_agents.batch.items import Item
    from aideon_agents.ledger.batch_items import ItemRow
    from aideon_agents.ledger.rows import Run, RunStart
    from aideon_agents.runner.checks import Demands
    from aideon_agents.runner.running import Running
    from aideon_agents.runner.series import Common


@dataclasses.dataclass(frozen=True, kw_only=True)
class ItemRuns:
    """Makes the runs of one batch's items."""

    batch_id: str
    limit_nanousd: int | None
    """Of each item; None: nothing of its own limits it."""
    common: Common
    """What all of them share; its `keeps` says whether those that begin now are kept."""
    demands: Demands
    inputs: Mapping[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    """What all items are given."""
    are_shared: bool = False
    """Other processes run items of this batch too, and only one may begin each."""

    def begins(self, item: Item, row: ItemRow | None) -> Running:
        """An item's run from its beginning."""
        inputs = {**self.inputs, **item.inputs}
        self.demands.check(item.task, inputs)
        entry = self.common.root.entry(item.task, inputs)
        start = self._run_of(item, new_run_id())
        return self.common.running(
            start, item.task, entry, item=self._starts(item, row, start.run_id)
        )

    def goes_on(self, item: Item, row: ItemRow, seen: Run) -> Running:
        """An item's earlier run, from where its state is kept."""
        return dataclasses.replace(self.common, keeps=True).running(
            self._run_of(item, seen.run_id),
            "",
            {},
            earlier=Earlier(seen=seen, answer=NOTHING),
            item=self._starts(item, row, seen.run_id),
        )

    async def is_kept(self, run_id: str) -> bool:
        """Whether a run can go on where it was, instead of being paid for again."""
        saver = self.common.saver
        return saver is not None and await saver.aget_tuple(kept_as(run_id)) is not None

    def _run_of(self, item: Item, run_id: str) -> RunStart:
        return dataclasses.replace(
            self.common.start, run_id=run_id, batch_id=self.batch_id, item_id=item.item_id
        )

    def _starts(self, item: Item, row: ItemRow | None, run_id: str) -> ItemStart:
        attempts = row.attempts if row else 0
        return ItemStart(
            batch_id=self.batch_id,
            position=item.position,
            item_id=item.item_id,
            run_id=run_id,
            is_new=row is None or row.run_id is None,
            limit_nanousd=self.limit_nanousd,
            seen_attempts=attempts if self.are_shared else None,
        )
