"""How good a router is: the quality that it keeps against the share of calls that it sends to the strong model.

`gains` are strong minus weak by prompt, in the order of `scores`. The area under the curve of quality,
from the weak model's to the strong model's, is APGR as in the RouteLLM paper: 0.5 is chance, and it
exceeds 1 where a mix is better than the strong model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[Any]


def ranked(scores: Numbers, gains: Numbers) -> Numbers:
    """The gains in the order in which a router sends prompts to the strong model; ties by chance."""
    ties = np.random.default_rng(7).random(len(scores))
    return gains[np.lexsort((ties, -scores))]


def apgr(scores: Numbers, gains: Numbers) -> float:
    """The area under the curve."""
    return float(_areas(ranked(scores, gains), np.ones((1, len(gains))))[0])


def interval(scores: Numbers, gains: Numbers, percent: float = 90) -> tuple[float, float]:
    """The bootstrap interval of the area."""
    size = len(gains)
    chance = np.random.default_rng(7)
    drawn = chance.multinomial(size, np.full(size, 1 / size), size=400).astype(float)
    outside = (100 - percent) / 2
    low, high = np.percentile(_areas(ranked(scores, gains), drawn), [outside, 100 - outside])
    return float(low), float(high)


def share_for(scores: Numbers, gains: Numbers, part: float) -> float:
    """The share of calls to the strong model that recovers a part of the gap: CPT50 for 0.5."""
    reached = np.cumsum(ranked(scores, gains)) >= part * gains.sum()
    return float((np.argmax(reached) + 1) / len(gains)) if reached.any() else 1.0


def _areas(order: Numbers, times: Any) -> Numbers:
    """The area for each row of `times`, how often each prompt is drawn."""
    gained = np.cumsum(times * order, axis=1)
    middle = gained - times * order / 2
    whole = gained[:, -1]
    areas = (middle * times).sum(axis=1) / times.sum(axis=1)
    return np.divide(areas, whole, out=np.full(len(whole), np.nan), where=whole > 0)
