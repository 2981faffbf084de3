"""Sums over the calls of models, for programs that ask again and again, such as Prometheus.

A reading adds only what is new: a ledger of a million calls is never read whole. What is rehearsed or
simulated is left out.
"""

from __future__ import annotations

import datetime as dt
import threading
from typing import TYPE_CHECKING

from aideon_agents.ledger.identity import now, utc_text

if TYPE_CHECKING:
    from aideon_agents.ledger.store import Ledger

    Sums = dict[tuple[str, str, str], dict[str, int]]
    """By provider, model and status, each of `SUMS`."""

BUCKETS = (100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 120_000)
"""Milliseconds."""
_MEASURES = {"duration": "duration_ms", "first": "time_to_first_token_ms"}
SUMS = {
    "calls": "COUNT(*)",
    "nanousd": "SUM(cost_nanousd)",
    "unknown": "COUNT(*) - COUNT(cost_nanousd)",
    **{f"{name}_count": f"COUNT({column})" for name, column in _MEASURES.items()},
    **{f"{name}_ms": f"SUM({column})" for name, column in _MEASURES.items()},
    **{
        f"{name}_{most}": f"COUNT(*) FILTER (WHERE {column} <= {most})"
        for name, column in _MEASURES.items()
        for most in BUCKETS
    },
}
_PAID = "rehearsed = 0 AND simulated = 0"
_OLDEST_OPEN = f"""
    SELECT MIN(started_at) AS at FROM calls
    WHERE started_at >= :since AND status = 'started' AND {_PAID}
"""  # noqa: S608 - our words
_CALLS = f"""
    SELECT provider, requested_model, status,
        CASE WHEN started_at < CAST(:until AS TEXT) THEN 1 ELSE 0 END AS is_settled,
        {", ".join(f"{sql} AS {name}" for name, sql in SUMS.items())}
    FROM calls WHERE started_at >= :since AND status <> 'started' AND {_PAID}
    GROUP BY provider, requested_model, status, is_settled
"""  # noqa: S608 - the same
_RUNS = "SELECT status, COUNT(*) AS runs FROM runs WHERE started_at >= :since GROUP BY status"
_HOLDS = """
    SELECT SUM(amount_nanousd) AS nanousd FROM holds WHERE status <> 'settled' AND status = 'held'
"""
_LATE = dt.timedelta(minutes=5)  # clocks of machines differ
_DAY = dt.timedelta(days=1)


class CallFigures:
    """The sums of the calls that began at a moment or later."""

    def __init__(self, ledger: Ledger, since: str) -> None:
        self._ledger = ledger
        self._since = since
        self._settled: Sums = {}
        """Those of the calls before `_since`, which do not change any more."""
        self._lock = threading.Lock()

    def read(self) -> Sums:
        """The sums now."""
        with self._lock:
            return self._read()

    def _read(self) -> Sums:
        (oldest,) = self._ledger.select(_OLDEST_OPEN, {"since": self._since})
        newest = utc_text(now() - _LATE)
        # A call that its process did not complete is waited for no longer than a day.
        until = max(min(oldest["at"] or newest, newest), utc_text(now() - _DAY), self._since)
        sums = {key: dict(one) for key, one in self._settled.items()}
        for row in self._ledger.select(_CALLS, {"since": self._since, "until": until}):
            key = row["provider"], row["requested_model"], row["status"]
            for into in (sums, self._settled) if row["is_settled"] else (sums,):
                kept = into.setdefault(key, dict.fromkeys(SUMS, 0))
                for name in SUMS:
                    kept[name] += int(row[name] or 0)
        self._since = until
        return sums


def recent_runs(ledger: Ledger) -> dict[str, int]:
    """How many runs began within the last 24 hours, by status."""
    since = {"since": utc_text(now() - _DAY)}
    return {row["status"]: row["runs"] for row in ledger.select(_RUNS, since)}


def held_nanousd(ledger: Ledger) -> int:
    """The money that is held for open calls."""
    (row,) = ledger.select(_HOLDS, {})
    return int(row["nanousd"] or 0)
