"""What can be made to go wrong, and when.

A plan is a sequence (one entry per request, None is healthy, and so is everything after its end),
one fault (always), a mapping from model to either, a function, or `RandomFaults`.

Error answers, in OpenAI's shape.

A chat completion request, as the simulated provider reads it.
"""

from __future__ import annotations

import dataclasses
import json
import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeAlias, cast, get_args

from aideon_agents.errors import UserError
from aideon_agents.models.answers import Ask, Turn, text_of

Status = Literal[
    400, 401, 402, 403, 404, 408, 409, 410, 413, 415, 422, 429, 500, 502, 503, 504, 529
]
Named = Literal[
    "context_length_exceeded",  # 400 with this code
    "insufficient_quota",  # 429 with this code
    "content_filter",  # 400 with this code
    "content_filtered",  # 200, the answer broken off with this finish_reason
    "hang",  # the work is done, and nothing is sent for `seconds`, or ever
    "reset_before",  # RST before any work is done
    "reset_after",  # RST when the work is done, before a byte is sent
    "garbage",  # 200 with a body that is not JSON
    "no_choices",  # 200 with JSON that is not an answer
    "empty",  # 200 with no body
    "truncated_body",  # fewer bytes than Content-Length says
    "cut_before_first_token",  # the stream ends after its headers
    "cut_after_first_token",  # the stream ends after `after_tokens` words
    "no_finish_reason",  # the stream ends cleanly, but says neither why nor [DONE]
    "cumulative_usage",  # every chunk carries the usage so far
    "no_usage",  # usage is not reported
    "slow",  # `seconds` before each word
    "delay",  # `seconds` before the answer
]
Kind: TypeAlias = Status | Named

STREAM_CUTS = frozenset({"cut_before_first_token", "cut_after_first_token", "truncated_body"})
"""Faults that break a stream; an answer in one piece becomes a truncated body instead."""
_TIMED = frozenset({"slow", "delay"})


@dataclasses.dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong with one request."""

    kind: Kind
    """An HTTP status, or what happens."""
    _: dataclasses.KW_ONLY
    seconds: float | None = None
    """For hang, slow and delay; a hang without it lasts until one side closes."""
    retry_after: float | None = None
    """Seconds for the Retry-After header of an error status; None sends none."""
    after_tokens: int | None = None
    """Words after which a stream is cut or ends; None: one for a cut, all for no_finish_reason."""
    message: str | None = None
    """The error's message; None: an ordinary one."""

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
        return lambda request: by_model.get(request.model, _healthy)(request)
    if callable(plan):
        return plan
    return _InTurn(iter(plan))


def _healthy(_request: ChatRequest) -> Fault | None:
    return None


class _InTurn:
    """One entry per request."""

    def __init__(self, faults: Iterator[Fault | None]) -> None:
        self._faults = faults
        self._lock = threading.Lock()

    def __call__(self, _request: ChatRequest) -> Fault | None:
        with self._lock:
            return next(self._faults, None)


class RandomFaults:
    """Faults by chance, the same for the same seed and the same order of requests.

    Args:
        seed: Of the chance.
        rate: The share of requests that go wrong, 0 to 1.
        kinds: What may go wrong, each as likely.
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
        self._chance = random.Random(seed)
        self._lock = threading.Lock()

    def __call__(self, request: ChatRequest) -> Fault | None:
        if self._models is not None and request.model not in self._models:
            return None
        with self._lock:
            # Both are drawn each time, so that another rate leaves the kinds in their places.
            unlucky, fault = self._chance.random() < self._rate, self._chance.choice(self._faults)
        return fault if unlucky else None


@dataclasses.dataclass(frozen=True, slots=True)
class Refusal:
    """An answer with an error status. Nothing is charged for it."""

    status: int
    code: str | None
    message: str
    retry_after: float | None = None

    @property
    def headers(self) -> dict[str, str]:
        """What goes beside the body."""
        return {} if self.retry_after is None else {"retry-after": f"{self.retry_after:g}"}

    @property
    def body(self) -> bytes:
        """The error as JSON."""
        kind = _TYPES.get(self.status) or _type_of_class(self.status)
        error = {"message": self.message, "type": kind, "param": None, "code": self.code}
        return json.dumps({"error": error}).encode()


class Refused(Exception):  # noqa: N818 - reads as what happened
    """A request is answered with an error status."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
_SERVER_ERROR = 500


def _type_of_class(status: int) -> str:
    return "server_error" if status >= _SERVER_ERROR else "invalid_request_error"


_REFUSALS: Mapping[Kind, Refusal] = {
    400: Refusal(400, "invalid_request", "The request is wrong."),
    401: Refusal(401, "invalid_api_key", "The key is wrong."),
    402: Refusal(402, "payment_required", "The account is out of credit."),
    403: Refusal(403, "permission_denied", "The key may not use this model."),
    404: Refusal(404, "model_not_found", "The model does not exist."),
    408: Refusal(408, "request_timeout", "The request took too long."),
    409: Refusal(409, "conflict", "The request conflicts with another one."),
    410: Refusal(410, "model_decommissioned", "The model has been decommissioned."),
    413: Refusal(413, "context_length_exceeded", "The request exceeds the model's context length."),
    415: Refusal(415, "unsupported_media_type", "The content type is not supported."),
    422: Refusal(422, "unprocessable_entity", "The request cannot be processed."),
    429: Refusal(429, "rate_limit_exceeded", "The rate limit is reached."),
    500: Refusal(500, "internal_error", "The server had an error."),
    502: Refusal(502, "bad_gateway", "The gateway got no valid answer."),
    503: Refusal(503, "service_unavailable", "The service is unavailable."),
    504: Refusal(504, "gateway_timeout", "The gateway got no answer in time."),
    529: Refusal(529, "overloaded", "The service is overloaded."),
    "context_length_exceeded": Refusal(
        400, "context_length_exceeded", "The messages exceed this model's maximum context length."
    ),
    "insufficient_quota": Refusal(
        429, "insufficient_quota", "You exceeded your current quota, check your plan and billing."
    ),
    "content_filter": Refusal(
        400, "content_filter", "The response was filtered by the content management policy."
    ),
}


def refusal_of(fault: Fault) -> Refusal | None:
    """The error answer that a fault means, None when it means something else."""
    usual = _REFUSALS.get(fault.kind)
    if usual is None:
        return None
    message = fault.message or usual.message
    return dataclasses.replace(usual, message=message, retry_after=fault.retry_after)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """One request to /v1/chat/completions that is well formed."""

    request_id: str
    key: str
    """The caller's key, as sent."""
    model: str
    """The model asked for, before aliases."""
    ask: Ask
    """The conversation and what is asked for."""
    stream: bool
    include_usage: bool
    """Whether a stream is to end with its usage."""
    body: Mapping[str, Any]
    """The request as it came."""


def read_chat(raw: bytes, *, request_id: str, key: str) -> ChatRequest:
    """Read a request's body."""
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise _wrong(f"The body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise _wrong("The body is not a JSON object.")
    asked = cast("dict[str, Any]", body)
    if not isinstance(asked.get("model"), str) or not asked["model"]:
        raise _wrong("You must provide a model parameter.")
    if asked.get("n", 1) != 1:
        raise _wrong("Only n=1 is supported.")
    options: dict[str, Any] = asked.get("stream_options") or {}
    return ChatRequest(
        request_id=request_id,
        key=key,
        model=asked["model"],
        ask=_ask(asked),
        stream=bool(asked.get("stream")),
        include_usage=bool(options.get("include_usage")),
        body=asked,
    )


def _ask(body: dict[str, Any]) -> Ask:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise _wrong("'messages' must be a list with at least one message.")
    limit = body.get("max_completion_tokens", body.get("max_tokens"))
    if limit is not None and (not isinstance(limit, int) or limit < 1):
        raise _wrong("The maximum of tokens must be a positive integer.")
    stop = body.get("stop") or ()
    tools = body.get("tools") or []
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise _wrong("'tools' must be a list of objects.")
    return Ask(
        turns=tuple(_turn(message) for message in cast("list[Any]", messages)),
        tools=tuple(cast("list[dict[str, Any]]", tools)),
        tool_choice=body.get("tool_choice"),
        response_format=body.get("response_format"),
        max_tokens=limit,
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
    )


def _turn(message: object) -> Turn:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise _wrong("Each message must be an object with a role.")
    made = cast("dict[str, Any]", message)
    functions = [call.get("function", {}) for call in made.get("tool_calls") or ()]
    calls = tuple((call.get("name", ""), call.get("arguments", "")) for call in functions)
    return Turn(made["role"], text_of(made.get("content")), calls)


def _wrong(message: str) -> Refused:
    return Refused(Refusal(400, "invalid_request", message))
