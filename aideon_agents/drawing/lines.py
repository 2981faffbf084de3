"""Lines that lead on: level through the columns, climbing between them, and down to the next row.

A line climbs only between columns, where nothing stands, and passes a column at a height that was
kept free for it. That is what keeps lines off boxes and labels.
"""

from __future__ import annotations

from itertools import groupby, pairwise
from typing import TYPE_CHECKING

from aideon_agents.drawing.picture import Line
from aideon_agents.drawing.pills import written

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from aideon_agents.drawing.columns import Columns
    from aideon_agents.drawing.lanes import Spot
    from aideon_agents.drawing.picture import Point
    from aideon_agents.drawing.ranks import Way

OUT = 24
"""Pixels from a row's end to the line that leads to the next row."""

_STUB = 10
"""Pixels of a line that are straight before an arrow."""


def forward(way: Way, stops: Sequence[Spot], columns: Columns, bottoms: Sequence[float]) -> Line:
    """Draw a way from one item to one after it."""
    points: list[Point] = [(stops[0].right, stops[0].exit)]
    for source, target in pairwise(stops):
        if columns.rows[source.column] == columns.rows[target.column]:
            points += _climb(source, target)
        else:
            points += _down(source, target, columns, bottoms)
        if target is not stops[-1]:
            points.append((target.edge, target.exit))
    points.append((stops[-1].left, stops[-1].entry))
    labelled = next((stop for stop in stops if stop.is_label), None)
    pill = None
    if labelled:
        middle = (labelled.rim + labelled.edge) / 2
        pill = written(way.conditions).at(middle, labelled.entry)
    first = way.edges[0]
    return Line(
        first.source, first.target, way.conditions, way.conditional,
        tuple(_straightened(points)), pill, ends_in_arrow=stops[-1].gets_arrow,
    )  # fmt: skip


def _climb(source: Spot, target: Spot) -> Iterator[Point]:
    if source.exit != target.entry:
        stub = _STUB if target.gets_arrow else 0
        yield source.edge, source.exit
        yield target.rim - stub, target.entry


def _down(
    source: Spot, target: Spot, columns: Columns, bottoms: Sequence[float]
) -> Iterator[Point]:
    right, left = source.edge + OUT, target.rim - OUT
    # Half way between the rows.
    down = bottoms[columns.rows[source.column]] + OUT
    yield right, source.exit
    yield right, down
    yield left, down
    yield left, target.entry


def _straightened(points: Sequence[Point]) -> Iterator[Point]:
    """Points without those between others on one straight line."""
    apart = [at for at, _ in groupby(points)]
    for number, (x, y) in enumerate(apart):
        around = apart[number - 1 : number + 2] if number else []
        if len(around) == 3 and (_same(around, 0) or _same(around, 1)):  # noqa: PLR2004 - before, here, after
            continue
        yield x, y


def _same(points: Sequence[Point], axis: int) -> bool:
    return len({point[axis] for point in points}) == 1
