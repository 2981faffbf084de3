"""Bar charts as SVG, with the same figures as a table beside them."""

from __future__ import annotations

import dataclasses
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

WIDTH, HEIGHT = 720, 162
SERIES = 6
"""How many series have a colour of their own; the others are shown together."""


@dataclasses.dataclass(frozen=True)
class Bar:
    """A part of a column."""

    x: float
    y: float
    width: float
    height: float
    series: int
    label: str


@dataclasses.dataclass(frozen=True)
class Chart:
    """A stacked bar chart: a column for each label, a part for each series."""

    labels: Sequence[str]
    series: Sequence[str]
    values: Mapping[tuple[str, str], Decimal]
    unit: str = "$"

    @property
    def totals(self) -> dict[str, Decimal]:
        """The height of each column."""
        return {
            label: sum(
                (self.values.get((label, one), Decimal(0)) for one in self.series), Decimal(0)
            )
            for label in self.labels
        }

    @property
    def most(self) -> Decimal:
        """The highest column."""
        return max(self.totals.values(), default=Decimal(0))

    @property
    def bars(self) -> list[Bar]:
        """The parts, from left to right and from the bottom up."""
        if not self.most:
            return []
        found: list[Bar] = []
        step, room = WIDTH / len(self.labels), HEIGHT
        for column, label in enumerate(self.labels):
            top = Decimal(room)
            for number, series in enumerate(self.series):
                value = self.values.get((label, series), Decimal(0))
                if not value:
                    continue
                height = value / self.most * room
                top -= height
                text = f"{label}, {series}: {self.unit}{value:f}"
                x, y = round(column * step + 1, 1), round(float(top), 1)
                found.append(Bar(x, y, round(step - 2, 1), round(float(height), 1), number, text))
        return found


def stacked(labels: Sequence[str], values: Mapping[tuple[str, str], Decimal]) -> Chart:
    """A chart of the largest series; the smaller ones are added up as `other`."""
    sums: dict[str, Decimal] = {}
    for (_, series), value in values.items():
        sums[series] = sums.get(series, Decimal(0)) + value
    ordered = sorted(sums, key=lambda one: (-sums[one], one))
    kept = ordered if len(ordered) <= SERIES else ordered[: SERIES - 1]
    shown: dict[tuple[str, str], Decimal] = {}
    for (label, series), value in values.items():
        key = label, series if series in kept else "other"
        shown[key] = shown.get(key, Decimal(0)) + value
    return Chart(labels, kept if len(kept) == len(ordered) else [*kept, "other"], shown)
