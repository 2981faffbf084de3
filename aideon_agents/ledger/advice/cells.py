"""The calls that advice is derived from; calls that are alike are added up into one cell.

A ledger of any size comes down to some hundred cells, so that each kind of advice is plain
arithmetic over them and all rest on the same figures.
"""

from __future__ import annotations

import collections
import dataclasses
from typing import TYPE_CHECKING, Any, Literal

from aideon_agents.errors import ModelNameError
from aideon_agents.ledger.costs import FAILED
from aideon_agents.ledger.money import usd, usd_text
from aideon_agents.ledger.pricing import PricedModel
from aideon_agents.ledger.reports import Against, compared
from aideon_agents.ledger.selection import MODEL, Selection, sums
from aideon_agents.ledger.store import Ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
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
"""Calls, or runs, below which a share says little: one of nine is more than a tenth."""


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
    """The amount that it is about, by which recommendations are ordered."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cell:
    """Calls that are alike in everything that advice distinguishes."""

    node: str
    role: str
    model: str
    """`provider:model` as it was requested."""
    status: str
    error_type: str
    """Empty when they did not fail."""
    finish_reason: str
    """Empty when no answer reports why it ended."""
    is_primary: bool
    """The chain's first model."""
    fallback: bool
    """A later model, called because the ones before it failed or did not fit a budget."""
    retry: bool
    """Not the first try of this model."""
    shortened: bool
    calls: int
    known_calls: int
    """Of these, the ones whose cost is known."""
    unpriced: int
    """Of these, the ones whose tokens are known and whose cost is not."""
    nanousd: int

    @property
    def failed(self) -> bool:
        """Whether they raised, or their answers broke off."""
        return self.status in FAILED


class Cells(list[Cell]):
    """Some cells, and what they add up to."""

    @property
    def calls(self) -> int:
        """How many calls they hold."""
        return sum(cell.calls for cell in self)

    @property
    def nanousd(self) -> int:
        """What they cost, in nano-dollars, the sum of what is known."""
        return sum(cell.nanousd for cell in self)

    @property
    def complete(self) -> bool:
        """Whether the cost of every call is known."""
        return all(cell.known_calls == cell.calls for cell in self)

    @property
    def spent(self) -> str:
        """What they cost, for a sentence that names a lower bound as one."""
        return money(self.nanousd, complete=self.complete)

    @property
    def cost(self) -> dict[str, Any]:
        """What they cost, among the figures of a piece of advice."""
        return {"usd": usd(self.nanousd), "complete": self.complete}

    @property
    def errors(self) -> dict[str, int]:
        """How often each error was raised, the most frequent first."""
        counts: collections.Counter[str] = collections.Counter()
        for cell in self:
            if cell.failed:
                counts[cell.error_type or cell.status] += cell.calls
        return dict(sorted(counts.items(), key=lambda one: (-one[1], one[0])))

    def where(self, condition: Callable[[Cell], object]) -> Cells:
        """Those that fit a condition."""
        return Cells(cell for cell in self if condition(cell))

    def by(self, column: Literal["node", "model"]) -> dict[str, Cells]:
        """Them by node or by model, in the order of the first of each."""
        groups: dict[str, Cells] = collections.defaultdict(Cells)
        for cell in self:
            groups[getattr(cell, column)].append(cell)
        return groups


def cells(ledger: Ledger, selection: Selection) -> Cells:
    """Add up the selected calls."""
    where, values = selection.where("calls"), selection.values
    found = sums(ledger.database, where, values, by=_ALIKE, also=_UNPRICED)
    return Cells(sorted(map(_cell, found), key=dataclasses.astuple))


def _cell(row: dict[str, Any]) -> Cell:
    fields = {field.name: row[field.name] for field in dataclasses.fields(Cell)}
    for flag in ("is_primary", "fallback", "retry", "shortened"):
        fields[flag] = bool(fields[flag])
    return Cell(**fields)


_ALIKE = {
    "node": "calls.node_path",
    "role": "calls.role",
    "model": MODEL,
    "status": "calls.status",
    "error_type": "COALESCE(calls.error_type, '')",
    "finish_reason": "COALESCE(calls.finish_reason, '')",
    "is_primary": "CASE WHEN calls.candidate = 0 THEN 1 ELSE 0 END",
    "fallback": "CASE WHEN calls.candidate > 0 AND calls.economized = 0 THEN 1 ELSE 0 END",
    "retry": "CASE WHEN calls.attempt > 1 THEN 1 ELSE 0 END",
    "shortened": "calls.shortened",
}
_UNPRICED = {
    "unpriced": (
        "COUNT(*) FILTER (WHERE calls.cost_nanousd IS NULL AND calls.input_tokens IS NOT NULL)"
    )
}


def named(node: str) -> str:
    """A node as a sentence names it."""
    return node or "(outside a graph)"


def money(amount: int | Decimal, *, complete: bool = True) -> str:
    """An exact amount for a sentence, from nano-dollars or dollars."""
    shown = usd_text(usd(amount) if isinstance(amount, int) else amount)
    return f"${shown}" if complete else f"at least ${shown}"


def percent(part: float) -> str:
    """A share for a sentence."""
    return f"{part:.0%}".replace("%", " %")


def counted(number: int, noun: str) -> str:
    """A number of things: `1 call`, `2,000 calls`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def at_price_of(
    ledger: Ledger, selection: Selection, name: str, node: str, *, fallbacks: bool = False
) -> Against | None:
    """A node's tokens, or those of its fallbacks alone, at another model's price; None: unknown."""
    try:
        model = PricedModel(name)
    except ModelNameError:
        return None
    some = " AND calls.candidate > 0 AND calls.economized = 0" if fallbacks else ""
    found = compared(
        ledger,
        selection,
        model,
        {"node": "calls.node_path"},
        condition=f"calls.node_path = :node_path{some}",
        values={"node_path": node},
    )
    return found["node"].total()


def causes(errors: Mapping[str, int]) -> str:
    """How often each error was raised, for a sentence."""
    return ", ".join(f"{name} {times:,}" for name, times in errors.items())
