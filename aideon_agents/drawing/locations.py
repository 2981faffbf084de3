"""From a node path of the ledger to a place in a drawn graph.

A drawing has fewer places than the ledger: the steps of a plan are made at run time (`work/s2`),
and several nodes inside a foreign agent share one path.
"""

from __future__ import annotations

from collections import Counter

from langgraph.graph import END, START

from aideon_agents.graphs.topology import Topology


class Locations:
    """Finds the places of node paths in one graph."""

    def __init__(self, topology: Topology) -> None:
        nodes = [node for node in topology.nodes if node.id not in {START, END}]
        shared = Counter(node.path for node in nodes)
        self._parents = {one.id: one.parent for one in (*topology.nodes, *topology.groups)}
        self._places = {group.path: group.id for group in reversed(topology.groups)}
        # Nodes that share one path are shown as their group.
        self._places |= {
            node.path: node.id
            for node in nodes
            if shared[node.path] == 1 or node.path not in self._places
        }
        self._known: dict[str, tuple[str, ...]] = {}

    def of(self, path: str) -> tuple[str, ...]:
        """The id of the node or group at a node path."""
        if path not in self._known:
            self._known[path] = self._of(path)
        return self._known[path]

    def around(self, place: str) -> tuple[str, ...]:
        """The id of a node or group, and those of the groups around it, from the inside out."""
        found: list[str] = []
        one: str | None = place
        while one is not None:
            found.append(one)
            one = self._parents[one]
        return tuple(found)

    def _of(self, path: str) -> tuple[str, ...]:
        around = path
        while around and around not in self._places:
            around = around.rpartition("/")[0]
        return self.around(self._places[around]) if around in self._places else ()
