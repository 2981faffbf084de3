"""What the candidates of one chain know of each other: the line, the attempts, the time left.

Says to whoever shows tokens that an answer begins again from nothing.
"""

from __future__ import annotations

import collections
import dataclasses
import math
import time
from typing import TYPE_CHECKING

from langgraph.config import get_stream_writer

from aideon_agents import errors
from aideon_agents.errors import ProviderError
from aideon_agents.models.health import Breaker, Leave, Pace, Slots
from aideon_agents.state import node_path

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Candidate:
    """One model in the line."""

    position: int
    """0 is asked first."""
    rank: int
    """Its place in the chain as chosen, 0 is the primary. Near a budget's end the line is another."""
    economized: bool
    """It is asked before the primary, because a budget is nearly used up."""
    provider: str
    model: str
    key_variable: str | None
    """The variable that holds its key; None when it needs none."""
    rehearsed: bool
    window: int | None
    """Tokens of input and output together that it can take; None: unknown."""
    model_breaker: Breaker
    key_breaker: Breaker
    """Shared by every model that is asked with the same key."""
    pace: Pace
    """The same."""

    def __str__(self) -> str:
        return f"{self.provider}:{self.model}"

    def rest_left(self) -> float:
        """Seconds until it may be asked, 0 when it may now."""
        return max(self.model_breaker.rest_left(), self.key_breaker.rest_left())

    def probe_in(self) -> float:
        """Seconds until it is back; infinite while its key rests: asking early mends no key."""
        return math.inf if self.key_breaker.rest_left() else self.model_breaker.rest_left()

    def why_resting(self) -> str:
        """What it rests after."""
        of_key = self.key_breaker.rest_left() > 0
        return (self.key_breaker if of_key else self.model_breaker).why

    def admit(self, *, early: bool) -> Admission | None:
        """Ask its breakers for leave."""
        of_key = self.key_breaker.admit()
        if of_key is None:
            return None
        of_model = self.model_breaker.admit(early=early)
        if of_model is None:
            of_key.returned()
            return None
        return Admission(of_key, of_model)


@dataclasses.dataclass(frozen=True)
class Admission:
    """Both breakers' leave for one call."""

    of_key: Leave
    of_model: Leave

    def heard(self, error: BaseException | None) -> None:
        """Tell the breakers how the call ended; None: it was answered."""
        is_of_key = isinstance(error, errors.KeyRejected | errors.OutOfCredit)
        if is_of_key:
            self.of_model.returned()
        elif error is not None:
            self.of_key.returned()
        self.of_key.heard(error)
        self.of_model.heard(error)

    def returned(self) -> None:
        """Say that there was no call."""
        self.of_key.returned()
        self.of_model.returned()


@dataclasses.dataclass
class Attempts:
    """One chain's line of candidates, and the log of one pass over it."""

    seconds: float
    """The chain's time, from the first candidate's start."""
    slots: Slots
    """The process's, for calls in flight."""
    said: set[str]
    """What was said aloud: each thing once, however many calls it meets."""
    line: list[Candidate] = dataclasses.field(default_factory=list[Candidate])
    deadline: float = 0.0
    """On the monotonic clock."""
    failures: list[str] = dataclasses.field(default_factory=list[str])
    """One line per failed attempt, in order."""
    tries: collections.Counter[int] = dataclasses.field(default_factory=collections.Counter[int])
    """Attempts so far, by candidate."""

    def begin(self) -> None:
        """Start a new pass: the first candidate was asked."""
        self.deadline = time.monotonic() + self.seconds
        self.failures.clear()
        self.tries.clear()

    def next_try(self, candidate: Candidate) -> int:
        """Count one more attempt at a candidate; returns which one this is, from 1."""
        self.tries[candidate.position] += 1
        return self.tries[candidate.position]

    def failed(self, error: ProviderError) -> None:
        """Note why an attempt failed."""
        self.failures.append(str(error))

    def time_left(self) -> float:
        """Seconds until the chain's deadline, at least 0."""
        return max(0.0, self.deadline - time.monotonic())

    def share(self, candidate: Candidate) -> float:
        """Seconds that one attempt may take, so that those behind it still get their turn."""
        return self.time_left() / max(1, len(self.line) - candidate.position)

    def is_last(self, candidate: Candidate) -> bool:
        """Whether nobody stands behind a candidate."""
        return candidate.position == len(self.line) - 1

    def is_waited_for(self, candidate: Candidate) -> bool:
        """Whether a candidate rests for its rate limit alone, not too long, and nobody is behind."""
        return (
            self.is_last(candidate)
            and candidate.model_breaker.is_limited
            and candidate.probe_in() < self.time_left()
        )

    def soonest_back(self, candidate: Candidate) -> bool:
        """Whether everybody rests and this candidate for the shortest: then it is asked early."""
        probes = [one.probe_in() for one in self.line]
        mine = probes[candidate.position]
        return all(probes) and mine == min(probes) and mine < math.inf


RESTART = "aideon_restart"
"""The one key of the custom stream event; its value is the node path."""


def announce_restart(config: RunnableConfig | None) -> None:
    """Write a `restart` event into the graph's stream; outside any graph nobody listens."""
    try:
        write = get_stream_writer()
    except (RuntimeError, KeyError):  # not inside a graph
        return
    write({RESTART: node_path((config or {}).get("metadata") or {})})
