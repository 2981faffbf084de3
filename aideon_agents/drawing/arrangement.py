"""One level of a graph, arranged: its items in columns, lines between them, ways back below.

A group that is open is one item here, whose inside has been arranged before; lines lead to its left
side and from its right one. So every level is a small flat graph, frames never overlap, and what
happens inside a group moves nothing outside.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from aideon_agents.drawing import dot
from aideon_agents.drawing.columns import Climb, Columns, spaced
from aideon_agents.drawing.flow import ENTRY, EXIT
from aideon_agents.drawing.lanes import BESIDE, Spot, beside, lanes
from aideon_agents.drawing.lines import forward
from aideon_agents.drawing.picture import moved
from aideon_agents.drawing.stacks import stacked

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from aideon_agents.drawing.flow import Flow
    from aideon_agents.drawing.lanes import Lane
    from aideon_agents.drawing.picture import Line
    from aideon_agents.drawing.stacks import Item, Stacks

ROWS_APART = 60
"""Pixels from the lowest of a row to the highest of the next."""
_TURN = 40
"""Pixels that the line to the next row needs after a row."""


@dataclass(frozen=True)
class Arranged:
    """A level, with its left edge at 0."""

    spots: dict[str, Spot]
    """Where each item is."""
    lines: tuple[Line, ...]
    right: float
    top: float
    bottom: float
    entry: float
    exit: float
    """The heights at which lines come in on the left and go out on the right."""


def arranged(
    flow: Flow, items: Mapping[str, Item], *, width: int = 0, ends: Collection[str] = ()
) -> Arranged:
    """Arrange a level."""
    level = stacked(flow, items, ends)
    columns = _columns(level, width)
    spots = [_spot(level, number, columns) for number in range(len(level.tops))]
    turned = _turned(level, columns, spots)
    right = max(width, _right(columns, spots, turned))
    if ENTRY in level.numbers and EXIT not in level.numbers:
        right += _TURN  # nothing leads out of this group, and it has a right side all the same
    if EXIT in level.numbers:
        at = level.numbers[EXIT]
        spots[at] = replace(spots[at], left=right, right=right, rim=right, edge=right)
    shifts, bottoms = _rows(columns, spots, turned)
    spots = [_lowered(spot, shifts[columns.rows[spot.column]]) for spot in spots]
    back = [moved(line, 0, shifts[row]) for row, lane in turned for line in lane.lines]
    lines = [
        forward(way, [spots[at] for at in chain], columns, bottoms)
        for way, chain in level.ranked.chains
    ]
    numbers = level.numbers
    return Arranged(
        spots={item: spots[at] for item, at in numbers.items() if item in items},
        lines=(*lines, *back),
        right=right,
        top=min(spot.top for spot in spots),
        bottom=bottoms[-1],
        entry=spots[numbers[ENTRY]].exit if ENTRY in numbers else 0,
        exit=spots[numbers[EXIT]].entry if EXIT in numbers else 0,
    )


def _columns(level: Stacks, width: int) -> Columns:
    stops = level.ranked.stops
    widths = [0] * level.ranked.columns
    for stop, wide in zip(stops, level.widths, strict=True):
        widths[stop.column] = max(widths[stop.column], wide)
    climbs = [
        Climb(stops[source].column, level.entry(target) - level.exit(source))
        for source, target in level.pieces
    ]
    places = {item: stops[number].column for item, number in level.numbers.items()}
    turning = beside(level.ranked.back, places, level.free)
    extra = Counter({column: BESIDE * lines for column, lines in turning.items()})
    spans = [
        (
            places[way.target] - (not level.free[way.target]),
            places[way.source] + (not level.free[way.source]),
        )
        for way in level.ranked.back
    ]
    columns = spaced(widths, climbs, extra, spans)
    lacks = width - columns.right(len(widths) - 1)
    if lacks > 0 and len(widths) > 1 and columns.rows[-1] == 0:
        # What a long title needs is shared by both sides.
        extra += Counter({0: lacks // 2})
        extra += Counter({len(widths) - 2: lacks - lacks // 2})
        columns = spaced(widths, climbs, extra, spans)
    return columns


def _spot(level: Stacks, number: int, columns: Columns) -> Spot:
    stop = level.ranked.stops[number]
    rim, edge = columns.lefts[stop.column], columns.right(stop.column)
    item = level.items.get(stop.item) if stop.item is not None else None
    wide = level.widths[number]
    if item and item.stretches:
        wide = level.stretched[stop.column]
    left = rim + (edge - rim - wide) // 2
    top = level.tops[number] + dot.APART // 2 if item else level.tops[number]
    bottom = level.tops[number] + level.talls[number].height - (dot.APART // 2 if item else 0)
    return Spot(
        column=stop.column,
        left=left,
        right=left + wide,
        top=top,
        bottom=bottom,
        entry=level.entry(number),
        exit=level.exit(number),
        foot=top + item.height if item else bottom,
        rim=rim,
        edge=edge,
        is_label=stop.labels is not None,
        gets_arrow=item is not None and not item.is_group,
    )


def _right(columns: Columns, spots: Iterable[Spot], turned: Iterable[tuple[int, Lane]]) -> float:
    """Where a level ends: behind whatever stands there, turns there or leads to the next row."""
    ends = [
        spot.edge + (_TURN if columns.rows[spot.column] != columns.rows[-1] else 0)
        for spot in spots
    ]
    bends = [x for _, lane in turned for line in lane.lines for x, _ in line.points]
    return max(ends + bends)


def _turned(level: Stacks, columns: Columns, spots: list[Spot]) -> list[tuple[int, Lane]]:
    """The lanes of each row."""
    items = {item: spots[number] for item, number in level.numbers.items()}
    found: list[tuple[int, Lane]] = []
    for row in range(columns.rows[-1] + 1):
        ways = [way for way in level.ranked.back if columns.rows[items[way.target].column] == row]
        if ways:
            standing = [spot for spot in spots if columns.rows[spot.column] == row]
            found += [(row, lane) for lane in lanes(ways, items, standing, level.free)]
    return found


def _rows(
    columns: Columns, spots: list[Spot], turned: list[tuple[int, Lane]]
) -> tuple[list[float], list[float]]:
    """How much lower than first thought each row stands, and where it then ends."""
    shifts: list[float] = []
    bottoms: list[float] = []
    for row in range(columns.rows[-1] + 1):
        standing = [spot for spot in spots if columns.rows[spot.column] == row]
        top = min(spot.top for spot in standing)
        bottom = max(spot.bottom for spot in standing)
        bottom = max([bottom, *(lane.bottom for at, lane in turned if at == row)])
        shifts.append(bottoms[-1] + ROWS_APART - top if bottoms else 0)
        bottoms.append(bottom + shifts[-1])
    return shifts, bottoms


def _lowered(spot: Spot, by: float) -> Spot:
    return replace(
        spot,
        top=spot.top + by,
        bottom=spot.bottom + by,
        entry=spot.entry + by,
        exit=spot.exit + by,
        foot=spot.foot + by,
    )
