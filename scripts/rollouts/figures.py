"""What `/metrics` says of two versions, and when it speaks against the new one."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass, field

FEWEST = 20
"""With fewer requests, one slow one would decide p95."""
NOTICED = 0.5
"""Seconds by which p95 may always be longer."""


@dataclass
class Figures:
    """The requests of one version."""

    requests: int = 0
    errors: int = 0
    buckets: Counter[float] = field(default_factory=Counter)

    def since(self, before: Figures) -> Figures:
        """Leave out what was counted before."""
        buckets = Counter({at: n - before.buckets[at] for at, n in self.buckets.items()})
        return Figures(self.requests - before.requests, self.errors - before.errors, buckets)

    @property
    def share(self) -> float:
        """The share of requests that failed."""
        return self.errors / self.requests if self.requests else 0.0

    @property
    def p95(self) -> float:
        """Seconds, as Prometheus' histogram_quantile estimates them."""
        rank, low, fewer = 0.95 * self.requests, 0.0, 0
        for high, number in sorted(self.buckets.items()):
            if number >= rank:
                part = (rank - fewer) / (number - fewer) if number > fewer else 1.0
                return low if math.isinf(high) else low + part * (high - low)
            low, fewer = high, number
        return low

    def __str__(self) -> str:
        return f"{self.requests} requests, {self.errors} failed, p95 {self.p95:.2g} s"


def figures(text: str) -> Figures:
    """Read Prometheus' text. Requests for health and metrics do not count."""
    found = Figures()
    for kind, labels, value in re.findall(
        r"^aideon_request_seconds_(count|bucket)\{(.*)\} (\S+)$", text, re.MULTILINE
    ):
        said = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        if said["route"] in {"/healthz", "/readyz", "/metrics", "/sign-in"}:
            continue
        number = int(float(value))
        if kind == "bucket":
            found.buckets[float(said["le"])] += number
        else:
            found.requests += number
            found.errors += number if said["status"] >= "500" else 0
    return found


def reason_to_go_back(old: Figures, new: Figures, errors: float, slower: float) -> str | None:
    """Say why a version must not get more requests; None: it may.

    `errors` are percentage points by which more may fail, `slower` is how many times p95 may be longer.
    """
    if new.errors > 1 and 100 * (new.share - old.share) > errors:
        return (
            f"{new.errors} of {new.requests} requests failed, {new.share:.1%}; of the old version "
            f"{old.share:.1%} (--errors {errors:g})"
        )
    is_known = min(old.requests, new.requests) >= FEWEST
    if is_known and new.p95 > max(slower * old.p95, old.p95 + NOTICED):
        return f"p95 is {new.p95:.2g} s, of the old version {old.p95:.2g} s (--slower {slower:g})"
    return None
