"""How far a batch has come: counted as items end, so that nobody has to ask the ledger."""

from __future__ import annotations

import collections
import dataclasses
import time
from typing import TYPE_CHECKING

from aideon_agents.ledger.batch_items import ItemStatus
from aideon_agents.ledger.costs import NodeCost
from aideon_agents.ledger.pricing import usd, usd_text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from decimal import Decimal
    from typing import Any


DEAREST = 5
"""Nodes that are named."""

_WINDOW = 30.0
"""Seconds over which the speed is measured."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a batch has come."""

    batch_id: str
    items: int
    completed: int
    failed: int
    invalid: int
    in_flight: int
    items_per_s: float
    """Of late."""
    seconds_left: float | None
    """At that speed; None: nobody can tell."""
    wall_s: float
    """Of this call."""
    spent: Decimal
    """US dollars, what is known."""
    complete: bool
    """Whether that is all; if not, it is a lower bound."""
    budget: Decimal | None
    """US dollars for the whole batch; None: there is no such limit."""
    dearest: Sequence[tuple[str, Decimal]]
    """The nodes that cost most, with what they cost so far."""

    @property
    def done(self) -> int:
        """Items that are finished, however."""
        return self.completed + self.failed + self.invalid

    def document(self) -> dict[str, Any]:
        """The same as JSON values."""
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
            "budget": None if self.budget is None else usd_text(self.budget),
            "nodes": [{"node_path": path, "usd": usd_text(cost)} for path, cost in self.dearest],
        }


class Tally:
    """Counts the ends of items."""

    def __init__(
        self,
        began: float,
        items: int,
        counts: Mapping[ItemStatus, int],
        nodes: Collection[NodeCost],
    ) -> None:
        self.items = items
        self.counts: collections.Counter[ItemStatus] = collections.Counter(counts)
        self.failed_now = 0
        """Items that have failed in this call."""
        self._take(nodes)
        self._began = began
        self._ends = collections.deque([(began, 0)])
        self._ended = 0

    @property
    def done(self) -> int:
        """Items that are finished, however."""
        return sum(self.counts[status] for status in ("completed", "failed", "invalid"))

    @property
    def wall_s(self) -> float:
        """Seconds since this call began."""
        return time.monotonic() - self._began

    def ended(
        self, status: ItemStatus, now: Iterable[NodeCost] = (), before: Iterable[NodeCost] = ()
    ) -> None:
        """Count the end of an item's run."""
        self.counts[status] += 1
        self.failed_now += status == "failed"
        self._ended += status in ("completed", "failed", "invalid")
        for sign, nodes in ((1, now), (-1, before)):
            for node in nodes:
                before_it = self._spent.get(node.node_path, usd(0))
                self._spent[node.node_path] = before_it + sign * node.usd
                self._incomplete += sign * (not node.complete)

    def seen(self, counts: Mapping[ItemStatus, int], nodes: Collection[NodeCost]) -> None:
        """Take over what the ledger says, where others run the items."""
        before = self.done
        self.counts = collections.Counter(counts)
        self._ended += self.done - before
        self._take(nodes)

    def goes_on(self, status: ItemStatus) -> None:
        """Count an item no longer where it stood: it goes on."""
        self.counts[status] -= 1

    def progress(
        self, batch_id: str, in_flight: int, budget: int | None, counted: int | None
    ) -> Progress:
        """How far it has come."""
        speed = self._speed()
        left = self.items - self.done
        dearest = sorted(self._spent.items(), key=lambda node: (-node[1], node[0]))[:DEAREST]
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
            spent=sum(self._spent.values(), usd(0)) if counted is None else usd(counted),
            complete=not self._incomplete,
            budget=None if budget is None else usd(budget),
            dearest=dearest,
        )

    def _take(self, nodes: Collection[NodeCost]) -> None:
        self._spent = {node.node_path: node.usd for node in nodes}
        self._incomplete = sum(not node.complete for node in nodes)

    def _speed(self) -> float:
        """Items a second; asked about once a second."""
        at = time.monotonic()
        self._ends.append((at, self._ended))
        while self._ends[1][0] <= at - _WINDOW:
            self._ends.popleft()
        since, ended = self._ends[0]
        return (self._ended - ended) / (at - since) if at > since else 0.0
