"""A chat completion request, as the simulated provider reads it."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any, cast

from aideon_agents.models.answers import Ask, Turn, text_of
from aideon_agents.testing.simulated.refusals import Refusal, Refused

if TYPE_CHECKING:
    from collections.abc import Mapping


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
