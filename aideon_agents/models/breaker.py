"""A model that keeps failing is left alone for a while.

One breaker per (address, model, key) in each process: closed while things go well, open after five
failures in a row or half of at least five in thirty seconds, then half open: exactly one call goes
through to see, and the others go elsewhere until it is back. The rest doubles each time, from five
seconds to five minutes, with jitter so that processes do not come back in step.
"""

from __future__ import annotations

import collections
import dataclasses
import random
import threading
import time
from typing import TYPE_CHECKING

from aideon_agents import errors

if TYPE_CHECKING:
    from collections.abc import Callable

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
