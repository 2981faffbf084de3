"""One level of a graph as a flow: the order of its items, its back edges, and where branches join.

A level is the inside of a group, or the whole graph. Its items are the nodes and groups directly in
it. An edge that goes deeper counts for the group that it enters; an edge from or to the outside
counts for `ENTRY` or `EXIT`.

`Order` is an incremental topological sort that rejects an edge which would close a cycle (Pearce
and Kelly, "A Dynamic Topological Sort Algorithm for Directed Acyclic Graphs", 2006). It only visits
what lies between the two ends of a new edge, so a thousand nodes take no noticeable time.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from aideon_agents.graphs.topology import Edge, Topology


class Order:
    """Items so that every edge that was taken in leads from an earlier one to a later one."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}
        self._after: dict[str, list[str]] = {}
        self._before: dict[str, list[str]] = {}

    def __contains__(self, item: str) -> bool:
        return item in self._places

    @property
    def items(self) -> list[str]:
        """All items in order."""
        return sorted(self._places, key=self._places.__getitem__)

    def add(self, item: str) -> None:
        """Take in an item, behind all others."""
        self._places[item] = len(self._places)
        self._after[item] = []
        self._before[item] = []

    def join(self, source: str, target: str) -> bool:
        """Take in an edge between items."""
        if self._places[source] >= self._places[target]:
            ahead = self._reached(target, self._after, self._places[source], 1)
            if source in ahead:
                return False
            self._swap(self._reached(source, self._before, self._places[target], -1), ahead)
        self._after[source].append(target)
        self._before[target].append(source)
        return True

    def _reached(self, start: str, onward: dict[str, list[str]], end: int, sign: int) -> set[str]:
        """What can be reached without passing a position; `sign` is -1 when going backwards."""
        reached, ahead = {start}, [start]
        while ahead:
            for item in onward[ahead.pop()]:
                if item not in reached and sign * self._places[item] <= sign * end:
                    reached.add(item)
                    ahead.append(item)
        return reached

    def _swap(self, first: set[str], second: set[str]) -> None:
        """Put one set before another, each in its order, into the places that both have."""
        moved = [*sorted(first, key=self._places.__getitem__)]
        moved += sorted(second, key=self._places.__getitem__)
        places = sorted(self._places[item] for item in moved)
        self._places |= dict(zip(moved, places, strict=True))


ENTRY = "|entry"
EXIT = "|exit"
"""No id begins with a bar, so a node called `exit` is not mistaken for one."""

Level = dict[str, dict[str, list["Edge"]]]
"""Edges by the item they leave and the item they reach, in the order of the topology."""


def levels(topology: Topology) -> dict[str | None, Level]:
    """Sort the edges of a graph into its levels."""
    found = _empty(topology, {ENTRY: {}})
    for edge in topology.edges:
        out, into = _way_up(topology, edge.source), _way_up(topology, edge.target)
        for group in [*out, *(group for group in into if group not in out)]:
            source, target = out.get(group, ENTRY), into.get(group, EXIT)
            goes_deeper = source == target != edge.source
            if not goes_deeper:
                found[group][source].setdefault(target, []).append(edge)
    return found


def cut(topology: Topology) -> dict[str | None, Level]:
    """Sort the legs of a graph into its levels; each belongs to one."""
    outside = {group.entry: group.id for group in topology.groups}
    outside |= {group.exit: group.id for group in topology.groups}
    inside: dict[str, tuple[str, str | None]] = {}
    for group in topology.groups:
        inside |= {group.entry: (ENTRY, group.id), group.exit: (EXIT, group.id)}
    found = _empty(topology, {})
    for segment in topology.legs:
        # A leg out of a start, or into an end, lies within that group; any other beside it.
        is_inner = segment.source in inside and inside[segment.source][0] == ENTRY
        is_inner_end = segment.target in inside and inside[segment.target][0] == EXIT
        source = ENTRY if is_inner else outside.get(segment.source, segment.source)
        target = EXIT if is_inner_end else outside.get(segment.target, segment.target)
        level = inside[segment.source][1] if is_inner else topology.parents[source]
        found[level][source].setdefault(target, []).append(segment)
    return found


def _empty(topology: Topology, whole: Level) -> dict[str | None, Level]:
    """The levels without edges; `whole` is that of the whole graph."""
    found: dict[str | None, Level] = {None: whole}
    found |= {group.id: {ENTRY: {}} for group in topology.groups}
    for one, parent in topology.parents.items():
        found[parent][one] = {}
    return found


def _way_up(topology: Topology, node: str) -> dict[str | None, str]:
    """For each level around a node, the item of that level which holds it."""
    return {topology.parents[one]: one for one in topology.around(node)}


class Flow:
    """A level without the edges that turn back, which are kept apart."""

    def __init__(self, level: Level) -> None:
        self.forward: Level = {item: {} for item in level}
        self.back: Level = {item: {} for item in level}
        self.roots: list[str] = []
        """Where to begin: the entry, then whatever no edge leads to."""
        self.found: list[str] = []
        """All items, in the order in which the edges lead to them, the first of several first."""
        known = Order()
        for item in level:
            if item not in known:
                self.roots.append(item)
                known.add(item)
                self._walk(level, known, item)
        self.order = [item for item in known.items if item != EXIT]
        """All items, each after everything that leads to it, other than back."""
        self._rank = {item: rank for rank, item in enumerate([EXIT, *reversed(self.order)])}
        """Higher than that of everything that follows."""
        self.joins = self._joins()
        """For each item, the first one that every path from it passes."""

    def _walk(self, level: Level, known: Order, root: str) -> None:
        """Follow the edges that are always taken first, so that the others become the back edges.

        It does not recurse, because a chain may have a thousand nodes.
        """
        self.found.append(root)
        certain, others = deque([root]), deque[tuple[str, str]]()

        def follow(item: str, target: str) -> None:
            if target not in known:
                known.add(target)
                if target != EXIT:
                    self.found.append(target)
                    certain.append(target)
            links = self.forward if known.join(item, target) else self.back
            links[item][target] = level[item][target]

        while certain or others:
            if not certain:
                follow(*others.popleft())
                continue
            item = certain.popleft()
            for target, edges in level[item].items():
                if all(edge.conditional for edge in edges):
                    others.append((item, target))
                else:
                    follow(item, target)

    def _joins(self) -> dict[str, str]:
        """Immediate post-dominators, as Cooper, Harvey and Kennedy find them.

        "A Simple, Fast Dominance Algorithm", 2001. Without loops one pass is enough.
        """
        joins: dict[str, str] = {}
        for item in self._rank:
            if item == EXIT:
                continue
            targets = iter(self.forward[item])
            meeting = next(targets, EXIT)
            for target in targets:
                meeting = self._meeting(joins, meeting, target)
            joins[item] = meeting
        return joins

    def _meeting(self, joins: dict[str, str], one: str, other: str) -> str:
        while one != other:
            if self._rank[one] > self._rank[other]:
                one = joins[one]
            else:
                other = joins[other]
        return one


@dataclass(frozen=True)
class Link:
    """All edges that lead directly from one item to another."""

    source: str
    target: str
    edges: tuple[Edge, ...]

    @property
    def conditions(self) -> tuple[str, ...]:
        """The conditions on it, each once; empty when it is always taken."""
        labels = [edge.label for edge in self.edges]
        return () if None in labels else tuple(dict.fromkeys(label for label in labels if label))

    @property
    def conditional(self) -> bool:
        """Whether it may be left out."""
        return all(edge.conditional for edge in self.edges)


def links(level: Level, item: str) -> list[Link]:
    """What leads from an item to others."""
    return [Link(item, target, tuple(edges)) for target, edges in level[item].items()]
