"""What a node's calls would cost at another model's price, and what a cached prompt costs."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from aideon_agents.errors import ModelNameError
from aideon_agents.ledger.comparison import PRICED_COLUMNS, Compared, again
from aideon_agents.ledger.pricing import price
from aideon_agents.ledger.rates import PricedModel
from aideon_agents.ledger.usage import Usage

if TYPE_CHECKING:
    from aideon_agents.ledger.comparison import Against
    from aideon_agents.ledger.dimensions import Selection
    from aideon_agents.ledger.store import Ledger


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
