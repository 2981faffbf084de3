"""Advice: where money is spent without need, and what to do about it.

Each piece of advice is derived from rows (`cells`) and comes with the figures it rests on. Another
model's price is given for what it is, the same tokens at that price: the ledger does not know how
well that model would answer. What is below a threshold is left out, because advice about small
amounts hides the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, cast

from aideon_agents.ledger.advice.cells import Advice, cells
from aideon_agents.ledger.advice.models import (
    cheaper_models,
    cut_short,
    failing_models,
    unknown_costs,
)
from aideon_agents.ledger.advice.waste import fallbacks, last_rounds, repeated_input, retries
from aideon_agents.ledger.money import usd_text
from aideon_agents.ledger.selection import Selection
from aideon_agents.ledger.store import Ledger

_SHARE_PLACES = 6


def advice(
    ledger: Ledger, selection: Selection, rungs: Mapping[str, Sequence[str]]
) -> tuple[Advice, ...]:
    """All advice on the selected calls: unknown costs first, then by the money it is about.

    `rungs` are the catalog's models by price class, the cheapest class first.
    """
    known = cells(ledger, selection)
    weighed = [
        *cheaper_models(ledger, selection, known, rungs),
        *failing_models(known),
        *retries(known),
        *fallbacks(ledger, selection, known),
        *last_rounds(ledger, selection),
        *cut_short(known),
        *repeated_input(ledger, selection, known.nanousd),
    ]
    weighed.sort(key=lambda one: -one.nanousd)
    return (*unknown_costs(known), *weighed)


def advice_document(found: Sequence[Advice]) -> dict[str, Any]:
    """The JSON document of `aideon costs --advice`."""
    return {
        "advice": [
            {"kind": one.kind, "where": one.where, "text": one.text, "figures": _json(one.figures)}
            for one in found
        ]
    }


def _json(value: Any) -> Any:
    """Figures at any depth: money as text, shares rounded."""
    if isinstance(value, Mapping):
        figures = cast("Mapping[str, Any]", value)
        return {name: _json(one) for name, one in figures.items()}
    if isinstance(value, Decimal):
        return usd_text(value)
    return round(value, _SHARE_PLACES) if isinstance(value, float) else value
