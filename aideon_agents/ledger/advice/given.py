"""All advice on some calls, the weightiest first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aideon_agents.ledger.advice.cells import Advice, cells, nanousd_in
from aideon_agents.ledger.advice.models import (
    cheaper_models,
    cut_short,
    failing_models,
    unknown_costs,
)
from aideon_agents.ledger.advice.waste import fallbacks, last_rounds, repeated_input, retries
from aideon_agents.ledger.dimensions import Selection
from aideon_agents.ledger.store import Ledger

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def advice(
    ledger: Ledger, selection: Selection, rungs: Mapping[str, Sequence[str]]
) -> tuple[Advice, ...]:
    """What the figures of some calls advise."""
    known = cells(ledger, selection)
    weighed = [
        *cheaper_models(ledger, selection, known, rungs),
        *failing_models(known),
        *retries(known),
        *fallbacks(ledger, selection, known),
        *last_rounds(ledger, selection),
        *cut_short(known),
        *repeated_input(ledger, selection, nanousd_in(known)),
    ]
    weighed.sort(key=lambda one: -one.nanousd)
    return (*unknown_costs(known), *weighed)
