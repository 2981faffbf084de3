"""The calls a piece of advice rests on, those that are alike added up into one cell.

A ledger of any size comes down to some hundred cells, so that each kind of advice is plain
arithmetic over them and all rest on the same figures.

What a node's calls would cost at another model's price, and what a cached prompt costs.
"""

from __future__ import annotations

import collections
import dataclasses
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from aideon_agents.errors import ModelNameError
from aideon_agents.ledger.comparison import PRICED_COLUMNS, Against, Compared, again
from aideon_agents.ledger.database import Row
from aideon_agents.ledger.dimensions import MODEL, Selection
from aideon_agents.ledger.pricing import PricedModel, price, usd, usd_text
from aideon_agents.ledger.store import Ledger
from aideon_agents.ledger.usage import Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from decimal import Decimal


Kind = Literal[
    "unknown_cost",
    "cheaper_model",
    "failing_model",
    "retries",
    "fallbacks",
    "last_round",
    "cut_short",
    "repeated_input",
]

FEW = 10
"""Calls, or runs, below which a share says little: of nine, one alone is more than a tenth."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Advice:
    """One recommendation."""

    kind: Kind
    where: str
    """The node path, model or workflow that it is about."""
    text: str
    """What, how much of it, and what to do."""
    figures: Mapping[str, Any]
    """What it rests on: counts, shares from 0 to 1, money as Decimal US dollars."""
    nanousd: int
    """The money that it is about, by which recommendations are ordered."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cell:
    """Calls that are alike in all that advice asks about."""

    node: str
    role: str
    model: str
    """`provider:model` as it was asked for."""
    status: str
    error_type: str
    """Empty when they did not fail."""
    finish_reason: str
    """Empty when no answer said why it ended."""
    is_primary: bool
    """The chain's first model."""
    fallback: bool
    """A later one, asked because the ones before failed or cost too much for a budget."""
    retry: bool
    """Not the first try of this model."""
    shortened: bool
    calls: int
    known: int
    """Of these, the ones whose cost is known."""
    unpriced: int
    """Of these, the ones whose tokens are known and whose cost is not."""
    nanousd: int

    @property
    def failed(self) -> bool:
        """Whether they raised, or broke off on the way."""
        return self.status in ("error", "truncated")


def cells(ledger: Ledger, selection: Selection) -> list[Cell]:
    """Add up the calls that advice is asked about."""
    found = ledger.select(
        f"""
        SELECT calls.node_path AS node, calls.role AS role, {MODEL} AS model,
            calls.status AS status, COALESCE(calls.error_type, '') AS error_type,
            COALESCE(calls.finish_reason, '') AS finish_reason,
            CASE WHEN calls.candidate = 0 THEN 1 ELSE 0 END AS is_primary,
            CASE WHEN calls.candidate > 0 AND calls.economized = 0 THEN 1 ELSE 0 END AS fallback,
            CASE WHEN calls.attempt > 1 THEN 1 ELSE 0 END AS retry,
            calls.shortened AS shortened,
            COUNT(*) AS calls, COUNT(calls.cost_nanousd) AS known,
            COUNT(*) FILTER (
                WHERE calls.cost_nanousd IS NULL AND calls.input_tokens IS NOT NULL
            ) AS unpriced,
            COALESCE(SUM(calls.cost_nanousd), 0) AS nanousd
        FROM calls {selection.where("calls")} GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
        """,  # noqa: S608 - both parts are ours
        selection.values,
    )
    return sorted((_cell(row) for row in found), key=dataclasses.astuple)


def _cell(row: Row) -> Cell:
    fields: dict[str, Any] = dict(row)
    for flag in ("is_primary", "fallback", "retry", "shortened"):
        fields[flag] = bool(fields[flag])
    fields["nanousd"] = int(fields["nanousd"])  # a sum is a Decimal on a server
    return Cell(**fields)


def grouped(found: Iterable[Cell], key: Callable[[Cell], str]) -> dict[str, list[Cell]]:
    """Cells by what they have in common, in the order of the first."""
    groups: dict[str, list[Cell]] = collections.defaultdict(list)
    for cell in found:
        groups[key(cell)].append(cell)
    return groups


def calls_in(found: Iterable[Cell]) -> int:
    """How many calls some cells hold."""
    return sum(cell.calls for cell in found)


def nanousd_in(found: Iterable[Cell]) -> int:
    """What some cells cost, as far as it is known."""
    return sum(cell.nanousd for cell in found)


def is_complete(found: Iterable[Cell]) -> bool:
    """Whether the cost of every call in some cells is known."""
    return all(cell.known == cell.calls for cell in found)


def errors_in(found: Iterable[Cell]) -> dict[str, int]:
    """How often which error was raised, the most frequent first."""
    counts: collections.Counter[str] = collections.Counter()
    for cell in found:
        if cell.failed:
            counts[cell.error_type or cell.status] += cell.calls
    return dict(sorted(counts.items(), key=lambda one: (-one[1], one[0])))


def named(node: str) -> str:
    """A node as a sentence names it."""
    return node or "(outside a graph)"


def money(amount: int | Decimal, *, complete: bool = True) -> str:
    """An exact amount for a sentence, from nano-dollars or dollars."""
    shown = usd_text(usd(amount) if isinstance(amount, int) else amount)
    return f"${shown}" if complete else f"at least ${shown}"


def spent(found: Sequence[Cell]) -> str:
    """What some cells cost, for a sentence; a lower bound is called one."""
    return money(nanousd_in(found), complete=is_complete(found))


def percent(part: float) -> str:
    """A share for a sentence."""
    return f"{part:.0%}".replace("%", " %")


def counted(number: int, noun: str) -> str:
    """A number of things: `1 call`, `2,000 calls`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def at_price_of(
    ledger: Ledger, selection: Selection, name: str, node: str, *, fallbacks: bool = False
) -> Against | None:
    """The same tokens at another model's price."""
    try:
        model = PricedModel(name)
    except ModelNameError:
        return None
    some = "AND calls.candidate > 0 AND calls.economized = 0" if fallbacks else ""
    found = ledger.select(
        f"""
        SELECT {PRICED_COLUMNS} FROM calls
        {selection.where("calls")} AND calls.node_path = :node {some}
        """,  # noqa: S608 - all parts are ours
        {**selection.values, "node": node},
    )
    sums = Compared(model)
    for call in found:
        sums.add(node, again(call, model))
    return sums.total()


def saved_by_cache(provider: str, model: str, tokens: int, at: str) -> int:
    """How much less a prompt costs when it is read from the provider's cache."""
    moment = datetime.fromisoformat(at)
    fresh = price(provider, model, Usage(input_tokens=tokens, output_tokens=0), moment)
    usage = Usage(input_tokens=tokens, output_tokens=0, cache_read_tokens=tokens)
    cached = price(provider, model, usage, moment)
    if fresh.nanousd is None or cached.nanousd is None:
        return 0
    return fresh.nanousd - cached.nanousd
