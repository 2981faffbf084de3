"""Which way a run took through a graph, as far as its calls tell.

The ledger keeps calls, not steps: an agent leaves rows, a function leaves none. So of an edge one
of three things is said: it was taken, it was not, or nobody knows. What is said follows from which
nodes called a model and in what order, and from what a graph does: an agent without a call did not
run, a completed run came to its end, an edge without a condition is taken when its node is done,
and whatever ran was led to. Nothing is guessed.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias, get_args

from langgraph.graph import END, START

from aideon_agents.drawing.annotations import Way
from aideon_agents.graphs.topology import Topology
from aideon_agents.state import Role

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


Verdicts: TypeAlias = dict["Way", bool]
"""Whether an edge was taken; one that is not in it may have been, or not."""


@dataclass(frozen=True)
class Seen:
    """What is known of one run."""

    order: tuple[str, ...]
    """The ids of the nodes that called a model, one for each call, in the order of the calls."""
    also: frozenset[str] = frozenset()
    """Nodes that ran, as is known from elsewhere."""
    unanswered: frozenset[str] = frozenset()
    """Nodes whose last call came to nothing: what follows them may not have begun."""
    completed: bool = True


@dataclass(frozen=True)
class Found:
    """The way of one run."""

    verdicts: Verdicts
    idle: frozenset[str]
    """Nodes that are known not to have run."""


class Ways:
    """Finds ways through one graph."""

    def __init__(self, topology: Topology) -> None:
        self.certain: dict[Way, bool] = {}
        """Every edge, and whether it is taken whenever its node is done."""
        for edge in topology.edges:
            way = (edge.source, edge.target)
            self.certain[way] = self.certain.get(way, False) or not edge.conditional
        self.agents = [node.id for node in topology.nodes if node.kind in get_args(Role)]
        self.out: dict[str, list[Way]] = {node.id: [] for node in topology.nodes}
        self.into: dict[str, list[Way]] = {node.id: [] for node in topology.nodes}
        for way in self.certain:
            self.out[way[0]].append(way)
            self.into[way[1]].append(way)
        self.first = {node: self._first(node) for node in self.into}
        """The edges that can lead to a node for the first time: the way to them is not through it."""
        self._known: dict[Seen, Found] = {}

    def of(self, seen: Seen) -> Found:
        """The way of a run."""
        if seen not in self._known:  # the runs of a batch went few different ways
            self._known[seen] = _Finding(self, seen).found()
        return self._known[seen]

    def _first(self, node: str) -> list[Way]:
        leading = self.into[node]
        if len(leading) < 2:  # noqa: PLR2004 - one edge is the first as well
            return leading
        reached, ahead = {START}, deque([START])
        while ahead:
            for _, target in self.out[ahead.popleft()]:
                if target not in reached and target != node:
                    reached.add(target)
                    ahead.append(target)
        return [way for way in leading if way[0] in reached]


class _Finding:
    """What follows from what is known, until nothing more does."""

    def __init__(self, ways: Ways, seen: Seen) -> None:
        self._ways = ways
        self._seen = seen
        self._times: dict[str, list[int]] = {}
        for time, node in enumerate(seen.order):
            self._times.setdefault(node, []).append(time)
        self._verdicts: Verdicts = {}
        self._ran: dict[str, bool] = {
            **dict.fromkeys(ways.agents, False),
            **dict.fromkeys((START, *seen.order, *seen.also), True),
            END: seen.completed,
        }

    def found(self) -> Found:
        self._in_order()
        known = -1
        while known < (known := len(self._verdicts) + len(self._ran)):
            for way, certain in self._ways.certain.items():
                self._edge(way, certain=certain)
            for node in self._ways.into:
                self._node(node)
        idle = frozenset(node for node, ran in self._ran.items() if not ran)
        return Found(self._verdicts, idle)

    def _in_order(self) -> None:
        """What the order of calls says of edges, and of ways back above all."""
        for source, target in self._ways.certain:
            left, reached = self._times.get(source), self._times.get(target)
            if left and reached and reached[-1] < left[0]:
                self._verdicts[source, target] = False
        for node, times in self._times.items():
            back = [way for way in self._ways.into[node] if way not in self._ways.first[node]]
            # A function may have led there as well, and no call says when.
            if back and all(
                one in self._times for one, _ in self._ways.into[node] if self._may(one)
            ):
                led = [self._led(node, range(a + 1, b)) for a, b in pairwise(times)]
                self._verdicts |= {ways[0]: True for ways in led if ways and len(ways) == 1}
                if all(ways is not None and len(ways) < 2 for ways in led):  # noqa: PLR2004
                    known = {way for ways in led for way in ways or ()}
                    self._verdicts |= {way: False for way in back if way not in known}

    def _led(self, node: str, between: range) -> list[Way] | None:
        """What may have led to a node between two calls of its own.

        Empty where nothing did: it tried again. None where something must have, and did not.
        """
        last = {self._seen.order[time]: time for time in between}
        ended = [way for way in self._ways.into[node] if way[0] in last]
        led = [way for way in ended if not self._went_elsewhere(way, last)]
        return led if led or not ended else None

    def _went_elsewhere(self, way: Way, last: Mapping[str, int]) -> bool:
        """Whether a route's node was followed by another of its ends before this one."""
        source, target = way
        others = (one for _, one in self._ways.out[source] if one != target)
        return not self._ways.certain[way] and any(
            last.get(one, -1) > last[source] for one in others
        )

    def _may(self, node: str) -> bool:
        return self._ran.get(node, True) and node != START

    def _edge(self, way: Way, *, certain: bool) -> None:
        """What its ends say of an edge, and an edge of its ends."""
        source, target = self._ran.get(way[0]), self._ran.get(way[1])
        if way not in self._verdicts:
            is_done = source and way[0] not in self._seen.unanswered
            if source is False or target is False:
                self._verdicts[way] = False
            elif certain and is_done and (self._seen.completed or target):
                self._verdicts[way] = True
        if self._verdicts.get(way):
            self._ran[way[0]] = self._ran[way[1]] = True

    def _node(self, node: str) -> None:
        """What is left when every other edge of a node is ruled out."""
        into, out = self._ways.into[node], self._ways.out[node]
        if self._ran.get(node) is None:
            for side in (into, out if self._seen.completed else []):
                if side and all(self._verdicts.get(way) is False for way in side):
                    self._ran[node] = False
        if not self._ran.get(node):
            return
        self._only_one(self._ways.first[node])
        if self._seen.completed and node not in self._seen.unanswered:
            self._only_one(out)

    def _only_one(self, ways: Sequence[Way]) -> None:
        left = [way for way in ways if self._verdicts.get(way) is not False]
        if len(left) == 1:
            self._verdicts[left[0]] = True
