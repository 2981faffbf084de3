"""One pass over a chain: who may be asked, how often, and what failed.

The class of an error decides what it leads to: another try of the same model after a pause, the next
candidate, or the end.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import logging
import math
import random
import time
from typing import TYPE_CHECKING, NoReturn

from langgraph.errors import GraphBubbleUp

from aideon_agents import errors
from aideon_agents.ledger import tags
from aideon_agents.ledger.redaction import stored_line
from aideon_agents.models.candidates import LONGEST_ATTEMPT, Candidate, announce_restart
from aideon_agents.models.faults.effects import HANDLED, LOUD, NO_MORE_ROOM
from aideon_agents.models.health import Permit, Slots
from aideon_agents.models.limits.pace import process_slots

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Iterator, Mapping, Sequence

    from langchain_core.runnables import RunnableConfig

    from aideon_agents.state import Context, ModelRequest

_log = logging.getLogger("aideon_agents.models")

_RETRIES: Mapping[type[errors.ProviderError], int] = {errors.Transient: 2}
_FIRST_PAUSE = 0.25  # seconds, doubled with each retry, full jitter
_ALONE = 64
"""Calls in flight at models that are asked outside a chain."""
_LOOK_AGAIN = 0.05  # seconds, while another call probes
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0
"""Seconds to wait after a refusal that does not say how long, doubled with each one."""
_SPREAD = 0.1
"""The part of a wait that is added at random, so that not all return at once,"""
_MOST_SPREAD = 0.25
"""and the seconds that it is at most."""

FALLBACK_AFTER = 20.0
"""Seconds for which a model is waited for that limits its rate, before the next one is asked."""
LONGEST_WINDOW = 900.0
"""Seconds for which a batch waits for a provider that answers nothing; then it stops."""

PASS = "__aideon_pass"  # noqa: S105 - not a password
"""Key in `config["configurable"]` of one pass over a chain."""


@dataclasses.dataclass(frozen=True, slots=True)
class Patience:
    """How long models are waited for when they limit their rate, in seconds."""

    before_others: float
    """Where there are other models to ask."""
    at_last: float
    """Where there is none."""
    is_item: bool
    """One of many runs: it waits while others are answered, and stops them where waiting is no use."""


def patience_of(request: ModelRequest, context: Context, seconds: float) -> Patience:
    """How long the models of a chain are waited for, which may take so many seconds."""
    policy = context.on_rate_limit or request.on_rate_limit
    waits = policy == "wait" or (policy is None and context.is_item)
    longest = max(seconds, LONGEST_WINDOW) if context.is_item else seconds
    return Patience(
        before_others=longest if waits else FALLBACK_AFTER, at_last=longest, is_item=context.is_item
    )


_ALONE_PATIENCE = Patience(LONGEST_ATTEMPT, LONGEST_ATTEMPT, is_item=False)


class OutOfRate(errors.RateLimitReached, GraphBubbleUp):
    """A rate limit that resets too late, as LangGraph's own stop: sibling branches finish first."""


class Attempts:
    """One pass over the candidates of a chain: its time, its attempts, its failures."""

    def __init__(
        self,
        candidates: Sequence[Candidate],
        *,
        ranks: Sequence[int] = (),
        choices: Sequence[str] = (),
        seconds: float = LONGEST_ATTEMPT,
        patience: Patience = _ALONE_PATIENCE,
        slots: Slots,
        logged: set[str],
    ) -> None:
        self.candidates = candidates
        """In the order in which they are asked."""
        self.rested: list[Candidate] = []
        """Those that rested when their turn came. They are asked at last."""
        self.is_last_resort = len(candidates) == 1
        """Whether nothing is left but to ask a model before its rest is over."""
        self._ranks = ranks or range(len(candidates))
        self._choices = choices
        self.slots = slots
        """The process's slots for calls in flight."""
        self.logged = logged
        """Messages that were logged: each one once, however many calls cause it."""
        self.deadline = time.monotonic() + seconds
        """On the monotonic clock."""
        self.failures: list[str] = []
        """One line per failed attempt, in order."""
        self.tries = collections.Counter[str]()
        """Attempts so far, by the name of the candidate."""
        self._patience = patience
        self._refusals = collections.Counter[str]()
        self._seen = collections.Counter[str]()
        """Failures of candidates that other calls found out while this one waited."""
        self._waited = collections.defaultdict[str, float](float)
        """Seconds for which candidates were waited for."""
        self.starting = collections.defaultdict[str, float](float)
        """Seconds for which candidates were waited for while they were loaded."""
        self.adapted = collections.Counter[str]()
        """Those among them after which the model was asked in another way: they are no failures."""
        self.private: str | None = None
        """Why a private prompt is asked here, as JSON for the rows of its calls; None: it is not private."""
        self.room: dict[str, tuple[int, int]] = {}
        """Where an answer met `max_tokens`: its `max_tokens`, and those of the attempts after it."""
        self.lacked_room: dict[str, errors.ProviderError] = {}
        """The error of that answer."""

    def place_of(self, candidate: Candidate) -> dict[str, object]:
        """What the row of a call says of a candidate's place in the chain.

        That is its position as configured (0 is the primary), whether it is asked before the primary,
        as cheaper models are when a budget is nearly spent, and why it was chosen.
        """
        position = self.candidates.index(candidate)
        return {
            tags.CANDIDATE: self._ranks[position],
            tags.ECONOMIZED: 0 in self._ranks[position + 1 :],
            tags.CHOICE: self.private or (self._choices[position] if self._choices else None),
        }

    def time_left(self) -> float:
        """Seconds until the chain's deadline, at least 0."""
        return max(0.0, self.deadline - time.monotonic())

    def seconds_for(self, candidate: Candidate) -> float:
        """Seconds that one attempt may take, so that time is left for the candidates after it.

        A server of one's own may be slow, and be at work on the answer all the time.
        """
        later = self.candidates[self.candidates.index(candidate) + 1 :]
        after = len(self.rested) + (0 if self.is_last_resort else len(later))
        share = self.time_left() / (after + 1)
        return share if candidate.row.own else min(LONGEST_ATTEMPT, share)

    def is_last(self, candidate: Candidate) -> bool:
        """Whether there is no candidate after this one."""
        return not self.rested and (self.is_last_resort or candidate is self.candidates[-1])

    def last_resorts(self) -> Iterator[Candidate]:
        """Those that rested when their turn came, the one that is soonest back first.

        One that was tried in vain meanwhile, by this call or another, comes after the others.
        """
        self.is_last_resort = True
        while self.rested:
            self.rested.sort(key=self._how_unlikely)
            yield self.rested.pop(0)

    def _how_unlikely(self, one: Candidate) -> tuple[float, ...]:
        return self._failed_tries(one), one.model_breaker.early_probes, one.probe_in()

    async def permitted(self, candidate: Candidate) -> Permit:
        """Wait for a permit, or give the candidate up while it rests after failures."""
        breaker, failed_before = candidate.model_breaker, candidate.model_breaker.failed_probes
        while True:
            if candidate.pace.is_limiting:
                await self._opened(candidate)
            spare = breaker.doubt.since <= breaker.clock() and self._has_spare(candidate)
            if permit := candidate.admit(spare=spare):
                return permit
            can_be_back = candidate.probe_in() < math.inf
            # What other calls find out while this one waits counts like its own tries.
            tries = self._failed_tries(candidate) + breaker.failed_probes - failed_before
            early = self.is_last_resort and can_be_back and tries <= _RETRIES[errors.Transient]
            if early and (permit := candidate.admit(early=True)):
                return permit
            others_first = early and self._are_untried(tries)
            if others_first or not early or not self.time_left():
                resting = errors.Transient(candidate.why_not_asked(self.failures), billed=False)
                if can_be_back and (others_first or not self.is_last_resort):
                    self._seen[str(candidate)] += breaker.failed_probes - failed_before
                    self.rested.append(candidate)
                    raise resting
                self.give_up(candidate, resting)
            await asyncio.sleep(_LOOK_AGAIN)  # another call finds out whether it is back

    def _has_spare(self, candidate: Candidate) -> bool:
        """Whether a later candidate can be asked, about which there is no doubt."""
        later = self.candidates[self.candidates.index(candidate) + 1 :]
        return not self.is_last_resort and any(map(Candidate.is_free, later))

    async def _opened(self, candidate: Candidate) -> None:
        """Wait until a candidate's rate limit lets a call begin; holds nothing meanwhile."""
        pace = candidate.pace
        while closed_for := pace.closed_for():
            held_back = f"{candidate} was not asked: its rate limit resets in {closed_for:.0f} s"
            await self._wait(candidate, closed_for, errors.RateLimited(held_back, billed=False))

    @contextlib.asynccontextmanager
    async def slot(self, candidate: Candidate) -> AsyncGenerator[None]:
        """Hold one of a candidate's slots; the wait for it does not count in the chain's time."""
        pace = candidate.pace
        async with contextlib.AsyncExitStack() as held:
            if pace.held < pace.limit:
                await held.enter_async_context(pace.one())
            else:
                with pace.waits():
                    while (left := self._patience_left(candidate)) > 0:
                        with contextlib.suppress(TimeoutError), self._clock_stopped(candidate):
                            async with asyncio.timeout(left):
                                await held.enter_async_context(pace.one())
                                break
                    else:
                        late = f"{candidate} was not asked: other calls had its slots"
                        raise errors.RateLimited(late, billed=False)
            if turn := pace.reserve():
                with self._clock_stopped(candidate):
                    await asyncio.sleep(turn)
            yield

    @contextlib.contextmanager
    def _clock_stopped(self, candidate: Candidate) -> Generator[None]:
        """Do not count what a block takes in the chain's time."""
        began = time.monotonic()
        try:
            yield
        finally:
            waited = time.monotonic() - began
            self.deadline += waited
            self._waited[str(candidate)] += waited

    def _patience_left(self, candidate: Candidate) -> float:
        """Seconds for which a candidate may still be waited for."""
        patience = self._patience
        longest = patience.at_last if self.is_last(candidate) else patience.before_others
        waited = self._waited[str(candidate)]
        is_own = candidate.row.own and self.is_last(candidate)
        if is_own or (patience.is_item and longest > FALLBACK_AFTER):
            # As long as others are answered, its turn will come.
            waited = min(waited, candidate.pace.clock() - candidate.pace.last_answer)
        return longest - waited

    async def _wait(self, candidate: Candidate, wait: float, error: errors.RateLimited) -> None:
        """Wait for a rate limit; if it resets too late, give the candidate up, or stop the batch."""
        if wait > self._patience_left(candidate):
            waits = self.is_last(candidate) or self._patience.before_others > FALLBACK_AFTER
            if self._patience.is_item and waits:
                raise OutOfRate(str(candidate), wait, str(error)) from error
            self.give_up(candidate, error)
        with candidate.pace.waits(), self._clock_stopped(candidate):
            spread = random.uniform(0, min(_MOST_SPREAD, wait * _SPREAD))  # noqa: S311 - not a secret
            await asyncio.sleep(wait + spread)

    async def pause_or_raise(
        self, candidate: Candidate, error: errors.ProviderError, config: RunnableConfig | None
    ) -> None:
        """Wait before the next try of this candidate, or give it up."""
        if isinstance(error, errors.RateLimited):
            wait = error.retry_after
            if wait is None:
                wait = min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** self._refusals[str(candidate)])
            self._refusals[str(candidate)] += 1
            await self._wait(candidate, wait, error)
            self.failures.append(str(error))
            return
        if error.adapted:
            self.adapted[str(candidate)] += 1
            return
        if (start := self.starts_in(candidate, error)) is not None:
            self._refusals[str(candidate)] += 1
            self.starting[str(candidate)] += start
            if f"{candidate} starts" not in self.logged:
                self.logged.add(f"{candidate} starts")
                _log.warning(
                    "%s: it may be starting, so it is asked again while there is time", error
                )
            self.failures.append(str(error))
            await asyncio.sleep(start)
            return
        pause = self._pause(candidate, error)
        if pause is not None and self._are_untried(self._failed_tries(candidate)):
            self.rested.append(candidate)
            pause = None
        if isinstance(error, errors.Partial) and not (pause is None and self.is_last(candidate)):
            announce_restart(config)
        if pause is None:
            self.give_up(candidate, error)
        self.failures.append(str(error))
        await asyncio.sleep(pause)

    def starts_in(self, candidate: Candidate, error: BaseException) -> float | None:
        """Seconds until a model is asked again that is being loaded; None: it is not waited for."""
        waits = self.is_last(candidate) or self._patience.before_others > FALLBACK_AFTER
        name = str(candidate)
        unnamed = min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** self._refusals[name])
        longest = candidate.patience_with(error, math.inf if waits else FALLBACK_AFTER, alone=waits)
        named: float | None = getattr(error, "retry_after", None)
        wait = max(named, _FIRST_PAUSE) if named else unnamed
        return wait if wait < min(longest - self.starting[name], self.time_left()) else None

    def _pause(self, candidate: Candidate, error: errors.ProviderError) -> float | None:
        """Seconds until the next try of this candidate; None: there is none."""
        attempt = self._failed_tries(candidate)
        retries = _RETRIES.get(type(error), 0)
        if isinstance(error, errors.Partial) and self.is_last(candidate):
            retries = 1  # no other candidate is left
        if error.timed_out or error.loading or attempt > retries:
            return None
        jitter = random.uniform(0, _FIRST_PAUSE * 2**attempt)  # noqa: S311 - not a secret
        pause = jitter if error.retry_after is None else error.retry_after
        return pause if pause < self.time_left() else None

    def _failed_tries(self, candidate: Candidate) -> int:
        """How often a candidate has failed, or is failing now."""
        name = str(candidate)
        return self.tries[name] - self._refusals[name] - self.adapted[name] + self._seen[name]

    def _are_untried(self, tries: int) -> bool:
        """Whether there are last resorts that have failed less often."""
        return self.is_last_resort and any(self._failed_tries(one) < tries for one in self.rested)

    async def go_on(
        self,
        candidate: Candidate,
        error: errors.ProviderError | errors.BudgetExceeded | errors.QuotaExceeded,
        config: RunnableConfig | None,
        room: tuple[int, int],
    ) -> None:
        """Wait before the next try of this candidate, give it more room, or give it up.

        `room` is the most tokens that its answer may have, as asked and with more room.
        """
        lacked = self.lacked_room.get(str(candidate))
        if lacked and isinstance(error, NO_MORE_ROOM) and not getattr(error, "adapted", False):
            self.give_up(candidate, lacked)
        if isinstance(error, errors.BudgetExceeded | errors.QuotaExceeded):
            raise error
        if error.shown:
            announce_restart(config)
        if not error.met_max_tokens:
            await self.pause_or_raise(candidate, error, config)
        elif not self.make_room(candidate, error, room):
            self.give_up(candidate, error)

    def make_room(
        self, candidate: Candidate, error: errors.ProviderError, room: tuple[int, int]
    ) -> bool:
        """Give a candidate more room for its answer, once, if there is more."""
        asked, more = room
        if str(candidate) in self.room or more <= asked:
            return False
        self.room[str(candidate)] = room
        self.lacked_room[str(candidate)] = error
        self.failures.append(str(error))
        return True

    def complain(self, candidate: Candidate, error: errors.Malformed, *, is_last: bool) -> None:
        """Record an answer that does not fit its schema; give up after the last one."""
        words = stored_line(str(error)) if self.private else error
        named = errors.Malformed(f"{candidate}: {words}")
        if is_last:
            self.give_up(candidate, named)
        self.failures.append(str(named))

    def give_up(self, candidate: Candidate, error: errors.ProviderError) -> NoReturn:
        """Raise an error, after which the next candidate is asked, if there is one."""
        self.failures.append(str(error))
        if isinstance(error, LOUD) and str(error) not in self.logged:
            self.logged.add(str(error))
            _log.warning("%s", error)
        if self.is_last(candidate) and isinstance(error, HANDLED):
            raise errors.AllModelsFailed(self.failures) from error
        raise error


def pass_of(config: RunnableConfig | None, candidate: Candidate) -> Attempts:
    """The pass of the chain around a model; a model that is asked alone is a chain of one."""
    known = ((config or {}).get("configurable") or {}).get(PASS)
    if known is not None and candidate in known.candidates:
        return known
    return Attempts([candidate], slots=process_slots(_ALONE), logged=set())
