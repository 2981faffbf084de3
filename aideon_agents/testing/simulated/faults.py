"""What can go wrong with a request, when it does, and how the answer is then delivered.

A plan says when. It is a sequence (one entry per request; None means no fault, also after the end
of the sequence), one fault (for every request), a mapping from model to either, a function, or
`RandomFaults`.
"""

from __future__ import annotations

import dataclasses
import itertools
import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal, TypeAlias, get_args

from aideon_agents.errors import UserError
from aideon_agents.testing.simulated.dialects.dialect import Dialect, Refused
from aideon_agents.testing.simulated.protocol import ChatRequest, Reply
from aideon_agents.testing.simulated.wire import Wire

Status = Literal[
    400, 401, 402, 403, 404, 408, 409, 410, 413, 415, 422, 429, 500, 502, 503, 504, 529
]
OfChat = Literal[
    "context_length_exceeded",  # 400 with this code
    "insufficient_quota",  # 429 with this code
    "content_filter",  # 400 with this code
    "content_filtered",  # 200, half an answer with the finish_reason content_filter
    "hang",  # the work is done, and nothing is sent for `seconds`, or at all
    "reset_before",  # RST before any work is done
    "reset_after",  # RST when the work is done, before a byte is sent
    "garbage",  # 200 with a body that is not JSON
    "no_choices",  # 200 with JSON that is not an answer
    "empty",  # 200 with no body
    "truncated_body",  # fewer bytes than Content-Length says
    "cut_before_first_token",  # the stream ends after its headers
    "cut_after_first_token",  # the stream ends after `after_tokens` words
    "cut_with_cumulative_usage",  # the same, and every chunk carries the usage so far
    "no_finish_reason",  # the stream ends without a finish_reason and [DONE]
    "cumulative_usage",  # every chunk carries the usage so far
    "no_usage",  # usage is not reported
    "slow",  # `seconds` before each word
    "delay",  # `seconds` before the answer
]
OfMedia = Literal[
    "moderated",  # media: the provider refuses the content, in its own way
    "fewer",  # pictures: one fewer than was asked for
    "other_format",  # pictures: JPEG where PNG was asked for, and the reverse
    "audio_too_long",  # transcription: 400 with this code
    "stuck",  # jobs: it never ends
    "job_failed",  # jobs: it ends without a result
    "job_aborted",  # jobs: it ends before it begins, where the provider has a word for that
    "unknown_state",  # jobs: it is in a state that is not documented, then done
    "no_cost",  # jobs: the cost that the answer otherwise reports is missing
    "link_forbidden",  # results: 403 at their address
    "link_missing",  # results: 404
    "link_redirects",  # results: 302 to another address
    "link_slow",  # results: `seconds` before the file
    "link_too_long",  # results: a Content-Length beyond all bounds, and no end
]
Named = Literal[OfChat, OfMedia]
Kind: TypeAlias = Status | Named

STREAM_CUTS = frozenset(
    {
        "cut_before_first_token",
        "cut_after_first_token",
        "cut_with_cumulative_usage",
        "truncated_body",
    }
)
"""Faults that break a stream; an answer in one piece gets a truncated body instead."""
_TIMED = frozenset({"slow", "delay", "link_slow"})


@dataclasses.dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with one request."""

    kind: Kind
    """An HTTP status, or the name of what happens."""
    _: dataclasses.KW_ONLY
    seconds: float | None = None
    """For hang, slow and delay; None: a hang lasts until one side closes the connection."""
    retry_after: float | None = None
    """Seconds for the Retry-After header of an error status; None: the header is not sent."""
    after_tokens: int | None = None
    """Words after which a stream is cut or ends; None: one for a cut, all for no_finish_reason."""
    message: str | None = None
    """The message of an error status; None: the usual one."""

    def __post_init__(self) -> None:
        if self.kind not in get_args(Status) + get_args(Named):
            raise UserError(f"there is no fault {self.kind!r}; see Fault's kinds")
        if self.kind in _TIMED and self.seconds is None:
            raise UserError(f"the fault {self.kind} needs seconds=")


Draw: TypeAlias = "Callable[[ChatRequest], Fault | None]"
Plan: TypeAlias = (
    "Fault | Sequence[Fault | None] | Mapping[str, Fault | Sequence[Fault | None]] | Draw"
)


def draw(plan: Plan) -> Draw:
    """Make any plan a function from a request to what goes wrong with it."""
    if isinstance(plan, Fault):
        return lambda _request: plan
    if isinstance(plan, Mapping):
        by_model = {model: draw(part) for model, part in plan.items()}
        return lambda request: (
            by_model[request.model](request) if request.model in by_model else None
        )
    return plan if callable(plan) else _InOrder(iter(plan))


class _InOrder:
    """One entry per request."""

    def __init__(self, faults: Iterator[Fault | None]) -> None:
        self._faults = faults
        self._lock = threading.Lock()

    def __call__(self, _request: ChatRequest) -> Fault | None:
        with self._lock:
            return next(self._faults, None)


class RandomFaults:
    """Random faults, the same for the same seed and the same order of requests.

    Args:
        seed: The seed of the random numbers.
        rate: The share of requests that go wrong, 0 to 1.
        kinds: What may go wrong, each with the same probability.
        models: Only requests to these count and go wrong; None: all.
    """

    def __init__(
        self,
        seed: int,
        rate: float,
        *,
        kinds: Sequence[Kind | Fault] = (429, 500, 503, "reset_after", "cut_after_first_token"),
        models: Sequence[str] | None = None,
    ) -> None:
        self._faults = [kind if isinstance(kind, Fault) else Fault(kind) for kind in kinds]
        self._rate = rate
        self._models = None if models is None else frozenset(models)
        self._random = random.Random(seed)
        self._lock = threading.Lock()

    def __call__(self, request: ChatRequest) -> Fault | None:
        if self._models is not None and request.model not in self._models:
            return None
        with self._lock:
            # Both are drawn each time, so that another rate does not change the order of kinds.
            number, fault = self._random.random(), self._random.choice(self._faults)
        return fault if number < self._rate else None


_REFUSALS: Mapping[Kind, tuple[int, str, str]] = {
    400: (400, "invalid_request", "The request is wrong: 'messages' must not be empty."),
    401: (401, "invalid_api_key", "The key is wrong."),
    402: (402, "payment_required", "The account is out of credit."),
    403: (403, "permission_denied", "The key may not use this model."),
    404: (404, "model_not_found", "The model does not exist."),
    408: (408, "request_timeout", "The request took too long."),
    409: (409, "conflict", "The request conflicts with another one."),
    410: (410, "model_decommissioned", "The model has been decommissioned."),
    413: (413, "context_length_exceeded", "The request exceeds the model's context length."),
    415: (415, "unsupported_media_type", "The content type is not supported."),
    422: (
        422,
        "unprocessable_entity",
        "The request cannot be processed: messages must not be empty.",
    ),
    429: (429, "rate_limit_exceeded", "The rate limit is reached."),
    500: (500, "internal_error", "The server had an error."),
    502: (502, "bad_gateway", "The gateway got no valid answer."),
    503: (503, "service_unavailable", "The service is unavailable."),
    504: (504, "gateway_timeout", "The gateway got no answer in time."),
    529: (529, "overloaded", "The service is overloaded."),
    "context_length_exceeded": (
        400,
        "context_length_exceeded",
        "The messages exceed this model's maximum context length.",
    ),
    "insufficient_quota": (
        429,
        "insufficient_quota",
        "You exceeded your current quota, check your plan and billing.",
    ),
    "content_filter": (
        400,
        "content_filter",
        "The response was filtered by the content management policy.",
    ),
}
"""The status, code and usual message of the faults that are an error status."""


def refusal_of(fault: Fault, dialect: Dialect, model: str) -> Refused | None:
    """The error status that a fault means; None: it means something else."""
    if fault.kind not in _REFUSALS:
        return None
    refused = dialect.worded(fault.kind, "", model) or Refused(*_REFUSALS[fault.kind])
    refused.message = fault.message or refused.message
    refused.retry_after = fault.retry_after
    return refused


_OK = 200
SPOILED: dict[Kind, tuple[str, bytes]] = {
    "garbage": ("text/html", b"<html><body><h1>Something is not right here</h1></body></html>"),
    "no_choices": ("application/json", b'{"object": "chat.completion"}'),
    "empty": ("application/json", b""),
}
"""What is sent in place of an answer: its kind, and its bytes."""


@dataclasses.dataclass(frozen=True, slots=True)
class Delivery:
    """One answer, one connection, and what goes wrong between them.

    The bill is settled before the last byte is sent, so that a caller with an answer finds it
    charged.
    """

    wire: Wire
    reply: Reply
    fault: Fault | None
    amend: Callable[..., None]
    """Changes the call's line on the bill."""
    headers: Mapping[str, str]
    is_interrupted: Callable[[], bool] = bool
    """Whether another request cuts this stream off."""

    @property
    def _kind(self) -> Kind | None:
        return self.fault.kind if self.fault else None

    @property
    def _seconds(self) -> float:
        """How long each word takes."""
        slow = self.fault if self._kind == "slow" else None
        return slow.seconds or 0 if slow else 0

    @property
    def _is_cumulative(self) -> bool:
        """Whether every chunk reports the usage so far."""
        usage = self.reply.dialect.stream_usage
        kinds = {"cumulative_usage", "cut_with_cumulative_usage"}
        return self._kind in kinds or usage == "cumulative"

    async def run(self) -> None:
        """Deliver the answer as the fault lets it."""
        # Until more is known: the work is done and nothing has arrived.
        self.amend(output_tokens=self.reply.output_tokens)
        if self.fault and self._kind in {"hang", "delay"}:
            await self.wire.pause(self.fault.seconds)
        if self._kind == "reset_after":
            self.wire.reset()
        elif self._kind in SPOILED:
            content_type, body = SPOILED[self._kind]
            self.amend(status=_OK)
            await self.wire.send(_OK, {**self.headers, "content-type": content_type}, body)
        elif self.reply.request.stream:
            await self._stream()
        else:
            await self._whole()

    async def _whole(self) -> None:
        headers = {**self.headers, "content-type": "application/json"}
        body = self.reply.whole(
            with_usage=self._kind != "no_usage", with_finish=self._kind != "no_finish_reason"
        )
        if self._seconds:
            await self.wire.pause(self._seconds * len(self.reply.words))
        if self._kind in STREAM_CUTS:
            self.amend(status=_OK)
            await self.wire.send_truncated(_OK, headers, body)
        else:
            self.amend(status=_OK, delivered=True)
            await self.wire.send(_OK, headers, body)

    async def _stream(self) -> None:
        words = self._words_to_send()
        self.amend(status=_OK, output_tokens=self.reply.output_tokens_after(words))
        self.wire.start(_OK, {**self.headers, "content-type": "text/event-stream"})
        if self._kind != "cut_before_first_token":
            self.wire.put(self.reply.opening())
            if not await self._send_words(words):
                self.wire.put(b"data: [DONE]\n\n")
                await self.wire.finish()
                return
        if self._kind in STREAM_CUTS:
            await self.wire.break_off()
            return
        if self._kind != "no_finish_reason":
            self.amend(output_tokens=self.reply.output_tokens, delivered=True)
            self.wire.put(self._ending())
        await self.wire.finish()

    async def _send_words(self, words: int) -> bool:
        """Send the words; returns whether no other request has cut them off."""
        chunks = self.reply.word_chunks(with_usage=self._is_cumulative)
        sent = itertools.islice(chunks, words)
        if not self._seconds:
            self.wire.put(b"".join(sent))
            return True
        for number, chunk in enumerate(sent):
            self.amend(output_tokens=self.reply.output_tokens_after(number))
            await self.wire.pause(self._seconds)
            self.wire.put(chunk)
            if self.is_interrupted():
                return False
        return True

    def _words_to_send(self) -> int:
        every = len(self.reply.words)
        wanted = self.fault.after_tokens if self.fault else None
        if self._kind == "cut_before_first_token":
            return 0
        if self._kind in {"cut_after_first_token", "cut_with_cumulative_usage"}:
            return 1 if wanted is None else wanted
        if self._kind == "truncated_body":
            return every // 2
        return wanted if self._kind == "no_finish_reason" and wanted is not None else every

    def _ending(self) -> bytes:
        dialect = self.reply.dialect
        wanted = self.reply.request.include_usage and dialect.stream_usage != "never"
        ending = self.reply.closing(with_usage=self._is_cumulative)
        if self._kind != "no_usage" and (wanted or dialect.stream_usage == "always"):
            ending += self.reply.usage_chunk()
        return ending + (b"data: [DONE]\n\n" if dialect.ends_with_done else b"")
