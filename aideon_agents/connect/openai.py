"""Our models behind OpenAI's own clients, in this process: no server and no key.

Whatever takes an `openai.AsyncOpenAI` or an `openai.OpenAI`, and speaks chat completions, uses our models
through them. The clients are real, and only their transport is ours: a request is answered by
`chat_model`, so it has retries, fallbacks, budgets, rehearsal and rows. An error is raised as it is.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import httpx2
import openai

from aideon_agents.connect.completions import Asked

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Mapping

_EVENTS = {"content-type": "text/event-stream"}


def async_client(**options: Any) -> openai.AsyncOpenAI:
    """An asynchronous client of OpenAI whose chat completions our models answer.

    Args:
        **options: As `chat_model` takes them. The request names the model, and may set the rest.
    """
    http = httpx2.AsyncClient(transport=_AsyncTransport(options))
    return openai.AsyncOpenAI(http_client=http, **_client)


def client(**options: Any) -> openai.OpenAI:
    """As `async_client`, for code that does not wait."""
    return openai.OpenAI(http_client=httpx2.Client(transport=_Transport(options)), **_client)


_client: Mapping[str, Any] = {
    "api_key": "none",
    "base_url": "http://aideon/v1",
    "max_retries": 0,
    "timeout": None,
}


class _AsyncTransport(httpx2.AsyncBaseTransport):
    def __init__(self, options: Mapping[str, Any]) -> None:
        self.options = options

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        asked = Asked(request.url.path, await request.aread(), self.options)
        if not asked.body.get("stream"):
            return asked.answer(await asked.model.ainvoke(asked.messages))

        async def lines() -> AsyncGenerator[bytes]:
            yield asked.begin()
            source: Any = asked.model.astream(asked.messages)
            async with contextlib.aclosing(source) as chunks:
                async for chunk in chunks:
                    yield asked.chunk(chunk)
            yield asked.end()

        return httpx2.Response(200, headers=_EVENTS, stream=_Lines(lines()))


class _Lines(httpx2.AsyncByteStream):
    """A body that ends its call when it is closed early."""

    def __init__(self, source: AsyncGenerator[bytes]) -> None:
        self.source = source

    def __aiter__(self) -> AsyncGenerator[bytes]:
        return self.source

    async def aclose(self) -> None:
        await self.source.aclose()


class _Transport(httpx2.BaseTransport):
    def __init__(self, options: Mapping[str, Any]) -> None:
        self.options = options

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        asked = Asked(request.url.path, request.read(), self.options)
        if not asked.body.get("stream"):
            return asked.answer(asked.model.invoke(asked.messages))

        def lines() -> Generator[bytes]:
            yield asked.begin()
            yield from map(asked.chunk, asked.model.stream(asked.messages))
            yield asked.end()

        return httpx2.Response(200, headers=_EVENTS, content=lines())
