"""Calls added up: what those of one node come to in one run, and over several."""

from __future__ import annotations

import statistics
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from aideon_agents.ledger.rows import RunStatus
    from aideon_agents.ledger.traces import CallTrace

BadgeWord = Literal[
    "failed",
    "over_budget",
    "waiting",
    "running",
    "cut_off",
    "fallback",
    "retry",
    "cached",
    "not_run",
]
"""`cut_off`: nothing was heard of a call's end, or it was cancelled. `not_run`: as far as is known,
in none of the runs; the others: in one of them at least."""

_FAILED = ("error", "truncated")
_ANSWERED = ("ok", "cached")


@dataclass
class Tally:
    """What the calls of a node, or of several, come to."""

    calls: int = 0
    failed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    known: int = 0
    """Calls whose cost is known."""
    rounds: int = 0
    asked: dict[str, None] = field(default_factory=dict[str, None])
    """Every model, first use first."""
    models: dict[str, None] = field(default_factory=dict[str, None])
    runs: int = 0
    """Runs that called a model here."""
    nanousd: int = 0
    """What is known of their cost."""
    priced: list[int] = field(default_factory=list[int])
    """The cost, in nano-dollars, of each of these runs of which all of it is known."""
    busy_ms: list[int] = field(default_factory=list[int])
    """How long each of these runs was at it, where that is known."""
    badges: Counter[BadgeWord] = field(default_factory=Counter["BadgeWord"])
    """In how many runs."""

    def add(self, calls: Sequence[CallTrace]) -> None:
        """Add one run's calls; there is one at least."""
        known = [call.nanousd for call in calls if call.nanousd is not None]
        self.calls += len(calls)
        self.failed += sum(call.status in _FAILED for call in calls)
        self.input_tokens += sum(call.input_tokens or 0 for call in calls)
        self.output_tokens += sum(call.output_tokens or 0 for call in calls)
        self.known += len(known)
        self.runs += 1
        self.nanousd += sum(known)
        if len(known) == len(calls):
            self.priced.append(sum(known))
        self.rounds = max(self.rounds, *(call.round for call in calls))
        self.asked |= dict.fromkeys(call.model for call in calls)
        self.models |= dict.fromkeys(_answering(calls))
        if any(call.duration_ms is not None for call in calls):
            self.busy_ms.append(busy(calls))

    @property
    def median_nanousd(self) -> int | None:
        """Of the runs whose cost is known; None: that of none is."""
        return round(statistics.median(self.priced)) if self.priced else None

    @property
    def median_ms(self) -> int | None:
        """Of the runs; None: no call has ended."""
        return round(statistics.median(self.busy_ms)) if self.busy_ms else None


def busy(calls: Iterable[CallTrace]) -> int:
    """How long at least one of some calls was under way."""
    whole, until = 0, 0
    for call in calls:
        end = call.started_ms + (call.duration_ms or 0)
        whole += max(0, end - max(until, call.started_ms))
        until = max(until, end)
    return whole


def badges(calls: Sequence[CallTrace], status: RunStatus) -> set[BadgeWord]:
    """What is remarkable about a node's calls in one run."""
    found: set[BadgeWord] = set()
    for call in calls:
        # A cheaper model that was preferred to fit a budget stepped in for nobody.
        if call.candidate > 0 and not call.economized and call.status in _ANSWERED:
            found.add("fallback")
        if call.attempt > 1:
            found.add("retry")
        if call.status == "cached":
            found.add("cached")
        if call.status == "started" and status == "running":
            found.add("running")
        elif call.status in {"started", "cancelled"}:
            found.add("cut_off")
    if failed(calls):
        found.add("failed")
    return found


def failed(calls: Iterable[CallTrace]) -> bool:
    """Whether some node path's last call failed."""
    return any(call.status in _FAILED for call in _last(calls))


def _last(calls: Iterable[CallTrace]) -> Iterable[CallTrace]:
    """Each node path's last call: how it ended is how the node did."""
    return {call.node_path: call for call in calls}.values()


def is_answered(calls: Iterable[CallTrace]) -> bool:
    """Whether every node path's last call brought an answer."""
    return all(call.status in _ANSWERED for call in _last(calls))


def _answering(calls: Sequence[CallTrace]) -> Iterator[str]:
    """The models that answered; those that were asked where none did."""
    answered = [call.model for call in calls if call.status in _ANSWERED]
    return iter(answered or [call.model for call in calls])
