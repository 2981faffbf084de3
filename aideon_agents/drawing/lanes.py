"""Ways that turn back, below everything they pass.

Each has a lane of its own: down from its source, back under the columns between, up into its
target. Where something stands below a node, the line goes down or up beside the column instead. The
shortest lanes lie highest, so that a loop in a loop looks like one. What always leads back to the
same node shares a lane.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

from aideon_agents.drawing.picture import PAD, Line, Point, Written, written
from aideon_agents.drawing.ranks import Way

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


STRIP = 42
"""Pixels that a node's way to itself takes below it."""

BESIDE = 12
"""Pixels from a column to a line beside it, and from there to the next."""

_DROP = 22
"""From what stands lowest to the lane."""
_LIFT = 14
"""From the bottom of a node's strip to its way to itself."""
_APART = 18
"""From one line under a node to the next."""
_AROUND = 8
"""Kept free at both sides of a label."""
_AT_CORNER = 14
"""From a label to the line's corner, on a node's way to itself."""
_LEAST_ROOM = 30


@dataclass(frozen=True)
class Spot:
    """Something that stands in a column."""

    column: int
    left: float
    right: float
    top: float
    bottom: float
    entry: float
    exit: float
    """Where lines come in and go out, from the top."""
    foot: float
    """Its own underside; what lies between that and its bottom is kept for its way to itself."""
    rim: float
    edge: float
    """Where its column begins and ends."""
    is_label: bool = False
    gets_arrow: bool = False
    """Whether lines that end here do so in an arrow."""


@dataclass(frozen=True)
class Lane:
    """What turns back together, drawn."""

    lines: tuple[Line, ...]
    bottom: float


@dataclass
class _Run:
    """A lane before its height is known."""

    ways: list[Way]
    """All with the same target."""
    label: Written
    starts: dict[str, float] = field(default_factory=dict[str, float])
    """Where it goes down from each source, from the left."""
    finish: float = 0
    """Where it comes up, left of all that."""

    @property
    def target(self) -> str:
        return self.ways[0].target

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
    ways: Iterable[Way], columns: Mapping[str, int], free: Mapping[str, bool]
) -> Counter[int]:
    """How many lines turn in the gap after each column."""
    counts: Counter[int] = Counter()
    for run in _runs(ways):
        sources = {columns[way.source] for way in run.ways if not free[way.source]}
        counts.update(sources)
        counts[columns[run.target] - 1] += not free[run.target]
    return counts


def room_below(item: str, ways: Iterable[Way]) -> int:
    """How wide an item must be for what leaves and reaches its underside."""
    runs = list(_runs(ways))
    itself = [way for way in ways if way.source == way.target == item]
    out = sum(way.source == item for run in runs for way in run.ways)
    into = sum(run.target == item for run in runs)
    sides = 2 * (_APART * max(out, into) + BESIDE)
    around = sum(written(way.conditions).width + 2 * _AT_CORNER for way in itself)
    return around + sides if itself else _APART * (out + into - 1) + 2 * BESIDE


def lanes(
    ways: Sequence[Way],
    items: Mapping[str, Spot],
    spots: Sequence[Spot],
    free: Mapping[str, bool],
) -> list[Lane]:
    """Draw what turns back in one row."""
    itself = [way for way in ways if way.source == way.target]
    kept = {way.source: written(way.conditions).width / 2 + _AT_CORNER for way in itself}
    runs = list(_runs(ways))
    _go_down_beside(runs, items, free)
    _attach(runs, items, free, kept)
    runs.sort(key=lambda run: run.right - run.left)
    found = [_around_itself(way, items[way.source]) for way in itself]
    reaches = _reaches(spots)
    placed: list[tuple[_Run, float]] = []
    for number, run in enumerate(runs):
        label, middle = _fitting(run, runs[number + 1 :])
        above = [spot.bottom for spot in spots if run.meets(*reaches[spot.column])]
        above += [low for one, low in placed if run.meets(one.left, one.right)]
        down = max(above) + _DROP + label.height // 4
        placed.append((run, down + label.height / 2))
        lines = [
            _line(way, _points(run, way, items, free, down), label, (middle, down))
            for way in run.ways
        ]
        found.append(Lane(tuple(lines), down + label.height / 2))
    return found


def _reaches(spots: Iterable[Spot]) -> dict[int, tuple[float, float]]:
    """For each column, how far to the left and right its lines climb: to its neighbours."""
    sides = {spot.column: (spot.rim, spot.edge) for spot in spots}
    return {
        column: (sides.get(column - 1, (0, rim))[1], sides.get(column + 1, (edge, 0))[0])
        for column, (rim, edge) in sides.items()
    }


def _runs(ways: Iterable[Way]) -> Iterable[_Run]:
    """What turns back, by lane."""
    runs: dict[tuple[str, ...], _Run] = {}
    for way in ways:
        if way.source == way.target:
            continue
        always = not way.conditional and not way.conditions
        key = (way.target,) if always else (way.target, way.source)
        runs.setdefault(key, _Run([], written(way.conditions))).ways.append(way)
    return runs.values()


def _around_itself(way: Way, spot: Spot) -> Lane:
    label = written(way.conditions)
    half = label.width / 2 + _AT_CORNER
    middle, foot, down = (spot.left + spot.right) / 2, spot.foot, spot.foot + STRIP - _LIFT
    right, left = middle + half, middle - half
    points = ((right, foot), (right, down), (left, down), (left, foot))
    return Lane((_line(way, points, label, (middle, down)),), spot.bottom)


def _go_down_beside(
    runs: Iterable[_Run], items: Mapping[str, Spot], free: Mapping[str, bool]
) -> None:
    """Find the lines that turn beside a column their place: the lower one stands nearer to it."""
    taken: Counter[int] = Counter()
    turning = [(items[way.source], way.source, run) for run in runs for way in run.ways]
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
    """Find the lines that leave and reach undersides their place there, so that none cross.

    What leads to the left stands left of what comes from the right, and in each half the longer
    ones stand nearer to the middle.
    """
    for item, spot in items.items():
        if not free[item]:
            continue
        out = [run for run in runs if any(way.source == item for way in run.ways)]
        into = [run for run in runs if run.target == item]
        out.sort(key=lambda run: -items[run.target].column)
        into.sort(key=lambda run: -max(items[way.source].column for way in run.ways))
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


def _fitting(run: _Run, deeper: Sequence[_Run]) -> tuple[Written, float]:
    """The label of a lane and its middle, where no line to a deeper lane runs across it."""
    label, middle = run.label, run.middle
    crossing = [
        at
        for one in deeper
        for at in (*one.starts.values(), one.finish)
        if run.left < at < run.right
    ]
    if not label.texts or not crossing:
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
    return written(run.ways[0].conditions, room), (left + right) / 2


def _points(
    run: _Run, way: Way, items: Mapping[str, Spot], free: Mapping[str, bool], down: float
) -> tuple[Point, ...]:
    source, target, start = items[way.source], items[way.target], run.starts[way.source]
    first = [(start, source.foot)]
    if not free[way.source]:
        first = [(source.right, source.exit), (start, source.exit)]
    last = [(run.finish, target.foot)]
    if not free[way.target]:
        last = [(run.finish, target.entry), (target.left, target.entry)]
    return (*first, (start, down), (run.finish, down), *last)


def _line(way: Way, points: tuple[Point, ...], label: Written, middle: Point) -> Line:
    edge = way.edges[0]
    pill = label.at(*middle)
    return Line(edge.source, edge.target, way.conditions, way.conditional, points, pill)
