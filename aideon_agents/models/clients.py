"""One HTTP client for every model, and fixes of what LangChain's clients read from an answer.

A connection that is reused on another event loop fails, and in a chain that failure looks like a dead
provider. Building a client takes tens of milliseconds, so models share one. It is one object for the
process, with one real client behind it for each running loop.

LangChain reads a missing token count as 0, but an unknown sum must not look like nothing; it knows
only OpenAI's names of the counts; and it drops Together's top-level `cached_tokens`, which are
cheaper than the rest. Older servers send the arguments of a tool call as an object instead of text.
"""

from __future__ import annotations

import asyncio
import functools
import json
import weakref
from typing import TYPE_CHECKING, Any, cast

import httpx2
import openai
from langchain_openai.chat_models.base import BaseChatOpenAI
from openai.types.completion_usage import CompletionUsage

from aideon_agents.ledger.pricing import MOST

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from langchain_core.outputs import ChatGenerationChunk, ChatResult


_CONNECT_TIMEOUT = 10.0
"""Seconds. A loop with a thousand calls in flight may use some of them itself. The guard limits how
long an answer may take."""


class _Connections(httpx2.AsyncBaseTransport):
    """Sends each request through the client of the running loop."""

    def __init__(self) -> None:
        self._clients: weakref.WeakKeyDictionary[
            asyncio.AbstractEventLoop, tuple[httpx2.AsyncClient, AsyncIterator[None]]
        ] = weakref.WeakKeyDictionary()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        client = await self._client_of_this_loop()
        return await client.send(request, stream=True, follow_redirects=False)

    async def _client_of_this_loop(self) -> httpx2.AsyncClient:
        loop = asyncio.get_running_loop()
        if loop not in self._clients:
            client = openai.DefaultAsyncHttpxClient()  # its limits suit many calls at once
            closer = self._close_with_loop(loop, client)
            self._clients[loop] = (client, closer)
            await anext(closer)
        return self._clients[loop][0]

    async def _close_with_loop(
        self, loop: asyncio.AbstractEventLoop, client: httpx2.AsyncClient
    ) -> AsyncIterator[None]:
        """Wait in a generator, because `asyncio.run` closes generators before it closes the loop."""
        try:
            yield
        finally:
            del self._clients[
                loop
            ]  # the client refers to its loop, so the entry would keep both alive
            await client.aclose()


@functools.lru_cache(maxsize=1)
def shared_client() -> openai.DefaultAsyncHttpxClient:
    """The client of the process, for any event loop."""
    # A redirect would send the prompt to an address that the user did not choose.
    return openai.DefaultAsyncHttpxClient(transport=_Connections(), follow_redirects=False)


@functools.lru_cache(maxsize=1)
def unused_client() -> openai.DefaultHttpxClient:
    """The synchronous client that the model classes require; calls use the bridge instead."""
    return openai.DefaultHttpxClient()


def timeouts(seconds: float) -> httpx2.Timeout:
    """Time limits of one attempt: between two bytes, and a shorter one to connect."""
    return httpx2.Timeout(seconds, connect=min(_CONNECT_TIMEOUT, seconds))


_NAMES = (("prompt_tokens", "input_tokens"), ("completion_tokens", "output_tokens"))


class UsageFixes(BaseChatOpenAI):
    """Fixes `usage` in an answer and in a stream. Mixed in before a LangChain client."""

    def _create_chat_result(
        self, response: dict[str, Any] | openai.BaseModel, generation_info: Any = None
    ) -> ChatResult:
        body: Any = response
        usage = getattr(body, "usage", None)
        if usage is not None:
            is_read = isinstance(usage, CompletionUsage)
            counts = fixed_usage(usage.model_dump(warnings=False) if is_read else usage)
            body.usage = None if counts is None else CompletionUsage.construct(**counts)
        for choice in getattr(body, "choices", None) or []:
            for call in getattr(getattr(choice, "message", None), "tool_calls", None) or []:
                _as_text(getattr(call, "function", None))
        return super()._create_chat_result(response, generation_info)

    def _convert_chunk_to_generation_chunk(
        self, chunk: dict[str, Any], default_chunk_class: type, base_generation_info: Any
    ) -> ChatGenerationChunk | None:
        if chunk.get("usage") is not None:
            chunk["usage"] = fixed_usage(chunk["usage"])
        return super()._convert_chunk_to_generation_chunk(
            chunk, default_chunk_class, base_generation_info
        )


def fixed_usage(reported: object) -> dict[str, Any] | None:
    """A body's `usage` with OpenAI's names; None: input or output tokens are missing or no counts."""
    if not isinstance(reported, dict):
        return None
    usage = cast("dict[str, Any]", reported)
    known = dict(usage)
    for name, other in _NAMES:
        count = _count(usage.get(name))
        count = _count(usage.get(other)) if count is None else count
        if count is None:
            return None
        known[name] = count
    total = _count(usage.get("total_tokens"))
    known["total_tokens"] = known["prompt_tokens"] + known["completion_tokens"]
    known["total_tokens"] = total or known["total_tokens"]
    if usage.get("cached_tokens") is not None:
        details = dict(usage.get("prompt_tokens_details") or {})
        if details.get("cached_tokens") is None:
            details["cached_tokens"] = _count(usage["cached_tokens"])
        known["prompt_tokens_details"] = details
    return known


def _count(value: object) -> int | None:
    """A number of tokens; some servers send it as text."""
    if (
        isinstance(value, str)
        and value.isascii()
        and value.isdigit()
        and len(value) <= len(str(MOST))
    ):
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST:
        return value
    return None


def _as_text(function: Any) -> None:
    if isinstance(getattr(function, "arguments", None), dict):
        function.arguments = json.dumps(function.arguments)
