"""A graph in words: what a screen reader says of a picture, and what a tooltip shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aideon_agents.drawing.annotations import Note
    from aideon_agents.drawing.topology import Node, Topology

_MOST = 40
"""Nodes that a description names; the picture itself names all."""


class Teller:
    """Puts a graph into words."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._names = {one.id: one.label for one in (*topology.nodes, *topology.groups)}
        self._names |= {group.entry: f"start of {group.label}" for group in topology.groups}
        self._names |= {group.exit: f"end of {group.label}" for group in topology.groups}

    def whole(self) -> str:
        """What there is to see, and where each node leads."""
        inner = [node for node in self._topology.nodes if node.kind not in {"start", "end"}]
        groups = len(self._topology.groups)
        counted = f"{_counted(len(inner), 'node')}"
        if groups:
            counted += f" in {_counted(groups, 'group')}"
        ways = [
            f"{node.label} leads to {targets}"
            for node in self._topology.nodes[:_MOST]
            if (targets := self._targets(node))
        ]
        return f"A workflow of {counted}. {'; '.join(ways)}."

    def node(self, node: Node, note: Note) -> str:
        """A node, its kind, and what is said of it."""
        kind = "" if node.kind in {node.label, "start", "end"} else node.kind
        said = [node.label, kind, note.subtitle or "", *note.figures, note.foot]
        return ", ".join(filter(None, [*said, *(badge.text for badge in note.badges)]))

    def way(self, source: str, target: str, conditions: Sequence[str]) -> str:
        """A line from one end to the other."""
        when = f", if {' or '.join(conditions)}" if conditions else ""
        return f"{self._names[source]} leads to {self._names[target]}{when}"

    def _targets(self, node: Node) -> str:
        named = [
            f"{self._names[edge.target]} ({edge.label})" if edge.label else self._names[edge.target]
            for edge in self._topology.edges
            if edge.source == node.id
        ]
        return ", ".join(named)


def _counted(count: int, name: str) -> str:
    return f"{count} {name}{'' if count == 1 else 's'}"
