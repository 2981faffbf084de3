"""Groups folded: a graph's plain model, drawn with fewer levels than were read.

A run keeps the model of its graph, not the graph, so `--depth` works on the model. The result
equals that of reading the graph to that depth.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from aideon_agents.graphs.topology import Group, Node, Topology, without

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


def folded(topology: Topology, depth: int | None) -> Topology:
    """Close the groups below a level."""
    levels: dict[str | None, int] = {None: 0}
    for group in topology.groups:
        levels[group.id] = levels[group.parent] + 1
    closed = {one.id for one in topology.groups if depth is not None and levels[one.id] > depth}
    return with_closed(topology, closed)


def holders(topology: Topology, drawn: Topology) -> dict[str, str]:
    """The node or folded group that shows each node of a graph in a drawing."""
    parents = {one.id: one.parent for one in (*topology.nodes, *topology.groups)}
    shown = {node.id for node in drawn.nodes}
    found: dict[str, str] = {}
    for node in topology.nodes:
        one: str | None = node.id
        while one is not None and one not in shown:
            one = parents[one]
        if one is not None:
            found[node.id] = one
    return found


def with_closed(topology: Topology, closed: Collection[str]) -> Topology:
    """Close some groups."""
    if not closed:
        return topology
    parents = {one.id: one.parent for one in (*topology.nodes, *topology.groups)}
    inside = {one: _outermost(one, parents, closed) for one in parents}
    groups = {group.id: group for group in topology.groups}
    nodes: dict[str, Node] = {}
    for node in topology.nodes:
        group = inside[node.id]
        one = node if group is None else _as_node(groups[group])
        nodes.setdefault(one.id, one)
    for group in topology.groups:
        inside[group.entry] = inside[group.exit] = inside[group.id]
    legs = [
        replace(
            segment,
            source=inside[segment.source] or segment.source,
            target=inside[segment.target] or segment.target,
        )
        for segment in topology.legs
        # Edges out of a folded group begin at its exit; all others that begin in it end in it.
        if (group := inside[segment.source]) is None or segment.source == groups[group].exit
    ]
    kept = tuple(group for group in topology.groups if inside[group.id] is None)
    passages = [end for group in kept for end in (group.entry, group.exit)]
    order = {node: index for index, node in enumerate(nodes)}
    edges = sorted(without(legs, passages), key=lambda edge: order[edge.source])
    return Topology(topology.name, tuple(nodes.values()), kept, tuple(edges), tuple(legs))


def _outermost(one: str, parents: Mapping[str, str | None], closed: Collection[str]) -> str | None:
    """The outermost folded group that holds a node or group, or is it."""
    found: str | None = None
    current: str | None = one
    while current is not None:
        if current in closed:
            found = current
        current = parents[current]
    return found


def _as_node(group: Group) -> Node:
    return Node(group.id, group.label, "graph", group.parent, group.path)
