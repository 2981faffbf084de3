"""What every drawing is drawn from: one plain model of a graph, however deep it nests.

Read from `graph.builder`. Subgraphs become groups around their nodes; their own start and end are
not drawn, edges run through them from node to node.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from langgraph.graph import END, START

from aideon_agents.drawing.edges import Edge, declared, one_line, runnable, without
from aideon_agents.drawing.places import Place, inside

if TYPE_CHECKING:
    from langgraph.pregel import Pregel

    AnyGraph = Pregel[Any, Any, Any, Any]

Kind = Literal[
    "start", "end", "planner", "executor", "validator", "creative", "function", "graph", "approval"
]  # fmt: skip


@dataclass(frozen=True)
class Node:
    """One box."""

    id: str
    """Unique: node names from the outside in, joined by `|` as in LangGraph's namespaces."""
    label: str
    kind: Kind
    """`graph` is a subgraph that was not opened."""
    parent: str | None = None
    """The id of the group it stands in, None at the top."""
    path: str = ""
    """Its node path in the ledger, empty for start and end."""


@dataclass(frozen=True)
class Group:
    """An opened subgraph: a frame around its nodes."""

    id: str
    label: str
    parent: str | None = None
    """The id of the group it stands in, None at the top."""
    path: str = ""
    """Its node path in the ledger."""

    @property
    def entry(self) -> str:
        """Its own start, where legs lead into it."""
        return f"{self.id}|{START}"

    @property
    def exit(self) -> str:
        """Its own end, where legs lead out of it."""
        return f"{self.id}|{END}"


@dataclass(frozen=True)
class Topology:
    """A whole graph. Edges run between nodes alone, never to or from a group."""

    name: str
    nodes: tuple[Node, ...]
    """In the order in which they were added, start first and end last."""
    groups: tuple[Group, ...]
    """Outer groups before those inside them."""
    edges: tuple[Edge, ...]
    """By the order of their sources."""
    legs: tuple[Edge, ...]
    """The same ways as the builders have them: cut where they enter and leave a group."""


def read(graph: AnyGraph, depth: int | None = None) -> Topology:
    """Read a compiled graph, ours or anybody's."""
    root = Place(graph)
    name = one_line(graph.get_name())
    reading = _Reading(depth)
    reading.nodes.append(Node(START, "start", "start"))
    if root.opened is None:
        reading.nodes.append(Node(name, name, "graph"))
        reading.edges += [Edge(START, name), Edge(name, END)]
    else:
        reading.level(root, None)
    reading.nodes.append(Node(END, "end", "end"))
    order = {node.id: index for index, node in enumerate(reading.nodes)}
    legs = runnable(reading.edges, reading.passages)
    edges = without(legs, reading.passages)
    return Topology(
        name=name,
        nodes=tuple(reading.nodes),
        groups=tuple(reading.groups),
        edges=tuple(sorted(edges, key=lambda edge: order[edge.source])),
        legs=tuple(legs),
    )


@dataclass
class _Reading:
    """What has been read so far."""

    depth: int | None
    nodes: list[Node] = field(default_factory=list[Node])
    groups: list[Group] = field(default_factory=list[Group])
    edges: list[Edge] = field(default_factory=list[Edge])
    passages: list[str] = field(default_factory=list[str])
    """The starts and ends of groups: edges meet there, and nothing is drawn."""

    def level(self, graph: Place, group: Group | None, level: int = 1) -> None:
        """Read one graph, and the graphs inside it."""
        sources = {START: group.entry if group else START}
        targets = {END: group.exit if group else END}
        parent = group.id if group else None
        for place in inside(graph):
            name = place.names[len(graph.names)]
            if place.opened is None or (self.depth is not None and level > self.depth):
                self.nodes.append(Node(place.id, place.label, _kind(place), parent, place.path))
                sources[name] = targets[name] = place.id
                continue
            opened = Group(place.id, place.label, parent, place.path)
            targets[name], sources[name] = opened.entry, opened.exit
            self.passages += [opened.entry, opened.exit]
            self.groups.append(opened)
            self.level(place, opened, level + 1)
        self.edges += [
            replace(edge, source=sources[edge.source], target=targets[edge.target])
            for edge in declared(graph.runs.builder)
        ]


def _kind(place: Place) -> Kind:
    if place.asks:
        return "approval"
    return place.role or ("graph" if place.is_graph else "function")
