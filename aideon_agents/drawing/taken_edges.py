"""The edges that a run took, as far as its calls show.

The ledger keeps calls, not steps: an agent leaves rows, a function leaves none. So an edge was
taken, was not taken, or is unknown. This follows from which nodes called a model and in what order,
and from how graphs work: an agent without a call did not run, a completed run reached its end, an
edge without a condition is taken when its node is done, and every node that ran was reached by an
edge. Nothing is guessed.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias, get_args

from langgraph.graph import END, START

from aideon_agents.drawing.annotations import EdgeKey
from aideon_agents.graphs.topology import ANY_STEP, Topology
from aideon_agents.state import Role

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


Verdicts: TypeAlias = dict["EdgeKey", bool]
"""Whether an edge was taken; an edge that is missing is unknown."""


@dataclass(frozen=True)
class Seen:
    """What the calls of one run show."""

    order: tuple[str, ...]
    """The ids of the nodes that called a model, one per call, in the order of the calls."""
    also: frozenset[str] = frozenset()
    """Nodes that are known to have run from another source."""
    unanswered: frozenset[str] = frozenset()
    """Nodes whose last call failed: the nodes after them may not have started."""
    completed: bool = True


class TakenEdges:
    """Finds the taken edges in one graph."""

    def __init__(self, topology: Topology) -> None:
        self.certain: dict[EdgeKey, bool] = {}
        """Every edge, and whether it is always taken when its node is done."""
        for one in topology.edges:
            edge = (one.source, one.target)
            self.certain[edge] = self.certain.get(edge, False) or not one.conditional
        self.agents = [
            node.id
            for node in topology.nodes
            if node.kind in get_args(Role) and not node.path.endswith(ANY_STEP)
        ]
        self.out: dict[str, list[EdgeKey]] = {node.id: [] for node in topology.nodes}
        self.into: dict[str, list[EdgeKey]] = {node.id: [] for node in topology.nodes}
        for edge in self.certain:
            self.out[edge[0]].append(edge)
            self.into[edge[1]].append(edge)
        self.first = {node: self._first(node) for node in self.into}
        """The edges that can lead to a node for the first time, without passing through it."""
        self._known: dict[Seen, tuple[Verdicts, frozenset[str]]] = {}

    def of(self, seen: Seen) -> tuple[Verdicts, frozenset[str]]:
        """The edges that a run took, and the nodes that are known not to have run."""
        if seen not in self._known:  # the runs of a batch take few different sets of edges
            self._known[seen] = _Finding(self, seen).found()
        return self._known[seen]

    def _first(self, node: str) -> list[EdgeKey]:
        leading = self.into[node]
        if len(leading) < 2:  # noqa: PLR2004 - one edge is the first as well
            return leading
        reached, ahead = {START}, deque([START])
        while ahead:
            for _, target in self.out[ahead.popleft()]:
                if target not in reached and target != node:
                    reached.add(target)
                    ahead.append(target)
        return [edge for edge in leading if edge[0] in reached]


class _Finding:
    """Apply the rules until they add nothing."""

    def __init__(self, graph: TakenEdges, seen: Seen) -> None:
        self._graph = graph
        self._seen = seen
        self._times: dict[str, list[int]] = {}
        for time, node in enumerate(seen.order):
            self._times.setdefault(node, []).append(time)
        self._verdicts: Verdicts = {}
        self._ran: dict[str, bool] = {
            **dict.fromkeys(graph.agents, False),
            **dict.fromkeys((START, *seen.order, *seen.also), True),
            END: seen.completed,
        }

    def found(self) -> tuple[Verdicts, frozenset[str]]:
        self._in_order()
        known = -1
        while known < (known := len(self._verdicts) + len(self._ran)):
            for edge, certain in self._graph.certain.items():
                self._edge(edge, certain=certain)
            for node in self._graph.into:
                self._node(node)
        idle = frozenset(node for node, ran in self._ran.items() if not ran)
        return self._verdicts, idle

    def _in_order(self) -> None:
        """Apply what the order of calls shows, mainly about back edges."""
        for source, target in self._graph.certain:
            left, reached = self._times.get(source), self._times.get(target)
            if left and reached and reached[-1] < left[0]:
                self._verdicts[source, target] = False
        for node, times in self._times.items():
            back = [edge for edge in self._graph.into[node] if edge not in self._graph.first[node]]
            # a function may have led there as well, and no call shows when
            if back and all(
                one in self._times for one, _ in self._graph.into[node] if self._may(one)
            ):
                led = [self._led(node, range(a + 1, b)) for a, b in pairwise(times)]
                self._verdicts |= {edges[0]: True for edges in led if edges and len(edges) == 1}
                if all(edges is not None and len(edges) < 2 for edges in led):  # noqa: PLR2004
                    known = {edge for edges in led for edge in edges or ()}
                    self._verdicts |= {edge: False for edge in back if edge not in known}

    def _led(self, node: str, between: range) -> list[EdgeKey] | None:
        """The edges that may have led to a node between two of its own calls.

        Empty where none did: it was a retry. None where one must have, and did not.
        """
        last = {self._seen.order[time]: time for time in between}
        ended = [edge for edge in self._graph.into[node] if edge[0] in last]
        led = [edge for edge in ended if not self._went_elsewhere(edge, last)]
        return led if led or not ended else None

    def _went_elsewhere(self, edge: EdgeKey, last: Mapping[str, int]) -> bool:
        """Whether another target of a route's node ran before this one."""
        source, target = edge
        others = (one for _, one in self._graph.out[source] if one != target)
        return not self._graph.certain[edge] and any(
            last.get(one, -1) > last[source] for one in others
        )

    def _may(self, node: str) -> bool:
        return self._ran.get(node, True) and node != START

    def _edge(self, edge: EdgeKey, *, certain: bool) -> None:
        """Apply what the ends of an edge show about it, and the other way round."""
        source, target = self._ran.get(edge[0]), self._ran.get(edge[1])
        if edge not in self._verdicts:
            is_done = source and edge[0] not in self._seen.unanswered
            if source is False or target is False:
                self._verdicts[edge] = False
            elif certain and is_done and (self._seen.completed or target):
                self._verdicts[edge] = True
        if self._verdicts.get(edge):
            self._ran[edge[0]] = self._ran[edge[1]] = True

    def _node(self, node: str) -> None:
        """Apply what is left when every other edge of a node is excluded."""
        into, out = self._graph.into[node], self._graph.out[node]
        if self._ran.get(node) is None:
            for side in (into, out if self._seen.completed else []):
                if side and all(self._verdicts.get(edge) is False for edge in side):
                    self._ran[node] = False
        if not self._ran.get(node):
            return
        self._only_one(self._graph.first[node])
        if self._seen.completed and node not in self._seen.unanswered:
            self._only_one(out)

    def _only_one(self, edges: Sequence[EdgeKey]) -> None:
        left = [edge for edge in edges if self._verdicts.get(edge) is not False]
        if len(left) == 1:
            self._verdicts[left[0]] = True
