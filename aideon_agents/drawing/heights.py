"""The heights of what is in the columns of a level, which Graphviz `dot` decides.

It is best at few crossings, straight lines and keeping related items in the middle. Columns, lines
and looks are ours. Graphviz comes inside the wheel of pygraphviz, so no program has to be
installed. It is not thread-safe, so one call runs at a time.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aideon_agents.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


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


def tops(stops: Sequence[Item], pieces: Mapping[tuple[int, int], int]) -> list[int]:
    """Ask Graphviz for the order and height of stops.

    A piece is a line from a stop to one in the next column, by their numbers, with the weight of
    keeping it straight.
    """
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


def _source(stops: Sequence[Item], pieces: Mapping[tuple[int, int], int]) -> Iterable[str]:
    yield f"digraph {{ nodesep={APART / 72}; ranksep=0.1; splines=false; nslimit=2;"
    yield 'node [shape=box fixedsize=true label="" height=0.1];'
    has_ports = [stop.entry != stop.height // 2 or stop.exit != stop.entry for stop in stops]
    for number, stop in enumerate(stops):
        if has_ports[number]:
            yield f"n{number} [shape=plain fixedsize=false label=<{_table(stop)}>];"
        else:
            yield f"n{number} [width={stop.height / 72}];"
    for (source, target), weight in pieces.items():
        tail = f" tailport={_port(stops[source])}" if has_ports[source] else ""
        head = " headport=i" if has_ports[target] else ""
        yield f"n{source} -> n{target} [weight={weight}{tail}{head}];"
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
