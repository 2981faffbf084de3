"""What is priced, and what it costs: the values that pricing takes and gives."""

from __future__ import annotations

import dataclasses
import decimal
from decimal import Decimal
from typing import TYPE_CHECKING, Literal, NamedTuple

from aideon_agents.ledger.money import NANO
from aideon_agents.ledger.rows import Usage

if TYPE_CHECKING:
    from collections.abc import Mapping

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


Measure = Literal[
    "token", "image", "megapixel_step", "character", "second", "credit", "hardware_second"
]
"""What providers bill by. A megapixel counts as often as its steps are of the model's usual ones."""

SCALES: Mapping[Measure, int] = {
    "token": 1,
    "image": 10**6,
    "megapixel_step": 10**6,
    "character": 1,
    "second": 1000,
    "credit": 10**6,
    "hardware_second": 1000,
}
"""How many of a stored quantity are one of its unit."""


class Measured(NamedTuple):
    """How much a call of media was, as it is billed."""

    unit: Measure | None = None
    """None: nothing is known of it."""
    quantity: int | None = None
    """In the scale of its unit; None: unknown."""
    usage: Usage | None = None
    """Its tokens; None: it is not billed by them, or they were not reported."""
    reported_nanousd: int | None = None
    """What the provider says that it costs; None: it says nothing."""
