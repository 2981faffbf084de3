"""Blocking functions beside the event loop, each in a thread of its own.

A pool would have a bound: tools that run workflows whose agents have tools would wait for one
another's threads for ever. And it is joined when the process ends, so that one tool which hangs
would keep a run alive that was stopped long ago; these threads are daemons.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


async def in_own_thread(work: Callable[[], T]) -> T:
    """Run a function without blocking the event loop."""
    done: Future[T] = Future()
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
