"""The conditions of a way as they are written on it: one below the other, in one rounded box."""

from __future__ import annotations

from dataclasses import dataclass

from aideon_agents.drawing.lettering import fitted, width
from aideon_agents.drawing.picture import Pill

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
