"""The edges of a graph: which ones its builder declares, and how they pass through a subgraph.

A builder keeps edges in four places (plain, waiting, branches, `Command` destinations), some of
them sets whose order changes from process to process. They are read here once, in the order in
which the nodes were added, so that a drawing is the same every time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langgraph.graph import END, START

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from langgraph.graph import StateGraph

    AnyBuilder = StateGraph[Any, Any, Any, Any]


@dataclass(frozen=True)
class Edge:
    """One way from a node to the next."""

    source: str
    target: str
    label: str | None = None
    """The condition under which it is taken; None: always."""
    conditional: bool = False


def one_line(text: str) -> str:
    """The printable characters of `text` on a single line: what may stand in a drawing."""
    printable = (char if char.isprintable() or char == "\u200d" else " " for char in text)
    return " ".join("".join(printable).split())


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

    A subgraph's own start and end are such passages: what enters its start goes on to its first
    nodes, and what its last nodes send to its end goes on to whatever follows the subgraph.
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
