"""One level of a graph in columns: what is in each of them, and at which height.

Every edge is cut into pieces that lead from one column to the next. The widths come later, because
the distance between columns depends on how steeply lines climb between them. A level wider than a
page is broken into rows like text, where a single line continues and nothing turns back: a picture
of 300 steps in one row would be unreadable.

Lines run level through columns, climb between them, and lead down to the next row. A line passes a
column only at a height that was kept free for it, which keeps lines off boxes and labels.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

from aideon_agents.drawing import heights
from aideon_agents.drawing.back_edges import STRIP, Spot, room_below
from aideon_agents.drawing.flow import EXIT, Flow, Link, links
from aideon_agents.drawing.heights import Item
from aideon_agents.drawing.picture import Line, Point, centred, written
from aideon_agents.ledger.forks import lazily

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence


_LABEL_ROUND = 8
"""Pixels kept free above and below a label, together."""
_THIN = 2
"""The height of a line that passes a column."""
_HALF = heights.APART // 2
_STRAIGHT, _DIRECT, _BENT = 8, 2, 1
"""The weights of keeping a piece straight: where it must be, where it joins others on a line that
passes nothing, and where it joins others."""


@dataclass(frozen=True)
class Stop:
    """One entry of a column: an item, the label of an edge, or an edge that passes."""

    column: int
    item: str | None = None
    labels: Link | None = None


@dataclass(frozen=True)
class Stacks:
    """A level in columns, with the heights of what is in them."""

    stops: list[Stop]
    chains: list[tuple[Link, list[int]]]
    """Each edge with the stops that it passes, including those of its ends."""
    back: list[Link]
    """The back edges."""
    pieces: Mapping[tuple[int, int], int]
    """The lines between neighbouring columns, by the numbers of their stops, with their weights."""
    items: Mapping[str, Item]
    sizes: list[Item]
    """The measures of each stop, including the room kept free around it."""
    tops: list[int]
    """The top of each stop."""

    @lazily
    def numbers(self) -> dict[str, int]:
        """Of the items among the stops."""
        return {stop.item: at for at, stop in enumerate(self.stops) if stop.item is not None}

    @lazily
    def free(self) -> dict[str, bool]:
        """For each item, whether only lines are below it in its column."""
        lowest: dict[int, int] = {}
        for stop, top in zip(self.stops, self.tops, strict=True):
            if stop.item is not None or stop.labels is not None:
                lowest[stop.column] = max(lowest.get(stop.column, top), top)
        return {
            item: self.tops[at] == lowest[self.stops[at].column]
            for item, at in self.numbers.items()
        }

    @lazily
    def stretched(self) -> dict[int, int]:
        """For each column, the common width of its items."""
        widest: dict[int, int] = {}
        for item, at in self.numbers.items():
            if item in self.items and self.items[item].stretches:
                column = self.stops[at].column
                widest[column] = max(widest.get(column, 0), self.sizes[at].width)
        return widest

    def entry(self, stop: int) -> int:
        """The height at which lines enter a stop."""
        return self.tops[stop] + self.sizes[stop].entry

    def exit(self, stop: int) -> int:
        """The height at which lines leave a stop."""
        return self.tops[stop] + self.sizes[stop].exit


def stacked(flow: Flow, items: Mapping[str, Item], ends: Collection[str] = ()) -> Stacks:
    """Place items in columns and give them heights."""
    stops, chains = _in_columns(flow, ends)
    back = [link for item in flow.found for link in links(flow.back, item)]
    pieces = _pieces(stops, chains)
    sizes = [_measured(stop, items, back) for stop in stops]
    return Stacks(stops, chains, back, pieces, items, sizes, heights.tops(sizes, pieces))


def _in_columns(
    flow: Flow, ends: Collection[str]
) -> tuple[list[Stop], list[tuple[Link, list[int]]]]:
    """The stops of a level, and each edge with the numbers of those that it passes.

    Where an edge passes a column it has a stop there, like nodes and labels, so that each of them
    gets its own room and no line crosses a box or a label.
    """
    leaving = {item: links(flow.forward, item) for item in flow.found}
    columns = _columns(flow, leaving, ends)
    stops = [Stop(columns[item], item) for item in flow.found]
    if EXIT in columns:
        stops.append(Stop(columns[EXIT], EXIT))
    numbers = {stop.item: number for number, stop in enumerate(stops)}
    chains: list[tuple[Link, list[int]]] = []
    shared: dict[tuple[int, str, bool], int] = {}
    for link in (link for some in leaving.values() for link in some):
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
    return stops, chains


def _columns(
    flow: Flow, leaving: Mapping[str, list[Link]], ends: Collection[str]
) -> dict[str, int]:
    columns = dict.fromkeys(flow.order, 0)
    for item in flow.order:
        # labels have their own column; a branch without a label stays level with the others
        step = 2 if any(link.conditions for link in leaving[item]) else 1
        for link in leaving[item]:
            columns[link.target] = max(columns.get(link.target, 0), columns[item] + step)
    for end in (*ends, EXIT):
        if end in columns:
            others = (column for item, column in columns.items() if item != end)
            columns[end] = max(columns[end], 1 + max(others, default=0))
    return columns


def _measured(stop: Stop, items: Mapping[str, Item], back: Sequence[Link]) -> Item:
    """The measures of a stop, including the room kept free around it."""
    if stop.labels is not None:
        label = written(stop.labels.conditions)
        height = round(label.height) + _LABEL_ROUND
        return Item(round(label.width), height, height // 2, height // 2)
    if stop.item is None or stop.item not in items:
        return Item(0, _THIN, _THIN // 2, _THIN // 2)
    item = items[stop.item]
    here = [link for link in back if stop.item in {link.source, link.target}]
    width = max(item.width, room_below(stop.item, here))
    strip = STRIP if any(link.source == link.target for link in here) else 0
    height = item.height + heights.APART + strip
    return Item(width, height, item.entry + _HALF, item.exit + _HALF)


def _pieces(
    stops: Sequence[Stop], chains: Sequence[tuple[Link, list[int]]]
) -> dict[tuple[int, int], int]:
    """The pieces of all lines. A line bends where it leaves or joins others, if it must."""
    pairs = dict.fromkeys(pair for _, chain in chains for pair in pairwise(chain))
    begin = Counter(source for source, _ in pairs)
    end = Counter(target for _, target in pairs)

    def weight(source: int, target: int) -> int:
        if begin[source] == 1 and end[target] == 1:
            return _STRAIGHT
        return _DIRECT if stops[source].item and stops[target].item else _BENT

    return {(source, target): weight(source, target) for source, target in pairs}


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
    label = None
    for stop in stops:
        if stop.is_label:
            label = centred(written(link.conditions), (stop.rim + stop.edge) / 2, stop.entry)
    first = link.edges[0]
    return Line(
        first.source, first.target, link.conditions, link.conditional,
        tuple(_straightened(points)), label, ends_in_arrow=stops[-1].gets_arrow,
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
