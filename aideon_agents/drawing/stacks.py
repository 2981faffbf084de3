"""One level of a graph with its heights: the items in each column and their positions.

The widths come later, because the distance between columns depends on how steeply lines climb
between them. A level wider than a page is broken into rows like text, where a single line continues
and nothing turns back: a picture of 300 steps in one row would be unreadable.

Lines run level through columns, climb between them, and lead down to the next row. A line passes a
column only at a height that was kept free for it, which keeps lines off boxes and labels.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

from aideon_agents.drawing import ranks
from aideon_agents.drawing.back_edges import STRIP, Spot, room_below
from aideon_agents.drawing.flow import Flow
from aideon_agents.drawing.picture import Line, Point, written
from aideon_agents.drawing.ranks import Item, Link, Ranked, Stop, ranked

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence


_LABEL_ROUND = 8
"""Pixels kept free above and below a label, together."""
_THIN = 2
"""The height of a line that passes a column."""
_HALF = ranks.APART // 2
_STRAIGHT, _DIRECT, _BENT = 8, 2, 1
"""The weights of keeping a piece straight: where it must be, where it joins others on a line that
passes nothing, and where it joins others."""


@dataclass(frozen=True)
class Stacks:
    """A level, stacked."""

    ranked: Ranked
    items: Mapping[str, Item]
    stops: list[Item]
    """The measures of each stop, including the room kept free around it."""
    tops: list[int]
    """The top of each stop."""

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Of the items among the stops."""
        return {
            stop.item: number
            for number, stop in enumerate(self.ranked.stops)
            if stop.item is not None
        }

    @cached_property
    def free(self) -> dict[str, bool]:
        """For each item, whether only lines are below it in its column."""
        lowest: dict[int, int] = {}
        for stop, top in zip(self.ranked.stops, self.tops, strict=True):
            if stop.item is not None or stop.labels is not None:
                lowest[stop.column] = max(lowest.get(stop.column, top), top)
        return {
            stop.item: top == lowest[stop.column]
            for stop, top in zip(self.ranked.stops, self.tops, strict=True)
            if stop.item is not None
        }

    @cached_property
    def stretched(self) -> dict[int, int]:
        """For each column, the common width of its items."""
        widest: dict[int, int] = {}
        for stop, measures in zip(self.ranked.stops, self.stops, strict=True):
            item = self.items.get(stop.item) if stop.item is not None else None
            if item and item.stretches:
                widest[stop.column] = max(widest.get(stop.column, 0), measures.width)
        return widest

    @property
    def pieces(self) -> Iterable[tuple[int, int]]:
        """The lines between neighbouring columns, by the numbers of their stops."""
        return dict.fromkeys(pair for _, chain in self.ranked.chains for pair in pairwise(chain))

    def entry(self, stop: int) -> int:
        """The height at which lines enter a stop."""
        return self.tops[stop] + self.stops[stop].entry

    def exit(self, stop: int) -> int:
        """The height at which lines leave a stop."""
        return self.tops[stop] + self.stops[stop].exit


def stacked(flow: Flow, items: Mapping[str, Item], ends: Collection[str] = ()) -> Stacks:
    """Place items in columns and give them heights."""
    level = ranked(flow, ends=ends)
    stops = [_measured(stop, items, level.back) for stop in level.stops]
    return Stacks(level, items, stops, ranks.tops(stops, _pieces(level)))


def _measured(stop: Stop, items: Mapping[str, Item], back: Sequence[Link]) -> Item:
    """The measures of a stop, including the room kept free around it."""
    if stop.labels is not None:
        label = written(stop.labels.conditions)
        height = label.height + _LABEL_ROUND
        return Item(label.width, height, height // 2, height // 2)
    if stop.item is None or stop.item not in items:
        return Item(0, _THIN, _THIN // 2, _THIN // 2)
    item = items[stop.item]
    here = [link for link in back if stop.item in {link.source, link.target}]
    width = max(item.width, room_below(stop.item, here))
    strip = STRIP if any(link.source == link.target for link in here) else 0
    height = item.height + ranks.APART + strip
    return Item(width, height, item.entry + _HALF, item.exit + _HALF)


def _pieces(level: Ranked) -> Iterator[ranks.Piece]:
    """The pieces of all lines. A line bends where it leaves or joins others, if it must."""
    pairs = dict.fromkeys(pair for _, chain in level.chains for pair in pairwise(chain))
    begin = Counter(source for source, _ in pairs)
    end = Counter(target for _, target in pairs)
    for source, target in pairs:
        if begin[source] == 1 and end[target] == 1:
            weight = _STRAIGHT
        else:
            is_direct = level.stops[source].item and level.stops[target].item
            weight = _DIRECT if is_direct else _BENT
        yield ranks.Piece(source, target, weight)


PAGE = 1680
"""The greatest width of a row in pixels, where the row can be broken."""

INDENT = 44
"""Pixels before the later rows, for the line that leads into them."""

_LEAST = 0.3
"""The smallest part of the intended width that a row may have."""

_NEAR, _FAR = 26, 84
"""Pixels between two columns: where lines run straight, and where they climb."""


@dataclass(frozen=True)
class Columns:
    """Where the columns are."""

    lefts: list[int]
    """The left edge of each, in pixels."""
    widths: list[int]
    rows: list[int]
    """The row of each column, from 0."""

    def right(self, column: int) -> int:
        """The right edge of a column."""
        return self.lefts[column] + self.widths[column]


def spaced(
    widths: Sequence[int],
    climbs: Sequence[tuple[int, int]],
    extra: Mapping[int, int],
    spans: Iterable[tuple[int, int]],
) -> Columns:
    """Place columns. A climb is a line's left column and the pixels that it leads up or down."""
    steepest = [0] * len(widths)
    for column, height in climbs:
        steepest[column] = max(steepest[column], abs(height))
    gaps = [
        _NEAR + extra.get(column, 0) + (14 if steep else 0) + min(_FAR - _NEAR - 14, steep // 5)
        for column, steep in enumerate(steepest)
    ]
    crossing = Counter(column for column, _ in climbs)
    blocked = {column for first, last in spans for column in range(first, last)}
    cuts = [
        column for column in range(len(widths) - 1)
        if crossing[column] == 1 and column not in blocked
    ]  # fmt: skip
    return _in_rows(list(widths), gaps, set(_chosen(widths, gaps, cuts)))


def _chosen(widths: Sequence[int], gaps: Sequence[int], cuts: Sequence[int]) -> Iterable[int]:
    """Where to begin a new row, so that no row is too wide and all have about the same width."""
    ends = [0]
    for width, gap in zip(widths, gaps, strict=True):
        ends.append(ends[-1] + width + gap)
    whole = ends[-1]
    wanted = whole / max(1, -(-whole // PAGE))
    begun, last = 0, None
    for cut in cuts:
        here = ends[cut + 1]
        if last is not None and here - begun > PAGE:
            yield last
            begun, last = ends[last + 1], None
        if here - begun < wanted * _LEAST or whole - here < wanted * _LEAST:
            continue
        if here - begun >= wanted:
            yield cut
            begun, last = here, None
        else:
            last = cut
    if last is not None and whole - begun > PAGE:
        yield last


def _in_rows(widths: list[int], gaps: Sequence[int], cuts: set[int]) -> Columns:
    lefts: list[int] = []
    rows: list[int] = []
    left = row = 0
    for column, width in enumerate(widths):
        lefts.append(left)
        rows.append(row)
        left += width + gaps[column]
        if column in cuts:
            left, row = INDENT, row + 1
    return Columns(lefts, widths, rows)


OUT = 24
"""Pixels from a row's end to the line that leads to the next row."""

_STUB = 10
"""Pixels of a line that are straight before an arrow."""


def forward(link: Link, stops: Sequence[Spot], columns: Columns, bottoms: Sequence[float]) -> Line:
    """Draw an edge from one item to a later one."""
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
        pill = written(link.conditions).at(middle, labelled.entry)
    first = link.edges[0]
    return Line(
        first.source, first.target, link.conditions, link.conditional,
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
    # halfway between the rows
    down = bottoms[columns.rows[source.column]] + OUT
    yield right, source.exit
    yield right, down
    yield left, down
    yield left, target.entry


def _straightened(points: Sequence[Point]) -> Iterator[Point]:
    """Leave out points that lie on a straight line between others."""
    apart = [at for at, _ in groupby(points)]
    for number, (x, y) in enumerate(apart):
        around = apart[number - 1 : number + 2] if number else []
        if len(around) == 3 and (_same(around, 0) or _same(around, 1)):  # noqa: PLR2004 - before, here, after
            continue
        yield x, y


def _same(points: Sequence[Point], axis: int) -> bool:
    return len({point[axis] for point in points}) == 1
