"""What a call costs, in whole nano-dollars.

Prices come from genai-prices, pinned exactly: its version is its price list, it works offline and
its prices are dated. The provider's id is always given, because the same model costs differently
elsewhere and providers change their addresses. What cannot be priced is None, never 0, and nothing
here raises: a price that is missing must not break a run that is paid for.
"""

from __future__ import annotations

import dataclasses
import decimal
import functools
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from aideon_agents.ledger.usage import Usage

NANO = 9
"""Decimal places of a dollar that the ledger keeps."""

OWN_SERVER = "local"
"""The provider whose calls cost nobody's invoice: a server of one's own."""


@dataclasses.dataclass(frozen=True)
class Price:
    """What a call costs and who says so."""

    nanousd: int | None
    """Billionths of a US dollar; None: unknown."""
    source: str | None
    """The price list, with its version; None when it has no price."""


HUGGING_FACE = "huggingface"
"""The provider that passes calls on to others, each at its own price."""

UNKNOWN = Price(None, None)


def price(provider: str, model: str, usage: Usage | None, at: datetime) -> Price:
    """Price one call."""
    if provider == OWN_SERVER:
        return Price(0, "own server")
    if usage is None:
        return UNKNOWN
    # Calls of the same size are priced again and again: before they are made, and when they end.
    return _listed(provider, model, usage, at.replace(second=0, microsecond=0))


@functools.lru_cache(maxsize=4096)
def _listed(provider: str, model: str, usage: Usage, at: datetime) -> Price:
    """What the list says."""
    # Imported at the first price: the list takes about 55 ms, which no --help should wait for.
    import genai_prices  # noqa: PLC0415 - see above

    seller, sold = sold_as(provider, model)
    try:
        found = genai_prices.calc_price(
            genai_prices.Usage(
                input_tokens=usage.input_tokens,
                output_tokens=usage.output_tokens,
                cache_read_tokens=usage.cache_read_tokens,
                cache_write_tokens=usage.cache_creation_tokens,
                output_reasoning_tokens=usage.reasoning_tokens,
            ),
            sold,
            provider_id=seller,
            genai_request_timestamp=at,
        )
        billionths = found.total_price.scaleb(NANO)
        nanousd = int(billionths.to_integral_value(decimal.ROUND_HALF_EVEN))
    except Exception:  # noqa: BLE001 - whatever the price list stumbles over, the price is unknown
        return UNKNOWN
    if provider == HUGGING_FACE and found.provider.id != seller:
        return UNKNOWN  # the list matches names loosely: `huggingface_cohere` finds Cohere itself
    return Price(nanousd, f"genai-prices {genai_prices.__version__}")


def billed_model(provider: str, requested: str, response: str | None) -> str:
    """The model whose price applies: the one that answered, because aliases redirect silently."""
    if response is None:
        return requested
    seller = requested.partition(":")[2]
    if provider == HUGGING_FACE and seller and ":" not in response:
        return f"{response}:{seller}"
    return response


@functools.lru_cache(maxsize=256)
def context_window(provider: str, model: str) -> int | None:
    """How many tokens a model can take, prompt and answer together."""
    import genai_prices  # noqa: PLC0415 - as above

    seller, sold = sold_as(provider, model)
    try:
        found = genai_prices.calc_price(genai_prices.Usage(), sold, provider_id=seller)
    except Exception:  # noqa: BLE001 - whatever the list stumbles over, the size is unknown
        return None
    return found.model.context_window


def usd(nanousd: int) -> Decimal:
    """Dollars, exactly."""
    return Decimal(nanousd).scaleb(-NANO)


def usd_text(amount: Decimal) -> str:
    """An amount for JSON: exact, without exponent, at least six decimal places."""
    whole, _, places = f"{amount:f}".partition(".")
    return f"{whole}.{places.rstrip('0').ljust(6, '0')}"


def sold_as(provider: str, model: str) -> tuple[str, str]:
    """Who sells a model: Hugging Face routes `org/name:seller`, at that seller's price."""
    if provider != HUGGING_FACE:
        return provider, model
    name, _, seller = model.partition(":")
    return f"{HUGGING_FACE}_{seller}", name
