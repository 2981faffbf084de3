"""What a call of media costs, and the most that it may cost before it is made.

What a provider reports counts first, then the catalog's price for the unit, then the price list for
tokens. What has no price is unknown, and refused where there is a budget.
"""

from __future__ import annotations

import dataclasses
import decimal
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from aideon_agents.ledger.money import NANO
from aideon_agents.ledger.pricing import billed_model, highest_price, price
from aideon_agents.ledger.pricing.shapes import UNKNOWN, Measured, Price
from aideon_agents.ledger.rows import Usage
from aideon_agents.media.shapes import (
    ImageRequest,
    MediaRequest,
    SpeechRequest,
    TranscriptRequest,
    VideoRequest,
)
from aideon_agents.models.admission import RequestBound

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from aideon_agents.ledger.pricing.shapes import Measure
    from aideon_agents.models.candidates import Candidate
    from aideon_agents.models.catalog.entries import Entry, Prices

REPORTED = "reported by the provider"
"""The price source of a call whose provider said what it costs."""

_LEAST_BYTES_A_SECOND = 500
"""Bytes of one second of sound, at least: no codec that providers take needs fewer for speech."""
_PIXELS = 1_572_864
"""Of 1536 x 1024, the largest picture that a model's `max_output` is the tokens of."""
_STEPS = 4
_PER_MILLION = 6
_MICRO = 10**6


def most(request: MediaRequest, entry: Entry | None) -> Measured:
    """The most that a request can be billed, in the unit of a model's price; nothing: it has no price."""
    prices = entry.prices if entry else None
    unit = _unit(request, prices)
    if unit == "token":
        return _most_tokens(request, entry)
    return Measured(unit, _quantity(request, unit, prices))


def _unit(request: MediaRequest, prices: Prices | None) -> Measure | None:
    """The unit that a model is billed by; None: it has no price."""
    if prices is None:
        return None
    known: dict[type[Any], Sequence[tuple[Measure, object]]] = {
        ImageRequest: (("image", prices.image), ("megapixel_step", prices.megapixel)),
        SpeechRequest: (("character", prices.characters),),
        TranscriptRequest: (("second", prices.audio_minute),),
        VideoRequest: (("second", prices.video_second), ("image", prices.image)),
    }
    of_tokens: tuple[Measure, object] = ("token", prices.input)
    units = (*known[type(request)], of_tokens)
    return next((unit for unit, one in units if one is not None), None)


def _quantity(request: MediaRequest, unit: Measure | None, prices: Prices | None) -> int | None:
    """How much of its unit a request asks for, in the unit's scale; None: nothing bounds it."""
    if isinstance(request, ImageRequest):
        if unit == "image":
            return request.n * _MICRO
        usual = (prices.steps if prices else None) or _STEPS
        pixels = request.width * request.height * request.n
        # Fewer steps than usual cost the same, and a part of a step does not exist.
        steps = max(request.steps or usual, usual)
        return -(-pixels * steps // usual)
    if isinstance(request, SpeechRequest):
        return len(request.text)
    if isinstance(request, VideoRequest):
        return _MICRO if unit == "image" else _milliseconds(request)
    known = request.audio.duration_ms
    return known if known is not None else request.audio.bytes * 1000 // _LEAST_BYTES_A_SECOND


def _milliseconds(request: VideoRequest) -> int | None:
    """What is billed of a video: what is edited has its own length, and what is extended counts too."""
    before = request.source.duration_ms if request.source else 0
    if before is None:
        return None
    return before + (0 if request.operation == "edit" else request.duration * 1000)


def _most_tokens(request: MediaRequest, entry: Entry | None) -> Measured:
    """The most tokens of pictures that are billed by them; nothing bounds other requests."""
    if not isinstance(request, ImageRequest) or entry is None or entry.max_output is None:
        return Measured("token")
    if request.images and entry.image_tokens is None:
        return Measured("token")
    sent = len(f"{request.prompt} {request.negative_prompt or ''}".encode()) + 256
    seen = len(request.images) * (entry.image_tokens or 0)
    sizes = -(-request.width * request.height // _PIXELS)
    got = entry.max_output * sizes * request.n
    of_images = (("output_image_tokens", got), *((("input_image_tokens", seen),) if seen else ()))
    return Measured(
        "token",
        sent + seen + got,
        Usage(input_tokens=sent + seen, output_tokens=got, others=of_images),
    )


def by_request(request: MediaRequest, entry: Entry | None, measured: Measured) -> Measured:
    """What was billed, where an answer does not say it: it follows from the request.

    An answer with fewer pictures than were asked for is billed for those that came.
    """
    asked = most(request, entry)
    stated = measured.reported_nanousd
    if stated is not None and measured.unit is None and asked.unit != "token":
        return asked._replace(reported_nanousd=stated)
    if measured.unit == "token" or stated is not None or asked.unit is None:
        return measured
    if measured.unit == asked.unit and measured.quantity is not None:
        return measured
    if asked.unit == "token":
        return measured._replace(usage=None)
    quantity = asked.quantity
    if isinstance(request, ImageRequest) and measured.unit == "image" and measured.quantity:
        came = request._replace(n=measured.quantity // _MICRO)
        quantity = _quantity(came, asked.unit, entry.prices if entry else None)
    if isinstance(request, TranscriptRequest) and request.audio.duration_ms is None:
        quantity = None  # a bound is no measure
    return Measured(asked.unit, quantity)


def cost(
    candidate: Candidate, entry: Entry | None, measured: Measured, model: str | None, at: datetime
) -> Price:
    """What a call costs; `model` is the one that the answer names."""
    if measured.reported_nanousd is not None:
        return Price(measured.reported_nanousd, REPORTED)
    if candidate.row.free:
        return price(candidate.provider, candidate.model, None, at)
    if measured.usage is not None:
        named = billed_model(candidate.provider, candidate.model, model)
        return price(candidate.provider, named, measured.usage, at)
    if entry is None or entry.prices is None or not entry.prices.billed:
        return UNKNOWN
    nanousd = _by_unit(entry.prices, measured)
    return UNKNOWN if nanousd is None else Price(nanousd, entry.prices.named)


def _by_unit(prices: Prices, measured: Measured) -> int | None:
    """Nano-dollars at the prices of a catalog, rounded half to even; None: it has none for the unit."""
    if measured.quantity is None:
        return None
    quantity, rates = (
        Decimal(measured.quantity),
        {
            "image": (prices.image, 10**6),
            "megapixel_step": (prices.megapixel, 10**6),
            "character": (prices.characters, 10**6),
            "credit": (prices.credit, 10**6),
        },
    )
    if measured.unit == "second":
        of_sound = (prices.audio_minute, 60_000)
        rates["second"] = of_sound if prices.video_second is None else (prices.video_second, 1000)
    rate, scale = rates.get(measured.unit or "", (None, 1))
    if rate is None:
        return None
    exact = max(quantity * rate / scale, prices.least or Decimal(0)).scaleb(NANO)
    return int(exact.to_integral_value(decimal.ROUND_HALF_EVEN))


def columns(measured: Measured, paid: Price) -> dict[str, Any]:
    """What the row of a call says of how it was billed."""
    usage = measured.usage
    return {
        "unit": measured.unit,
        "quantity": measured.quantity,
        "usage": usage,
        "usage_source": "none" if usage is None else "reported",
        "cost_reported": measured.reported_nanousd,
        "cost_nanousd": paid.nanousd,
        "price_source": paid.source,
    }


@dataclasses.dataclass(frozen=True)
class MediaBound(RequestBound):
    """The most that a request for media can cost at each model of a chain."""

    request: MediaRequest | None = None
    entries: Mapping[str, Entry | None] = dataclasses.field(default_factory=dict[str, Any])
    """What the catalog says of the models, by the names of the candidates."""

    @classmethod
    def of_request(cls, request: MediaRequest, entries: Mapping[str, Entry | None]) -> MediaBound:
        """The bound of a request. It has no tokens that a quota counts, and cannot be made shorter."""
        return cls(0, 0, 1, None, request=request, entries=entries)

    def worst(
        self, candidate: Candidate, at: datetime, max_tokens: int | None = None
    ) -> int | None:
        """The highest cost in nano-dollars; None: its price is not known, or nothing bounds it."""
        del max_tokens
        if self.request is None:
            return None
        entry = self.entries.get(candidate.name)
        measured = most(self.request, entry)
        if measured.usage is not None and not candidate.row.free:
            return highest_price(candidate.provider, candidate.model, measured.usage, at)
        return cost(candidate, entry, measured, None, at).nanousd

    def with_pictures(self, candidate: Candidate) -> int | None:
        """The tokens that count for a quota: media have quotas of their own."""
        del candidate
        return 0
