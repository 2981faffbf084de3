"""How many model calls may be in flight in this process, whatever the nesting.

LangGraph's `max_concurrency` counts per invoke, and asyncio's semaphores belong to one loop, while
a process may have several: so a counter behind a lock, whose waiters sit on their own loops.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import functools
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


class Slots:
    """A counting semaphore across threads and event loops, first come first served."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._held = 0
        self._lock = threading.Lock()
        self._waiting: collections.deque[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = (
            collections.deque()
        )

    @property
    def held(self) -> int:
        """How many are held now."""
        return self._held

    def resize(self, limit: int) -> None:
        """Let more or fewer hold a slot at once. Those who hold one too many keep it."""
        with self._lock:
            more = min(limit - self._held, len(self._waiting))
            self.limit = limit
            self._held += max(0, more)
            turns = [self._waiting.popleft() for _ in range(more)]
        for loop, turn in turns:
            self._hand_over(loop, turn)

    @contextlib.asynccontextmanager
    async def one(self) -> AsyncGenerator[None]:
        """Hold one slot for the length of a block."""
        await self._acquire()
        try:
            yield
        finally:
            self._release()

    async def _acquire(self) -> None:
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        with self._lock:
            if self._held < self.limit:
                self._held += 1
                return
            self._waiting.append((loop, turn))
        try:
            await turn
        except asyncio.CancelledError:
            self._give_up((loop, turn))
            raise

    def _give_up(self, place: tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]) -> None:
        """Leave the queue; a slot that was handed over meanwhile goes to the next."""
        with self._lock:
            if place in self._waiting:
                self._waiting.remove(place)
                return
        self._release()

    def _release(self) -> None:
        with self._lock:
            if not self._waiting or self._held > self.limit:
                self._held -= 1
                return
            loop, turn = self._waiting.popleft()
        self._hand_over(loop, turn)

    def _hand_over(self, loop: asyncio.AbstractEventLoop, turn: asyncio.Future[None]) -> None:
        try:
            loop.call_soon_threadsafe(_wake, turn)
        except RuntimeError:  # the waiter's loop is closed, so nobody waits there any more
            self._release()


def _wake(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_result(None)


@functools.lru_cache(maxsize=8)
def process_slots(limit: int) -> Slots:
    """The process's slots for a limit: every chain built with it shares them."""
    return Slots(limit)
