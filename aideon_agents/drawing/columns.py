"""The columns of a level from left to right, and in rows where they would grow too wide.

A workflow of 300 steps in one line is a picture that nobody can look at. So a level that is wider
than a page is broken like text, where a single line leads on and nothing turns back.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

PAGE = 1680
"""Pixels that a row may be wide, where there is a place to break it."""

INDENT = 44
"""Of the rows after the first, for the line that leads into them."""

_LEAST = 0.3
"""Of the row that is aimed at: no row is begun or left for less."""

_NEAR, _FAR = 26, 84
"""Pixels between two columns, where lines run straight and where they climb."""


@dataclass(frozen=True)
class Climb:
    """A piece of a line from one column to the next."""

    column: int
    """The one on the left."""
    height: int
    """How far up or down it leads, in pixels."""


@dataclass(frozen=True)
class Columns:
    """Where the columns are."""

    lefts: list[int]
    """The left edge of each, in pixels."""
    widths: list[int]
    rows: list[int]
    """The row that each stands in, from 0."""

    def right(self, column: int) -> int:
        """The right edge of a column."""
        return self.lefts[column] + self.widths[column]


def spaced(
    widths: Sequence[int],
    climbs: Iterable[Climb],
    extra: Mapping[int, int],
    spans: Iterable[tuple[int, int]],
) -> Columns:
    """Place columns."""
    pieces = list(climbs)
    steepest = [0] * len(widths)
    for piece in pieces:
        steepest[piece.column] = max(steepest[piece.column], abs(piece.height))
    gaps = [
        _NEAR + extra.get(column, 0) + (14 if steep else 0) + min(_FAR - _NEAR - 14, steep // 5)
        for column, steep in enumerate(steepest)
    ]
    crossing = Counter(piece.column for piece in pieces)
    blocked = {column for first, last in spans for column in range(first, last)}
    cuts = [
        column for column in range(len(widths) - 1)
        if crossing[column] == 1 and column not in blocked
    ]  # fmt: skip
    return _in_rows(list(widths), gaps, set(_chosen(widths, gaps, cuts)))


def _chosen(widths: Sequence[int], gaps: Sequence[int], cuts: Sequence[int]) -> Iterable[int]:
    """Where to begin a new row: so that none is too wide and all are about as wide."""
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
