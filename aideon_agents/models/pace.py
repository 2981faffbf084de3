"""How many calls a provider is asked for at once: fewer when it says that it is too much.

A provider that limits its rate refuses whatever is too many. Each refused call would be tried once
more and then fail, though the provider could answer it a moment later. So what was in flight beside
a refused call is taken for what the provider can do; it is kept to for a while, and then one more is
tried now and then, until it refuses again or the process's own limit is reached.
"""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING

from aideon_agents.errors import RateLimited
from aideon_agents.models.slots import Slots

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator

_OF_WHAT_WORKED = 0.9
"""The share that is asked for of what was in flight beside a refused call."""

_KEPT_FOR = 30.0
"""Seconds after a refusal until more is tried: each try may cost a moment's rest."""


class Pace:
    """What one provider is asked for at once with one key. Safe to use from many threads and loops."""

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._slots = Slots(most)
        self._lock = threading.Lock()
        self._answered = 0
        self._kept_until = 0.0

    @property
    def limit(self) -> int:
        """How many calls may be in flight now."""
        return self._slots.limit

    @contextlib.asynccontextmanager
    async def one(self) -> AsyncGenerator[None]:
        """Hold a place among the calls in flight for the length of a block."""
        async with self._slots.one():
            yield

    @contextlib.contextmanager
    def heard(self) -> Generator[None]:
        """Notice how the call ended that is made in a block. It holds a place meanwhile."""
        try:
            yield
        except RateLimited:
            self._refused()
            raise
        self._was_answered()

    def _refused(self) -> None:
        with self._lock:
            beside = self._slots.held - 1
            self._kept_until = self._clock() + _KEPT_FOR
            self._answered = 0
            self._slots.resize(min(self.limit, max(1, int(beside * _OF_WHAT_WORKED))))

    def _was_answered(self) -> None:
        with self._lock:
            if self.limit >= self._most or self._clock() < self._kept_until:
                return
            self._answered += 1
            if self._answered >= self.limit:
                self._answered = 0
                self._slots.resize(self.limit + 1)


class Paces:
    """The paces of a process, by address and key."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[tuple[object, ...], Pace] = {}

    def of(self, most: int, *what: object) -> Pace:
        """The pace for whatever identifies a provider, under the process's limit."""
        with self._lock:
            return self._known.setdefault((most, *what), Pace(most))
