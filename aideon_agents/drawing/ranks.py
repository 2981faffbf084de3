"""One level of a graph in columns: the items of each column, and where long lines pass through it.

Every edge is cut into pieces that lead from one column to the next. Where an edge passes a column
it has a stop there, like nodes and labels, so that each of them gets its own room and no line
crosses a box or a label.

Graphviz `dot` decides one thing: the order and height of the stops. It is best at few crossings,
straight lines and keeping related items in the middle. Columns, lines and looks are ours. Graphviz
comes inside the wheel of pygraphviz, so no program has to be installed. It is not thread-safe, so
one call runs at a time.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aideon_agents.drawing.flow import EXIT, Flow
from aideon_agents.errors import UserError
from aideon_agents.graphs.topology import Edge

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence


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


@dataclass(frozen=True)
class Stop:
    """One entry of a column: an item, the label of an edge, or an edge that passes."""

    column: int
    item: str | None = None
    labels: Link | None = None


@dataclass(frozen=True)
class Ranked:
    """A level in columns."""

    stops: list[Stop]
    chains: list[tuple[Link, list[int]]]
    """Each edge with the stops that it passes, including those of its ends."""
    back: list[Link]
    """The back edges."""

    @property
    def columns(self) -> int:
        """How many there are."""
        return 1 + max((stop.column for stop in self.stops), default=0)


def ranked(flow: Flow, *, ends: Collection[str] = ()) -> Ranked:
    """Put a level into columns."""
    links = {item: _ways(flow.forward, item) for item in flow.found}
    columns = _columns(flow, links, ends)
    stops = [Stop(columns[item], item) for item in flow.found]
    if EXIT in columns:
        stops.append(Stop(columns[EXIT], EXIT))
    numbers = {stop.item: number for number, stop in enumerate(stops)}
    chains: list[tuple[Link, list[int]]] = []
    shared: dict[tuple[int, str, bool], int] = {}
    for link in (link for some in links.values() for link in some):
        passed: list[int] = []
        for column in range(columns[link.source] + 1, columns[link.target]):
            if link.conditions and not passed:
                passed.append(len(stops))
                stops.append(Stop(column, labels=link))
                continue
            # edges to the same item share a line from where they can
            key = (column, link.target, link.conditional)
            if key not in shared:
                shared[key] = len(stops)
                stops.append(Stop(column))
            passed.append(shared[key])
        chains.append((link, [numbers[link.source], *passed, numbers[link.target]]))
    back = [link for item in flow.found for link in _ways(flow.back, item)]
    return Ranked(stops, chains, back)


def _ways(level: dict[str, dict[str, list[Edge]]], item: str) -> list[Link]:
    return [Link(item, target, tuple(edges)) for target, edges in level[item].items()]


def _columns(flow: Flow, links: dict[str, list[Link]], ends: Collection[str]) -> dict[str, int]:
    columns = dict.fromkeys(flow.order, 0)
    for item in flow.order:
        # labels have their own column; a branch without a label stays level with the others
        step = 2 if any(link.conditions for link in links[item]) else 1
        for link in links[item]:
            columns[link.target] = max(columns.get(link.target, 0), columns[item] + step)
    for end in (*ends, EXIT):
        if end in columns:
            others = (column for item, column in columns.items() if item != end)
            columns[end] = max(columns[end], 1 + max(others, default=0))
    return columns


_ONE_AT_A_TIME = threading.Lock()

APART = 14
"""Pixels between two stops; a stop that needs more has a greater height."""


@dataclass(frozen=True)
class Item:
    """The measures of a stop: of a node, an arranged group, a label or a passing line, in pixels."""

    width: int
    height: int
    entry: int
    """Where lines enter, from the top."""
    exit: int
    """Where lines leave, from the top."""
    is_group: bool = False
    stretches: bool = False
    """Whether it gets the width of the others in its column."""


@dataclass(frozen=True)
class Piece:
    """A line from a stop to one in the next column, by their numbers."""

    source: int
    target: int
    weight: int
    """The weight of keeping it straight."""


def tops(stops: Sequence[Item], pieces: Iterable[Piece]) -> list[int]:
    """Ask Graphviz for the order and height of stops."""
    try:
        from pygraphviz import AGraph  # noqa: PLC0415 - an optional dependency
    except ImportError:
        raise missing_extra() from None
    source = "\n".join(_source(stops, pieces))
    with _ONE_AT_A_TIME:
        graph = AGraph(string=source)
        graph.layout("dot")
        # In dot, columns are rows: what is down for us is to the right there.
        nodes: list[Any] = [graph.get_node(f"n{number}") for number in range(len(stops))]
        centres = [float(node.attr["pos"].split(",")[0]) for node in nodes]
        graph.close()
    return [round(centre - stop.height / 2) for centre, stop in zip(centres, stops, strict=True)]


def missing_extra() -> UserError:
    """The error for a missing library that pictures need."""
    return UserError("a picture needs an extra: pip install 'aideon-agents[draw]'")


def _source(stops: Sequence[Item], pieces: Iterable[Piece]) -> Iterable[str]:
    yield f"digraph {{ nodesep={APART / 72}; ranksep=0.1; splines=false; nslimit=2;"
    yield 'node [shape=box fixedsize=true label="" height=0.1];'
    has_ports = [stop.entry != stop.height // 2 or stop.exit != stop.entry for stop in stops]
    for number, stop in enumerate(stops):
        if has_ports[number]:
            yield f"n{number} [shape=plain fixedsize=false label=<{_table(stop)}>];"
        else:
            yield f"n{number} [width={stop.height / 72}];"
    for piece in pieces:
        tail = f" tailport={_port(stops[piece.source])}" if has_ports[piece.source] else ""
        head = " headport=i" if has_ports[piece.target] else ""
        yield f"n{piece.source} -> n{piece.target} [weight={piece.weight}{tail}{head}];"
    yield "}"


def _port(stop: Item) -> str:
    """The port that lines leave from: the entry port where both are the same."""
    return "i" if stop.exit == stop.entry else "o"


def _table(stop: Item) -> str:
    """A row of cells that is as long as the stop is high, with a cell around each port."""
    ports = {"i": stop.entry, _port(stop): stop.exit}
    cells: list[str] = []
    at = 0
    for port, middle in sorted(ports.items(), key=lambda one: one[1]):
        if middle - 1 > at:
            cells.append(_cell(middle - 1 - at))
            at = middle - 1
        cells.append(_cell(2, port))
        at += 2
    cells.append(_cell(max(1, stop.height - at)))
    attributes = 'border="0" cellborder="0" cellspacing="0" cellpadding="0"'
    return f"<table {attributes}><tr>{''.join(cells)}</tr></table>"


def _cell(length: int, port: str | None = None) -> str:
    name = f' port="{port}"' if port else ""
    return f'<td fixedsize="true" width="{length}" height="7"{name}></td>'
