"""What the simulated provider received, and what it would charge, to compare with the ledger.

An error status costs nothing. What was generated is charged whether or not it reached the caller:
after a hang, a reset or a truncated body, and in a cut stream up to the cut.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import threading
import time
from decimal import ROUND_HALF_EVEN, Decimal
from typing import TYPE_CHECKING, Any, cast

from aideon_agents.ledger.pricing.shapes import SCALES
from aideon_agents.testing.simulated.faults import Kind

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from aideon_agents.ledger.pricing.shapes import Measure
    from aideon_agents.testing.simulated.wire import Wire


@dataclasses.dataclass(frozen=True, slots=True)
class Rate:
    """What a model's tokens cost, in nano-dollars each; 0.15 USD per million tokens is 150."""

    input: int | Decimal
    output: int | Decimal
    cache_read: int | Decimal | None = None
    """For input that was read from the cache; None: the same as other input."""
    each: int | Decimal = 0
    """Of media that are not billed by tokens: for each picture, megapixel, second, character or credit."""

    def of(self, call: BilledCall) -> int:
        """The price of a call in nano-dollars, rounded half to even."""
        if call.quantity is not None:
            exact = Decimal(call.quantity) / SCALES[call.unit or "token"] * self.each
            return int(exact.quantize(Decimal(1), ROUND_HALF_EVEN))
        cached = self.input if self.cache_read is None else self.cache_read
        fresh = call.input_tokens - call.cache_read_tokens
        exact = fresh * self.input + call.cache_read_tokens * cached
        paid = (exact + call.output_tokens * self.output) * (1 - Decimal(str(call.discount)))
        return int(Decimal(paid).quantize(Decimal(1), ROUND_HALF_EVEN))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BilledCall:
    """One line of the bill."""

    request_id: str
    """As sent in the x-request-id header."""
    key_tail: str
    """The last four characters of the key that pays."""
    model: str
    """The model that answered, after aliases."""
    input_tokens: int = 0
    """Includes those read from the cache."""
    output_tokens: int = 0
    """Includes those of reasoning."""
    cache_read_tokens: int = 0
    reasoning_tokens: int = 0
    status: int | None = None
    """The HTTP status; None: none was sent."""
    unit: Measure | None = None
    """What media are billed by; None: it is no media, or costs nothing."""
    quantity: int | None = None
    """In the scale of its unit, as in the ledger; None: it is billed by tokens."""
    reported_nanousd: int | None = None
    """What the answer says that it costs; None: it says nothing."""
    fault: Kind | None = None
    """The fault of the request; None: there was none."""
    streamed: bool = False
    discount: float = 0.0
    """The share that a batch is cheaper."""
    delivered: bool = False
    """Whether the whole answer was sent."""
    nanousd: int | None = None
    """What it costs, in nano-dollars; None: the model has no rate."""


@dataclasses.dataclass(frozen=True, slots=True)
class Total:
    """What several calls add up to."""

    requests: int
    input_tokens: int
    output_tokens: int
    nanousd: int | None
    """None: some call has no price."""


class Bill:
    """The provider's own account. It can be read while the provider serves.

    Args:
        rates: What each model costs; a model without a rate has calls without a price.
    """

    def __init__(self, rates: Mapping[str, Rate] | None = None) -> None:
        self._rates = dict(rates or {})
        self._calls: dict[str, BilledCall] = {}
        self._lock = threading.Lock()

    def charge(self, call: BilledCall) -> None:
        """Write a call, or replace the one with the same request id."""
        rate = self._rates.get(call.model)
        cost = rate.of(call) if rate else None
        cost = cost if call.reported_nanousd is None else call.reported_nanousd
        priced = dataclasses.replace(call, nanousd=cost)
        with self._lock:
            self._calls[call.request_id] = priced

    def amend(self, request_id: str, **changes: Any) -> None:
        """Change a call that was charged before."""
        self.charge(dataclasses.replace(self.call(request_id), **changes))

    def has(self, request_id: str) -> bool:
        """Whether a call was charged."""
        with self._lock:
            return request_id in self._calls

    def call(self, request_id: str) -> BilledCall:
        """A call that was charged before."""
        with self._lock:
            return self._calls[request_id]

    def price(self, model: str, unit: Measure, quantity: int) -> int | None:
        """What media would cost, in nano-dollars; None: the model has no rate."""
        rate = self._rates.get(model)
        known: Any = {"request_id": "", "key_tail": "", "model": model}
        return rate.of(BilledCall(**known, unit=unit, quantity=quantity)) if rate else None

    @property
    def calls(self) -> list[BilledCall]:
        """Every call, in the order of arrival, those that cost nothing included."""
        with self._lock:
            return list(self._calls.values())

    @property
    def total(self) -> Total:
        """All calls together."""
        return _total(self.calls)

    @property
    def requests(self) -> int:
        """How many calls there are, those that cost nothing included."""
        return self.total.requests

    @property
    def input_tokens(self) -> int:
        """Input tokens of all calls."""
        return self.total.input_tokens

    @property
    def output_tokens(self) -> int:
        """Output tokens of all calls."""
        return self.total.output_tokens

    @property
    def nanousd(self) -> int | None:
        """What all calls cost, in nano-dollars; None: some call has no price."""
        return self.total.nanousd

    @property
    def by_model(self) -> dict[str, Total]:
        """The totals of each model, in the order of their first calls."""
        calls = self.calls
        models = dict.fromkeys(call.model for call in calls)
        return {model: _total([call for call in calls if call.model == model]) for model in models}


def _total(calls: list[BilledCall]) -> Total:
    prices = [call.nanousd for call in calls]
    known = [price for price in prices if price is not None]
    return Total(
        requests=len(calls),
        input_tokens=sum(call.input_tokens for call in calls),
        output_tokens=sum(call.output_tokens for call in calls),
        nanousd=sum(known) if len(known) == len(prices) else None,
    )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SeenRequest:
    """One request, refused ones included."""

    request_id: str
    at: float
    """When it had arrived, in seconds since 1970."""
    method: str
    path: str
    headers: Mapping[str, str]
    """With lower-case names, without the key."""
    body: Any = None
    """The JSON that was sent; of a form its fields, and the names and sizes of its files; None: neither."""
    model: str | None = None
    """The requested model; None: the request has none."""
    outcome: str = "open"
    """`open` while it is in progress, then `ok`, the kind of the fault, the status of a refusal, or
    `gone` when the caller left first."""


def seen_of(wire: Wire, request_id: str) -> SeenRequest:
    """The request that has just arrived."""
    try:
        body = json.loads(wire.body)
    except (ValueError, RecursionError):
        body = None
    model = cast("dict[str, Any]", body).get("model") if isinstance(body, dict) else None
    return SeenRequest(
        request_id=request_id,
        at=time.time(),
        method=wire.method,
        path=wire.path,
        headers={name: value for name, value in wire.headers.items() if name != "authorization"},
        body=body,
        model=model if isinstance(model, str) else None,
    )


class RequestLog:
    """The requests so far. It can be read while the provider serves."""

    def __init__(self) -> None:
        self._seen: dict[str, SeenRequest] = {}
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self.in_flight = 0
        """The number of chat requests in progress."""
        self.max_in_flight = 0
        """The highest number of chat requests in progress at once."""

    def next_id(self) -> str:
        """A new request id."""
        return f"req-{next(self._numbers):06d}"

    def add(self, request: SeenRequest) -> None:
        """Record a request that arrived."""
        with self._lock:
            self._seen[request.request_id] = request

    def close(self, request_id: str, outcome: str) -> None:
        """Record how a request ended."""
        self.note(request_id, outcome=outcome)

    def note(self, request_id: str, **changes: Any) -> None:
        """Record what is known of a request by now."""
        with self._lock:
            seen = self._seen[request_id]
            self._seen[request_id] = dataclasses.replace(seen, **changes)

    @property
    def requests(self) -> list[SeenRequest]:
        """All of them, in the order of arrival."""
        with self._lock:
            return list(self._seen.values())

    @contextlib.contextmanager
    def working(self) -> Generator[None]:
        """Count a request as in flight."""
        with self._lock:
            self.in_flight += 1
            self.max_in_flight = max(self.max_in_flight, self.in_flight)
        try:
            yield
        finally:
            with self._lock:
                self.in_flight -= 1
