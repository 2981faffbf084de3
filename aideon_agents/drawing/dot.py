"""Graphviz, asked for one thing: in which order, and how high, the stops of a level stand.

That is what its `dot` is best at: few crossings, straight lines, what belongs together in the
middle. Columns, lines and looks are ours. Graphviz comes inside the wheel of pygraphviz, so no
program needs to be installed; it knows no threads, so one at a time.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aideon_agents.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_ONE_AT_A_TIME = threading.Lock()

APART = 14
"""Pixels between two stops; who wants more asks for a greater height."""


@dataclass(frozen=True)
class Tall:
    """A stop, as high as it is."""

    height: int
    entry: int
    """Where lines come in, from the top."""
    exit: int
    """Where lines go out, from the top."""


@dataclass(frozen=True)
class Piece:
    """A line from one stop to one in the next column, by their numbers."""

    source: int
    target: int
    weight: int
    """How much it counts that it is straight."""


def tops(stops: Sequence[Tall], pieces: Iterable[Piece]) -> list[int]:
    """Arrange stops."""
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
    """What to say where a library that pictures need is not installed."""
    return UserError("a picture needs an extra: pip install 'aideon-agents[draw]'")


def _source(stops: Sequence[Tall], pieces: Iterable[Piece]) -> Iterable[str]:
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


def _port(stop: Tall) -> str:
    """The name of the port that lines go out of: that of the other one where they are one."""
    return "i" if stop.exit == stop.entry else "o"


def _table(stop: Tall) -> str:
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
