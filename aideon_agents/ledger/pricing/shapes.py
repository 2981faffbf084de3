"""What is priced, and what it costs: the values that pricing takes and gives."""

from __future__ import annotations

import dataclasses
import decimal
from decimal import Decimal

from aideon_agents.ledger.money import NANO
from aideon_agents.ledger.rows import Usage

LIST_PRICE = frozenset({None, "default", "standard", "on_demand"})
"""Service tiers whose price is the list price. `auto` does not say which tier answered, and the price
of `scale` is in a contract."""


@dataclasses.dataclass(frozen=True)
class Price:
    """What a call costs, and where its price comes from."""

    nanousd: int | None
    """Billionths of a US dollar; None: unknown."""
    source: str | None
    """The price list with its version; None where it has no price."""


UNKNOWN = Price(None, None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class StatedPrice:
    """What a model costs according to a catalog, in US dollars per million tokens."""

    input: Decimal | None
    """None: unknown."""
    output: Decimal | None
    cache_read: Decimal | None = None
    """None: as `input`."""
    source: str
    """What the rows of its calls name as the source of their cost."""
    is_first: bool = False
    """It counts before the price list's; False: it counts where the list has no price."""

    def price(self, usage: Usage) -> Price:
        """Price one call, as `price` does."""
        cached = usage.cache_read_tokens or 0
        parts = (
            (usage.input_tokens - cached, self.input),
            (cached, self.input if self.cache_read is None else self.cache_read),
            (usage.output_tokens, self.output),
        )
        is_plain = usage.tier in LIST_PRICE and not usage.others and cached <= usage.input_tokens
        if not is_plain or any(tokens and rate is None for tokens, rate in parts):
            return UNKNOWN
        exact = sum((tokens * (rate or Decimal(0)) for tokens, rate in parts), Decimal(0))
        nanousd = exact.scaleb(NANO - 6).to_integral_value(decimal.ROUND_HALF_EVEN)
        return Price(int(nanousd), self.source)
