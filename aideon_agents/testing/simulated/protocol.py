"""How a server of the OpenAI protocol reads requests and writes answers and errors.

Servers differ in what they accept and in what they send. Everything in which they may differ is a
field of `Dialect`, and the rest of the simulated provider only asks its dialect.
"""

from __future__ import annotations

import dataclasses
import json
import re
import time
from typing import TYPE_CHECKING, Any, Literal, cast

from aideon_agents.models.answers import Answer, Ask, Turn, estimate_tokens, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping


class Refused(Exception):  # noqa: N818 - reads as what happened
    """A request is answered with an error status. Nothing is charged for it."""

    def __init__(
        self, status: int, code: str | None, message: str, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.retry_after = retry_after
        """Seconds for the Retry-After header; None: it is not sent."""

    @property
    def headers(self) -> dict[str, str]:
        """The headers that belong to it."""
        return {} if self.retry_after is None else {"retry-after": f"{self.retry_after:g}"}


_ERROR_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
_SERVER_ERROR = 500


def openai_error(refused: Refused) -> dict[str, Any]:
    """An error document as OpenAI writes it."""
    usual = "server_error" if refused.status >= _SERVER_ERROR else "invalid_request_error"
    kind = _ERROR_TYPES.get(refused.status, usual)
    error = {"message": refused.message, "type": kind, "param": None, "code": refused.code}
    return {"error": error}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """What one server accepts and sends. The defaults are the protocol as OpenAI documents it."""

    roles: Collection[str] | None = None
    """The roles that a message may have; None: any."""
    response_formats: Collection[str] | None = None
    """The types of `response_format` that are accepted; None: any."""
    invalid_status: int = 400
    """The status of a request that is not accepted."""
    error: Callable[[Refused], Mapping[str, Any]] = openai_error
    """The document that describes an error."""
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict[str, str])
    """Headers of every answer, such as `x-ratelimit-limit-requests`."""
    finish_reasons: Mapping[str, str] = dataclasses.field(default_factory=dict[str, str])
    """What is sent in place of `stop`, `length`, `tool_calls` and `content_filter`."""
    stream_usage: Literal["requested", "always", "never", "cumulative"] = "requested"
    """When a stream ends with its usage; `cumulative`: each chunk has the usage so far as well."""
    ends_with_done: bool = True
    """Whether a stream ends with `data: [DONE]`."""

    def body(self, refused: Refused) -> bytes:
        """An error as the body of an answer."""
        return json.dumps(self.error(refused)).encode()

    def check(self, ask: Ask) -> None:
        """Refuse what this server does not accept."""
        for turn in ask.turns:
            if self.roles is not None and turn.role not in self.roles:
                raise self.invalid(f"The role {turn.role!r} is not supported.")
        kind = (ask.response_format or {}).get("type", "text")
        if self.response_formats is not None and kind not in self.response_formats:
            raise self.invalid(f"The response format {kind!r} is not supported.")

    def invalid(self, message: str) -> Refused:
        """The refusal of a request that is not accepted."""
        return Refused(self.invalid_status, "invalid_request", message)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """One well-formed request to /v1/chat/completions."""

    request_id: str
    key: str
    """The caller's key, as sent."""
    model: str
    """The requested model, before aliases."""
    ask: Ask
    """The conversation and what is requested."""
    stream: bool
    include_usage: bool
    """Whether the caller wants a stream to end with its usage."""
    body: Mapping[str, Any]
    """The request as it was sent."""


def read_chat(body: object, dialect: Dialect, *, request_id: str, key: str) -> ChatRequest:
    """Read a request's body; None: it was not JSON."""
    if not isinstance(body, dict):
        raise dialect.invalid("The body is not a JSON object.")
    sent = cast("dict[str, Any]", body)
    if not isinstance(sent.get("model"), str) or not sent["model"]:
        raise dialect.invalid("You must provide a model parameter.")
    if sent.get("n", 1) != 1:
        raise dialect.invalid("Only n=1 is supported.")
    ask = _ask(sent, dialect)
    dialect.check(ask)
    options: dict[str, Any] = sent.get("stream_options") or {}
    return ChatRequest(
        request_id=request_id,
        key=key,
        model=sent["model"],
        ask=ask,
        stream=bool(sent.get("stream")),
        include_usage=bool(options.get("include_usage")),
        body=sent,
    )


def _ask(body: dict[str, Any], dialect: Dialect) -> Ask:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise dialect.invalid("'messages' must be a list with at least one message.")
    limit = body.get("max_completion_tokens", body.get("max_tokens"))
    if limit is not None and (not isinstance(limit, int) or limit < 1):
        raise dialect.invalid("The maximum of tokens must be a positive integer.")
    stop = body.get("stop") or ()
    tools = body.get("tools") or []
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise dialect.invalid("'tools' must be a list of objects.")
    return Ask(
        turns=tuple(_turn(message, dialect) for message in cast("list[Any]", messages)),
        tools=tuple(cast("list[dict[str, Any]]", tools)),
        tool_choice=body.get("tool_choice"),
        response_format=body.get("response_format"),
        max_tokens=limit,
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
    )


def _turn(message: object, dialect: Dialect) -> Turn:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise dialect.invalid("Each message must be an object with a role.")
    made = cast("dict[str, Any]", message)
    functions = [call.get("function", {}) for call in made.get("tool_calls") or ()]
    calls = tuple((call.get("name", ""), call.get("arguments", "")) for call in functions)
    return Turn(made["role"], text_of(made.get("content")), calls)


_WORD = re.compile(r"\s*\S{1,40}\s*|\s+")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class UsageDetails:
    """What the provider reports beside the plain token counts."""

    cache_read_tokens: int = 0
    """How many input tokens of each request are read from the cache, at most."""
    reasoning_tokens: int = 0
    """How many tokens of reasoning each answer begins with; they are billed as output."""
    top_level: bool = False
    """Whether cached tokens are reported as Together does, beside the counts, not inside."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A chat completion, whole or in chunks."""

    request: ChatRequest
    model: str
    """The model that answers, after aliases."""
    answer: Answer
    details: UsageDetails
    dialect: Dialect

    @property
    def input_tokens(self) -> int:
        """The estimated tokens of the request."""
        return self.request.ask.input_tokens

    @property
    def cache_read_tokens(self) -> int:
        """The input tokens that were read from the cache."""
        return min(self.details.cache_read_tokens, self.input_tokens)

    @property
    def reasoning_tokens(self) -> int:
        """The tokens of reasoning, within the request's limit."""
        limit = self.request.ask.max_tokens
        tokens = self.details.reasoning_tokens
        return tokens if limit is None else min(tokens, limit)

    @property
    def output_tokens(self) -> int:
        """Everything generated, reasoning included."""
        return self.reasoning_tokens + self.answer.output_tokens

    @property
    def words(self) -> list[str]:
        """The text, or the call's arguments, in the pieces of a stream."""
        return _WORD.findall(self.answer.arguments if self.answer.tool else self.answer.text)

    def output_tokens_after(self, words: int) -> int:
        """What was generated when this number of words was sent."""
        return self.reasoning_tokens + estimate_tokens("".join(self.words[:words]))

    def whole(self, *, with_usage: bool, with_finish: bool) -> bytes:
        """The answer in one piece."""
        text = self.answer.text
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if self.answer.tool:
            calls = [self._call(self.answer.arguments)]
            message |= {"content": text or None, "tool_calls": calls}
        choice = self._choice(message=message, finished=with_finish)
        body = {**self._frame("chat.completion"), "choices": [choice]}
        if with_usage:
            body["usage"] = self._usage(self.output_tokens)
        return json.dumps(body).encode()

    def opening(self) -> bytes:
        """The first chunk: the role, and the tool that is called."""
        delta: dict[str, Any] = {"role": "assistant", "content": None if self.answer.tool else ""}
        if self.answer.tool:
            delta["tool_calls"] = [{"index": 0, **self._call("")}]
        return self._chunk([self._choice(delta=delta)])

    def word_chunks(self, *, with_usage: bool) -> Iterator[bytes]:
        """A chunk for each word, each with the usage so far if that is wanted."""
        for number, word in enumerate(self.words, 1):
            delta: dict[str, Any] = {"content": word}
            if self.answer.tool:
                delta = {"tool_calls": [{"index": 0, "function": {"arguments": word}}]}
            tokens = self.output_tokens_after(number) if with_usage else None
            yield self._chunk([self._choice(delta=delta)], tokens)

    def closing(self, *, with_usage: bool) -> bytes:
        """The chunk with the finish reason."""
        tokens = self.output_tokens if with_usage else None
        return self._chunk([self._choice(delta={}, finished=True)], tokens)

    def usage_chunk(self) -> bytes:
        """The chunk without choices that reports the usage of the stream."""
        return self._chunk([], self.output_tokens)

    def _usage(self, output_tokens: int) -> dict[str, Any]:
        usage: dict[str, Any] = {
            "prompt_tokens": self.input_tokens,
            "completion_tokens": output_tokens,
            "total_tokens": self.input_tokens + output_tokens,
        }
        if self.details.cache_read_tokens and self.details.top_level:
            usage["cached_tokens"] = self.cache_read_tokens
        elif self.details.cache_read_tokens:
            usage["prompt_tokens_details"] = {"cached_tokens": self.cache_read_tokens}
        if self.details.reasoning_tokens:
            usage["completion_tokens_details"] = {"reasoning_tokens": self.reasoning_tokens}
        return usage

    def _call(self, arguments: str) -> dict[str, Any]:
        return {
            "id": f"call_{self.request.request_id}",
            "type": "function",
            "function": {"name": self.answer.tool, "arguments": arguments},
        }

    def _frame(self, kind: str) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{self.request.request_id}",
            "object": kind,
            "created": int(time.time()),
            "model": self.model,
        }

    def _choice(self, *, finished: bool = False, **content: Any) -> dict[str, Any]:
        reason = self.answer.finish_reason if finished else None
        sent = reason and self.dialect.finish_reasons.get(reason, reason)
        return {"index": 0, **content, "finish_reason": sent, "logprobs": None}

    def _chunk(self, choices: list[Any], output_tokens: int | None = None) -> bytes:
        chunk = {**self._frame("chat.completion.chunk"), "choices": choices}
        if output_tokens is not None:
            chunk["usage"] = self._usage(output_tokens)
        return b"data: " + json.dumps(chunk).encode() + b"\n\n"
