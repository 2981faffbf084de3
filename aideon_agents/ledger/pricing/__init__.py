"""What a call costs, in whole nano-dollars.

Prices come from genai-prices, pinned exactly: its version is its price list, it works offline and
its prices are dated. The provider's id is always given, because the same model costs differently
elsewhere and providers change their addresses. What cannot be priced is None, never 0, and nothing
here raises: a missing price must not break a run that is paid for.

`price` looks up a model and its prices for each call, which takes about 80 microseconds.
`PricedModel` prices many calls at one model: it looks up the rates once where every price is a
plain one per token.

The service tier that answered sets the price. A tier or a kind of token without a known price makes
the cost unknown: it is never priced as something else.

A user can state prices of their own, and the catalog states some that the list lacks: see
`state_prices`.

Token counts are LangChain's: `input_tokens` includes cached tokens and `output_tokens` includes
reasoning, so a part is never added to its total. A count that was not reported is None; a reported
0 is a value.
"""

from __future__ import annotations

import contextlib
import dataclasses
import decimal
import functools
import re
import warnings
from decimal import Decimal
from typing import TYPE_CHECKING

from aideon_agents.errors import ModelNameError
from aideon_agents.ledger.identity import now
from aideon_agents.ledger.money import NANO, OWN_PRICE
from aideon_agents.ledger.pricing.shapes import (
    LIST_PRICE,
    UNKNOWN,
    Price,
    StatedPrice,
)
from aideon_agents.ledger.rows import Usage
from aideon_agents.settings.providers import TABLE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from genai_prices.types import ModelInfo, ModelPrice


MOST = 10**12
"""Tokens that no call can have: a larger number is an error, and would distort every sum."""


OWN_SERVER = "local"
"""The provider whose calls appear on no invoice: the user's own server."""


HUGGING_FACE = "huggingface"
"""The provider that passes calls on to others, each at its own price."""

_stated: dict[tuple[str, str], StatedPrice] = {}
"""The prices that this process uses besides the price list's, by provider and model."""


def state_prices(prices: Mapping[tuple[str, str], StatedPrice]) -> None:
    """Use these prices besides the price list's, and no others that were stated before."""
    if prices != _stated:
        _stated.clear()
        _stated.update(prices)
        _listed.cache_clear()
        _top_tiers.cache_clear()


def price(provider: str, model: str, usage: Usage | None, at: datetime) -> Price:
    """Price one call of the model that `billed_model` gives; a `usage` of None was not reported.

    `at` is when the call began: prices change by date, and for some models by the hour.
    """
    row = TABLE.get(provider)
    if row and row.free:
        return Price(0, OWN_PRICE)
    if usage is None:
        return UNKNOWN
    if row and row.own_prices:
        cost = row.nanousd(usage.input_tokens, usage.output_tokens)
        return UNKNOWN if cost is None else Price(cost, "deployment")
    # Calls of the same size are priced repeatedly: before they are made, and when they end.
    return _listed(provider, model, usage, at.replace(second=0, microsecond=0))


@functools.lru_cache(maxsize=4096)
def _listed(provider: str, model: str, usage: Usage, at: datetime) -> Price:
    """What a call costs according to the price list or a catalog, rounded half to even."""
    stated = _stated.get((provider, model))
    if stated and stated.is_first:
        return stated.price(usage)
    # Imported at the first price: the list takes about 55 ms, which no --help should wait for.
    import genai_prices  # noqa: PLC0415 - see above

    seller, sold = sold_as(provider, model)
    tier = None if usage.tier in LIST_PRICE else usage.tier
    context = {"processing": tier} if tier == "batch" else {"service_tier": tier} if tier else {}
    with contextlib.suppress(Exception):  # whatever fails in the price list, it has no price
        with warnings.catch_warnings(action="error"):  # about a kind that it has no price for
            tokens = genai_prices.Usage(
                input_tokens=usage.input_tokens,
                output_tokens=usage.output_tokens,
                cache_read_tokens=usage.cache_read_tokens,
                cache_write_tokens=usage.cache_creation_tokens,
                output_reasoning_tokens=usage.reasoning_tokens,
                **dict(usage.others),
            )
        found = genai_prices.calc_price(
            tokens, sold, provider_id=seller, genai_request_timestamp=at, price_context=context
        )
        # The list matches names loosely: `huggingface_cohere` finds Cohere itself.
        is_sellers = found.provider.id == seller
        is_of_tier = not context or context in _variants(found.model, at)
        kinds = (getattr(found.model_price, _price_key(name)) for name, _ in usage.others)
        if is_sellers and is_of_tier and None not in kinds:
            billionths = found.total_price.scaleb(NANO)
            nanousd = int(billionths.to_integral_value(decimal.ROUND_HALF_EVEN))
            named = f"genai-prices {genai_prices.__version__}"
            return Price(nanousd, f"{named}, {tier}" if tier else named)
    return stated.price(usage) if stated else UNKNOWN


_AT_MOST_LIST_PRICE = frozenset({"default", "standard", "on_demand", "flex"})


def _price_key(usage_key: str) -> str:
    """The price list's name for the price of a kind of token."""
    return usage_key.removesuffix("_tokens") + "_mtok"


def _variants(model: ModelInfo, at: datetime) -> list[dict[str, str]]:
    """What the price list knows other prices of a model for, at some time."""
    return [
        variant.when
        for variant in model.price_variants or ()
        if variant.constraint is None or variant.constraint.active(at)
    ]


_SIZES = (1, 100_000, 180_000, 240_000, 300_000, 1_000_000)
"""Tokens at which tiers are compared: the price of a long prompt can be another one."""


def highest_price(
    provider: str, model: str, usage: Usage, at: datetime, requested: str | None = None
) -> int | None:
    """Nano-dollars that a call costs at most, in any service tier that may answer; None: unknown."""
    costs = [
        price(
            provider,
            model,
            usage if tier == usage.tier else dataclasses.replace(usage, tier=tier),
            at,
        ).nanousd
        for tier in top_tiers(provider, model, at, requested)
    ]
    return None if None in costs else max(cost or 0 for cost in costs)


def top_tiers(
    provider: str, model: str, at: datetime, requested: str | None = None
) -> tuple[str | None, ...]:
    """The service tiers that may answer a call, and of which each can be the most expensive.

    None is the list price. Unless a tier is requested that costs no more, the provider chooses it:
    the default of a project at OpenAI can be a more expensive one, and no request shows that.
    """
    row = TABLE.get(provider)
    if requested in _AT_MOST_LIST_PRICE or (row and row.own_prices):
        return (None,)
    return _top_tiers(provider, model, at.replace(hour=0, minute=0, second=0, microsecond=0))


@functools.lru_cache(maxsize=256)
def _top_tiers(provider: str, model: str, day: datetime) -> tuple[str | None, ...]:
    if (stated := _stated.get((provider, model))) and stated.is_first:
        return (None,)
    import genai_prices  # noqa: PLC0415 - as above

    seller, sold = sold_as(provider, model)
    try:
        found = genai_prices.calc_price(genai_prices.Usage(), sold, provider_id=seller).model
    except Exception:  # noqa: BLE001 - as above: no price is known, so none is higher
        return (None,)
    named = [when.get("service_tier") for when in _variants(found, day)]
    tiers = [None, *dict.fromkeys(one for one in named if one and one not in LIST_PRICE)]
    usages = [
        usage
        for size in _SIZES
        for usage in (
            Usage(input_tokens=size, output_tokens=0),
            Usage(input_tokens=size, output_tokens=0, cache_creation_tokens=size),
            Usage(input_tokens=size, output_tokens=size),
        )
    ]
    top: dict[str | None, list[int]] = {}
    for tier in tiers:
        prices = [
            price(provider, model, dataclasses.replace(one, tier=tier), day) for one in usages
        ]
        costs = [one.nanousd or 0 for one in prices]
        if not any(_covers(other, costs) for other in top.values()):
            top = {one: of for one, of in top.items() if not _covers(costs, of)}
            top[tier] = costs
    return tuple(top)


def _covers(costs: Sequence[int], others: Sequence[int]) -> bool:
    return all(one >= other for one, other in zip(costs, others, strict=True))


def billed_model(provider: str, requested: str, response: str | None) -> str:
    """The model whose price applies: the one that answered, because aliases redirect silently.

    A price that a user states for a model counts for its versions too, where they have none. Hugging
    Face's answers may leave out which provider they came from: it is taken from the request then. They
    may also name the model as that provider does (`accounts/.../gpt-oss-120b`), which the price list
    does not know: it costs as much as the one that was requested.
    """
    if response is None or response == requested:
        return requested
    stated = _stated.get((provider, requested))
    is_users = stated and stated.is_first and (provider, response) not in _stated
    if is_users and re.fullmatch(re.escape(requested) + _VERSION, response):
        return requested
    if provider != HUGGING_FACE:
        return response
    (name, _, wanted), (answering, _, seller) = requested.partition(":"), response.partition(":")
    ending = f":{seller or wanted}" if seller or wanted else ""
    is_known = price(provider, answering + ending, _NOTHING, now()).nanousd is not None
    return (answering if is_known else name) + ending


_VERSION = r"([-@]\d{4}[\d-]*|:.+)"
"""What follows the name of a model in that of a version: its date, or who sells it."""
_NOTHING = Usage(input_tokens=0, output_tokens=0)


@functools.lru_cache(maxsize=256)
def context_window(provider: str, model: str) -> int | None:
    """How many tokens a model can take, prompt and answer together; None: the list has no size."""
    import genai_prices  # noqa: PLC0415 - as above

    seller, sold = sold_as(provider, model)
    try:
        found = genai_prices.calc_price(genai_prices.Usage(), sold, provider_id=seller)
    except Exception:  # noqa: BLE001 - as above: the size is unknown
        return None
    return found.model.context_window


_SELLERS: Mapping[str, str] = {
    "amazon_bedrock": "aws",
    "anthropic_bedrock": "aws",
    "azure_ai": "azure",
    "azure_openai": "azure",
    "bedrock": "aws",
    "bedrock_converse": "aws",
    "bedrock_mantle_anthropic": "aws",
    "bedrock_mantle_openai": "aws",
    "google_anthropic_vertex": "google",
    "google_genai": "google",
    "google_vertexai": "google",
    "mistralai": "mistral",
    "xai": "x-ai",
}
"""What the price list calls providers that LangChain names otherwise."""


def sold_as(provider: str, model: str) -> tuple[str, str]:
    """Who sells a model: Hugging Face routes `org/name:seller`, at that seller's price."""
    if provider != HUGGING_FACE:
        row = TABLE.get(provider)
        seller = (row and row.seller) or _SELLERS.get(provider, provider)
        return seller, model.removeprefix("models/")
    name, _, seller = model.partition(":")
    return f"{HUGGING_FACE}_{seller}", name


class PricedModel:
    """A model, named `provider:model`, at whose price calls can be priced."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._provider, _, self._model = name.partition(":")
        if price(self._provider, self._model, _NOTHING, now()).nanousd is None:
            raise ModelNameError(f"{name} has no known price: name a model of the price list")
        self._rates: dict[int, dict[str, Decimal] | None] = {}
        row = TABLE.get(self._provider)
        is_stated = (self._provider, self._model) in _stated or (
            row and (row.free or row.own_prices)
        )
        self._listed = None if is_stated else self._find()

    def nanousd(self, usage: Usage, at: datetime) -> int | None:
        """What a call with these tokens costs, the same as `price` gives."""
        rates = self._rates_at(at)
        quick = _at_rates(rates, usage) if rates else None
        return price(self._provider, self._model, usage, at).nanousd if quick is None else quick

    def _find(self) -> ModelInfo:
        import genai_prices  # noqa: PLC0415 - as above

        seller, sold = sold_as(self._provider, self._model)
        return genai_prices.calc_price(genai_prices.Usage(), sold, provider_id=seller).model

    def _rates_at(self, at: datetime) -> dict[str, Decimal] | None:
        if self._listed is None:
            return None
        prices = self._listed.get_prices(at)
        if id(prices) not in self._rates:  # the list keeps its prices, so they keep their ids
            self._rates[id(prices)] = _rates(prices)
        return self._rates[id(prices)]


def _rates(prices: ModelPrice) -> dict[str, Decimal] | None:
    """Nano-dollars per call and per kind of token; None where a price depends on the prompt's size."""
    import genai_prices  # noqa: PLC0415 - as above

    if any(not isinstance(one, Decimal) for one in vars(prices).values() if one is not None):
        return None

    def cost(**tokens: int) -> Decimal:
        return prices.calc_price(genai_prices.Usage(**tokens))["total_price"].scaleb(NANO)

    call = cost(input_tokens=0, output_tokens=0)
    return {
        "call": call,
        "input": cost(input_tokens=1) - call,
        "cache_read": cost(input_tokens=1, cache_read_tokens=1) - call,
        "cache_creation": cost(input_tokens=1, cache_write_tokens=1) - call,
        "output": cost(output_tokens=1) - call,
        "reasoning": cost(output_tokens=1, output_reasoning_tokens=1) - call,
    }


def _at_rates(rates: Mapping[str, Decimal], usage: Usage) -> int | None:
    """The price of a call, rounded as `price` does; None: its counts contradict one another."""
    read, created = usage.cache_read_tokens or 0, usage.cache_creation_tokens or 0
    reasoning = usage.reasoning_tokens or 0
    plain_input = usage.input_tokens - read - created
    plain_output = usage.output_tokens - reasoning
    if plain_input < 0 or plain_output < 0:
        return None
    exact = (
        rates["call"]
        + rates["input"] * plain_input
        + rates["cache_read"] * read
        + rates["cache_creation"] * created
        + rates["output"] * plain_output
        + rates["reasoning"] * reasoning
    )
    return int(exact.to_integral_value(decimal.ROUND_HALF_EVEN))
