"""A whole graph laid out, level by level: the inside of a group before the group itself.

In one level, items are placed in columns with lines between them and back edges below. An open
group is one item here, whose inside has been arranged before: lines lead to its left side and leave
from its right side. So every level is a small flat graph, frames never overlap, and what happens
inside a group moves nothing outside.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from langgraph.graph import END

from aideon_agents.drawing import heights
from aideon_agents.drawing.annotations import Annotations
from aideon_agents.drawing.back_edges import BESIDE, Spot, back_lines, beside
from aideon_agents.drawing.flow import ENTRY, EXIT, Flow, cut
from aideon_agents.drawing.heights import Item
from aideon_agents.drawing.picture import (
    Box,
    Card,
    Line,
    Picture,
    Point,
    Title,
    card,
    fitted,
    title,
    width,
)
from aideon_agents.drawing.stacks import Columns, Stacks, forward, spaced, stacked
from aideon_agents.graphs.topology import Topology

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping


ROWS_APART = 60
"""Pixels between the lowest point of a row and the highest of the next."""
_TURN = 40
"""Pixels below a row for the line that leads to the next row."""


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
    """The heights at which lines enter on the left and leave on the right."""


def arranged(
    flow: Flow, items: Mapping[str, Item], *, width: int = 0, ends: Collection[str] = ()
) -> Arranged:
    """Arrange a level."""
    level = stacked(flow, items, ends)
    columns = _columns(level, width)
    spots = [_spot(level, number, columns) for number in range(len(level.tops))]
    turned = _turned(level, columns, spots)
    right = max(width, _right(columns, spots, (line for lines, _ in turned for line in lines)))
    if ENTRY in level.numbers and EXIT not in level.numbers:
        right += _TURN  # nothing leaves this group, but it still has a right side
    if EXIT in level.numbers:
        at = level.numbers[EXIT]
        spots[at] = replace(spots[at], left=right, right=right, rim=right, edge=right)
    shifts, bottoms = _rows(columns, spots, [bottom for _, bottom in turned])
    spots = [_lowered(spot, shifts[columns.rows[spot.column]]) for spot in spots]
    back = [line.moved(0, shifts[row]) for row, (lines, _) in enumerate(turned) for line in lines]
    lines = [
        forward(link, [spots[at] for at in chain], columns, bottoms) for link, chain in level.chains
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
    stops, free = level.stops, level.free
    widths = [0] * (1 + max((stop.column for stop in stops), default=0))
    for stop, size in zip(stops, level.sizes, strict=True):
        widths[stop.column] = max(widths[stop.column], size.width)
    climbs = [
        (stops[source].column, level.entry(target) - level.exit(source))
        for source, target in level.pieces
    ]
    places = {item: stops[number].column for item, number in level.numbers.items()}
    turning = beside(level.back, places, free)
    extra = Counter({column: BESIDE * lines for column, lines in turning.items()})
    spans = [
        (
            places[link.target] - (not free[link.target]),
            places[link.source] + (not free[link.source]),
        )
        for link in level.back
    ]
    columns = spaced(widths, climbs, extra, spans)
    lacks = width - columns.right(len(widths) - 1)
    if lacks > 0 and len(widths) > 1 and columns.rows[-1] == 0:
        # Both sides share the room that a long title needs
        extra += Counter({0: lacks // 2})
        extra += Counter({len(widths) - 2: lacks - lacks // 2})
        columns = spaced(widths, climbs, extra, spans)
    return columns


def _spot(level: Stacks, number: int, columns: Columns) -> Spot:
    stop, size, top = level.stops[number], level.sizes[number], level.tops[number]
    rim, edge = columns.lefts[stop.column], columns.right(stop.column)
    item = level.items.get(stop.item) if stop.item is not None else None
    wide = level.stretched[stop.column] if item and item.stretches else size.width
    left = rim + (edge - rim - wide) // 2
    apart = heights.APART // 2 if item else 0
    bottom = top + size.height - apart
    return Spot(
        column=stop.column,
        left=left,
        right=left + wide,
        top=top + apart,
        bottom=bottom,
        entry=level.entry(number),
        exit=level.exit(number),
        foot=top + apart + item.height if item else bottom,
        rim=rim,
        edge=edge,
        is_label=stop.labels is not None,
        gets_arrow=item is not None and not item.is_group,
    )


def _right(columns: Columns, spots: Iterable[Spot], back: Iterable[Line]) -> float:
    """Where a level ends: after its items, its back edges and the line to the next row."""
    ends = [
        spot.edge + (_TURN if columns.rows[spot.column] != columns.rows[-1] else 0)
        for spot in spots
    ]
    return max([*ends, *(x for line in back for x, _ in line.points)])


def _turned(level: Stacks, columns: Columns, spots: list[Spot]) -> list[tuple[list[Line], float]]:
    """The back edges of each row, and where it ends with them."""
    items = {item: spots[number] for item, number in level.numbers.items()}
    found: list[tuple[list[Line], float]] = []
    for row in range(columns.rows[-1] + 1):
        links = [link for link in level.back if columns.rows[items[link.target].column] == row]
        in_row = [spot for spot in spots if columns.rows[spot.column] == row]
        found.append(back_lines(links, items, in_row, level.free))
    return found


def _rows(
    columns: Columns, spots: list[Spot], ends: list[float]
) -> tuple[list[float], list[float]]:
    """How far each row moves down from its first position, and where it then ends."""
    shifts: list[float] = []
    bottoms: list[float] = []
    for row, end in enumerate(ends):
        top = min(spot.top for spot in spots if columns.rows[spot.column] == row)
        shifts.append(bottoms[-1] + ROWS_APART - top if bottoms else 0)
        bottoms.append(end + shifts[-1])
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


MARGIN = 28
HEADING_SIZE = 16
HEADING_DOWN = 32
HEADER = 60
"""Pixels above the graph, for its name."""

TITLE_STRIP = 38
"""Pixels above the items of a group, for its title."""
TITLE_LEFT = 16
TITLE_DOWN = 19
_BELOW = 20
"""Pixels below the items of a group."""
_HEADING_ROOM = 1100
_CAPTION_SIZE = 14
_CAPTION_ROOM = 720
_LEAST = 320


def laid_out(topology: Topology, annotations: Annotations | None = None) -> Picture:
    """Lay a graph out."""
    annotations = annotations or Annotations()
    layout = _Layout(topology, annotations)
    whole = layout.levels[None]
    layout.place(whole, 0, 0)
    left = min([0.0, *(x for line in layout.lines for x, _ in line.points)])
    heading = fitted(annotations.title or topology.name, HEADING_SIZE, _HEADING_ROOM)
    caption = fitted(annotations.caption, _CAPTION_SIZE, _CAPTION_ROOM)
    words = width(heading, HEADING_SIZE) + width(caption, _CAPTION_SIZE) + MARGIN
    right, down = MARGIN - left, HEADER - whole.top
    # Nodes and groups in the order of the graph, which is the order for screen readers.
    boxes, frames = layout.boxes, layout.frames
    return Picture(
        title=heading,
        caption=caption,
        width=round(max(_LEAST, whole.right - left, words) + 2 * MARGIN),
        height=round(whole.bottom - whole.top + HEADER + MARGIN),
        boxes=tuple(boxes[node.id].moved(right, down) for node in topology.nodes),
        frames=tuple(frames[group.id].moved(right, down) for group in topology.groups),
        lines=tuple(line.moved(right, down) for line in layout.lines),
        dots=tuple((x + right, y + down) for x, y in layout.dots),
    )


class _Layout:
    """The levels of one graph, each arranged, and the shapes in them."""

    def __init__(self, topology: Topology, annotations: Annotations) -> None:
        self._cards = {node.id: card(node, annotations) for node in topology.nodes}
        self._titles = {group.id: title(group, annotations) for group in topology.groups}
        self._meetings = _meetings(topology)
        self.boxes: dict[str, Box[Card]] = {}
        self.frames: dict[str, Box[Title]] = {}
        self.lines: list[Line] = []
        self.dots: list[Point] = []
        flows = cut(topology)
        items: dict[str, Item] = {one: _item(made) for one, made in self._cards.items()}
        self.levels: dict[str | None, Arranged] = {}
        # Groups come outer ones first.
        for group in reversed(topology.groups):
            made = self._titles[group.id]
            level = arranged(Flow(flows[group.id]), items, width=made.width + 2 * TITLE_LEFT)
            self.levels[group.id] = level
            items[group.id] = _frame(level)
        self.levels[None] = arranged(Flow(flows[None]), items, ends=[END])

    def place(self, level: Arranged, x: float, y: float) -> None:
        """Add everything in a level, moved to where the level is."""
        self.lines += (line.moved(x, y) for line in level.lines)
        groups = {one: spot for one, spot in level.spots.items() if one in self._titles}
        for one, spot in groups.items():
            ends = ((spot.left + x, spot.entry + y), (spot.right + x, spot.exit + y))
            self.dots += [end for end, meet in zip(ends, self._meetings[one], strict=True) if meet]
        for one, spot in level.spots.items():
            left, top = spot.left + x, spot.top + y
            wide, high = spot.right - spot.left, spot.foot - spot.top
            if one in groups:
                self.frames[one] = Box(self._titles[one], left, top, wide, high)
                within = self.levels[one]
                self.place(within, left, top + TITLE_STRIP - within.top)
            else:
                self.boxes[one] = Box(self._cards[one], left, top, wide, high)


def _item(made: Card) -> Item:
    half = made.height // 2
    return Item(made.width, made.height, half, half, stretches=not made.is_end)


def _frame(level: Arranged) -> Item:
    down = TITLE_STRIP - level.top
    return Item(
        width=round(level.right),
        height=2 * -int(-(level.bottom + down + _BELOW) // 2),
        entry=round(level.entry + down),
        exit=round(level.exit + down),
        is_group=True,
    )


def _meetings(topology: Topology) -> Mapping[str, tuple[bool, bool]]:
    """For each group, whether lines meet where they enter it, and where they leave it."""
    pairs = {(segment.source, segment.target) for segment in topology.legs}
    ends = Counter(end for pair in pairs for end in pair)
    simple = 2
    return {
        group.id: (ends[group.entry] > simple, ends[group.exit] > simple)
        for group in topology.groups
    }
