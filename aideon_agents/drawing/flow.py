"""One level of a graph as a flow: what follows what, where it turns back, where branches meet.

A level is the inside of a group, or the whole graph. Its items are the nodes and groups that stand
in it directly; an edge that goes deeper counts for the group it goes into, one that comes from or
leads to the outside for `ENTRY` or `EXIT`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aideon_agents.drawing.edges import Edge
    from aideon_agents.drawing.topology import Topology

ENTRY = "entry"
EXIT = "exit"

Level = dict[str, dict[str, list["Edge"]]]
"""Edges by the item they leave and the item they reach, in the order of the topology."""


def levels(topology: Topology) -> dict[str | None, Level]:
    """Sort the edges of a graph into its levels.

    Args:
        topology: The graph.

    Returns:
        A level for each group by its id, and for the whole graph under None.
    """
    parents = {one.id: one.parent for one in (*topology.nodes, *topology.groups)}
    found: dict[str | None, Level] = {None: {ENTRY: {}}}
    found |= {group.id: {ENTRY: {}} for group in topology.groups}
    for one, parent in parents.items():
        found[parent][one] = {}
    for edge in topology.edges:
        out, into = _way_up(edge.source, parents), _way_up(edge.target, parents)
        for group in [*out, *(group for group in into if group not in out)]:
            source, target = out.get(group, ENTRY), into.get(group, EXIT)
            goes_deeper = source == target != edge.source
            if not goes_deeper:
                found[group][source].setdefault(target, []).append(edge)
    return found


def _way_up(one: str, parents: dict[str, str | None]) -> dict[str | None, str]:
    """For each level around a node, the item of that level which holds it."""
    way: dict[str | None, str] = {}
    current: str | None = one
    while current is not None:
        way[parents[current]] = current
        current = parents[current]
    return way


class Flow:
    """A level without the edges that turn back, which are kept apart."""

    def __init__(self, level: Level) -> None:
        self.forward: Level = {item: {} for item in level}
        self.back: Level = {item: {} for item in level}
        self.roots: list[str] = []
        """Where to begin: the entry, then whatever no edge leads to."""
        self._rank = {EXIT: 0}
        """Higher than that of everything that follows."""
        for item in level:
            if item not in self._rank:
                self.roots.append(item)
                self._walk(level, item)
        self.joins = self._joins()
        """For each item, the first one that every way from it comes through."""

    def _walk(self, level: Level, root: str) -> None:
        """Depth first, and without recursion: a chain may have a thousand nodes."""
        under_way = {root: iter(level[root].items())}
        while under_way:
            item = next(reversed(under_way))
            for target, edges in under_way[item]:
                if target in under_way:
                    self.back[item][target] = edges
                    continue
                self.forward[item][target] = edges
                if target not in self._rank:
                    under_way[target] = iter(level[target].items())
                    break
            else:
                del under_way[item]
                self._rank[item] = len(self._rank)

    def _joins(self) -> dict[str, str]:
        """Immediate post-dominators, as Cooper, Harvey and Kennedy find them.

        "A Simple, Fast Dominance Algorithm", 2001. Without loops one pass is enough.
        """
        joins: dict[str, str] = {}
        for item in self._rank:
            if item == EXIT:
                continue
            ways = iter(self.forward[item])
            meeting = next(ways, EXIT)
            for way in ways:
                meeting = self._meeting(joins, meeting, way)
            joins[item] = meeting
        return joins

    def _meeting(self, joins: dict[str, str], one: str, other: str) -> str:
        while one != other:
            if self._rank[one] > self._rank[other]:
                one = joins[one]
            else:
                other = joins[other]
        return one
