"""A model that keeps failing is left alone for a while.

One breaker per (address, model, key) in each process: closed while things go well, open after five
failures in a row or half of at least five in thirty seconds, then half open: exactly one call goes
through to see, and the others go elsewhere until it is back. The rest doubles each time, from five
seconds to five minutes, with jitter so that processes do not come back in step.

How many calls a provider is asked for at once: fewer when it says that it is too much.

A provider that limits its rate refuses whatever is too many. Each refused call would be tried once
more and then fail, though the provider could answer it a moment later. So what was in flight beside
a refused call is taken for what the provider can do; it is kept to for a while, and then one more is
tried now and then, until it refuses again or the process's own limit is reached.

How many model calls may be in flight in this process, whatever the nesting.

LangGraph's `max_concurrency` counts per invoke, and asyncio's semaphores belong to one loop, while
a process may have several: so a counter behind a lock, whose waiters sit on their own loops.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import functools
import random
import threading
import time
from typing import TYPE_CHECKING

from aideon_agents import errors
from aideon_agents.errors import RateLimited

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator


_IN_A_ROW = 5
_WINDOW = 30.0  # seconds
_FEWEST = 5
_FIRST_REST = 5.0  # seconds
_LONGEST_REST = 300.0  # seconds
_REST_AFTER_LIMIT = 1.0  # seconds, when a provider limits its rate and does not say for how long
_MOMENT = 0.05  # seconds, at least, until a probe is back

_COUNTED = (errors.Transient, errors.Partial)
_AT_ONCE = (errors.OutOfCredit, errors.KeyRejected, errors.ModelGone)


class Breaker:
    """The state of one model at one address with one key. Safe to use from many threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._recent: collections.deque[tuple[float, bool]] = collections.deque(maxlen=256)
        self._in_a_row = 0
        self._open_until = 0.0
        self._rest = _FIRST_REST
        self._is_open = False
        self._is_probed = False
        self._why = ""
        self._is_limited = False

    @property
    def is_limited(self) -> bool:
        """Whether a limited rate opened it last: that is no failure, and soon over."""
        return self._is_limited

    @property
    def why(self) -> str:
        """What opened it last; empty: it never was open."""
        return self._why

    def rest_left(self) -> float:
        """Seconds until a call may go through, a moment while one is finding out; 0: one may now."""
        with self._lock:
            if not self._is_open:
                return 0.0
            return max(_MOMENT if self._is_probed else 0.0, self._open_until - self._clock())

    def admit(self, *, early: bool = False) -> Leave | None:
        """Ask whether a call may go through."""
        with self._lock:
            if not self._is_open:
                return Leave(self, is_probe=False)
            is_over = self._clock() >= self._open_until
            if self._is_probed or not (is_over or early):
                return None
            self._is_probed = True
            return Leave(self, is_probe=True)

    def heard(self, error: BaseException | None, *, of_probe: bool) -> None:
        """Note how a call ended that had leave."""
        with self._lock:
            if of_probe:
                self._is_probed = False
            if isinstance(error, errors.RateLimited):
                self._open(error.retry_after or _REST_AFTER_LIMIT, error)
            elif isinstance(error, _AT_ONCE):
                self._open(_LONGEST_REST, error)
            elif isinstance(error, _COUNTED) and (of_probe or not self._is_open):
                # Others that were on their way when it opened say nothing new.
                self._count_failure(error, of_probe=of_probe)
            elif error is None:
                self._count_success(of_probe=of_probe)

    def _count_success(self, *, of_probe: bool) -> None:
        if of_probe:
            self._is_open, self._rest = False, _FIRST_REST
            self._recent.clear()
        self._in_a_row = 0
        self._recent.append((self._clock(), True))

    def _count_failure(self, error: BaseException, *, of_probe: bool) -> None:
        now = self._clock()
        self._recent.append((now, False))
        self._in_a_row += 1
        in_window = [ok for at, ok in self._recent if now - at <= _WINDOW]
        half_fail = len(in_window) >= _FEWEST and in_window.count(False) * 2 >= len(in_window)
        if of_probe or self._in_a_row >= _IN_A_ROW or half_fail:
            self._open(self._rest * random.uniform(0.8, 1.2), error)  # noqa: S311 - not a secret
            self._rest = min(_LONGEST_REST, self._rest * 2)

    def _open(self, seconds: float, error: BaseException) -> None:
        self._is_open, self._why = True, str(error)
        self._is_limited = isinstance(error, errors.RateLimited)
        self._open_until = max(self._open_until, self._clock() + min(seconds, _LONGEST_REST))


@dataclasses.dataclass
class Leave:
    """One call may go through. It is settled once: the first word stands."""

    _breaker: Breaker
    is_probe: bool
    _is_settled: bool = False

    def heard(self, error: BaseException | None) -> None:
        """Say how the call ended: None, it was answered."""
        if not self._is_settled:
            self._is_settled = True
            self._breaker.heard(error, of_probe=self.is_probe)

    def returned(self) -> None:
        """Say that there was no call, or that its end says nothing of the model."""
        self.heard(errors.AideonError())


class Breakers:
    """The breakers of a process, by address, model and key."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[tuple[object, ...], Breaker] = {}

    def of(self, *what: object) -> Breaker:
        """The breaker for whatever identifies a model: address, name, key."""
        with self._lock:
            return self._known.setdefault(what, Breaker())


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
