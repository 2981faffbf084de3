"""A call from its start event to its end: status, tokens, cost, and the text of its content.

A call is settled once, by what is known at its end. An answer costs what its usage implies. A
failed attempt costs nothing only where the provider cannot have charged: it answered with an error
status, or was never reached. Everything in between is unknown, and makes totals lower bounds.

LangChain's end and error events carry no metadata, so `OpenCall` keeps what a row needs of the
start until the end comes.
"""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import functools
import hashlib
import json
import time
from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

from langchain_core.messages import BaseMessage, convert_to_openai_messages

from aideon_agents.errors import Partial, ProviderError
from aideon_agents.ledger import tags
from aideon_agents.ledger.identity import now, utc_text
from aideon_agents.ledger.pricing import MOST, Price, Usage, billed_model, price
from aideon_agents.ledger.rows import NOT_BILLED, Call, CallEnd, CallStatus, redacted, reporting_in
from aideon_agents.node_paths import node_path

if TYPE_CHECKING:
    from langchain_core.outputs import LLMResult


CANCELLED = (asyncio.CancelledError, GeneratorExit, KeyboardInterrupt)
"""Errors that mean that this process cancelled the call."""

MET_MAX_TOKENS = frozenset(
    {
        *("length", "model_length", "model_context_window_exceeded", "token_limit"),
        *("max_tokens", "max_completion_tokens", "max_output_tokens"),
    }
)
"""Finish reasons of an answer that met `max_tokens`, in small letters."""

_REASONS = ("finish_reason", "stop_reason")

_CACHED = Price(0, "answer cache")
_NOT_BILLED = Price(0, NOT_BILLED)


def answered(call: OpenCall, response: LLMResult) -> CallEnd:
    """The end of a call that was answered."""
    message, reported = _reported(response)
    model = model_in(reported)
    end = functools.partial(
        CallEnd,
        duration_ms=call.elapsed_ms,
        time_to_first_token_ms=call.first_token_ms,
        response_model=model,
        finish_reason=_text(reported, *_REASONS),
        truncated=is_truncated(reported),
        simulated=call.is_simulated,
    )
    if (of_media := reported.get(tags.MEASURED)) is not None:
        return end(status="ok", **of_media)
    if answered_from_cache(message):
        return end(status="cached", cost_nanousd=_CACHED.nanousd, price_source=_CACHED.source)
    usage = call.usage_in(message)
    cost = _cost(call, model, usage)
    estimated = reported.get(tags.USAGE_SOURCE) == "estimated"
    of_usage: Any = {
        "usage": usage,
        "usage_source": "none" if usage is None else "estimated" if estimated else "reported",
    }
    if (call.sending or {}).get("cached"):
        kept = {"price_source": _CACHED.source, "saved_nanousd": cost.nanousd}
        return end(status="cached", cost_nanousd=_CACHED.nanousd, **kept, **of_usage)
    return end(status="ok", cost_nanousd=cost.nanousd, price_source=cost.source, **of_usage)


def answer_of(call: Call, response: LLMResult) -> tuple[str, bool]:
    """`provider:model` of the model that answered a call, and whether its answer met `max_tokens`."""
    _, reported = _reported(response)
    return f"{call.provider}:{model_in(reported) or call.requested_model}", is_truncated(reported)


def _reported(response: LLMResult) -> tuple[object, dict[str, Any]]:
    """The message of an answer, and what is said about it in any of three places."""
    answers = response.generations[0] if response.generations else []
    answer = answers[0] if answers else None
    message = getattr(answer, "message", None)
    return message, {
        **(response.llm_output or {}),
        **(getattr(answer, "generation_info", None) or {}),
        **getattr(message, "response_metadata", {}),
    }


def model_in(reported: Mapping[str, Any]) -> str | None:
    """The model that an answer names; None: it names none."""
    return _text(reported, "model_name", "model")


def is_truncated(reported: Mapping[str, Any]) -> bool:
    """Whether an answer met `max_tokens`."""
    return (_text(reported, *_REASONS) or "").lower() in MET_MAX_TOKENS


def failed(call: OpenCall, error: BaseException) -> CallEnd:
    """The end of a call that raised."""
    reporting: Any = reporting_in(error)
    usage = call.final if reporting is None else cast("Usage", reporting.usage)
    named: str | None = getattr(reporting or error, "response_model", None)
    model = named or model_in(call.reported)
    is_estimated = call.reported.get(tags.USAGE_SOURCE) == "estimated"
    is_estimated = getattr(reporting, "is_estimated", is_estimated)
    reason: str | None = getattr(error, "finish_reason", None) or call.finish_reason
    is_unsent = call.is_unsent()
    cost = _NOT_BILLED if is_unsent or _unbilled(error) else _cost(call, model, usage)
    kind: CallStatus = "broken" if isinstance(error, Partial) else "error"
    end = CallEnd(
        status="cancelled" if isinstance(error, CANCELLED) else kind,
        duration_ms=call.elapsed_ms,
        time_to_first_token_ms=call.first_token_ms,
        response_model=model,
        finish_reason=reason,
        truncated=(reason or "").lower() in MET_MAX_TOKENS,
        error_type=type(error).__name__,
        error=_words(error),
        usage=usage,
        usage_source="none" if usage is None else "estimated" if is_estimated else "reported",
        cost_nanousd=cost.nanousd,
        price_source=cost.source,
        simulated=call.is_simulated,
    )
    of_media: Mapping[str, Any] = getattr(error, "measured", None) or {}
    return dataclasses.replace(end, **of_media) if of_media else end


def _cost(call: OpenCall, response_model: str | None, usage: Usage | None) -> Price:
    provider, requested = call.start.provider, call.start.requested_model
    return price(provider, billed_model(provider, requested, response_model), usage, call.started)


def _words(error: BaseException) -> str:
    """An error's message, or its class: the message of a cancellation is internal to LangGraph."""
    words = "" if isinstance(error, CANCELLED) else str(error)
    return words or type(error).__name__


def _unbilled(error: BaseException) -> bool:
    """Whether the provider cannot have charged.

    Our own errors carry that; a model that is not guarded raises its client's errors, which carry
    the HTTP status of the response.
    """
    if isinstance(error, ProviderError) or getattr(error, "billed", None) is False:
        return cast("Any", error).billed is False
    status = getattr(error, "status_code", None)
    return isinstance(status, int) and status >= HTTPStatus.BAD_REQUEST


def _text(reported: Mapping[str, Any], *names: str) -> str | None:
    found = (reported[name] for name in names if reported.get(name))
    return next((value for value in found if isinstance(value, str)), None)


_UNNAMED = "unknown"
"""The provider or model of a chat model that names none."""


def call_start(
    call_id: str, run_id: str, metadata: Mapping[str, Any], params: Mapping[str, Any] | None = None
) -> Call:
    """What a call's row holds before the request is sent."""
    provider = metadata.get(tags.PROVIDER) or metadata.get("ls_provider")
    model = metadata.get(tags.MODEL) or metadata.get("ls_model_name") or (params or {}).get("model")
    return Call(
        call_id=call_id,
        run_id=run_id,
        node_path=node_path(metadata),
        role=metadata.get(tags.ROLE, ""),
        round=metadata.get(tags.ROUND, 1),
        purpose=metadata.get(tags.PURPOSE),
        candidate=metadata.get(tags.CANDIDATE, 0),
        attempt=metadata.get(tags.ATTEMPT, 1),
        provider=str(provider or _UNNAMED),
        requested_model=str(model or _UNNAMED),
        # One time for the hold, the row and the price, so that none of them is of another day.
        started_at=metadata.get(tags.HELD_AT) or utc_text(now()),
        rehearsed=bool(metadata.get(tags.REHEARSED)),
        simulated=bool(metadata.get(tags.SIMULATED)),
        shortened=bool(metadata.get(tags.SHORTENED)),
        economized=bool(metadata.get(tags.ECONOMIZED)),
        choice=metadata.get(tags.CHOICE),
        feature=metadata.get(tags.FEATURE),
        modality=metadata.get(tags.MODALITY),
    )


class OpenCall:
    """One attempt at a model that is in progress."""

    def __init__(self, start: Call, sending: dict[str, bool] | None = None) -> None:
        self.start = start
        self.sending = sending
        self.started = datetime.fromisoformat(start.started_at)
        self.first_token_ms: int | None = None
        """None unless the answer is streamed."""
        self.final: Usage | None = None
        """The usage of a stream that has said why it ends; None: it was not received."""
        self.finish_reason: str | None = None
        """Why a streamed answer has ended; None: it has not said so."""
        self.reported: dict[str, Any] = {}
        """What was said about a streamed answer at its end."""
        self._clock = time.perf_counter()
        self._total = RunningTotal()

    @property
    def elapsed_ms(self) -> int:
        """Whole milliseconds since the start, on a clock that is never set."""
        return round((time.perf_counter() - self._clock) * 1000)

    @property
    def is_simulated(self) -> bool:
        """Whether a simulated provider was asked: as its answer says, else as known at the start."""
        return (self.sending or {}).get("simulated", self.start.simulated)

    def is_unsent(self) -> bool:
        """Whether its request is known not to be sent; it is not sent from then on."""
        return self.sending is not None and not self.sending.setdefault("sent", False)

    def add_chunk(self, chunk: object) -> None:
        """Record when the first chunk of a stream came, and the usage that a chunk reports."""
        if self.first_token_ms is None:
            self.first_token_ms = self.elapsed_ms
        message = getattr(chunk, "message", None)
        self._total.hear(message)
        # What is reported before is a total so far, and the provider bills more.
        info = getattr(chunk, "generation_info", None) or {}
        reported = {**info, **getattr(message, "response_metadata", {})}
        self.finish_reason = self.finish_reason or _text(reported, *_REASONS)
        if self.finish_reason is not None:
            self.final = self._total.usage or usage_of(message) or self.final
            self.reported |= reported

    def usage_in(self, message: object) -> Usage | None:
        """The call's usage, given its whole answer; None: the provider reported none."""
        usage = usage_of(message)
        total = self._total.usage
        return dataclasses.replace(total, tier=usage.tier) if usage and total else total or usage


def prompt_text(messages: Any) -> str:
    """The prompt in a start event, as JSON."""
    first = messages[0] if messages else []
    is_chat = isinstance(first, list)
    return _json([_plain(one) for one in (cast("list[Any]", first) if is_chat else messages)])


def answer_text(response: LLMResult) -> str | None:
    """The answer in an end event, as JSON; None: it holds none."""
    answers = response.generations[0] if response.generations else []
    if not answers:
        return None
    return _json(_plain(getattr(answers[0], "message", answers[0].text)))


_DIGITS = 16
"""Of a digest in recorded content: a longer one looks like a key."""


def _plain(message: Any) -> Any:
    if not isinstance(message, BaseMessage):
        return message
    plain: Any = convert_to_openai_messages(message)
    if isinstance(plain.get("content"), list):
        plain["content"] = [_without_bytes(part) for part in plain["content"]]
    return plain


def _without_bytes(part: Any) -> Any:
    """A part of a message, with a digest in place of the bytes of a picture, a sound or a file."""
    if isinstance(part, str) and part.startswith("data:") and ";base64," in part:
        head, _, data = part.partition(",")
        digest = hashlib.sha256(base64.b64decode(data)).hexdigest()[:_DIGITS]
        return f"{head.removesuffix(';base64')};sha256,{digest}"
    if isinstance(part, Mapping):
        return {key: _without_bytes(one) for key, one in cast("Mapping[str, Any]", part).items()}
    return part


def _json(values: Any) -> str:
    return json.dumps(redacted(values), ensure_ascii=False, default=repr)


def usage_of(message: object) -> Usage | None:
    """The usage that a message or a chunk reports; None also where one of the two totals is missing."""
    reported: Any = getattr(message, "usage_metadata", None)
    if not isinstance(reported, Mapping):
        return None
    counts = cast("Mapping[str, Any]", reported)
    input_tokens, output_tokens = _count(counts, "input_tokens"), _count(counts, "output_tokens")
    if input_tokens is None or output_tokens is None:
        return None
    of_input, input_tier = _kinds(counts.get("input_token_details"))
    of_output, output_tier = _kinds(counts.get("output_token_details"))
    written = [of_input.pop(name, None) for name in ("cache_creation", *_CACHE_WRITES)]
    hour = written[-1]
    is_written = any(count is not None for count in written)
    usage = Usage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cache_read_tokens=of_input.pop("cache_read", None),
        cache_creation_tokens=max(written[0] or 0, sum(count or 0 for count in written[1:]))
        if is_written
        else None,
        reasoning_tokens=of_output.pop("reasoning", None),
        tier=tier_in(getattr(message, "response_metadata", None)) or input_tier or output_tier,
    )
    others = [
        *((f"input_{name}_tokens", count) for name, count in of_input.items() if count),
        *((f"output_{name}_tokens", count) for name, count in of_output.items() if count),
        *([("cache_write_1h_tokens", hour)] if hour else ()),
    ]
    return dataclasses.replace(usage, others=tuple(others)) if others else usage


_CACHE_WRITES = ("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens")
"""Parts of what was written to the cache, by how long it is kept there."""

_TIERS = ("flex", "priority")
"""Tiers that LangChain puts before the names of counts (`flex_cache_read`)."""

_SAME_PRICE = frozenset({"text", "accepted_prediction", "rejected_prediction"})
"""Parts that are no other kind of token: they are billed as the total that they are a part of."""


def _kinds(details: object) -> tuple[dict[str, int], str | None]:
    """The parts of a total by kind, and the service tier in their names."""
    found: dict[str, int] = {}
    tier = None
    for key in cast("Mapping[str, Any]", details) if isinstance(details, Mapping) else ():
        before, _, name = str(key).partition("_")
        if before in _TIERS:
            tier = before
        else:
            name = str(key)
        count = _count(details, key)
        if name and count is not None and name not in _SAME_PRICE:
            found[name] = count
    return found, tier


def tier_in(metadata: object) -> str | None:
    """The service tier that an answer's metadata names; None: it names none."""
    if not isinstance(metadata, Mapping):
        return None
    known = cast("Mapping[str, Any]", metadata)
    places = [known, *(known.get(name) for name in ("usage", "token_usage"))]
    tiers = [one.get("service_tier") for one in places if isinstance(one, Mapping)]
    return next((tier.lower() for tier in tiers if isinstance(tier, str) and tier), None)


def answered_from_cache(message: object) -> bool:
    """Whether LangChain's own cache gave the answer: it repeats the old usage with `total_cost` 0."""
    reported: Any = getattr(message, "usage_metadata", None)
    return isinstance(reported, Mapping) and "total_cost" in reported and not reported["total_cost"]


class RunningTotal:
    """The usage of a stream whose chunks each repeat the total so far.

    LangChain adds up the usage of all chunks, which is right for providers that report parts and
    many times too much for those that report totals. Totals are recognised because each has an
    input count; parts report it once.
    """

    usage: Usage | None = None
    """The last total; None while at most one chunk has had an input count."""
    _has_input = False

    def hear(self, chunk: object) -> None:
        """Take one chunk's message into account."""
        counts = usage_of(chunk)
        if counts is None:
            return
        if self._has_input and counts.input_tokens:
            self.usage = counts
        self._has_input = self._has_input or bool(counts.input_tokens)


def _count(counts: object, name: str) -> int | None:
    value = cast("Mapping[str, Any]", counts).get(name) if isinstance(counts, Mapping) else None
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST
    return value if is_count else None
