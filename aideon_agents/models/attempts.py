"""What the candidates of one chain know of each other: the attempts so far and the time left."""

from __future__ import annotations

import collections
import dataclasses
import time

from aideon_agents.errors import KeyRejected, ProviderError


@dataclasses.dataclass
class Attempts:
    """The log of one pass over a chain, shared by its candidates."""

    candidates: int
    """How many there are."""
    seconds: float
    """The chain's time, from the first candidate's start."""
    deadline: float = 0.0
    """On the monotonic clock."""
    failures: list[str] = dataclasses.field(default_factory=list[str])
    """One line per failed attempt, in order."""
    tries: collections.Counter[int] = dataclasses.field(default_factory=collections.Counter[int])
    """Attempts so far, by candidate."""
    rejected: set[str] = dataclasses.field(default_factory=set[str])
    """Providers whose key was rejected: their other models need not be asked."""

    def begin(self) -> None:
        """Start a new pass: the first candidate was asked."""
        self.deadline = time.monotonic() + self.seconds
        self.failures.clear()
        self.tries.clear()
        self.rejected.clear()

    def next_try(self, candidate: int) -> int:
        """Count one more attempt at a candidate.

        Args:
            candidate: Its position in the chain.

        Returns:
            Which try this is, from 1.
        """
        self.tries[candidate] += 1
        return self.tries[candidate]

    def failed(self, error: ProviderError, provider: str) -> None:
        """Note why an attempt failed."""
        self.failures.append(f"{type(error).__name__}: {error}")
        if isinstance(error, KeyRejected):
            self.rejected.add(provider)

    def time_left(self) -> float:
        """Seconds until the chain's deadline, at least 0."""
        return max(0.0, self.deadline - time.monotonic())

    def share(self, candidate: int) -> float:
        """Seconds that one attempt may take, so that those behind it still get their turn."""
        return self.time_left() / max(1, self.candidates - candidate)
