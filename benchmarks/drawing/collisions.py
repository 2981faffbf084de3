"""What touches what in a picture and should not: asked of the shapes, before they are SVG."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from aideon_agents.drawing.picture import Line, Picture, Point

SAMPLES = 16
"""Points on an S-curve."""


@dataclass(frozen=True)
class Area:
    """A rectangle and what it is."""

    what: str
    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: Area) -> bool:
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )

    def holds(self, other: Area) -> bool:
        return (
            self.left <= other.left
            and other.right <= self.right
            and self.top <= other.top
            and other.bottom <= self.bottom
        )


def overlapping_boxes(picture: Picture) -> list[str]:
    """Boxes on boxes, frames that are neither inside one another nor apart, and what sticks out."""
    boxes, frames = _boxes(picture), _frames(picture)
    wrong = [f"{one.what} on {two.what}" for one, two in _pairs(boxes)]
    wrong += [
        f"{one.what} across {two.what}"
        for one, two in _pairs(frames)
        if not one.holds(two) and not two.holds(one)
    ]
    page = Area("page", 0, 0, picture.width, picture.height)
    wrong += [f"{one.what} off the page" for one in (*boxes, *frames) if not page.holds(one)]
    return wrong + [
        f"{box.what} across {frame.what}"
        for box in boxes
        for frame in frames
        if box.overlaps(frame) and not frame.holds(box)
    ]


def label_collisions(picture: Picture) -> list[str]:
    """Labels on boxes, on one another, on titles, across frames, or under somebody else's line."""
    pills = _pills(picture)
    titles = _titles(picture)
    boxes, frames = _boxes(picture), _frames(picture)
    wrong = [f"{one.what} on {two.what}" for one, two in _pairs(list(dict.fromkeys(pills)))]
    wrong += [
        f"{pill.what} on {other.what}"
        for pill in pills
        for other in (*boxes, *titles)
        if pill.overlaps(other)
    ]
    wrong += [
        f"{pill.what} across {frame.what}"
        for pill in pills
        for frame in frames
        if pill.overlaps(frame) and not frame.holds(pill)
    ]
    for line in picture.lines:
        own = line.label
        wrong += [
            f"a line from {line.source} under {area.what}"
            for area, of in zip(pills, _pilled(picture), strict=True)
            if of.label != own and _crosses(line.points, area)
        ]
    return wrong


def lines_across(picture: Picture) -> list[str]:
    """Lines that run across a box or a title."""
    areas = [*_boxes(picture), *_titles(picture)]
    return [
        f"{line.source} to {line.target} across {area.what}"
        for line in picture.lines
        for area in areas
        if _crosses(line.points, area)
    ]


def _pairs(areas: Sequence[Area]) -> Iterator[tuple[Area, Area]]:
    """The pairs that overlap."""
    ordered = sorted(areas, key=lambda area: area.left)
    return ((one, two) for one, two in combinations(ordered, 2) if one.overlaps(two))


def _boxes(picture: Picture) -> list[Area]:
    return [
        Area(box.content.node.id, box.x, box.y, box.x + box.width, box.y + box.height)
        for box in picture.boxes
    ]


def _frames(picture: Picture) -> list[Area]:
    return [
        Area(f"frame {one.content.group.id}", one.x, one.y, one.x + one.width, one.y + one.height)
        for one in picture.frames
    ]


def _titles(picture: Picture) -> list[Area]:
    found = [
        Area(f"title {one.content.group.id}", one.x + 16, one.y + 11, one.x + 16 + one.content.width, one.y + 27)
        for one in picture.frames
    ]  # fmt: skip
    return [*found, Area("heading", 28, 22, picture.width - 28, 42)]


def _pilled(picture: Picture) -> list[Line]:
    return [line for line in picture.lines if line.label]


def _pills(picture: Picture) -> list[Area]:
    return [
        Area(f"label {'/'.join(pill.content)}", pill.x, pill.y, pill.x + pill.width, pill.y + pill.height)
        for pill in (line.label for line in _pilled(picture))
        if pill
    ]  # fmt: skip


def _crosses(points: Sequence[Point], area: Area) -> bool:
    """Whether a line runs through the inside of an area; a touch is none."""
    inside = Area(area.what, area.left + 1, area.top + 1, area.right - 1, area.bottom - 1)
    for (x1, y1), (x2, y2) in pairwise(points):
        if x1 == x2 or y1 == y2:
            stretch = Area("", min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2))
            if stretch.overlaps(inside):
                return True
        elif any(
            inside.left < x < inside.right and inside.top < y < inside.bottom
            for x, y in _curve(x1, y1, x2, y2)
        ):
            return True
    return False


def _curve(x1: float, y1: float, x2: float, y2: float) -> Iterator[Point]:
    bend = (x2 - x1) * 0.55
    for step in range(SAMPLES + 1):
        t = step / SAMPLES
        s = 1 - t
        x = s**3 * x1 + 3 * s * s * t * (x1 + bend) + 3 * s * t * t * (x2 - bend) + t**3 * x2
        yield x, (s**3 + 3 * s * s * t) * y1 + (3 * s * t * t + t**3) * y2
