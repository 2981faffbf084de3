"""Circuit breakers, which leave a model alone that fails, and slots for the calls in flight.

A breaker exists per (address, model, key). It opens after five failures in a row, or when half of at
least five calls in thirty seconds fail; then it is half open: exactly one call probes, and the other
calls use other models until the model is back. The pause doubles each time, from five seconds to five
minutes, with jitter so that processes do not return at the same moment. A rate limit is no failure:
`limits.pace` deals with it. Each change is written into the ledgers that record the breaker's calls, for
`aideon models status`.

LangGraph's `max_concurrency` counts per invoke, and asyncio's semaphores belong to one loop, while a
process may have several loops. So `Slots` is a counter behind a lock, and each waiter waits on its
own loop.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import math
import random
import threading
import time
import weakref
from datetime import timedelta
from typing import TYPE_CHECKING

from aideon_agents import errors
from aideon_agents.ledger.forks import renewed
from aideon_agents.ledger.identity import now, utc_text
from aideon_agents.ledger.models import states as model_states
from aideon_agents.ledger.models.states import CLOSED, HALF_OPEN, OPEN
from aideon_agents.ledger.redaction import stored_line

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from aideon_agents.ledger.database import Database


_IN_A_ROW = _FEWEST = 5
_WINDOW = 30.0  # seconds
_FIRST_REST, _LONGEST_REST = 5.0, 300.0  # seconds
MOMENT = 0.05
"""Seconds, at least, until a probe is back."""
_DOUBT_FOR = 1.0
"""Seconds for which an error keeps calls away, if the next call does not fail in them."""
_KNOWN, _USUALLY = 20, 0.95
"""Answers after which it is known how long a model usually takes, and the share of them that took less."""
_LATE = ((1, 2.0), (5, 1.25))
"""How many calls are late when each has waited for so many times as long."""

_COUNTED = (errors.Transient, errors.Partial)
_AT_ONCE = (errors.OutOfCredit, errors.KeyRejected, errors.ModelGone)
_OF_KEY = (errors.KeyRejected, errors.OutOfCredit)


class Breaker:
    """The state of one model at one address with one key. Safe to use from many threads."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        *,
        named: Callable[[], Mapping[str, object]] | None = None,
    ) -> None:
        self.clock = clock
        self._named = named
        self.failed_probes = 0
        """How many calls have found that it is not back,"""
        self.early_probes = 0
        """and how many of them before the end of its present rest."""
        self.ledgers: weakref.WeakSet[Database] = weakref.WeakSet()
        """Where its changes are written."""
        self._written = (CLOSED, 0.0)
        # A call that was abandoned can end in any thread, also while this one holds the lock.
        self._lock = threading.RLock()
        self.doubt = Doubt(clock, self._lock)
        self._recent: collections.deque[tuple[float, bool]] = collections.deque(maxlen=256)
        self._in_a_row = 0
        self._open_until = 0.0
        self._rest, self._is_open = _FIRST_REST, False
        self._probe: weakref.ref[Permit] | None = None
        self._why = ""
        renewed.add(self)

    def after_fork(self) -> None:
        """Take no lock and no probe over from the parent process, and none of what it has written."""
        self._lock, self._probe, self._written = threading.RLock(), None, (CLOSED, 0.0)
        self.doubt = Doubt(self.clock, self._lock)

    @property
    def why(self) -> str:
        """What opened it last; empty: it was never open."""
        return self._why

    def rest_left(self) -> float:
        """Seconds until a call may go through, a moment while another call probes; 0: it may now."""
        with self._lock:
            if not self._is_open:
                return 0.0
            return max(MOMENT if self._is_probed() else 0.0, self._open_until - self.clock())

    def admit(
        self, *, early: bool = False, spare: bool = False, of_key: Permit | None = None
    ) -> Permit | None:
        """A permit for one call, which must be settled; None: the call may not go through.

        `early` probes before the pause is over. `spare`: another model can be asked instead, if there
        is doubt about this one. `of_key` is the permit of the key's breaker, which is settled with this
        one.
        """
        with self._lock:
            permit = Permit(self, is_probe=self._is_open, began=self.clock(), of_key=of_key)
            if spare and not self._is_open and not self.doubt.lets(permit):
                return None
            if permit.is_probe:
                is_over = self.clock() >= self._open_until
                if self._is_probed() or not (is_over or early):
                    return None
                self._probe = weakref.ref(permit)
                self._write()
        return permit

    def _is_probed(self) -> bool:
        """Whether a call is probing. One that was abandoned, or whose loop is closed, never ends."""
        permit = self._probe() if self._probe else None
        return permit is not None and not (permit.loop and permit.loop.is_closed())

    def record(self, error: BaseException | None, permit: Permit) -> None:
        """Record how a permitted call ended; None: it was answered."""
        of_probe = permit.is_probe
        with self._lock:
            if self._probe and self._probe() is permit:
                self._probe = None
            if isinstance(error, _AT_ONCE):
                self._open(_LONGEST_REST, error)
            elif isinstance(error, _COUNTED) and (of_probe or not self._is_open):
                # Calls that were in flight when it opened give no new information.
                self._count_failure(error, of_probe=of_probe)
            elif error is None:
                self._count_success(permit)
            self.doubt.end(permit)
            if self._is_open or self._written[0] != CLOSED:
                self._write()

    def _write(self) -> None:
        """Write its state into its ledgers, if that is another than they hold."""
        is_over = self.clock() >= self._open_until
        state = CLOSED if not self._is_open else HALF_OPEN if self._probe or is_over else OPEN
        until = self._open_until if self._is_open else 0.0
        if self._named is None or not self.ledgers or (state, until) == self._written:
            return
        self._written = (state, until)
        at, rest = now(), timedelta(seconds=self._open_until - self.clock())
        change = {
            "state": state,
            "reason": stored_line(self._why) if self._is_open else None,
            "rests_until": utc_text(at + rest) if self._is_open else None,
            "changed_at": utc_text(at),
            "number": time.time_ns(),
        }
        model_states.record(self.ledgers, {**self._named(), **change})

    def _count_success(self, permit: Permit) -> None:
        if permit.is_probe:
            self._is_open, self._rest = False, _FIRST_REST
            self._recent.clear()
        if self.doubt.answered(permit):
            self._in_a_row = 0
        self._recent.append((self.clock(), True))

    def _count_failure(self, error: BaseException, *, of_probe: bool) -> None:
        now = self.clock()
        self.failed_probes += of_probe
        if of_probe and now < self._open_until:
            self.early_probes += 1
            return  # its rest is no longer than without
        self._recent.append((now, False))
        self._in_a_row += 1
        self.doubt.failed(self._in_a_row)
        in_window = [ok for at, ok in self._recent if now - at <= _WINDOW]
        half_fail = len(in_window) >= _FEWEST and in_window.count(False) * 2 >= len(in_window)
        if of_probe or self._in_a_row >= _IN_A_ROW or half_fail:
            self._open(self._rest * random.uniform(0.8, 1.2), error)  # noqa: S311 - not a secret
            self._rest = min(_LONGEST_REST, self._rest * 2)

    def _open(self, seconds: float, error: BaseException) -> None:
        self._is_open, self._why, self.early_probes = True, str(error), 0
        self.doubt.lift()
        self._open_until = max(self._open_until, self.clock() + min(seconds, _LONGEST_REST))


class Doubt:
    """What speaks against a model whose breaker is closed: an error, or answers that are late.

    One call then finds out whether the model answers, and the others use other models where there are
    some. An error counts until a call that began after it is answered, or for a moment. Answers are late
    if the calls since the last one that was answered have waited longer than calls usually take.
    """

    def __init__(self, clock: Callable[[], float], lock: threading.RLock) -> None:
        self._clock, self._lock = clock, lock
        self.since = math.inf
        """When it begins, on the clock; infinite: nothing speaks against the model."""
        self._failed_at = self._lifts_at = math.inf
        self._needless: collections.deque[float] = collections.deque(maxlen=_IN_A_ROW)
        """When errors turned out to be chance. For a while, each asks for one more in a row."""
        self._unanswered: collections.deque[float] = collections.deque(maxlen=256)
        """When the calls in flight began, without those before one that was answered."""
        self._took: collections.deque[float] = collections.deque(maxlen=256)
        self._usual = math.inf
        """Seconds that 95 % of the answers take; infinite: not known."""
        self._check: weakref.ref[Permit] | None = None

    def begin(self, permit: Permit) -> None:
        """Record when a call is sent, which may have waited for a slot and for money until then."""
        with self._lock:
            permit.began = at = self._clock()
            self._unanswered.append(at)
            for nth, times in _LATE:
                if len(self._unanswered) == nth:
                    self.since = min(self.since, at + times * self._usual)

    def lets(self, permit: Permit) -> bool:
        """Whether a call may be made although there are other models: without a doubt, or to find out."""
        now = self._clock()
        if now >= self._lifts_at:
            self.lift(was_needless=self._failed_at < now)
        if self.since > now:
            return True
        if self._check and self._check():
            return False
        self._check, self._lifts_at = weakref.ref(permit), min(self._lifts_at, now + _DOUBT_FOR)
        return True

    def failed(self, in_a_row: int) -> None:
        """Record that a call has failed, the last of so many."""
        now = self._clock()
        if in_a_row > sum(now - at <= _WINDOW for at in self._needless):
            self._failed_at, self._lifts_at = min(self._failed_at, now), math.inf

    def answered(self, permit: Permit) -> bool:
        """Record an answer; whether it is news, as its call did not begin before the first error."""
        while self._unanswered and self._unanswered[0] <= permit.began:
            self._unanswered.popleft()
        self._took.append(self._clock() - permit.began)
        if len(self._took) >= _KNOWN:
            self._usual = sorted(self._took)[int(_USUALLY * len(self._took))]
        if permit.began < self._failed_at < math.inf:
            return False
        self.lift(was_needless=self._failed_at < math.inf)
        return True

    def end(self, permit: Permit) -> None:
        """Record the end of any call."""
        if permit.began in self._unanswered:
            self._unanswered.remove(permit.began)
        if self._check and self._check() is permit:
            self._check = None
        self._look()

    def lift(self, *, was_needless: bool = False) -> None:
        """End the doubt after an error, and the check."""
        if was_needless:
            self._needless.append(self._clock())
        self._failed_at = self._lifts_at = math.inf
        self._check = None
        self._look()

    def _look(self) -> None:
        begun = self._unanswered
        late = (begun[nth - 1] + times * self._usual for nth, times in _LATE if len(begun) >= nth)
        self.since = min([self._failed_at, *late])


class Permit:
    """Permission for one call, from the breaker of its model and, with `of_key`, of its key.

    It is settled once: later reports change nothing.
    """

    def __init__(
        self, breaker: Breaker, *, is_probe: bool, began: float, of_key: Permit | None = None
    ) -> None:
        self._breaker = breaker
        self.is_probe = is_probe
        """Whether it finds out whether the model is back."""
        self.began = began
        """When the call was sent, or permitted, on the breaker's clock."""
        self.loop = asyncio._get_running_loop() if is_probe else None  # noqa: SLF001 - does not raise without a loop
        """The loop that a probe runs on; None: on none."""
        self._of_key = of_key
        self._is_settled = False

    def record(self, error: BaseException | None) -> None:
        """Record how the call ended; None: it was answered."""
        if self._is_settled:
            return
        self._is_settled = True
        if self._of_key:
            is_of_key = isinstance(error, _OF_KEY)
            self._of_key.record(error if is_of_key or error is None else _UNRELATED)
            error = _UNRELATED if is_of_key else error
        self._breaker.record(error, self)

    def give_back(self) -> None:
        """Record that there was no call."""
        self.record(_UNRELATED)


_UNRELATED = errors.AideonError()
"""An end that gives no information about the model or the key."""


class Slots:
    """A counting semaphore across threads and event loops; calls are served in their order."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._held = 0
        self._lock = threading.RLock()  # as in `Breaker`
        self._waiting: collections.deque[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = (
            collections.deque()
        )
        renewed.add(self)

    def after_fork(self) -> None:
        """Begin with no slot in use: the calls are the parent process's."""
        self._lock = threading.RLock()
        self._held = 0
        self._waiting.clear()

    @property
    def held(self) -> int:
        """How many are in use."""
        return self._held

    @property
    def queued(self) -> int:
        """How many calls wait for one."""
        return len(self._waiting)

    def resize(self, limit: int) -> None:
        """Change the limit. Calls that hold a slot above a lower limit keep it."""
        with self._lock:
            more = min(limit - self._held, len(self._waiting))
            self.limit = limit
            self._held += max(0, more)
            next_ones = [self._waiting.popleft() for _ in range(more)]
        for loop, waiter in next_ones:
            self._pass_on(loop, waiter)

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
        with self._lock:
            if self._held < self.limit:
                self._held += 1
                return
            waiter: asyncio.Future[None] = loop.create_future()
            self._waiting.append((loop, waiter))
        try:
            await waiter
        except asyncio.CancelledError:
            with self._lock:
                is_in_queue = (loop, waiter) in self._waiting
                if is_in_queue:
                    self._waiting.remove((loop, waiter))
            if not is_in_queue:  # it was given a slot meanwhile, which the next waiter gets
                self._release()
            raise

    def _release(self) -> None:
        with self._lock:
            if not self._waiting or self._held > self.limit:
                self._held -= 1
                return
            loop, waiter = self._waiting.popleft()
        self._pass_on(loop, waiter)

    def _pass_on(self, loop: asyncio.AbstractEventLoop, waiter: asyncio.Future[None]) -> None:
        """Give a slot to a waiter, which wakes up on its own loop."""
        try:
            loop.call_soon_threadsafe(_wake, waiter)
        except RuntimeError:  # the waiter's loop is closed
            self._release()


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
