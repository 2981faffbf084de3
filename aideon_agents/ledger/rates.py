"""One model's prices, for pricing very many calls at it.

`pricing.price` looks a model up and takes its prices apart for each call, about 80 microseconds:
nothing beside a call, a quarter of a minute for two hundred thousand of them. Where every price is
a plain one per token, a call costs its counts times rates that are asked for once. Where a price
depends on the size of the prompt, each call is priced as it always is.
"""

from __future__ import annotations

import dataclasses
import decimal
from decimal import Decimal
from typing import TYPE_CHECKING

from aideon_agents.errors import ModelNameError
from aideon_agents.ledger.clock import now
from aideon_agents.ledger.pricing import NANO, OWN_SERVER, price, sold_as
from aideon_agents.ledger.usage import Usage

if TYPE_CHECKING:
    from datetime import datetime

    from genai_prices.types import ModelInfo, ModelPrice


@dataclasses.dataclass(frozen=True)
class _Rates:
    """What each kind of token adds to a call's price, in nano-dollars."""

    call: Decimal
    fresh: Decimal
    """A token of the prompt that neither comes from the provider's cache nor goes into it."""
    cache_read: Decimal
    cache_creation: Decimal
    said: Decimal
    """A token of the answer that is not reasoning."""
    reasoning: Decimal

    def nanousd(self, usage: Usage) -> int | None:
        """The price of a call, rounded as `pricing.price` does; None: its counts contradict."""
        read, created = usage.cache_read_tokens or 0, usage.cache_creation_tokens or 0
        reasoning = usage.reasoning_tokens or 0
        fresh, said = usage.input_tokens - read - created, usage.output_tokens - reasoning
        if fresh < 0 or said < 0:
            return None
        exact = self.call + self.fresh * fresh + self.said * said
        exact += self.cache_read * read + self.cache_creation * created + self.reasoning * reasoning
        return int(exact.to_integral_value(decimal.ROUND_HALF_EVEN))


class PricedModel:
    """A model whose price is known."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._provider, _, self._model = name.partition(":")
        nothing = Usage(input_tokens=0, output_tokens=0)
        if price(self._provider, self._model, nothing, now()).nanousd is None:
            raise ModelNameError(f"{name} has no known price: write a model of the price list")
        self._rates: dict[int, _Rates | None] = {}
        self._listed = None if self._provider == OWN_SERVER else self._find()

    def nanousd(self, usage: Usage, at: datetime) -> int | None:
        """What a call with these tokens costs at this model's price."""
        rates = self._rates_at(at)
        quick = rates.nanousd(usage) if rates else None
        return price(self._provider, self._model, usage, at).nanousd if quick is None else quick

    def _find(self) -> ModelInfo:
        import genai_prices  # noqa: PLC0415 - the list takes 55 ms, which no --help should wait for

        seller, sold = sold_as(self._provider, self._model)
        return genai_prices.calc_price(genai_prices.Usage(), sold, provider_id=seller).model

    def _rates_at(self, at: datetime) -> _Rates | None:
        if self._listed is None:
            return None
        prices = self._listed.get_prices(at)
        if id(prices) not in self._rates:  # the list keeps its prices, so they keep their ids
            self._rates[id(prices)] = _rates(prices)
        return self._rates[id(prices)]


def _rates(prices: ModelPrice) -> _Rates | None:
    """A list's prices by kind of token; None where one depends on the prompt's size."""
    import genai_prices  # noqa: PLC0415 - as above

    if any(not isinstance(one, Decimal) for one in vars(prices).values() if one is not None):
        return None

    def cost(**tokens: int) -> Decimal:
        return prices.calc_price(genai_prices.Usage(**tokens))["total_price"].scaleb(NANO)

    call = cost(input_tokens=0, output_tokens=0)
    return _Rates(
        call=call,
        fresh=cost(input_tokens=1) - call,
        cache_read=cost(input_tokens=1, cache_read_tokens=1) - call,
        cache_creation=cost(input_tokens=1, cache_write_tokens=1) - call,
        said=cost(output_tokens=1) - call,
        reasoning=cost(output_tokens=1, output_reasoning_tokens=1) - call,
    )
