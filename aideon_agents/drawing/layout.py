"""A whole graph laid out, level by level: the inside of a group before the group itself."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from langgraph.graph import END

from aideon_agents.drawing.annotations import Annotations
from aideon_agents.drawing.arrangement import arranged
from aideon_agents.drawing.cards import card, title
from aideon_agents.drawing.flow import Flow, cut
from aideon_agents.drawing.lettering import fitted, width
from aideon_agents.drawing.picture import Box, Frame, Picture, Shapes, together
from aideon_agents.drawing.stacks import Item

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from aideon_agents.drawing.arrangement import Arranged
    from aideon_agents.drawing.cards import Card
    from aideon_agents.drawing.picture import Point
    from aideon_agents.drawing.topology import Topology

MARGIN = 28
HEADING_SIZE = 16
HEADING_DOWN = 32
HEADER = 60
"""Pixels above the graph, for its name."""

TITLE_STRIP = 38
"""Pixels above what stands in a group, for its title."""
TITLE_LEFT = 16
TITLE_DOWN = 19
_BELOW = 20
"""Pixels below what stands in a group."""
_HEADING_ROOM = 1100
_CAPTION_SIZE = 14
_CAPTION_ROOM = 720
_LEAST = 320


def laid_out(topology: Topology, annotations: Annotations | None = None) -> Picture:
    """Lay a graph out."""
    said = annotations or Annotations()
    whole = _Layout(topology, said)
    shapes = whole.inside(whole.levels[None])
    left = min([0.0, *(x for line in shapes.lines for x, _ in line.points)])
    top = whole.levels[None].top
    right, bottom = whole.levels[None].right, whole.levels[None].bottom
    heading = fitted(said.title or topology.name, HEADING_SIZE, _HEADING_ROOM)
    caption = fitted(said.caption, _CAPTION_SIZE, _CAPTION_ROOM)
    words = width(heading, HEADING_SIZE) + width(caption, _CAPTION_SIZE) + MARGIN
    return Picture(
        title=heading,
        caption=caption,
        width=round(max(_LEAST, right - left, words) + 2 * MARGIN),
        height=round(bottom - top + HEADER + MARGIN),
        shapes=_ordered(shapes, topology).moved(MARGIN - left, HEADER - top),
    )


def _ordered(shapes: Shapes, topology: Topology) -> Shapes:
    """Nodes and groups in the order of the graph: the one in which they are read aloud."""
    order = {one.id: index for index, one in enumerate((*topology.nodes, *topology.groups))}
    return replace(
        shapes,
        boxes=tuple(sorted(shapes.boxes, key=lambda box: order[box.card.node.id])),
        frames=tuple(sorted(shapes.frames, key=lambda frame: order[frame.title.group.id])),
    )


class _Layout:
    """The levels of one graph, each arranged, and what stands in them."""

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
        """Everything in a level, where the level has put it."""
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
    pairs = {(leg.source, leg.target) for leg in topology.legs}
    ends = Counter(end for pair in pairs for end in pair)
    simple = 2
    return {
        group.id: (ends[group.entry] > simple, ends[group.exit] > simple)
        for group in topology.groups
    }
