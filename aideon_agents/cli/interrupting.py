"""Ctrl-C while a run is on its way: the first ends the run, the second the process."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Generator

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_INTERRUPTED = 130


class Interruption:
    """What SIGINT and SIGTERM do. At first, and after the first of them, they end the process."""

    def __init__(self) -> None:
        self._end: Callable[[], object] = _leave

    def ends(self, interrupt: Callable[[], None], loop: asyncio.AbstractEventLoop) -> None:
        """Have the next signal end a run cleanly."""
        self._end = lambda: loop.call_soon_threadsafe(interrupt)

    def heard(self, *_: object) -> None:
        """Handle a signal."""
        end, self._end = self._end, _leave
        end()


@contextlib.contextmanager
def interruptible() -> Generator[Interruption]:
    """Decide what SIGINT and SIGTERM do while a block lasts."""
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    before = [(each, signal.signal(each, interruption.heard)) for each in _SIGNALS]
    try:
        yield interruption
    finally:
        for each, handler in before:
            signal.signal(each, handler)


def _leave() -> None:
    """Leave without waiting: a node that holds up its thread would hold up the exit as well."""
    os._exit(_INTERRUPTED)
