"""The one way from synchronous code into our asynchronous nodes and models.

Everything that waits is written once, as a coroutine. Called from synchronous code, it runs on a
single background event loop that lives as long as the process, so that HTTP connections are kept
between calls instead of being torn down with a loop per call.

Blocking functions beside the event loop, each in a thread of its own.

A pool would have a bound: tools that run workflows whose agents have tools would wait for one
another's threads for ever. And it is joined when the process ends, so that one tool which hangs
would keep a run alive that was stopped long ago; these threads are daemons.

What a call's callbacks leave out: that it is made inside a chain.

LangChain's fallbacks give a model the callbacks that they were given themselves. Outside any graph
that is a plain list, and each attempt would count as a run of its own, with a budget of its own.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import contextvars
import functools
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar, cast

from langchain_core.runnables import ensure_config
from langchain_core.runnables.config import var_child_runnable_config

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator

    from langchain_core.runnables import RunnableConfig


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


ThreadT = TypeVar("ThreadT")


async def in_own_thread(work: Callable[[], ThreadT]) -> ThreadT:
    """Run a function without blocking the event loop."""
    done: Future[ThreadT] = Future()
    done.set_running_or_notify_cancel()
    context = contextvars.copy_context()

    def run() -> None:
        try:
            done.set_result(context.run(work))
        except StopIteration as error:  # asyncio refuses it, and the caller would wait for ever
            done.set_exception(RuntimeError(f"StopIteration: {error}"))
        except BaseException as error:  # noqa: BLE001 - it is the caller's to raise
            done.set_exception(error)

    threading.Thread(target=run, name="aideon-tool", daemon=True).start()
    return await asyncio.wrap_future(done)


def nested(config: RunnableConfig | None) -> RunnableConfig:
    """A call's config, with the callbacks of the chain around it where those are the same."""
    given = ensure_config(config)
    listed: Any = given.get("callbacks")
    around: Any = (var_child_runnable_config.get() or {}).get("callbacks")
    known: list[Any] = getattr(around, "handlers", [])
    if isinstance(listed, list) and listed and all(one in known for one in listed):
        return cast("RunnableConfig", {**given, "callbacks": around})
    return given
