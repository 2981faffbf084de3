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

from aideon_agents.drawing import ranks
from aideon_agents.drawing.annotations import Annotations
from aideon_agents.drawing.back_edges import BESIDE, BackLines, Spot, back_lines, beside
from aideon_agents.drawing.cards import Card, card, fitted, title, width
from aideon_agents.drawing.flow import ENTRY, EXIT, Flow, cut
from aideon_agents.drawing.picture import Box, Frame, Line, Picture, Point, Shapes, moved, together
from aideon_agents.drawing.ranks import Item
from aideon_agents.drawing.stacks import Columns, Stacks, forward, spaced, stacked
from aideon_agents.graphs.topology import Topology

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping


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
    right = max(width, _right(columns, spots, turned))
    if ENTRY in level.numbers and EXIT not in level.numbers:
        right += _TURN  # nothing leaves this group, but it still has a right side
    if EXIT in level.numbers:
        at = level.numbers[EXIT]
        spots[at] = replace(spots[at], left=right, right=right, rim=right, edge=right)
    shifts, bottoms = _rows(columns, spots, turned)
    spots = [_lowered(spot, shifts[columns.rows[spot.column]]) for spot in spots]
    back = [moved(line, 0, shifts[row]) for row, back_lines in turned for line in back_lines.lines]
    lines = [
        forward(link, [spots[at] for at in chain], columns, bottoms)
        for link, chain in level.ranked.chains
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
    for stop, measures in zip(stops, level.stops, strict=True):
        widths[stop.column] = max(widths[stop.column], measures.width)
    climbs = [
        (stops[source].column, level.entry(target) - level.exit(source))
        for source, target in level.pieces
    ]
    places = {item: stops[number].column for item, number in level.numbers.items()}
    turning = beside(level.ranked.back, places, level.free)
    extra = Counter({column: BESIDE * lines for column, lines in turning.items()})
    spans = [
        (
            places[link.target] - (not level.free[link.target]),
            places[link.source] + (not level.free[link.source]),
        )
        for link in level.ranked.back
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
    stop = level.ranked.stops[number]
    rim, edge = columns.lefts[stop.column], columns.right(stop.column)
    item = level.items.get(stop.item) if stop.item is not None else None
    wide = level.stops[number].width
    if item and item.stretches:
        wide = level.stretched[stop.column]
    left = rim + (edge - rim - wide) // 2
    top = level.tops[number] + ranks.APART // 2 if item else level.tops[number]
    bottom = level.tops[number] + level.stops[number].height - (ranks.APART // 2 if item else 0)
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


def _right(
    columns: Columns, spots: Iterable[Spot], turned: Iterable[tuple[int, BackLines]]
) -> float:
    """Where a level ends: after its items, its back edges and the line to the next row."""
    ends = [
        spot.edge + (_TURN if columns.rows[spot.column] != columns.rows[-1] else 0)
        for spot in spots
    ]
    bends = [x for _, back_lines in turned for line in back_lines.lines for x, _ in line.points]
    return max(ends + bends)


def _turned(level: Stacks, columns: Columns, spots: list[Spot]) -> list[tuple[int, BackLines]]:
    """The back edges of each row."""
    items = {item: spots[number] for item, number in level.numbers.items()}
    found: list[tuple[int, BackLines]] = []
    for row in range(columns.rows[-1] + 1):
        links = [
            link for link in level.ranked.back if columns.rows[items[link.target].column] == row
        ]
        if links:
            in_row = [spot for spot in spots if columns.rows[spot.column] == row]
            found += [(row, lines) for lines in back_lines(links, items, in_row, level.free)]
    return found


def _rows(
    columns: Columns, spots: list[Spot], turned: list[tuple[int, BackLines]]
) -> tuple[list[float], list[float]]:
    """How far each row moves down from its first position, and where it then ends."""
    shifts: list[float] = []
    bottoms: list[float] = []
    for row in range(columns.rows[-1] + 1):
        in_row = [spot for spot in spots if columns.rows[spot.column] == row]
        top = min(spot.top for spot in in_row)
        bottom = max(spot.bottom for spot in in_row)
        bottom = max([bottom, *(back_lines.bottom for at, back_lines in turned if at == row)])
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
    notes_on = annotations or Annotations()
    whole = _Layout(topology, notes_on)
    shapes = whole.inside(whole.levels[None])
    left = min([0.0, *(x for line in shapes.lines for x, _ in line.points)])
    top = whole.levels[None].top
    right, bottom = whole.levels[None].right, whole.levels[None].bottom
    heading = fitted(notes_on.title or topology.name, HEADING_SIZE, _HEADING_ROOM)
    caption = fitted(notes_on.caption, _CAPTION_SIZE, _CAPTION_ROOM)
    words = width(heading, HEADING_SIZE) + width(caption, _CAPTION_SIZE) + MARGIN
    return Picture(
        title=heading,
        caption=caption,
        width=round(max(_LEAST, right - left, words) + 2 * MARGIN),
        height=round(bottom - top + HEADER + MARGIN),
        shapes=_ordered(shapes, topology).moved(MARGIN - left, HEADER - top),
    )


def _ordered(shapes: Shapes, topology: Topology) -> Shapes:
    """Nodes and groups in the order of the graph, which is the order for screen readers."""
    order = {one.id: index for index, one in enumerate((*topology.nodes, *topology.groups))}
    return replace(
        shapes,
        boxes=tuple(sorted(shapes.boxes, key=lambda box: order[box.card.node.id])),
        frames=tuple(sorted(shapes.frames, key=lambda frame: order[frame.title.group.id])),
    )


class _Layout:
    """The levels of one graph, each arranged, and their items."""

    def __init__(self, topology: Topology, annotations: Annotations) -> None:
        self._cards = {node.id: card(node, annotations) for node in topology.nodes}
        self._titles = {group.id: title(group, annotations) for group in topology.groups}
        self._meetings = _meetings(topology)
        flows = cut(topology)
        self._items: dict[str, Item] = {one: _item(made) for one, made in self._cards.items()}
        self.levels: dict[str | None, Arranged] = {}
        # Groups come outer ones first.
        for group in reversed(topology.groups):
            made = self._titles[group.id]
            level = arranged(Flow(flows[group.id]), self._items, width=made.width + 2 * TITLE_LEFT)
            self.levels[group.id] = level
            self._items[group.id] = _frame(level)
        self.levels[None] = arranged(Flow(flows[None]), self._items, ends=[END])

    def inside(self, level: Arranged) -> Shapes:
        """Everything in a level, moved to where the level is."""
        return together(self._parts(level))

    def _parts(self, level: Arranged) -> Iterator[Shapes]:
        frames: list[Frame] = []
        deeper: list[Shapes] = []
        boxes: list[Box] = []
        dots: list[Point] = []
        for one, spot in level.spots.items():
            wide, high = spot.right - spot.left, spot.foot - spot.top
            if one in self._cards:
                boxes.append(Box(self._cards[one], spot.left, spot.top, wide, high))
                continue
            frames.append(Frame(self._titles[one], spot.left, spot.top, wide, high))
            within = self.levels[one]
            deeper.append(self.inside(within).moved(spot.left, spot.top + TITLE_STRIP - within.top))
            ends = ((spot.left, spot.entry), (spot.right, spot.exit))
            dots += [end for end, meet in zip(ends, self._meetings[one], strict=True) if meet]
        yield Shapes(tuple(boxes), tuple(frames), level.lines, tuple(dots))
        yield from deeper


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
