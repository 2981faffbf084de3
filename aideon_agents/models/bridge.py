"""The one way from synchronous code into our asynchronous nodes and models.

Everything that waits is written once, as a coroutine. Called from synchronous code, it runs on a
single background event loop that lives as long as the process, so that HTTP connections are kept
between calls instead of being torn down with a loop per call.
"""

from __future__ import annotations

import asyncio
import atexit
import functools
import threading
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterator

T = TypeVar("T")


@functools.lru_cache(maxsize=1)
def _background_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="aideon-bridge", daemon=True)
    thread.start()

    def stop() -> None:
        asyncio.run_coroutine_threadsafe(loop.shutdown_asyncgens(), loop).result(timeout=5)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=5)
        loop.close()

    atexit.register(stop)
    return loop


def blocking(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine from synchronous code and wait for it.

    Works with and without an event loop running in the calling thread; context variables are
    seen by the coroutine. An interrupt of the waiting thread cancels the work and waits until it
    has cleaned up.

    Args:
        work: The coroutine.

    Returns:
        Its result.
    """
    loop = _background_loop()
    future = asyncio.run_coroutine_threadsafe(work, loop)
    try:
        return future.result()
    except BaseException:
        if future.cancel():  # the wait was interrupted, not the work
            settled = asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop)
            settled.result()
        raise


def blocking_stream(source: AsyncIterator[T]) -> Iterator[T]:
    """Iterate from synchronous code over what a coroutine yields.

    Args:
        source: An asynchronous iterator that has not been started.

    Yields:
        Its items, as they come.
    """

    async def advance() -> tuple[bool, Any]:
        try:
            return True, await anext(source)
        except StopAsyncIteration:
            return False, None

    more, item = blocking(advance())
    while more:
        yield item
        more, item = blocking(advance())
