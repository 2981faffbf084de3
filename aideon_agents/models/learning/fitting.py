"""Fits a router to labels: ridge regression on strong minus weak, solved by conjugate gradients.

Words and their pairs, and pieces of words, are weighted by TF-IDF, and each of the two kinds has length
1. How strongly weights are pulled to 0 was chosen by cross-validation on public outcomes, and is the
same for all labels: choosing it on a few hundred labels would be chance.

How good a router is, is the quality that it keeps against the share of calls that it sends to the strong
model. The area under that curve, from the weak model's quality to the strong model's, is APGR as in the
RouteLLM paper: 0.5 is chance, and it exceeds 1 where a mix is better than the strong model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from aideon_agents.models.learning.router import BUCKETS, FAR, PIECES, Router, buckets, look, packed

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from aideon_agents.models.learning.router import Label

    Numbers = NDArray[Any]

_TEXT, _TEXT_BESIDE_CATEGORY = 14.0, 60.0
"""Penalties of text features. Where the category is known, they explain only the rest."""

_LOOK, _CATEGORY = 1000.0, 10.0

_LEAST_DEVIATION = 0.01
"""Of a feature of the look, so that one that labels hardly vary in does not decide about other prompts."""

_FOLDS = 5
FEWEST = 50
"""Labels below which a router abstains."""

LEAST = 0.55
"""The cross-validated APGR below which routing saves less than a tenth of what is at stake."""


class Sparse(NamedTuple):
    """One kind of text feature: how often, as 1 + log, each bucket occurs in each prompt."""

    rows: Numbers
    columns: Numbers
    counts: Numbers

    @classmethod
    def of(cls, found: Sequence[Counter[int]]) -> Sparse:
        """Put the counts of prompts together."""
        counts = np.fromiter((count for one in found for count in one.values()), np.float64)
        columns = np.fromiter((bucket for one in found for bucket in one), np.int64)
        return cls(
            np.repeat(np.arange(len(found)), list(map(len, found))), columns, 1 + np.log(counts)
        )

    def scaled(self, rarity: Numbers, size: int) -> Numbers:
        """The values, of length 1 by prompt."""
        values = self.counts * rarity[self.columns]
        lengths = np.sqrt(np.bincount(self.rows, values**2, minlength=size))
        return values / lengths[self.rows]


class Features(NamedTuple):
    """The features of prompts."""

    words: Sparse
    pieces: Sparse
    looks: Numbers

    @classmethod
    def of(cls, prompts: Sequence[str]) -> Features:
        """Read prompts."""
        found = [buckets(prompt) for prompt in prompts]
        words, pieces = ([one[kind] for one in found] for kind in (0, 1))
        looks = np.array([look(prompt) for prompt in prompts])
        return cls(Sparse.of(words), Sparse.of(pieces), looks)

    def some(self, chosen: Numbers) -> Features:
        """The features of some prompts, by their numbers."""
        place = np.full(len(self.looks), -1)
        place[chosen] = np.arange(len(chosen))

        def part(kind: Sparse) -> Sparse:
            keep = place[kind.rows] >= 0
            return Sparse(place[kind.rows[keep]], kind.columns[keep], kind.counts[keep])

        return Features(part(self.words), part(self.pieces), self.looks[chosen])


class Fitted(NamedTuple):
    """The weights of a router."""

    bias: float
    rarities: list[Numbers]
    weights: list[Numbers]
    dense: Numbers
    """Mean, deviation and weight of each feature of the look, by column."""
    categories: dict[str, float]

    def scores(self, features: Features, categories: Sequence[str | None]) -> Numbers:
        """The estimates for prompts."""
        means, deviations, of_look = self.dense
        total = self.bias + standard(features.looks, means, deviations) @ of_look
        total += [self.categories.get(one or "", 0.0) for one in categories]
        texts = (features.words, features.pieces)
        for kind, rarity, weights in zip(texts, self.rarities, self.weights, strict=True):
            parts = kind.scaled(rarity, len(total)) * weights[kind.columns]
            total += np.bincount(kind.rows, parts, minlength=len(total))
        return total


def standard(looks: Numbers, means: Numbers, deviations: Numbers) -> Numbers:
    """The look in deviations from what is usual, up to a limit."""
    return np.clip((looks - means) / deviations, -FAR, FAR)


def fit(features: Features, gains: Numbers, categories: Sequence[str | None]) -> Fitted:
    """Fit the weights to strong minus weak."""
    size = len(gains)
    words, pieces = features.words, features.pieces
    rarities = [
        np.log((1 + size) / (1 + np.bincount(kind.columns, minlength=BUCKETS))) + 1
        for kind in (words, pieces)
    ]
    rows = np.concatenate([words.rows, pieces.rows])
    columns = np.concatenate([words.columns, pieces.columns + BUCKETS])
    values = np.concatenate(
        [words.scaled(rarities[0], size), PIECES * pieces.scaled(rarities[1], size)]
    )
    named = sorted({one for one in categories if one})
    means, deviations = (
        features.looks.mean(axis=0),
        np.maximum(features.looks.std(axis=0), _LEAST_DEVIATION),
    )
    known = np.array([[one == name for name in named] for one in categories], dtype=float)
    known = known.reshape(size, len(named))
    dense = np.hstack([standard(features.looks, means, deviations), known - known.mean(axis=0)])
    penalty = np.concatenate(
        [
            np.full(2 * BUCKETS, _TEXT_BESIDE_CATEGORY if named else _TEXT),
            np.full(len(means), _LOOK),
            np.full(len(named), _CATEGORY),
        ]
    )
    bias = gains.mean()

    def forward(weights: Numbers) -> Numbers:
        text = np.bincount(rows, values * weights[columns], minlength=size)
        return text + dense @ weights[2 * BUCKETS :]

    def back(errors: Numbers) -> Numbers:
        text = np.bincount(columns, values * errors[rows], minlength=2 * BUCKETS)
        return np.concatenate([text, dense.T @ errors])

    def matrix(weights: Numbers) -> Numbers:
        return back(forward(weights)) + penalty * weights

    solved = _solve(matrix, back(gains - bias))
    of_look = solved[2 * BUCKETS : 2 * BUCKETS + len(means)]
    of_category = solved[2 * BUCKETS + len(means) :]
    return Fitted(
        float(bias - known.mean(axis=0) @ of_category),
        rarities,
        [solved[:BUCKETS], solved[BUCKETS : 2 * BUCKETS] * PIECES],
        np.array([means, deviations, of_look]),
        dict(zip(named, of_category.tolist(), strict=True)),
    )


def _solve(matrix: Callable[[Numbers], Numbers], right: Numbers) -> Numbers:
    """Conjugate gradients, for a matrix that is given as a function."""
    solution = np.zeros_like(right)
    rest, direction = right.copy(), right.copy()
    length = start = rest @ rest
    for _ in range(60):
        if length <= 1e-7 * start:
            break
        turned = matrix(direction)
        step = length / (direction @ turned)
        solution += step * direction
        rest -= step * turned
        before, length = length, rest @ rest
        direction = rest + length / before * direction
    return solution


def cross_validated(
    features: Features,
    gains: Numbers,
    categories: Sequence[str | None],
    folds: Sequence[Numbers] = (),
) -> Numbers:
    """Estimates for each prompt by a router that has not seen it; `folds` are lists of their numbers."""
    size = len(gains)
    folds = folds or np.array_split(np.random.default_rng(7).permutation(size), _FOLDS)
    scores = np.zeros(size)
    for fold in folds:
        others = np.setdiff1d(np.arange(size), fold)
        fitted = fit(features.some(others), gains[others], [categories[n] for n in others])
        scores[fold] = fitted.scores(features.some(fold), [categories[n] for n in fold])
    return scores


def learn(
    labels: Sequence[Label], *, weak: str | None, strong: str | None, share: float | None = None
) -> Router:
    """Fit a router to labels.

    `share` is the wanted share of calls to the strong model; None: the smallest that keeps its quality.
    """
    features = Features.of([one.prompt for one in labels])
    gains = np.array([one.strong - one.weak for one in labels])
    categories = [one.category for one in labels]
    fitted = fit(features, gains, categories)
    scores, whole, ends = np.zeros(len(labels)), 0.5, (0.0, 1.0)
    abstains = _unfit(gains)
    if not abstains:
        scores = cross_validated(features, gains, categories)
        whole, ends = apgr(scores, gains), interval(scores, gains)
        length = apgr(features.looks[:, 0], gains)
        abstains = _worthless(whole, ends, length)
    wanted = _equal_share(scores, gains) if share is None else share
    threshold = (
        float(np.quantile(scores, 1 - wanted)) if 0 < wanted < 1 else (-1e9, 1e9)[not wanted]
    )
    return Router(
        weak=weak,
        strong=strong,
        abstains=abstains,
        threshold=threshold,
        share=wanted,
        labels=len(labels),
        apgr=(whole, *ends),
        bias=fitted.bias,
        dense=[(row[0], row[1], row[2]) for row in fitted.dense.T.tolist()],
        categories=fitted.categories,
        words=packed(fitted.rarities[0], fitted.weights[0]),
        pieces=packed(fitted.rarities[1], fitted.weights[1]),
    )


def _unfit(gains: Numbers) -> str | None:
    """Why labels say nothing about routing; None: they may."""
    if len(gains) < FEWEST:
        return f"{len(gains)} labels are too few: {FEWEST} are needed"
    if gains.sum() <= 0:
        return "the strong model is not better on these prompts: ask the weak one"
    return None


def _worthless(whole: float, ends: tuple[float, float], length: float) -> str | None:
    """Why a router is not used; None: it is."""
    known = f"APGR {whole:.3f} [{ends[0]:.3f}, {ends[1]:.3f}]"
    if ends[0] <= 0.5:  # noqa: PLR2004 - chance
        return f"it may be no better than chance: {known}, where chance is 0.5"
    if whole < LEAST:
        return f"these two models can hardly be routed by their prompts: {known} is under {LEAST}"
    if whole <= length:
        return f"it is no better than the length of the prompt: {known}, length {length:.3f}"
    return None


def _equal_share(scores: Numbers, gains: Numbers) -> float:
    """The smallest share of calls to the strong model that loses at most one answer in a hundred."""
    kept = np.cumsum(ranked(scores, gains)) / len(gains) - gains.mean()
    reached = kept >= -0.01  # noqa: PLR2004
    return float((np.argmax(reached) + 1) / len(gains)) if reached.any() else 1.0


def ranked(scores: Numbers, gains: Numbers) -> Numbers:
    """Strong minus weak, in the order in which a router sends prompts to strong; ties by chance."""
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
