"""What second tries and second choices cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aideon_agents.ledger.advice.cells import (
    Advice,
    calls_in,
    counted,
    errors_in,
    grouped,
    is_complete,
    money,
    named,
    nanousd_in,
    percent,
    spent,
)
from aideon_agents.ledger.advice.prices import at_price_of
from aideon_agents.ledger.pricing import usd

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from aideon_agents.ledger.advice.cells import Cell
    from aideon_agents.ledger.comparison import Against
    from aideon_agents.ledger.dimensions import Selection
    from aideon_agents.ledger.store import Ledger

NOTABLE_SHARE = 0.05
"""Of the cost: one dollar in twenty. Less is the price of getting an answer at all."""


def retries(cells: Sequence[Cell]) -> Iterator[Advice]:
    """Find models whose second tries cost much."""
    whole = nanousd_in(cells)
    for model, own in grouped(cells, lambda cell: cell.model).items():
        again = [cell for cell in own if cell.retry]
        cost = nanousd_in(again)
        if not cost or cost < NOTABLE_SHARE * whole:
            continue
        errors = errors_in(own)
        yield Advice(
            kind="retries",
            where=model,
            text=(
                f"{counted(calls_in(again), 'call')} asked again after a failure"
                f"{_because(errors)}, for {spent(again)}, {percent(cost / whole)} of the cost."
                " Mend what fails first, or put a model that fails less before it"
            ),
            figures={
                "retry_calls": calls_in(again),
                "usd": usd(cost),
                "complete": is_complete(again),
                "share": cost / whole,
                "errors": errors,
            },
            nanousd=cost,
        )


def fallbacks(ledger: Ledger, selection: Selection, cells: Sequence[Cell]) -> Iterator[Advice]:
    """Find nodes that are often answered by another model than their first."""
    whole = nanousd_in(cells)
    for node, own in grouped(cells, lambda cell: cell.node).items():
        second = [cell for cell in own if cell.fallback]
        cost = nanousd_in(second)
        errors = errors_in(own)
        if not errors or not cost or cost < NOTABLE_SHARE * whole:
            continue  # without an error it was a budget that chose the cheaper one
        first = sorted({cell.model for cell in own if cell.is_primary})
        models = sorted({cell.model for cell in second})
        at_first = None
        if len(first) == 1:
            at_first = at_price_of(ledger, selection, first[0], node, fallbacks=True)
        yield Advice(
            kind="fallbacks",
            where=named(node),
            text=(
                f"{counted(calls_in(second), 'call')} went to a fallback"
                f" ({', '.join(models)}), for {spent(second)},"
                f" {percent(cost / whole)} of the cost, after {', '.join(first) or 'the first model'} failed"
                f"{_because(errors)}.{_at_its_price(at_first)}"
                " Mend that, or begin with the model that answers"
            ),
            figures={
                "fallback_calls": calls_in(second),
                "usd": usd(cost),
                "complete": is_complete(second),
                "share": cost / whole,
                "first_models": first,
                "fallback_models": models,
                "errors": errors,
                **({"against": vars(at_first)} if at_first else {}),
            },
            nanousd=cost,
        )


def _at_its_price(against: Against | None) -> str:
    if against is None:
        return ""
    amount = money(against.usd, complete=against.complete)
    return f" The same tokens at {against.model}'s price: {amount}."


def _because(errors: dict[str, int]) -> str:
    told = ", ".join(f"{name} {times:,}" for name, times in errors.items())
    return f" ({told})" if told else ""
