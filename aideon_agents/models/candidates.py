"""The candidates of one chain, and what they share: its time, its attempts, its failures."""

from __future__ import annotations

import collections
import dataclasses
import math
import time
from typing import TYPE_CHECKING

from langgraph.config import get_stream_writer

from aideon_agents.models.health import Breaker, Pace, Permit, Slots
from aideon_agents.state import node_path

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig


LONGEST_ATTEMPT = 120.0
"""Seconds."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Candidate:
    """One model of a chain."""

    position: int
    """0 is asked first."""
    rank: int
    """Its place in the chain as configured; 0 is the primary. Cheaper models may be asked before."""
    economized: bool
    """It is asked before the primary, because a budget is nearly spent."""
    provider: str
    model: str
    key_variable: str | None
    """The environment variable that holds its key; None: it needs no key."""
    rehearsed: bool
    window: int | None
    """Tokens of input and output together that it can take; None: unknown."""
    model_breaker: Breaker
    key_breaker: Breaker
    """Shared by all models with the same key, as is `pace`."""
    pace: Pace

    def __str__(self) -> str:
        return f"{self.provider}:{self.model}"

    def rest_left(self) -> float:
        """Seconds until it may be asked, 0 when it may now."""
        return max(self.model_breaker.rest_left(), self.key_breaker.rest_left())

    def probe_in(self) -> float:
        """Seconds until it is back; infinite while its key rests: an early probe cannot fix a key."""
        return math.inf if self.key_breaker.rest_left() else self.model_breaker.rest_left()

    def why_resting(self) -> str:
        """The error that it rests after."""
        of_key = self.key_breaker.rest_left() > 0
        return (self.key_breaker if of_key else self.model_breaker).why

    def admit(self, *, early: bool = False) -> Permit | None:
        """A permit for one call, which must be settled; None: it may not be asked now.

        `early` probes before its pause is over, because all other candidates rest for longer.
        """
        of_key = self.key_breaker.admit()
        if of_key is None:
            return None
        permit = self.model_breaker.admit(early=early, of_key=of_key)
        if permit is None:
            of_key.give_back()
        return permit


class Attempts:
    """The candidates of one chain in their order, and the log of one pass over them."""

    def __init__(self, seconds: float, slots: Slots, logged: set[str]) -> None:
        self.seconds = seconds
        """The chain's time, from the first candidate's start."""
        self.slots = slots
        """The process's slots for calls in flight."""
        self.logged = logged
        """Messages that were logged: each one once, however many calls cause it."""
        self.candidates: list[Candidate] = []
        self.deadline = 0.0
        """On the monotonic clock."""
        self.failures: list[str] = []
        """One line per failed attempt, in order."""
        self.tries = collections.Counter[int]()
        """Attempts so far, by the position of the candidate."""

    def begin(self) -> None:
        """Start a new pass: the first candidate is asked."""
        self.deadline = time.monotonic() + self.seconds
        self.failures.clear()
        self.tries.clear()

    def time_left(self) -> float:
        """Seconds until the chain's deadline, at least 0."""
        return max(0.0, self.deadline - time.monotonic())

    def seconds_for(self, candidate: Candidate) -> float:
        """Seconds that one attempt may take, so that time is left for the candidates after it."""
        share = self.time_left() / max(1, len(self.candidates) - candidate.position)
        return min(LONGEST_ATTEMPT, share)

    def is_last(self, candidate: Candidate) -> bool:
        """Whether there is no candidate after this one."""
        return candidate.position == len(self.candidates) - 1

    def waits_for(self, candidate: Candidate) -> bool:
        """Whether to wait until a candidate is back: it is the last, and only its rate is limited."""
        return (
            self.is_last(candidate)
            and candidate.model_breaker.is_limited
            and candidate.probe_in() < self.time_left()
        )

    def is_soonest_back(self, candidate: Candidate) -> bool:
        """Whether all candidates rest, and this one for the shortest time: it is probed early."""
        probes = [one.probe_in() for one in self.candidates]
        mine = probes[candidate.position]
        return all(probes) and mine == min(probes) and mine < math.inf


RESTART = "aideon_restart"
"""The one key of the custom stream event; its value is the node path."""


def announce_restart(config: RunnableConfig | None) -> None:
    """Write a `restart` event into the graph's stream: the shown tokens are void, the answer restarts."""
    try:
        write = get_stream_writer()
    except (RuntimeError, KeyError):  # outside a graph
        return
    write({RESTART: node_path((config or {}).get("metadata") or {})})
