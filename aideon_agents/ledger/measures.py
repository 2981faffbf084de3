"""What calls and runs are measured to do, worked out from their sums. Nothing here is assumed.

A share of nothing is None, and so is a speed without a time.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from aideon_agents.ledger.sums import Sums

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measures:
    """How well and how fast some calls were answered."""

    failed_share: float | None
    """Failed calls per call, 0 to 1; every attempt is a call. None: there are none."""
    success_rate: float | None
    """Answered calls per call that was answered or failed, 0 to 1. Calls that were cancelled here,
    and calls of whose end nothing was heard, say nothing about a model. None: there are none."""
    tokens_per_second: float | None
    """Output tokens over the time of the calls that have both. None: there are none."""
    median_ms: int | None
    """Half of the answered calls took this many milliseconds or less. None: none is timed."""
    p95_ms: int | None
    """95 % of the answered calls took this many milliseconds or less. None as above."""
    run_success_rate: float | None
    """Completed runs per run that has ended, 0 to 1; a run counts where and when it started.
    None: none has ended, or a run does not belong to one row as a whole, as with nodes."""


def measured(sums: Sums) -> Measures:
    """Work out the measures of some calls."""
    return Measures(
        failed_share=_per(sums.failed, sums.calls),
        success_rate=_per(sums.answered, sums.answered + sums.failed),
        tokens_per_second=_per(sums.timed_tokens * 1000, sums.timed_ms),
        median_ms=percentile(sums.latencies, 50),
        p95_ms=percentile(sums.latencies, 95),
        run_success_rate=_per(sums.runs_completed, sums.runs_ended),
    )


def percentile(counts: Mapping[int, int], percent: int) -> int | None:
    """The smallest value that at least so many percent of all values do not exceed: nearest rank."""
    rank = -(-sum(counts.values()) * percent // 100)  # rounded up, without floats
    for value in sorted(counts):
        rank -= counts[value]
        if rank <= 0:
            return value
    return None


def _per(part: int, whole: int) -> float | None:
    return part / whole if whole else None
