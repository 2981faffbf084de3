"""A graph laid out: the position of every box, frame, line and label, in pixels from the top left.

It lies between the layout and the renderers, so that a test can check a picture (nothing overlaps,
every edge is there) before it is SVG. The conditions of an edge are written on it, one below the
other, in one rounded box.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from aideon_agents.drawing.cards import Card, Title, fitted, width

if TYPE_CHECKING:
    from collections.abc import Iterable


Point: TypeAlias = tuple[float, float]


@dataclass(frozen=True)
class Box:
    """A node."""

    card: Card
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Frame:
    """A group."""

    title: Title
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Pill:
    """The conditions of a line, written on it."""

    texts: tuple[str, ...]
    """The lines of text after cutting, one below the other."""
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Line:
    """One edge, or several that share both ends."""

    source: str
    target: str
    conditions: tuple[str, ...]
    """The full conditions, also those that were cut off."""
    conditional: bool
    points: tuple[Point, ...]
    """Points, joined by straight lines where they share a coordinate and by S-curves elsewhere."""
    pill: Pill | None = None
    ends_in_arrow: bool = True


@dataclass(frozen=True)
class Shapes:
    """All shapes. Frames come before what is drawn over them."""

    boxes: tuple[Box, ...] = ()
    frames: tuple[Frame, ...] = ()
    lines: tuple[Line, ...] = ()
    dots: tuple[Point, ...] = ()
    """Points where lines meet on the edge of a group."""

    def moved(self, x: float, y: float) -> Shapes:
        """Move all shapes."""
        return Shapes(
            tuple(replace(one, x=one.x + x, y=one.y + y) for one in self.boxes),
            tuple(replace(one, x=one.x + x, y=one.y + y) for one in self.frames),
            tuple(moved(line, x, y) for line in self.lines),
            tuple((left + x, top + y) for left, top in self.dots),
        )


@dataclass(frozen=True)
class Picture:
    """A whole graph."""

    title: str
    caption: str
    width: float
    height: float
    shapes: Shapes


def together(parts: Iterable[Shapes]) -> Shapes:
    """Join the shapes of several pictures."""
    whole = list(parts)
    return Shapes(
        tuple(one for part in whole for one in part.boxes),
        tuple(one for part in whole for one in part.frames),
        tuple(one for part in whole for one in part.lines),
        tuple(one for part in whole for one in part.dots),
    )


def moved(line: Line, x: float, y: float) -> Line:
    """Move a line."""
    pill = line.pill and replace(line.pill, x=line.pill.x + x, y=line.pill.y + y)
    return replace(line, points=tuple((at + x, down + y) for at, down in line.points), pill=pill)


SIZE = 12
ROW = 16
PAD = 10
"""Pixels at each side of the text."""

ROOM = 170
"""Pixels that a condition may take."""

_MOST = 5
"""Rows; beyond that the rest is counted."""


@dataclass(frozen=True)
class Written:
    """Conditions, measured."""

    texts: tuple[str, ...]
    width: int
    height: int
    """Pixels, both even; 0 when there are none."""

    def at(self, x: float, y: float) -> Pill | None:
        """The box around a centre; None when nothing is written."""
        if not self.texts:
            return None
        return Pill(self.texts, x - self.width / 2, y - self.height / 2, self.width, self.height)


def written(conditions: tuple[str, ...], room: float = ROOM) -> Written:
    """Measure conditions."""
    if not conditions:
        return Written((), 0, 0)
    shown = conditions
    if len(conditions) > _MOST:
        shown = (*conditions[: _MOST - 1], f"+{len(conditions) - _MOST + 1} more")
    texts = tuple(fitted(text, SIZE, room) or " " for text in shown)
    taken = max(width(text, SIZE) for text in texts) + 2 * PAD
    return Written(texts, 2 * -int(-taken // 2), ROW * len(texts) + 4)
