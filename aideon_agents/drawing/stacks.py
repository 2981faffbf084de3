"""One level of a graph with its heights known: what stands in each column, and how high.

The breadth comes later (`arrangement`): how far apart columns are depends on how steeply lines lead
from one to the next.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

from aideon_agents.drawing import dot
from aideon_agents.drawing.lanes import STRIP, room_below
from aideon_agents.drawing.pills import written
from aideon_agents.drawing.ranks import ranked

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from aideon_agents.drawing.flow import Flow
    from aideon_agents.drawing.ranks import Ranked, Stop, Way

_LABEL_ROUND = 8
"""Kept free above and below a label, both together."""
_THIN = 2
"""The height of a line that passes a column."""
_HALF = dot.APART // 2
_STRAIGHT, _DIRECT, _BENT = 8, 2, 1
"""How much it counts that a piece is straight: where it must be, where it joins others on a line
that passes nothing, and where it joins others."""


@dataclass(frozen=True)
class Item:
    """A node or an arranged group, as its level sees it. All in pixels."""

    width: int
    height: int
    entry: int
    """Where lines come in, from the top."""
    exit: int
    """Where lines go out, from the top."""
    is_group: bool = False
    stretches: bool = False
    """Whether it is made as wide as the others in its column."""


@dataclass(frozen=True)
class Stacks:
    """A level, stacked."""

    ranked: Ranked
    items: Mapping[str, Item]
    widths: list[int]
    """Of each stop."""
    talls: list[dot.Tall]
    tops: list[int]
    """Of each stop, with half of what is kept free around it."""

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
        """For each item, whether nothing but lines stands below it in its column."""
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
        """For each column, the width of the items in it that are made equally wide."""
        widest: dict[int, int] = {}
        for stop, width in zip(self.ranked.stops, self.widths, strict=True):
            item = self.items.get(stop.item) if stop.item is not None else None
            if item and item.stretches:
                widest[stop.column] = max(widest.get(stop.column, 0), width)
        return widest

    @property
    def pieces(self) -> Iterable[tuple[int, int]]:
        """The lines between neighbouring columns, by the numbers of their stops."""
        return dict.fromkeys(pair for _, chain in self.ranked.chains for pair in pairwise(chain))

    def entry(self, stop: int) -> int:
        """The height at which lines come into a stop."""
        return self.tops[stop] + self.talls[stop].entry

    def exit(self, stop: int) -> int:
        """The height at which lines go out of a stop."""
        return self.tops[stop] + self.talls[stop].exit


def stacked(flow: Flow, items: Mapping[str, Item], ends: Collection[str] = ()) -> Stacks:
    """Find out what stands in which column, and how high."""
    level = ranked(flow, ends=ends)
    measured = [_measured(stop, items, level.back) for stop in level.stops]
    talls = [tall for _, tall in measured]
    tops = dot.tops(talls, _pieces(level))
    return Stacks(level, items, [width for width, _ in measured], talls, tops)


def _measured(stop: Stop, items: Mapping[str, Item], back: Sequence[Way]) -> tuple[int, dot.Tall]:
    """The width of a stop, and its height with what is kept free around it."""
    if stop.labels is not None:
        label = written(stop.labels.conditions)
        height = label.height + _LABEL_ROUND
        return label.width, dot.Tall(height, height // 2, height // 2)
    if stop.item is None or stop.item not in items:
        return 0, dot.Tall(_THIN, _THIN // 2, _THIN // 2)
    item = items[stop.item]
    here = [way for way in back if stop.item in {way.source, way.target}]
    width = max(item.width, room_below(stop.item, here))
    strip = STRIP if any(way.source == way.target for way in here) else 0
    height = item.height + dot.APART + strip
    return width, dot.Tall(height, item.entry + _HALF, item.exit + _HALF)


def _pieces(level: Ranked) -> Iterator[dot.Piece]:
    """The pieces of all lines. A line bends where it parts from others or joins them, if it must."""
    pairs = dict.fromkeys(pair for _, chain in level.chains for pair in pairwise(chain))
    begin = Counter(source for source, _ in pairs)
    end = Counter(target for _, target in pairs)
    for source, target in pairs:
        if begin[source] == 1 and end[target] == 1:
            weight = _STRAIGHT
        else:
            is_direct = level.stops[source].item and level.stops[target].item
            weight = _DIRECT if is_direct else _BENT
        yield dot.Piece(source, target, weight)
