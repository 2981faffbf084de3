"""Back edges: lines that lead to an earlier column, below everything that they pass.

Each back edge goes down from its source, back under the columns between, and up into its target.
Where a node has another one below it, the line goes down or up beside the column instead. The
shortest back edges are highest, so that a loop within a loop looks like one. Back edges to the same
node share one line.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

from aideon_agents.drawing.flow import Link
from aideon_agents.drawing.picture import PAD, Label, Line, Point, centred, written

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


STRIP = 42
"""Pixels below a node that an edge to itself needs."""

BESIDE = 12
"""Pixels from a column to a line beside it, and from there to the next."""

_DROP = 22
"""Pixels from the lowest item to the line below it."""
_LIFT = 14
"""Pixels from the bottom of a node's strip to its edge to itself."""
_APART = 18
"""Pixels between two lines under a node."""
_AROUND = 8
"""Pixels kept free at both sides of a label."""
_AT_CORNER = 14
"""Pixels from a label to the line's corner, on an edge to itself."""
_LEAST_ROOM = 30


@dataclass(frozen=True)
class Spot:
    """An item in a column."""

    column: int
    left: float
    right: float
    top: float
    bottom: float
    entry: float
    exit: float
    """Where lines enter and leave, in pixels from the top."""
    foot: float
    """Its own underside. The room between that and its bottom is for its edge to itself."""
    rim: float
    edge: float
    """The left and right side of its column."""
    is_label: bool = False
    gets_arrow: bool = False
    """Whether lines that end here have an arrowhead."""


@dataclass
class _Run:
    """Back edges with one target, before the height of their line is known."""

    links: list[Link]
    """All with the same target."""
    label: Label
    starts: dict[str, float] = field(default_factory=dict[str, float])
    """Where the line goes down from each source, from left to right."""
    finish: float = 0
    """Where the line goes up, left of all sources."""

    @property
    def target(self) -> str:
        return self.links[0].target

    @property
    def start(self) -> float:
        return max(self.starts.values())

    @property
    def middle(self) -> float:
        return (self.start + self.finish) / 2

    @property
    def left(self) -> float:
        return min(self.finish, self.middle - self.label.width / 2) - _AROUND

    @property
    def right(self) -> float:
        return max(self.start, self.middle + self.label.width / 2) + _AROUND

    def meets(self, left: float, right: float) -> bool:
        return self.left < right and self.right > left


def beside(
    links: Iterable[Link], columns: Mapping[str, int], free: Mapping[str, bool]
) -> Counter[int]:
    """The number of lines that turn in the gap after each column."""
    counts: Counter[int] = Counter()
    for run in _runs(links):
        sources = {columns[link.source] for link in run.links if not free[link.source]}
        counts.update(sources)
        counts[columns[run.target] - 1] += not free[run.target]
    return counts


def room_below(item: str, links: Iterable[Link]) -> int:
    """The width that an item needs for the lines at its underside."""
    runs = list(_runs(links))
    itself = [link for link in links if link.source == link.target == item]
    out = sum(link.source == item for run in runs for link in run.links)
    into = sum(run.target == item for run in runs)
    sides = 2 * (_APART * max(out, into) + BESIDE)
    around = sum(round(written(link.conditions).width) + 2 * _AT_CORNER for link in itself)
    return around + sides if itself else _APART * (out + into - 1) + 2 * BESIDE


def back_lines(
    links: Sequence[Link],
    items: Mapping[str, Spot],
    spots: Sequence[Spot],
    free: Mapping[str, bool],
) -> tuple[list[Line], float]:
    """The back edges of one row, and the height at which the row ends with them."""
    itself = [link for link in links if link.source == link.target]
    kept = {link.source: written(link.conditions).width / 2 + _AT_CORNER for link in itself}
    runs = list(_runs(links))
    _go_down_beside(runs, items, free)
    _attach(runs, items, free, kept)
    runs.sort(key=lambda run: run.right - run.left)
    lines = [_around_itself(link, items[link.source]) for link in itself]
    reaches = _reaches(spots)
    placed: list[tuple[_Run, float]] = []
    for number, run in enumerate(runs):
        label, middle = _fitting(run, runs[number + 1 :])
        above = [spot.bottom for spot in spots if run.meets(*reaches[spot.column])]
        above += [low for one, low in placed if run.meets(one.left, one.right)]
        down = max(above) + _DROP + label.height // 4
        placed.append((run, down + label.height / 2))
        at = centred(label, middle, down)
        lines += [_line(link, _points(run, link, items, free, down), at) for link in run.links]
    return lines, max([*(spot.bottom for spot in spots), *(low for _, low in placed)])


def _reaches(spots: Iterable[Spot]) -> dict[int, tuple[float, float]]:
    """For each column, how far its lines climb to its left and right neighbours."""
    sides = {spot.column: (spot.rim, spot.edge) for spot in spots}
    return {
        column: (sides.get(column - 1, (0, rim))[1], sides.get(column + 1, (edge, 0))[0])
        for column, (rim, edge) in sides.items()
    }


def _runs(links: Iterable[Link]) -> Iterable[_Run]:
    """The back edges, grouped by target."""
    runs: dict[tuple[str, ...], _Run] = {}
    for link in links:
        if link.source == link.target:
            continue
        always = not link.conditional and not link.conditions
        key = (link.target,) if always else (link.target, link.source)
        runs.setdefault(key, _Run([], written(link.conditions))).links.append(link)
    return runs.values()


def _around_itself(link: Link, spot: Spot) -> Line:
    label = written(link.conditions)
    half = label.width / 2 + _AT_CORNER
    middle, foot, down = (spot.left + spot.right) / 2, spot.foot, spot.foot + STRIP - _LIFT
    right, left = middle + half, middle - half
    points = ((right, foot), (right, down), (left, down), (left, foot))
    return _line(link, points, centred(label, middle, down))


def _go_down_beside(
    runs: Iterable[_Run], items: Mapping[str, Spot], free: Mapping[str, bool]
) -> None:
    """Place the lines that turn beside a column: the lower the line, the nearer it is."""
    taken: Counter[int] = Counter()
    turning = [(items[link.source], link.source, run) for run in runs for link in run.links]
    for spot, source, run in sorted(turning, key=lambda one: -one[0].exit):
        if not free[source]:
            shared = [
                at for other, at in run.starts.items()
                if not free[other] and items[other].column == spot.column
            ]  # fmt: skip
            taken[spot.column] += not shared
            run.starts[source] = shared[0] if shared else spot.edge + BESIDE * taken[spot.column]
    taken.clear()
    for run in sorted(runs, key=lambda run: -items[run.target].entry):
        spot = items[run.target]
        if not free[run.target]:
            taken[spot.column] += 1
            run.finish = spot.rim - BESIDE * taken[spot.column] - 4


def _attach(
    runs: Iterable[_Run],
    items: Mapping[str, Spot],
    free: Mapping[str, bool],
    kept: Mapping[str, float],
) -> None:
    """Place the lines at undersides so that none cross.

    Lines that lead to the left are left of lines that come from the right. In each half the longer
    ones are nearer to the middle.
    """
    for item, spot in items.items():
        if not free[item]:
            continue
        out = [run for run in runs if any(link.source == item for link in run.links)]
        into = [run for run in runs if run.target == item]
        out.sort(key=lambda run: -items[run.target].column)
        into.sort(key=lambda run: -max(items[link.source].column for link in run.links))
        middle = (spot.left + spot.right) / 2
        if half := kept.get(item, 0):
            left, right = middle - half - _APART * len(out), middle + half + _APART
        else:
            left = middle - _APART * (len(out) + len(into) - 1) / 2
            right = left + _APART * len(out)
        for number, run in enumerate(out):
            run.starts[item] = left + _APART * number
        for number, run in enumerate(into):
            run.finish = right + _APART * number


def _fitting(run: _Run, deeper: Sequence[_Run]) -> tuple[Label, float]:
    """The label of a back edge and its middle, where no deeper line crosses it."""
    label, middle = run.label, run.middle
    crossing = [
        at
        for one in deeper
        for at in (*one.starts.values(), one.finish)
        if run.left < at < run.right
    ]
    if not label.content or not crossing:
        return label, middle
    walls = sorted([run.finish, *crossing, run.start])
    rooms = [(left + _AROUND, right - _AROUND) for left, right in pairwise(walls)]
    fitting = [room for room in rooms if room[1] - room[0] >= label.width]
    if fitting:
        half = label.width / 2
        middles = [min(max(middle, left + half), right - half) for left, right in fitting]
        return label, min(middles, key=lambda at: abs(at - middle))
    left, right = max(rooms, key=lambda room: room[1] - room[0])
    room = max(_LEAST_ROOM, right - left - 2 * PAD)
    return written(run.links[0].conditions, room), (left + right) / 2


def _points(
    run: _Run, link: Link, items: Mapping[str, Spot], free: Mapping[str, bool], down: float
) -> tuple[Point, ...]:
    source, target, start = items[link.source], items[link.target], run.starts[link.source]
    first = [(start, source.foot)]
    if not free[link.source]:
        first = [(source.right, source.exit), (start, source.exit)]
    last = [(run.finish, target.foot)]
    if not free[link.target]:
        last = [(run.finish, target.entry), (target.left, target.entry)]
    return (*first, (start, down), (run.finish, down), *last)


def _line(link: Link, points: tuple[Point, ...], label: Label | None) -> Line:
    edge = link.edges[0]
    return Line(edge.source, edge.target, link.conditions, link.conditional, points, label)
