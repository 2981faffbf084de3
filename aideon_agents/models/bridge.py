"""The one way from synchronous code into our asynchronous nodes and models.

Everything that waits is written once, as a coroutine. Called from synchronous code, it runs on a
single background event loop that lives as long as the process, so that HTTP connections are kept
between calls instead of being torn down with a loop per call.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import contextvars
import functools
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine, Iterator

T = TypeVar("T")


@functools.lru_cache(maxsize=1)
def _background_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=_serve, args=(loop,), name="aideon-bridge", daemon=True)
    thread.start()

    def stop() -> None:
        asyncio.run_coroutine_threadsafe(loop.shutdown_asyncgens(), loop).result(timeout=5)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=5)
        loop.close()

    atexit.register(stop)
    return loop


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    """Run a loop until it is stopped, whatever its tasks do.

    A node's `sys.exit` ends its task, whose caller gets it, and breaks through the loop as well.
    """
    is_stopped = False
    while not is_stopped:
        with contextlib.suppress(SystemExit, KeyboardInterrupt):
            loop.run_forever()
            is_stopped = True


def blocking(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine from synchronous code and wait for it.

    Works with and without an event loop running in the calling thread; context variables are
    seen by the coroutine. An interrupt of the waiting thread cancels the work and waits until it
    has cleaned up.
    """
    loop = _background_loop()
    if _is_this_threads(loop):  # synchronous code inside a node: the loop cannot wait for itself
        return _elsewhere(work)
    ended: Future[asyncio.Task[T]] = Future()
    begun: list[asyncio.Task[T]] = []

    def begin() -> None:
        begun.append(loop.create_task(work))
        begun[0].add_done_callback(ended.set_result)

    def stop() -> None:
        if not begun:  # the interrupt was quicker
            begin()
        begun[0].cancel()

    try:
        loop.call_soon_threadsafe(begin)
        task = ended.result()
    except BaseException:  # the wait was interrupted, not the work
        loop.call_soon_threadsafe(stop)
        ended.result()
        raise
    return task.result()


def _is_this_threads(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


def _elsewhere(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on a loop of its own in a thread of its own."""
    seen = contextvars.copy_context()
    with ThreadPoolExecutor(1, "aideon-bridge") as thread:
        return thread.submit(seen.run, asyncio.run, work).result()


def blocking_stream(source: AsyncGenerator[T]) -> Iterator[T]:
    """Iterate from synchronous code over what a coroutine yields."""

    async def advance() -> tuple[bool, Any]:
        try:
            return True, await anext(source)
        except StopAsyncIteration:
            return False, None

    try:
        more, item = blocking(advance())
        while more:
            yield item
            more, item = blocking(advance())
    finally:
        blocking(source.aclose())
