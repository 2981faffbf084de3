"""Lines of a picture as SVG paths: rounded corners, S-curves, arrowheads."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from aideon_agents.drawing.picture import Point

ARROW = 9
"""The length of an arrowhead, in pixels."""

_HALF_ARROW = 4
_SHORT = 7
"""How much earlier a line ends that an arrowhead completes."""
_ROUND = 14
_BEND = 0.55
"""How far an S-curve's handles reach, of its width."""


def number(value: float) -> str:
    """A coordinate, to a tenth of a pixel."""
    return f"{round(value, 1):g}"


def stroke(points: Sequence[Point], *, ends_in_arrow: bool) -> str:
    """The path of a line."""
    corners = list(points)
    if ends_in_arrow:
        x, y = corners[-1]
        right, down = _direction(points)
        corners[-1] = (x - right * _SHORT, y - down * _SHORT)
    # From its end, so that the dashes of lines that end together fall on one another.
    corners.reverse()
    return f"M{_at(corners[0])}" + "".join(_pieces(corners))


def head(points: Sequence[Point]) -> str:
    """The arrowhead at the end of a line."""
    (x, y), (right, down) = points[-1], _direction(points)
    back_x, back_y = x - right * ARROW, y - down * ARROW
    across_x, across_y = -down * _HALF_ARROW, right * _HALF_ARROW
    one, other = (back_x + across_x, back_y + across_y), (back_x - across_x, back_y - across_y)
    return f"M{_at((x, y))}L{_at(one)}L{_at(other)}Z"


def _pieces(corners: Sequence[Point]) -> Iterator[str]:
    begun = corners[0]
    for index, (here, there) in enumerate(pairwise(corners)):
        after = corners[index + 2] if index + 2 < len(corners) else None
        if here[0] != there[0] and here[1] != there[1]:
            bend = (there[0] - here[0]) * _BEND
            handles = f"{_at((here[0] + bend, here[1]))} {_at((there[0] - bend, there[1]))}"
            yield f"{_to(begun, here)}C{handles} {_at(there)}"
            begun = there
        elif after is not None and _turns(here, there, after):
            reach = min(_ROUND, _length(here, there) / 2, _length(there, after) / 2)
            before, behind = _towards(there, here, reach), _towards(there, after, reach)
            yield f"{_to(begun, before)}Q{_at(there)} {_at(behind)}"
            begun = behind
        else:
            yield _to(begun, there)
            begun = there


def _to(begun: Point, there: Point) -> str:
    return "" if begun == there else f"L{_at(there)}"


def _turns(here: Point, there: Point, after: Point) -> bool:
    is_level, goes_on_level = here[1] == there[1], there[1] == after[1]
    is_upright, goes_on_upright = here[0] == there[0], there[0] == after[0]
    return (is_level and goes_on_upright) or (is_upright and goes_on_level)


def _length(one: Point, other: Point) -> float:
    return abs(one[0] - other[0]) + abs(one[1] - other[1])


def _towards(start: Point, end: Point, reach: float) -> Point:
    whole = _length(start, end) or 1
    return (
        start[0] + (end[0] - start[0]) * reach / whole,
        start[1] + (end[1] - start[1]) * reach / whole,
    )


def _direction(points: Sequence[Point]) -> Point:
    """The direction of a line's end: one step right, left, up or down."""
    (before_x, before_y), (x, y) = points[-2:]
    if before_x == x:
        return 0, 1 if y > before_y else -1
    return 1 if x > before_x else -1, 0


def _at(point: Point) -> str:
    return f"{number(point[0])} {number(point[1])}"
