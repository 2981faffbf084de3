"""Adapts the calls in flight at each provider to its refusals.

A refusal (429) may be chance, or show a limit on calls in flight, on calls in a time, or on both.
`Pace` adapts to these without knowing which it is:

- A refusal alone holds back only its own call.
- Several refusals close together lower the limit to the calls that were in flight beside them: those
  the provider accepted. So a new call starts only when one has been answered.
- Where calls are refused even then, or the provider says that nothing remains, all calls wait for the
  time that it names.
- Answers raise the limit again, slowly where it was last found, then faster. The first refusal above
  it takes the step back, and the next step waits for longer.

A refusal says something new only if its call began after the last change.
"""

from __future__ import annotations

import collections
import contextlib
import math
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from aideon_agents import errors
from aideon_agents.models.health import Slots
from aideon_agents.models.limits import Limit, used_up

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping


_KEPT = 64
"""Calls since the last change whose ends are kept."""
_LAST, _SEVERAL = 8, 3
"""So many refusals among so many last calls are no chance at first sight."""
_LAST_OF_WINDOW = 4
"""Calls of which one refusal more is enough, where the provider speaks of a window of time."""
_OFTEN = 0.08
"""Nor is this share of all that are kept."""
_RARE = 0.04
"""The share of refused calls up to which a limit is right."""
_TESTED = 16
"""Calls after which it is known whether a lower limit has helped: it has, if refusals are"""
_HELPS = 0.5
"""fewer than this share of those before."""
_TESTS = 3
"""Lower limits that are tried before refusals count as chance,"""
_CHANCE_FOR = 30.0
"""for so many seconds."""
_IN_A_ROW = 4
"""Refusals in a row after which all calls wait."""
_SLOWER = 0.9
"""How fast calls begin under a new limit, as a share of how fast they were answered."""
_SHORT = 1.0
"""Seconds up to which a wait that is asked for is not believed when the next call is refused too."""
_LONG = 5.0
"""Seconds from which a wait that is asked for speaks of a window of time."""
_FIRST_HOLD, _LONGEST_HOLD = 1.0, 16.0
"""Seconds for which a limit is kept before it grows, doubled by each refusal of a higher one."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
"""Seconds for which all calls wait where the provider does not say how long, doubled each time."""
_LONGEST_UNASKED = 60.0
"""Seconds for which an answer's headers hold calls back: they may mean the time until all is free."""
_WINDOWS = ("minute", "hour", "day")
"""Kinds of limits that fewer calls in flight do not help with."""
_RECENT = 10.0
"""Seconds over which the speed is measured, and after which a limit is no news any more."""
_MANY = 512
"""Answers whose times are kept for that."""


class Pace(Slots):
    """The calls in flight at one model of a provider with one key. Its limit adapts to refusals."""

    def __init__(
        self, most: int, name: str = "", clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(most)
        self.name = name
        """The provider's."""
        self.clock = clock
        self.is_limiting = False
        """Whether it holds calls back, or has done so and not found out yet that it need not."""
        self.waiting = 0
        """Calls that wait until they may be asked."""
        self.last_answer = -math.inf
        """When it last answered a call, on its clock."""
        self._most = most
        self._adapting = threading.Lock()
        self._answers: collections.deque[float] = collections.deque(maxlen=_MANY)
        self._refused_at = -math.inf
        self._opens_at = -math.inf
        self._pause = _FIRST_PAUSE
        self._in_a_row = 0
        """Refusals since the last answer."""
        # What is known of calls that began after the last change.
        self._changed_at = -math.inf
        self._ended: collections.deque[bool] = collections.deque(maxlen=_KEPT)
        self._answered = 0
        self._step = 0
        """How far the last change raised the limit."""
        self._was_clean = True
        """Whether hardly any call was refused under the limit before it."""
        self._hold = _FIRST_HOLD
        self._floor = 1
        self._share_before = 0.0
        """The share of refused calls that a lower limit is tried against; 0: none is tried."""
        self._tests = 0
        self._chance = 0.0
        """The share of refused calls that no limit explains."""
        self._chance_until = -math.inf
        self._restored = 0
        """The limit when a call that probes is answered; 0: none probes."""
        self._interval = 0.0
        """Seconds between the beginnings of two calls; 0: none."""
        self._next_begin = -math.inf

    def after_fork(self) -> None:
        """Begin with no call in flight: they are the parent process's."""
        super().after_fork()
        self._adapting = threading.Lock()
        self.waiting = 0

    def reserve(self) -> float:
        """Seconds until the turn of a call that wants to begin."""
        with self._adapting:
            now = self.clock()
            if not self._interval:
                return 0.0
            begin = max(now, self._next_begin)
            self._next_begin = begin + self._interval
            return begin - now

    def closed_for(self) -> float:
        """Seconds for which no call may be made; 0: calls may be made."""
        return max(0.0, self._opens_at - self.clock())

    @contextlib.contextmanager
    def waits(self) -> Generator[None]:
        """Count a call that waits, for the length of a block."""
        self.waiting += 1
        try:
            yield
        finally:
            self.waiting -= 1

    def record(self, error: BaseException | None, began: float) -> None:
        """Record how a call ended that still holds its slot; None: it was answered."""
        if error is not None and not isinstance(error, errors.RateLimited):
            return
        with self._adapting:
            is_new = began >= self._changed_at
            if is_new and not self._restored:
                self._ended.append(error is not None)
                if self._share_before and len(self._ended) >= _TESTED:
                    self._conclude()
            if error is None:
                self._answer(is_new=is_new)
            else:
                self._refusal(error.limit, is_new=is_new)

    def received(self, headers: Mapping[str, str]) -> None:
        """Read the headers of an answer, which may show that nothing remains for a while."""
        names = " ".join(headers).lower()
        if "remaining" not in names and "ratelimit" not in names:
            return
        if (wait := used_up(headers)) is not None:
            with self._adapting:
                self._close(min(wait, _LONGEST_UNASKED))

    def be_alone(self) -> None:
        """Let one call through at a time: a server like this cuts a call off when another comes."""
        with self._adapting:
            self._most = 1
            self._set(1)

    def _answer(self, *, is_new: bool) -> None:
        now = self.clock()
        self.last_answer = now
        self._answers.append(now)
        self._in_a_row = 0
        self._pause = _FIRST_PAUSE
        if self._restored and is_new:
            restored, self._restored = self._restored, 0
            self._set(min(restored, self._most))
            return
        if self.limit >= self._most:
            self.is_limiting = self._most == 1 or self._opens_at > now
        if not is_new or self.limit >= self._most:
            return
        self._answered += 1
        is_full = self.held >= self.limit or self._next_begin > now
        if is_full and self._answered >= self.limit and now - self._changed_at >= self._hold:
            self._was_clean = sum(self._ended) <= 1 + _RARE * len(self._ended)
            if not self._was_clean:
                self._hold = _FIRST_HOLD
            self._step = max(1, self._step * 2)
            self._grow(min(self._most, self.limit + self._step))

    def _refusal(self, limit: Limit | None, *, is_new: bool) -> None:
        self._refused_at = self.clock()
        self._in_a_row += 1
        wait = None if limit is None else limit.wait
        is_window = limit is not None and limit.kind in _WINDOWS
        if limit is not None and limit.is_used_up and wait is not None:
            self._close(wait)
        elif not is_new:
            # One of a wave: the last of them shows best what was accepted.
            if self.limit < self._most and not self._restored:
                self._lower()
        elif self._restored:
            # It names a time that is too short, or none.
            self._close(self._pause if wait is None else max(wait, min(self._pause, _SHORT)))
            self._pause = min(_LONGEST_PAUSE, self._pause * 2)
        elif self._step and self._was_clean:  # it grew too far
            back = max(1, self.limit - self._step)
            self._step, self._hold = 0, min(_LONGEST_HOLD, self._hold * 2)
            self._grow(back)
        elif is_window and wait is not None and sum(list(self._ended)[-_LAST_OF_WINDOW:]) > 1:
            self._close(wait)
        elif self._are_in_a_row() or (
            self._are_several() and ((wait or 0.0) >= _LONG or self.held == 1)
        ):
            self._probe(self._pause if wait is None else wait)
        elif self._are_several():
            self._slow_down()

    def _are_in_a_row(self) -> bool:
        """Whether all of the last calls were refused, and that is no chance."""
        last = list(self._ended)[-_LAST:]
        enough = _IN_A_ROW + round(10 * self._chance)
        return len(last) >= enough and all(last[-enough:])

    def _are_several(self) -> bool:
        """Whether so many of the last calls were refused that it is no chance."""
        ended = list(self._ended)
        share = sum(ended) / len(ended)
        if self.clock() < self._chance_until:
            return len(ended) >= _TESTED and share > 2 * self._chance + _OFTEN
        if self._share_before and len(ended) < _TESTED:
            return False
        return sum(ended[-_LAST:]) >= _SEVERAL or (len(ended) == _KEPT and share >= _OFTEN)

    def _conclude(self) -> None:
        """See whether a lower limit has helped."""
        if sum(self._ended) / len(self._ended) < _HELPS * self._share_before:
            self._share_before, self._tests, self._chance = 0.0, 0, 0.0

    def _slow_down(self) -> None:
        share = sum(self._ended) / len(self._ended)
        self._share_before = self._share_before or share
        self._tests += 1
        if self._tests > _TESTS:
            # Fewer calls are refused as often: it is chance, or another's doing.
            self._chance, self._chance_until = share, self.clock() + _CHANCE_FOR
            self._share_before, self._tests = 0.0, 0
            self._grow(self._most)
            return
        if speed := self._speed():
            self._interval = max(self._interval, 1 / speed) / _SLOWER
        self._hold = _FIRST_HOLD
        if not self._lower():
            self._set(self.limit)

    def _lower(self) -> bool:
        """Lower the limit to the calls that were in flight beside a refused one."""
        if self.limit >= self._most:
            self._floor = max(1, self.held // 2)
        to = max(1 if self._in_a_row >= _IN_A_ROW else self._floor, self.held - 1)
        if to >= self.limit:
            return False
        self._step = 0
        self._set(to)
        return True

    def _grow(self, limit: int) -> None:
        """Change the limit, and how fast calls begin with it."""
        if limit >= self._most:
            self._interval, self._step = 0.0, 0
        else:
            speed = self._speed()
            interval = self._interval or (1 / speed if speed else 0.0)
            self._interval = interval * self.limit / limit
        self._set(limit)

    def _set(self, limit: int) -> None:
        self._changed_at = self.clock()
        self._answered = 0
        self._ended.clear()
        self.is_limiting = limit < self._most or self._most == 1 or self.closed_for() > 0
        self.resize(limit)

    def _close(self, wait: float) -> None:
        """Make no call for a while."""
        self.is_limiting = True
        self._opens_at = max(self._opens_at, self.clock() + wait)
        self._changed_at = self.clock()
        self._ended.clear()

    def _probe(self, wait: float) -> None:
        """Make no call for a while, and then one."""
        self._restored = self.limit
        self._pause = min(_LONGEST_PAUSE, self._pause * 2)
        self._close(wait)
        self.resize(1)

    def _speed(self) -> float | None:
        """Answers per second at present; None: unknown."""
        last = list(self._answers)[-max(_TESTED, self.limit) :]
        if len(last) < _LAST:
            return None
        return len(last) / max(self.clock() - last[0], 1e-3)

    def why_slow(self) -> str | None:
        """What it limits and how many calls wait, in words; None: nothing waits for it."""
        now = self.clock()
        if not self.waiting or now - max(self._refused_at, self._opens_at) > _RECENT:
            return None
        return (
            f"{self.name} {self._limits(now)}; {self.waiting} of {self.waiting + self.held} waiting"
        )

    def _limits(self, now: float) -> str:
        closed_for = self.closed_for()
        if closed_for > _RECENT:
            until = datetime.now(UTC) + timedelta(seconds=closed_for)
            return f"takes no requests until {until:%H:%M:%S} UTC"
        if self._most == 1:
            return "takes 1 request at a time"
        recent = [at for at in self._answers if now - at <= _RECENT]
        if len(recent) < 2:  # noqa: PLR2004 - fewer have no speed
            return "limits its rate"
        speed = (len(recent) - 1) / max(now - recent[0], 1e-3)
        return (
            f"limits to {speed:.0f} requests/s"
            if speed >= 1
            else f"limits to {60 * speed:.0f} requests/min"
        )


_paces: dict[tuple[object, ...], Pace] = {}


_slots: dict[int, Slots] = {}


def process_slots(limit: int) -> Slots:
    """The process's slots for a limit, which all chains with that limit share."""
    return _slots.get(limit) or _slots.setdefault(limit, Slots(limit))


def pace_for(most: int, name: str, *identity: object) -> Pace:
    """The process's pace for a model, an address and a key, under the process's limit."""
    key = (most, *identity)
    return _paces.get(key) or _paces.setdefault(key, Pace(most, name))


def why_slow() -> str | None:
    """Which providers, or which limit of ours, hold calls back now, in words; None: none does."""
    reasons = filter(None, (pace.why_slow() for pace in list(_paces.values())))
    return "; ".join(dict.fromkeys(reasons)) or why_waiting()


def why_waiting() -> str | None:
    """Which limit of the process holds calls back now, in words; None: none does."""
    full = [one for one in list(_slots.values()) if one.queued]
    reasons = (f"AIDEON_MODEL_CONCURRENCY is {one.limit}: {one.queued} calls wait" for one in full)
    return "; ".join(reasons) or None
