"""One HTTP client for every model, whose connections belong to the loop that uses them.

A connection reused on another event loop fails, and inside a chain that failure looks like a dead
provider. Building a client takes tens of milliseconds, so none is built per model. Hence one client
object for the process, and behind it one real client per running loop.
"""

from __future__ import annotations

import asyncio
import functools
import weakref
from typing import TYPE_CHECKING

import httpx2
import openai

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_CONNECT_TIMEOUT = 10.0
"""Seconds, of which a loop with a thousand calls on their way may take some for itself. How long an
answer may take is the guard's business."""


class _Connections(httpx2.AsyncBaseTransport):
    """Sends each request through the running loop's own client."""

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
        """Wait inside a generator: `asyncio.run` closes those before it closes the loop."""
        try:
            yield
        finally:
            del self._clients[loop]  # the client knows its loop, so the entry would keep both
            await client.aclose()


@functools.lru_cache(maxsize=1)
def shared_client() -> openai.DefaultAsyncHttpxClient:
    """The process's client, good on any event loop."""
    # A redirect would take the prompt to an address that nobody chose.
    return openai.DefaultAsyncHttpxClient(transport=_Connections(), follow_redirects=False)


@functools.lru_cache(maxsize=1)
def unused_client() -> openai.DefaultHttpxClient:
    """The synchronous client that the model classes insist on; calls go through the bridge."""
    return openai.DefaultHttpxClient()


def timeouts(seconds: float) -> httpx2.Timeout:
    """Time limits of one attempt: how long between bytes, and a short one to connect."""
    return httpx2.Timeout(seconds, connect=min(_CONNECT_TIMEOUT, seconds))
