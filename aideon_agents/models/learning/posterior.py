"""The order of candidates that outcomes speak for: expected quality minus what the price is worth.

A model's quality in a class of tasks is a Beta posterior: the scores of the class, shrunk to the
model's mean over the other classes, which is shrunk to that of all models. The share of its calls that
gave no valid answer reduces it. Quality divided by price is not used: it chooses the cheapest model
whatever it answers. The default stays unless another candidate is better by more than chance.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from aideon_agents.ledger.identity import now
from aideon_agents.ledger.models.outcomes import Record, records, task_class
from aideon_agents.ledger.pricing import Usage, price

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from aideon_agents.ledger.database import Database
    from aideon_agents.models.choosing import Choice
    from aideon_agents.state import ModelRequest

_AS_MANY = 8.0
"""Outcomes that a model's mean over other classes counts as."""

_UNJUDGED = 0.8
"""The quality of answers without an outcome, with the weight of two outcomes."""

_FEW = 10
"""Outcomes, or calls, of each of two models below which they are not compared."""

_SURE = 1.645
"""Standard deviations on either side: an interval of 90 %."""

_WORTH = 0.1
"""Of quality, that the price of the most expensive candidate is worth without a budget."""

_MOST_WORTH = 0.5
"""The same, when a budget is nearly used up."""

_PLENTY = 100
"""Calls that a budget must cover to be no reason to save."""

READ_EVERY = 60.0
"""Seconds between two readings of a ledger in one process."""


class Known(NamedTuple):
    """What a ledger knows: by class and model, by model, and of all models."""

    records: dict[tuple[str, str], Record]
    by_model: dict[str, Record]
    everyone: Record
    ledger: str = ""
    """The name of the ledger."""
    until: float = 0.0
    """When it is read again, by the monotonic clock."""
    version: int = 0
    """Another number for other records, so that chains are made again."""

    @classmethod
    def of(cls, records: dict[tuple[str, str], Record]) -> Known:
        """Add up the records once, so that a choice does not."""
        by_model: dict[str, Record] = {}
        for (_, model), one in records.items():
            by_model[model] = _sum(one, by_model.get(model, _NONE))
        return cls(records, by_model, functools.reduce(_sum, by_model.values(), _NONE))


_NONE = Record(0, 0.0)


def _sum(one: Record, other: Record) -> Record:
    return Record(one.outcomes + other.outcomes, one.total + other.total)


class Learned(NamedTuple):
    """What outcomes say about the candidates for a class of tasks."""

    order: tuple[str, ...] | None
    """Candidates, the best first; None: the default order stays."""
    reason: dict[str, Any]
    """Why, as JSON values for the row of a call."""


class Quality(NamedTuple):
    """The expected quality of a model's answers, 0 to 1."""

    mean: float
    variance: float
    evidence: int
    """Outcomes or calls of the class that it rests on, whichever are more."""


_read: dict[Hashable, Known] = {}
_versions = itertools.count(1)

NOTHING_LEARNED = Known.of({})
"""Before a ledger was read."""


def known_in(database: Database) -> Known:
    """What a ledger knows, as read at most a minute ago."""
    before = _read.get(database.key)
    if before and time.monotonic() < before.until:
        return before
    found = records(database)
    if before is None or found != before.records:
        named = str(database.path.resolve()) if database.path else database.name
        version = next(_versions) if found else 0
        before = Known.of(found)._replace(ledger=named, version=version)
    _read[database.key] = before._replace(until=time.monotonic() + READ_EVERY)
    return _read[database.key]


def order(
    task_class: str,
    prices: Mapping[str, float | None],
    known: Known,
    *,
    left: float | None = None,
) -> Learned:
    """Order the candidates for a class of tasks.

    `prices` has the price of a call by candidate, in the default order; None: unknown. `left` is what a
    budget has left, in the same unit; None: there is no budget.
    """
    reason: dict[str, Any] = {"class": task_class}
    if len(prices) < 2:  # noqa: PLR2004 - there is nothing to choose
        return Learned(None, reason)
    default, *others = prices
    highest = max((price for price in prices.values() if price), default=0.0)
    worth = _worth_of(highest, left)
    quality = {name: quality_of(task_class, name, known) for name in prices}

    def gain(name: str) -> tuple[float, float]:
        """How much better than the default a candidate is, and how much of that may be chance."""
        own, usual = quality[name], quality[default]
        added = (_or(prices[name], highest) - _or(prices[default], highest)) / (highest or 1.0)
        chance = _SURE * math.sqrt(own.variance + usual.variance)
        return own.mean - usual.mean - worth * added, chance

    enough = [name for name in others if quality[name].evidence >= _FEW]
    if quality[default].evidence < _FEW or not enough:
        return Learned(None, {**reason, "abstains": "few outcomes"})
    best = max(enough, key=lambda name: gain(name)[0])
    better_by, chance = gain(best)
    figures = {"over": default, "gain": round(better_by, 3), "chance": round(chance, 3)}
    if better_by <= chance:
        return Learned(None, {**reason, "abstains": "no certain gain", "best": best, **figures})
    rest = [name for name in prices if name != best]
    figures |= {"expected": round(quality[best].mean, 3), "outcomes": quality[best].evidence}
    return Learned((best, *rest), {**reason, **figures})


def quality_of(task_class: str, model: str, known: Known) -> Quality:
    """The posterior of a model's quality in a class of tasks."""
    own = known.records.get((task_class, model), _NONE)
    whole = known.by_model.get(model, _NONE)
    elsewhere = Record(whole.outcomes - own.outcomes, whole.total - own.total)
    prior = _mean(elsewhere, _mean(known.everyone, _UNJUDGED))
    good = _AS_MANY * prior + own.total
    bad = _AS_MANY * (1 - prior) + own.outcomes - own.total
    score, spread = _beta(good, bad)
    calls = own.answered + own.failed
    answers, doubt = _beta(own.answered + 1.0, own.failed + 0.02) if calls else (1.0, 0.0)
    variance = answers**2 * spread + score**2 * doubt
    return Quality(answers * score, variance, max(own.outcomes, calls))


def with_first(choice: Choice, first: str) -> Choice:
    """A choice whose first model is the one that a router prefers, if it is one of them."""
    chain = tuple(sorted(choice.chain, key=lambda one: str(one) != first))
    if first not in map(str, chain):
        return choice
    return dataclasses.replace(choice, chain=chain, rule="learned", learned={"router": first})


def by_outcomes(
    choice: Choice, request: ModelRequest, known: Known, left: int | None = None
) -> Choice:
    """A choice in the order that outcomes speak for, with what they say; its own where they abstain.

    `left` is what a budget has left, in nano-dollars; None: there is no budget.
    """
    tokens = Usage(input_tokens=request.max_tokens, output_tokens=request.max_tokens)
    names = {str(one): one for one in choice.chain}
    prices = {
        name: price(one.provider, one.model, tokens, now()).nanousd for name, one in names.items()
    }
    of = task_class(request.role, request.use or request.purpose, request.content)
    learned = order(of, prices, known, left=left)
    if learned.order is None:
        return dataclasses.replace(choice, learned=learned.reason)
    chain = tuple(names[name] for name in learned.order)
    return dataclasses.replace(choice, chain=chain, rule="learned", learned=learned.reason)


def _mean(found: Record, otherwise: float) -> float:
    """The mean score, shrunk to another with the weight of two outcomes."""
    return (found.total + 2 * otherwise) / (found.outcomes + 2)


def _beta(good: float, bad: float) -> tuple[float, float]:
    """The mean and the variance of a Beta distribution."""
    whole = good + bad
    return good / whole, good * bad / (whole**2 * (whole + 1))


def _or(price: float | None, highest: float) -> float:
    """A price; an unknown one counts as the highest."""
    return highest if price is None else price


def _worth_of(highest: float, left: float | None) -> float:
    """How much quality the price of the most expensive candidate is worth: more, the fewer calls are left."""
    if left is None or not highest:
        return _WORTH
    scarce = 1 - min(1.0, max(0.0, left) / (highest * _PLENTY))
    return _WORTH + (_MOST_WORTH - _WORTH) * scarce
