"""One level of a graph in columns: what stands in which, and where a long line passes through.

Every way is cut into pieces that lead from one column to the next. Where it passes a column it has
a stop there, as nodes and labels have, so that all of them get room of their own and no line runs
across a box or a label.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aideon_agents.drawing.flow import EXIT

if TYPE_CHECKING:
    from collections.abc import Collection

    from aideon_agents.drawing.edges import Edge
    from aideon_agents.drawing.flow import Flow


@dataclass(frozen=True)
class Way:
    """Everything that leads straight from one item to another."""

    source: str
    target: str
    edges: tuple[Edge, ...]

    @property
    def conditions(self) -> tuple[str, ...]:
        """What is written on it, each once; nothing when it is always taken."""
        labels = [edge.label for edge in self.edges]
        return () if None in labels else tuple(dict.fromkeys(label for label in labels if label))

    @property
    def conditional(self) -> bool:
        """Whether it may be left out."""
        return all(edge.conditional for edge in self.edges)


@dataclass(frozen=True)
class Stop:
    """What a column holds: an item, the label of a way, or the way alone as it passes."""

    column: int
    item: str | None = None
    labels: Way | None = None


@dataclass(frozen=True)
class Ranked:
    """A level in columns."""

    stops: list[Stop]
    chains: list[tuple[Way, list[int]]]
    """Each way with the stops that it leads through, those of its ends included."""
    back: list[Way]
    """What turns back."""

    @property
    def columns(self) -> int:
        """How many there are."""
        return 1 + max((stop.column for stop in self.stops), default=0)


def ranked(flow: Flow, *, ends: Collection[str] = ()) -> Ranked:
    """Put a level into columns."""
    ways = {item: _ways(flow.forward, item) for item in flow.found}
    columns = _columns(flow, ways, ends)
    stops = [Stop(columns[item], item) for item in flow.found]
    if EXIT in columns:
        stops.append(Stop(columns[EXIT], EXIT))
    numbers = {stop.item: number for number, stop in enumerate(stops)}
    chains: list[tuple[Way, list[int]]] = []
    shared: dict[tuple[int, str, bool], int] = {}
    for way in (way for some in ways.values() for way in some):
        passed: list[int] = []
        for column in range(columns[way.source] + 1, columns[way.target]):
            if way.conditions and not passed:
                passed.append(len(stops))
                stops.append(Stop(column, labels=way))
                continue
            # What ends in the same item runs together from where it can.
            key = (column, way.target, way.conditional)
            if key not in shared:
                shared[key] = len(stops)
                stops.append(Stop(column))
            passed.append(shared[key])
        chains.append((way, [numbers[way.source], *passed, numbers[way.target]]))
    back = [way for item in flow.found for way in _ways(flow.back, item)]
    return Ranked(stops, chains, back)


def _ways(level: dict[str, dict[str, list[Edge]]], item: str) -> list[Way]:
    return [Way(item, target, tuple(edges)) for target, edges in level[item].items()]


def _columns(flow: Flow, ways: dict[str, list[Way]], ends: Collection[str]) -> dict[str, int]:
    columns = dict.fromkeys(flow.order, 0)
    for item in flow.order:
        # Labels stand in a column of their own; a branch without one keeps abreast of the others.
        step = 2 if any(way.conditions for way in ways[item]) else 1
        for way in ways[item]:
            columns[way.target] = max(columns.get(way.target, 0), columns[item] + step)
    for end in (*ends, EXIT):
        if end in columns:
            others = (column for item, column in columns.items() if item != end)
            columns[end] = max(columns[end], 1 + max(others, default=0))
    return columns
