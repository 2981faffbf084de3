"""The progress of a batch, which is counted as items end."""

from __future__ import annotations

import collections
import dataclasses
import time
from typing import TYPE_CHECKING, Any

from aideon_agents.ledger.batch_items import ItemStatus
from aideon_agents.ledger.costs import Costs, NodeCost
from aideon_agents.ledger.money import usd, usd_text
from aideon_agents.models.limits.pace import why_slow

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from decimal import Decimal


TOP_NODES = 5
"""The number of nodes that are named."""

_WINDOW = 30.0
"""Seconds over which the speed is measured."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Progress:
    """The progress of a batch."""

    batch_id: str
    items: int
    completed: int
    failed: int
    invalid: int
    in_flight: int
    items_per_s: float
    """Over the last 30 seconds."""
    seconds_left: float | None
    """At that speed; None: unknown."""
    wall_s: float
    """Since this command began."""
    spent: Decimal
    """US dollars: the known costs."""
    complete: bool
    """False: some costs are unknown, and `spent` is a lower bound."""
    held: Decimal
    """US dollars besides: the worst cases of calls whose cost is not known (yet)."""
    budget: Decimal | None
    """US dollars for the whole batch; None: there is no such limit."""
    top_nodes: Sequence[tuple[str, Decimal]]
    """The nodes with the highest costs."""
    slowed_by: str | None = None
    """Which limits hold calls back, in words; None: none does."""

    @property
    def done(self) -> int:
        """Items that are completed, failed or invalid."""
        return self.completed + self.failed + self.invalid

    def document(self) -> dict[str, Any]:
        """The progress as JSON values."""
        left = None if self.seconds_left is None else round(self.seconds_left, 1)
        return {
            **{name: getattr(self, name) for name in ("batch_id", "items", "completed")},
            **{name: getattr(self, name) for name in ("failed", "invalid", "in_flight")},
            "pending": self.items - self.done,
            "items_per_s": round(self.items_per_s, 2),
            "seconds_left": left,
            "wall_s": round(self.wall_s, 1),
            "usd": usd_text(self.spent),
            "complete": self.complete,
            "held_usd": usd_text(self.held),
            "budget": None if self.budget is None else usd_text(self.budget),
            "nodes": [{"node_path": path, "usd": usd_text(cost)} for path, cost in self.top_nodes],
            "slowed_by": self.slowed_by,
        }


class Tally:
    """Counts the ends of items."""

    def __init__(self, began: float, items: int) -> None:
        self.items = items
        self.counts: collections.Counter[ItemStatus] = collections.Counter()
        self.failed_now = 0
        """Items that have failed since this command began."""
        self._spent: dict[str, Decimal] = {}
        self._incomplete = 0
        self._began = began
        self._ends = collections.deque([(began, 0)])
        self._ended = 0

    @property
    def done(self) -> int:
        """Items that are completed, failed or invalid."""
        return sum(self.counts[status] for status in ("completed", "failed", "invalid"))

    @property
    def wall_s(self) -> float:
        """Seconds since this command began."""
        return time.monotonic() - self._began

    def ended(self, status: ItemStatus, now: Costs = (), before: Costs = ()) -> None:
        """Count the end of an item's run; `before` are its costs that were counted earlier."""
        self.counts[status] += 1
        self.failed_now += status == "failed"
        self._ended += status in ("completed", "failed", "invalid")
        self.count(now, before)

    def count(self, now: Costs, before: Costs) -> None:
        """Count costs instead of others that were counted earlier."""
        for sign, nodes in ((1, now), (-1, before)):
            for node in nodes:
                so_far = self._spent.get(node.node_path, usd(0))
                self._spent[node.node_path] = so_far + sign * node.usd
                self._incomplete += sign * (not node.complete)

    def load(self, counts: Mapping[ItemStatus, int], nodes: Sequence[NodeCost]) -> None:
        """Set the counts and costs to those of the ledger."""
        self.counts = collections.Counter(counts)
        self._spent = {node.node_path: node.usd for node in nodes}
        self._incomplete = sum(not node.complete for node in nodes)

    def update(self, counts: Mapping[ItemStatus, int], nodes: Sequence[NodeCost]) -> None:
        """Take the counts and costs from the ledger, where workers run the items."""
        before = self.done
        self.load(counts, nodes)
        self._ended += self.done - before

    def restarts(self, status: ItemStatus) -> None:
        """Stop counting an item under its earlier status: it is run again."""
        self.counts[status] -= 1

    def progress(
        self, batch_id: str, in_flight: int, budget: int | None, held: Decimal
    ) -> Progress:
        """The progress; `held` are the worst cases of calls whose cost is not known."""
        speed, left = self._speed(), self.items - self.done
        return Progress(
            batch_id=batch_id,
            items=self.items,
            completed=self.counts["completed"],
            failed=self.counts["failed"],
            invalid=self.counts["invalid"],
            in_flight=in_flight,
            items_per_s=speed,
            seconds_left=left / speed if speed else None,
            wall_s=self.wall_s,
            spent=sum(self._spent.values(), usd(0)),
            complete=not self._incomplete,
            held=held,
            budget=None if budget is None else usd(budget),
            top_nodes=sorted(self._spent.items(), key=lambda node: (-node[1], node[0]))[:TOP_NODES],
            slowed_by=why_slow(),
        )

    def _speed(self) -> float:
        """Items a second; called about once a second."""
        at = time.monotonic()
        self._ends.append((at, self._ended))
        while self._ends[1][0] <= at - _WINDOW:
            self._ends.popleft()
        since, ended = self._ends[0]
        return (self._ended - ended) / (at - since) if at > since else 0.0
