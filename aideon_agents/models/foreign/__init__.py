"""Chat models of LangChain that are not ours: a copy that is set up for a request, and its answers.

The original stays as its owner made it. `delegate` asks the copy, and the guard treats that like a
model of ours.

Each integration says in its own words why an answer ends. Streams report tokens once, in parts, or as
totals so far; LangChain adds them all up. And LangChain completes the arguments of a tool call that
broke off, where it would run a tool with half of them.
"""

from __future__ import annotations

import asyncio
import functools
import json
import sys
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakKeyDictionary

from langchain_core.messages import AIMessageChunk
from langchain_core.messages.ai import add_usage
from langchain_core.messages.tool import invalid_tool_call
from langchain_core.outputs import ChatGenerationChunk, ChatResult

from aideon_agents.ledger.calls import MET_MAX_TOKENS
from aideon_agents.models.protocol.calls import arguments_in

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

    from langchain_core.language_models import BaseChatModel

    from aideon_agents.state import ModelRequest


_ROOM = (
    "max_tokens",
    "max_output_tokens",
    "max_completion_tokens",
    "max_new_tokens",
    "num_predict",
)
"""Fields that bound the tokens of an answer, in the integrations of LangChain."""
_ONE_ATTEMPT = {"google_genai": 1, "google_vertexai": 1}
"""Integrations whose `max_retries` counts the first attempt as well."""
_SAMPLING = ("temperature", "reasoning_effort")
ROOM_TO_THINK = 4
"""How many times the usual room the answers of a reasoning model get, thoughts included."""


def set_up(inner: BaseChatModel, provider: str, request: ModelRequest) -> BaseChatModel:
    """A copy without retries of its own, with what an agent asks for.

    An agent's own `max_tokens` counts before the model's, and the model's before the role's.
    """
    fields = type(inner).model_fields
    changes: dict[str, Any] = {
        name: value
        for name in _SAMPLING
        if name in fields and (value := getattr(request, name)) is not None
    }
    if "max_retries" in fields:
        changes["max_retries"] = _ONE_ATTEMPT.get(provider, 0)
    if "stream_usage" in fields and "stream_usage" not in inner.model_fields_set:
        changes["stream_usage"] = True
    if "streaming" in fields:
        changes["streaming"] = False  # it is asked for a stream where one is wanted
    name = room_field(inner)
    profile = cast("dict[str, Any] | None", getattr(inner, "profile", None)) or {}
    own = room_of(inner) if name in inner.model_fields_set else None
    # Some integrations fill the field with the most that the model can answer.
    is_own = own is not None and own != profile.get("max_output_tokens")
    if name and not (is_own and request.may_think):
        thinks = request.may_think and profile.get("reasoning_output")
        changes[name] = request.max_tokens * (ROOM_TO_THINK if thinks else 1)
    return _changed(inner, changes)


def room_field(inner: BaseChatModel) -> str | None:
    """The field of a model that bounds the tokens of an answer; None: it has none that is known."""
    return next((name for name in _ROOM if name in type(inner).model_fields), None)


def room_of(inner: BaseChatModel) -> int | None:
    """The most tokens that an answer of a model may have; None: it is not known."""
    name = room_field(inner)
    room = getattr(inner, name) if name else None
    return room if isinstance(room, int) and room > 0 else None


@functools.lru_cache(maxsize=256)
def _attributes(kind: type[BaseChatModel]) -> frozenset[str]:
    """The cached properties of a class, which a copy must make again."""
    return frozenset(
        name
        for one in kind.__mro__
        for name, value in vars(one).items()
        if isinstance(value, functools.cached_property)
    )


def with_room(inner: BaseChatModel, tokens: int) -> BaseChatModel:
    """A copy whose answers have at most so many tokens; the model itself if it knows no such limit."""
    name = room_field(inner)
    return _changed(inner, {name: tokens}) if name else inner


def _changed(inner: BaseChatModel, changes: dict[str, Any]) -> BaseChatModel:
    changes = {name: value for name, value in changes.items() if getattr(inner, name) != value}
    if not changes:
        return inner
    copy = inner.model_copy(update=changes)
    if "max_retries" in changes:
        for name in _attributes(type(inner)) & vars(copy).keys():
            del vars(copy)[name]
        _change_clients(copy, lambda client: {"max_retries": 0})  # noqa: ARG005 - all the same
    return copy


async def in_this_loop(inner: BaseChatModel) -> BaseChatModel:
    """A copy whose HTTP connections belong to the running event loop.

    Integrations share their connections in the process, and one of an event loop that has ended loses
    a request that is sent through it. Connections that the owner has configured stay as they are.
    """
    if any(getattr(inner, name, None) for name in _OWN_CONNECTIONS):
        return inner
    copy = inner.model_copy()
    for name in _attributes(type(inner)):
        if "async_client" in name:
            getattr(copy, name)  # it is made now
    known = await _connections()
    make = getattr(copy, "validate_environment", None)
    if make is not None and hasattr(copy, "aclose"):
        make()  # Google's integration makes its client here, and closes it where it is asked to
        known[f"{type(copy).__name__} {id(copy)}"] = copy
    _change_clients(copy, functools.partial(_with_connections, known))
    return copy


_OWN_CONNECTIONS = ("http_async_client", "openai_proxy", "anthropic_proxy")
_http: WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[dict[str, Any], AsyncGenerator[None]]] = (
    WeakKeyDictionary()
)
"""HTTP clients by event loop, and in it by the package that made them; and what closes them."""


async def _connections() -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    known = _http.get(loop)
    if known is None:
        clients: dict[str, Any] = {}
        known = _http[loop] = clients, _close_with_loop(loop, clients)
        await anext(known[1])
    return known[0]


async def _close_with_loop(
    loop: asyncio.AbstractEventLoop, clients: dict[str, Any]
) -> AsyncGenerator[None]:
    """Wait in a generator, because `asyncio.run` closes generators before it closes the loop."""
    try:
        yield
    finally:
        del _http[loop]
        for client in clients.values():
            await client.aclose()


def _with_connections(known: dict[str, Any], client: Any) -> dict[str, Any] | None:
    if not hasattr(getattr(client, "_client", None), "aclose"):
        return None  # a synchronous one
    package = type(client).__module__.partition(".")[0]
    make = getattr(sys.modules.get(package), "DefaultAsyncHttpxClient", None)
    if make is None:
        return None
    if package not in known:
        known[package] = make()
    return {"http_client": known[package]}


def _change_clients(copy: BaseChatModel, change: Callable[[Any], dict[str, Any] | None]) -> None:
    """Replace the clients of a model that the packages of OpenAI and its relatives have made."""
    for name, value in list(vars(copy).items()):
        around = getattr(value, "_client", None)
        client = value if _is_client(value) else around if _is_client(around) else None
        options = None if client is None else change(client)
        if options is not None:
            changed = cast("Any", client).with_options(**options)
            vars(copy)[name] = changed if client is value else type(value)(changed)


def _is_client(value: object) -> bool:
    return callable(getattr(type(value), "with_options", None))


_REASONS = ("finish_reason", "stop_reason", "stopReason", "done_reason")
_FILTERED = frozenset(
    {
        "refusal",
        "safety",
        "prohibited_content",
        "blocklist",
        "spii",
        "content_filtered",
        "guardrail_intervened",
    }
)
_IN_PARTS = ("google",)
"""Beginnings of providers whose integrations make parts of the totals that a stream reports."""
_ALWAYS_SAY = frozenset(
    {
        "amazon_bedrock",
        "anthropic",
        "azure",
        "cohere",
        "deepseek",
        "fireworks",
        "google_genai",
        "google_vertexai",
        "groq",
        "mistralai",
        "openai",
        "openrouter",
        "xai",
    }
)
"""Providers, as LangChain names them, that say why a stream ends."""


def reason_in(*places: Mapping[str, Any] | None) -> str | None:
    """Why an answer ends, as OpenAI names it where it met a limit or was filtered; None: not said."""
    found = (place.get(name) for place in places if place for name in _REASONS)
    reason = next((one for one in found if isinstance(one, str) and one), None)
    if reason is None:
        return None
    plain = reason.lower()
    return (
        "length" if plain in MET_MAX_TOKENS else "content_filter" if plain in _FILTERED else reason
    )


def always_says(provider: str) -> bool:
    """Whether a stream of a provider that ends without a reason has broken off."""
    return provider in _ALWAYS_SAY


def whole(result: ChatResult) -> ChatResult:
    """A whole answer, with its reason."""
    for generation in result.generations:
        message: Any = generation.message
        if not hasattr(message, "tool_calls"):
            continue
        message.usage_metadata = _believed(message.usage_metadata)
        reason = reason_in(generation.generation_info, message.response_metadata)
        if reason:
            generation.generation_info = {
                **(generation.generation_info or {}),
                "finish_reason": reason,
            }
            message.response_metadata = {**message.response_metadata, "finish_reason": reason}
        if message.tool_calls and reason == "length" and not message.tool_calls[-1]["args"]:
            # The answer met its limit before the arguments of its last call.
            cut = message.tool_calls.pop()
            message.invalid_tool_calls.append(
                invalid_tool_call(name=cut["name"], args="", id=cut["id"], error=None)
            )
    return result


class ReceivedStream:
    """A stream as it is received."""

    def __init__(self, provider: str) -> None:
        self._in_parts = provider.startswith(_IN_PARTS)
        self._usages: list[Any] = []
        self._held: list[AIMessageChunk] = []
        self._has_text = False
        self.reason: str | None = None
        """Why it ended; None: it has not said so."""

    def take(self, chunk: ChatGenerationChunk) -> ChatGenerationChunk | None:
        """What is shown of a chunk at once; None: nothing.

        Its usage, its reason and everything from the first tool call on are held until the end.
        """
        message = cast("AIMessageChunk", chunk.message)
        metadata = dict(message.response_metadata)
        info = dict(chunk.generation_info or {})
        self.reason = reason_in(info, metadata) or self.reason
        for name in _REASONS:
            info.pop(name, None)
            metadata.pop(name, None)
        if message.usage_metadata:
            self._usages.append(message.usage_metadata)
        shown = message.model_copy(
            update={"usage_metadata": None, "response_metadata": metadata, "chunk_position": None}
        )
        if self._held or message.tool_call_chunks:
            self._held.append(shown)
            return None
        return ChatGenerationChunk(message=shown, generation_info=info)

    def end(self, reason: str) -> ChatGenerationChunk:
        """The last chunk: the tool calls, the usage, and why the stream ended."""
        message = AIMessageChunk(content="")
        if self._held:
            first, *others = self._held
            merged = cast("AIMessageChunk", first.__add__(cast("Any", others))) if others else first
            message = _strict(merged, is_cut=reason == "length")
        message.usage_metadata = _believed(self.usage())
        message.chunk_position = "last"
        return ChatGenerationChunk(message=message, generation_info={"finish_reason": reason})

    def usage(self) -> Any:
        """The tokens of the stream; None: it reported none.

        Totals so far are recognised because each has the tokens of the prompt, which parts report
        once. Anthropic reports those of the prompt first, and the total of the answer last.
        """
        if len(self._usages) < 2:  # noqa: PLR2004 - one is the total
            return self._usages[0] if self._usages else None
        with_prompt = [one for one in self._usages if one.get("input_tokens")]
        are_totals = len(with_prompt) > 1 or not self._usages[0].get("output_tokens")
        if self._in_parts or not are_totals:
            total: Any = None
            for one in self._usages:
                total = add_usage(total, one)
            return total
        highest: dict[str, Any] = {}
        for one in self._usages:
            highest = _highest(highest, one)
        highest["total_tokens"] = highest.get("input_tokens", 0) + highest.get("output_tokens", 0)
        return highest


def _believed(usage: Any) -> Any:
    """Usage with tokens of a prompt; some integrations report 0 of a stream that does not repeat them."""
    return usage if usage and usage.get("input_tokens") else None


def _highest(left: Mapping[str, Any], right: Mapping[str, Any]) -> dict[str, Any]:
    """The higher of two counts in each field."""
    joined = dict(left)
    for name, value in right.items():
        known = joined.get(name)
        if isinstance(value, dict):
            joined[name] = _highest(cast("Any", known) or {}, cast("dict[str, Any]", value))
        elif isinstance(value, int):
            joined[name] = max(value, known if isinstance(known, int) else 0)
    return joined


def _strict(merged: AIMessageChunk, *, is_cut: bool) -> AIMessageChunk:
    """Calls whose arguments are one whole JSON object, and others as text that is none."""
    pieces: list[Any] = []
    last: Sequence[Any] = merged.tool_call_chunks[-1:]
    for one in merged.tool_call_chunks:
        raw = one["args"] or ""
        known = arguments_in(raw)
        if known is None or (is_cut and one in last and not raw.strip()):
            known = json.dumps(raw)
        pieces.append({**one, "args": known})
    return AIMessageChunk(
        content=merged.content,
        additional_kwargs=merged.additional_kwargs,
        response_metadata=merged.response_metadata,
        tool_call_chunks=pieces,
        id=merged.id,
    )


def room_to_think(window: int | None, request: ModelRequest) -> int:
    """The room of a reasoning model's answer: at most half of what it takes."""
    roomy = request.max_tokens * ROOM_TO_THINK
    half = roomy if window is None else window // 2
    return max(request.max_tokens, min(roomy, half))
