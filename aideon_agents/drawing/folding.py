"""Groups folded, and which part of a drawing shows a node.

A run keeps the model of its graph, not the graph, so `--depth` works on the model. The result
equals that of reading the graph to that depth.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from langgraph.graph import END, START

from aideon_agents.graphs.topology import ANY_STEP, Node, Topology, without

if TYPE_CHECKING:
    from collections.abc import Collection


def folded(topology: Topology, depth: int | None) -> Topology:
    """Close the groups below a level."""
    return topology if depth is None else with_closed(topology, outermost(topology, depth))


def outermost(topology: Topology, depth: int) -> frozenset[str]:
    """The groups to fold so that no more than some levels are open."""
    groups = (group.id for group in topology.groups)
    return frozenset(one for one in groups if len(list(topology.around(one))) == depth + 1)


def holders(topology: Topology, drawn: Topology) -> dict[str, str]:
    """The node or folded group that shows each node of a graph in a drawing."""
    shown = {node.id for node in drawn.nodes}
    return {
        node.id: one for node in topology.nodes for one in topology.around(node.id) if one in shown
    }


def with_closed(topology: Topology, closed: Collection[str]) -> Topology:
    """Close some groups."""
    if not closed:
        return topology
    inside = {one: _outermost(topology, one, closed) for one in topology.parents}
    groups = {group.id: group for group in topology.groups}
    nodes: dict[str, Node] = {}
    for node in topology.nodes:
        name = inside[node.id]
        if name is None:
            nodes[node.id] = node
        else:
            group = groups[name]
            nodes[name] = Node(name, group.label, "graph", group.parent, group.path)
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
        if (name := inside[segment.source]) is None or segment.source == groups[name].exit
    ]
    kept = tuple(group for group in topology.groups if inside[group.id] is None)
    passages = [end for group in kept for end in (group.entry, group.exit)]
    order = {node: index for index, node in enumerate(nodes)}
    edges = sorted(without(legs, passages), key=lambda edge: order[edge.source])
    return Topology(topology.name, tuple(nodes.values()), kept, tuple(edges), tuple(legs))


def _outermost(topology: Topology, one: str, closed: Collection[str]) -> str | None:
    """The outermost folded group that holds a node or group, or is it."""
    return next((group for group in reversed([*topology.around(one)]) if group in closed), None)


class Locations:
    """Finds the node or group at a node path of the ledger.

    A drawing has fewer places than the ledger: the steps of a plan are made at run time
    (`work/s2`), and several nodes inside a foreign agent share one path.
    """

    def __init__(self, topology: Topology) -> None:
        nodes = [node for node in topology.nodes if node.id not in {START, END}]
        shared = Counter(node.path for node in nodes)
        self._topology = topology
        self._workers: dict[str | None, list[Node]] = {}
        for node in topology.nodes:
            if node.path.endswith(ANY_STEP):
                self._workers.setdefault(node.parent, []).append(node)
        self._places = {group.path: group.id for group in reversed(topology.groups)}
        # Nodes that share one path are shown as their group.
        self._places |= {
            node.path: node.id
            for node in nodes
            if shared[node.path] == 1 or node.path not in self._places
        }
        self._known: dict[str, tuple[str, ...]] = {}

    def of_call(self, path: str, role: str) -> tuple[str, ...]:
        """The same for a call: a step of a plan is shown at the only worker that can have done it."""
        around = self.of(path)
        workers = self._workers.get(around[0], ()) if around else ()
        alike = [one for one in workers if one.kind == role] or [
            one for one in workers if one.kind == "graph"
        ]
        return (alike[0].id, *around) if len(alike) == 1 else around

    def of(self, path: str) -> tuple[str, ...]:
        """The id of the node or group at a path, and those of the groups around it."""
        if path not in self._known:
            found = path
            while found and found not in self._places:
                found = found.rpartition("/")[0]
            place = self._places.get(found)
            self._known[path] = tuple(self._topology.around(place)) if place else ()
        return self._known[path]
