"""The only bridge from synchronous code to our asynchronous nodes and models, and back.

Everything that waits is written once, as a coroutine. Synchronous code runs it on one background
event loop that lives as long as the process, so that HTTP connections survive from call to call. A
forked process has a loop of its own.

Blocking functions run in a new thread each, not in a pool. A pool has a limit: tools that run
workflows whose agents have tools would wait for each other's threads forever. A pool is also joined
when the process ends, so that one tool that hangs would keep a stopped run alive; these threads are
daemons.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import contextvars
import functools
import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar, cast

from langchain_core.runnables import ensure_config

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator

    from langchain_core.language_models import BaseChatModel, LanguageModelInput
    from langchain_core.messages import AIMessage, AIMessageChunk
    from langchain_core.runnables import RunnableConfig


T = TypeVar("T")


@functools.lru_cache(maxsize=1)
def _background_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=_serve, args=(loop,), name="aideon-bridge", daemon=True)
    thread.start()

    process = os.getpid()

    def stop() -> None:
        if os.getpid() != process:  # a child of it, in which the thread does not exist
            return
        asyncio.run_coroutine_threadsafe(loop.shutdown_asyncgens(), loop).result(timeout=5)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=5)
        loop.close()

    atexit.register(stop)
    return loop


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_background_loop.cache_clear)


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    """Run a loop until it is stopped, whatever its tasks raise.

    A node's `sys.exit` ends its task, whose caller receives it, and also leaves `run_forever`.
    """
    is_stopped = False
    while not is_stopped:
        with contextlib.suppress(SystemExit, KeyboardInterrupt):
            loop.run_forever()
            is_stopped = True


def blocking(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine from synchronous code and wait for it.

    Works with and without an event loop in the calling thread; the coroutine sees its context
    variables. An interrupt of the waiting thread cancels the work and waits for its cleanup.
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
        if not begun:  # the interrupt came first
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
    """Run a coroutine on a new loop in a new thread."""
    seen = contextvars.copy_context()
    with ThreadPoolExecutor(1, "aideon-bridge") as thread:
        return thread.submit(seen.run, asyncio.run, work).result()


def blocking_stream(source: AsyncGenerator[T]) -> Iterator[T]:
    """Iterate over an asynchronous generator from synchronous code, and close it at the end."""

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


def invoke(
    self: BaseChatModel,
    input: LanguageModelInput,  # noqa: A002 - LangChain's name
    config: RunnableConfig | None = None,
    *,
    stop: list[str] | None = None,
    **kwargs: Any,
) -> AIMessage:
    """`ainvoke` from synchronous code, as a method of a chat model."""
    return blocking(self.ainvoke(input, ensure_config(config), stop=stop, **kwargs))


def stream(
    self: BaseChatModel,
    input: LanguageModelInput,  # noqa: A002 - LangChain's name
    config: RunnableConfig | None = None,
    *,
    stop: list[str] | None = None,
    **kwargs: Any,
) -> Iterator[AIMessageChunk]:
    """`astream` from synchronous code, as a method of a chat model."""
    source = self.astream(input, ensure_config(config), stop=stop, **kwargs)
    return blocking_stream(cast("AsyncGenerator[AIMessageChunk]", source))


ThreadT = TypeVar("ThreadT")


async def in_own_thread(work: Callable[[], ThreadT]) -> ThreadT:
    """Run a function in a new thread; if the caller is cancelled, it continues and its result is lost."""
    done: Future[ThreadT] = Future()
    done.set_running_or_notify_cancel()
    context = contextvars.copy_context()

    def run() -> None:
        try:
            done.set_result(context.run(work))
        except StopIteration as error:  # asyncio refuses it, and the caller would wait forever
            done.set_exception(RuntimeError(f"StopIteration: {error}"))
        except BaseException as error:  # noqa: BLE001 - it is the caller's to raise
            done.set_exception(error)

    threading.Thread(target=run, name="aideon-tool", daemon=True).start()
    return await asyncio.wrap_future(done)
