"""The plain model of a graph: its nodes, groups and edges, however deep it nests.

It is read from `graph.builder`. Subgraphs become groups around their nodes. The start and end of a
subgraph are not part of the model: edges pass through them from node to node.

A builder keeps edges in four attributes (plain, waiting, branches, `Command` destinations), and some
of them are sets whose order changes from process to process. They are read in the order in which
the nodes were added, so that a drawing is the same every time.

A run's row keeps the model of its graph as JSON. So a run is drawn as its graph was when it ran, also
when the workflow has changed since or never was in a file. A run can only resume if the graph still
has the same nodes and edges: what its nodes left has no meaning in another graph.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from langgraph.graph import END, START, StateGraph
from langgraph.pregel import Pregel
from pydantic import TypeAdapter, ValidationError

from aideon_agents.graphs import Graph
from aideon_agents.graphs.enclosing import Enclosing
from aideon_agents.graphs.walk import FactT, NodeInfo, inside, once_per_graph, one_line
from aideon_agents.ledger.forks import lazily

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

AnyBuilder: TypeAlias = StateGraph[Any, Any, Any, Any]
AnyGraph: TypeAlias = Pregel[Any, Any, Any, Any]


@dataclass(frozen=True)
class Edge:
    """A connection from a node to the next."""

    source: str
    target: str
    label: str | None = None
    """The condition under which it is taken; None: always."""
    conditional: bool = False


def declared(builder: AnyBuilder) -> list[Edge]:
    """Every edge that a builder declares, between the names of its nodes, `START` and `END`.

    Error handlers are left out. A branch that does not say where it leads may lead to any node,
    its own included; a node that leads nowhere ends the graph.
    """
    names = [name for name, spec in builder.nodes.items() if not spec.is_error_handler]
    edges: list[Edge] = []
    for source in (START, *names):
        leaving = [*_plain(builder, source, names), *_conditional(builder, source, names)]
        if not leaving and source != START:
            leaving = [Edge(source, END)]
        edges += leaving
    return list(dict.fromkeys(edges))


def _plain(builder: AnyBuilder, source: str, names: list[str]) -> Iterator[Edge]:
    targets = {end for start, end in builder.edges if start == source}
    targets |= {end for starts, end in builder.waiting_edges if source in starts}
    return (Edge(source, target) for target in (*names, END) if target in targets)


def _conditional(builder: AnyBuilder, source: str, names: list[str]) -> Iterator[Edge]:
    for name, branch in builder.branches.get(source, {}).items():
        if branch.ends is None:
            for target in (*names, END):
                yield Edge(source, target, one_line(name), conditional=True)
            continue
        for key, target in branch.ends.items():
            yield Edge(source, target, _condition(key), conditional=True)
    ends = builder.nodes[source].ends if source in builder.nodes else None
    labels = ends if isinstance(ends, dict) else {target: target for target in ends or ()}
    for target, label in labels.items():
        yield Edge(source, target, _condition(label or target), conditional=True)


def _condition(key: object) -> str:
    """A branch's key in words. Keys may be anything that hashes, the empty string included."""
    return "end" if key == END else one_line(str(key)) or '""'


def without(edges: Iterable[Edge], passages: Collection[str], *, spare: bool = False) -> list[Edge]:
    """Join the edges that meet in nodes which are not drawn.

    A subgraph's own start and end are such passages: an edge to its start continues to its
    first nodes, and an edge from its last nodes to its end continues to what follows the subgraph.
    """
    leaving: dict[str, dict[Edge, None]] = {}
    sources: dict[str, dict[str, None]] = {}
    for edge in edges:
        leaving.setdefault(edge.source, {})[edge] = None
        sources.setdefault(edge.target, {})[edge.source] = None
    for passage in passages:
        if spare and _multiplies(passage, leaving, sources):
            continue
        onward = [edge for edge in leaving.pop(passage, ()) if edge.target != passage]
        for source in sources.pop(passage, {}):
            joined: dict[Edge, None] = {}
            for edge in leaving.get(source, ()):
                led = [_join(edge, on) for on in onward] if edge.target == passage else [edge]
                joined |= dict.fromkeys(led)
            leaving[source] = joined
            for on in onward:
                sources.setdefault(on.target, {})[source] = None
    return [edge for left in leaving.values() for edge in left]


def _multiplies(
    passage: str, leaving: dict[str, dict[Edge, None]], sources: dict[str, dict[str, None]]
) -> bool:
    out = len(leaving.get(passage, ()))
    into = sum(
        edge.target == passage
        for source in sources.get(passage, ())
        for edge in leaving.get(source, ())
    )
    return into * out > into + out


def runnable(edges: Iterable[Edge], passages: Collection[str]) -> list[Edge]:
    """The edges without those that no run can take, because a passage at one end is a dead end."""
    remaining = list(edges)
    while True:
        into = {edge.target for edge in remaining}
        out_of = {edge.source for edge in remaining}
        dead = {passage for passage in passages if passage not in into or passage not in out_of}
        kept = [edge for edge in remaining if not {edge.source, edge.target} & dead]
        if len(kept) == len(remaining):
            return kept
        remaining = kept


def _join(first: Edge, second: Edge) -> Edge:
    labels = [label for label in (first.label, second.label) if label is not None]
    return Edge(
        first.source,
        second.target,
        " · ".join(labels) if labels else None,
        first.conditional or second.conditional,
    )


Kind = Literal[
    "start", "end", "planner", "executor", "validator", "creative", "function", "graph", "approval"
]  # fmt: skip


ANY_STEP = "/*"
"""Ends the path of what carries out steps of a plan: each step has a path of its own."""


@dataclass(frozen=True)
class Node:
    """One box."""

    id: str
    """Unique: node names from the outside in, joined by `|` as in LangGraph's namespaces."""
    label: str
    kind: Kind
    """`graph` is a subgraph that was not opened."""
    parent: str | None = None
    """The id of the group around it, None at the top."""
    path: str = ""
    """Its node path in the ledger, empty for start and end. That of a worker ends in `ANY_STEP`."""
    tools: tuple[str, ...] = ()
    """The names of the tools that it may call."""


@dataclass(frozen=True)
class Group:
    """An opened subgraph: a frame around its nodes."""

    id: str
    label: str
    parent: str | None = None
    """The id of the group around it, None at the top."""
    path: str = ""
    """Its node path in the ledger."""

    @property
    def entry(self) -> str:
        """Its own start, where edges enter it."""
        return f"{self.id}|{START}"

    @property
    def exit(self) -> str:
        """Its own end, where edges leave it."""
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
    """The same edges as the builders have them: cut where they enter and leave a group."""

    @lazily
    def parents(self) -> Mapping[str, str | None]:
        """The group around each node and group, None at the top."""
        return {one.id: one.parent for one in (*self.nodes, *self.groups)}

    def around(self, one: str) -> Iterator[str]:
        """A node or group, and the groups around it, from the inside out."""
        current: str | None = one
        while current is not None:
            yield current
            current = self.parents[current]


def read(graph: AnyGraph, depth: int | None = None) -> Topology:
    """Read a compiled graph, ours or any other, with subgraphs opened down to `depth`."""
    root = NodeInfo(graph)
    name = one_line(graph.get_name())
    reading = _Reading(depth)
    if root.opened is None:
        reading.nodes.append(Node(name, name, "graph"))
        reading.edges += [Edge(START, name), Edge(name, END)]
    else:
        reading.level(root, None)
    nodes = (Node(START, "start", "start"), *reading.nodes, Node(END, "end", "end"))
    order = {node.id: index for index, node in enumerate(nodes)}
    legs = runnable(reading.edges, reading.passages)
    edges = without(legs, reading.passages)
    return Topology(
        name=name,
        nodes=nodes,
        groups=tuple(reading.groups),
        edges=tuple(sorted(edges, key=lambda edge: order[edge.source])),
        legs=tuple(legs),
    )


class _Reading:
    """What has been read of a graph so far."""

    def __init__(self, depth: int | None) -> None:
        self.depth = depth
        self.nodes: list[Node] = []
        self.groups: list[Group] = []
        self.edges: list[Edge] = []
        self.passages: list[str] = []
        """The starts and ends of groups. Edges meet there, and nothing is drawn."""

    def level(self, graph: NodeInfo, group: Group | None, level: int = 1) -> None:
        """Read one graph, and the graphs inside it."""
        sources = {START: group.entry if group else START}
        targets = {END: group.exit if group else END}
        parent = group.id if group else None
        for node in inside(graph):
            name = node.names[len(graph.names)]
            is_open = self.depth is None or level <= self.depth
            workers = _workers(node)
            if workers and is_open:
                opened = Group(node.id, node.label, parent, node.path)
                targets[name], sources[name] = opened.entry, opened.exit
                self._choice(opened, workers)
                continue
            if node.opened is None or not is_open:
                other = "graph" if node.is_graph or workers else "function"
                kind: Kind = "approval" if node.asks else node.role or other
                self.nodes.append(Node(node.id, node.label, kind, parent, node.path, node.tools))
                sources[name] = targets[name] = node.id
                continue
            opened = Group(node.id, node.label, parent, node.path)
            targets[name], sources[name] = opened.entry, opened.exit
            self.passages += [opened.entry, opened.exit]
            self.groups.append(opened)
            self.level(node, opened, level + 1)
        self.edges += [
            replace(edge, source=sources[edge.source], target=targets[edge.target])
            for edge in declared(graph.runs.builder)
        ]

    def _choice(self, group: Group, workers: Iterable[Node]) -> None:
        """Add nodes of which a run uses any, at the same time or one after another."""
        self.groups.append(group)
        self.passages += [group.entry, group.exit]
        for worker in workers:
            self.nodes.append(worker)
            self.edges.append(Edge(group.entry, worker.id, conditional=True))
            self.edges.append(Edge(worker.id, group.exit))


def _workers(node: NodeInfo) -> list[Node]:
    """What carries out the steps of a plan."""
    if not isinstance(node.runs, Enclosing) or not node.runs.shown:
        return []
    return [
        Node(
            f"{node.id}|{name}",
            one_line(name),
            cast("Kind", kind),
            node.id,
            node.path + ANY_STEP,
            replace(node, runs=runs).tools,
        )
        for (name, kind), runs in zip(node.runs.shown.items(), node.runs.inside, strict=True)
    ]


_PLAIN = TypeAdapter(Topology)


def topology_in(model: Mapping[str, Any] | None) -> Topology | None:
    """The graph that a plain model describes."""
    try:
        return None if model is None else _PLAIN.validate_python(model)
    except ValidationError:
        return None


def declared_paths(model: Mapping[str, Any] | None) -> list[str]:
    """The node paths of a plain model in declared order, each after the patterns around it."""
    nodes = cast("Sequence[Mapping[str, Any]]", (model or {}).get("nodes", ()))
    found: dict[str, None] = {}
    for node in nodes:
        found |= dict.fromkeys(_around(str(node.get("path", "")).removesuffix(ANY_STEP)))
    return list(filter(None, found))


def in_declared_order(
    by_path: Mapping[str, FactT], model: Mapping[str, Any] | None
) -> dict[str, FactT]:
    """Facts by node path, in the order in which the graph of a plain model declares its nodes.

    A path that is no node has the position of what is around it; those of no node come last.
    """
    known = {path: index for index, path in enumerate(declared_paths(model))}

    def position(path: str) -> int:
        return next((known[one] for one in reversed(_around(path)) if one in known), len(known))

    return {path: by_path[path] for path in sorted(by_path, key=position)}


def _around(path: str) -> list[str]:
    """A node path behind those of the patterns around it."""
    return [*accumulate(path.split("/"), "{}/{}".format)]


_SHOWN = 5
"""How many changes are named."""


@once_per_graph
def model(graph: Graph) -> Mapping[str, Any]:
    """The plain model of a graph, as `aideon graph -f json` gives it."""
    return cast("Mapping[str, Any]", json.loads(json.dumps(dataclasses.asdict(read(graph)))))


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """What has been added to a graph and removed from it."""
    for parts in ("nodes", "groups", "edges"):
        old, new = ([_name(part) for part in one.get(parts, ())] for one in (before, now))
        changed = [f"+ {name}" for name in new if name not in old]
        changed += [f"- {name}" for name in old if name not in new]
        if changed:
            more = ", ..." if len(changed) > _SHOWN else ""
            return ", ".join(changed[:_SHOWN]) + more
    return None


def _name(part: Mapping[str, Any]) -> str:
    if "source" not in part:
        return f"{part['id']} ({part['kind']})" if part.get("kind") else str(part["id"])
    label = f" ({part['label']})" if part.get("label") else ""
    return f"{part['source']} -> {part['target']}{label}"
