"""What a report adds up: one `Sums` per row, from two statements however many calls there are.

Only whole numbers are added, here and in SQL, so that the rows of every dimension add up to the
same total. Shares, speeds and percentiles are worked out from a row's sums at the end, because
they cannot be added.
"""

from __future__ import annotations

import collections
import dataclasses
from typing import Any

from aideon_agents.ledger.database import Row
from aideon_agents.ledger.dimensions import CALL_KEYS, CALLS, RUN_KEYS, ReportBy, Selection
from aideon_agents.ledger.identity import Process, is_gone
from aideon_agents.ledger.store import Ledger

_ENDED = ("completed", "failed", "stopped", "cancelled", "crashed")
"""How a run that is over ended; one that waits for an answer is not over."""


@dataclasses.dataclass
class Sums:
    """What some calls add up to, as counted."""

    calls: int = 0
    failed: int = 0
    """Raised, or broken off on the way."""
    answered: int = 0
    """Answered, by a model or from the cache."""
    input_tokens: int = 0
    output_tokens: int = 0
    nanousd: int = 0
    known: int = 0
    """Calls whose cost is known."""
    timed_tokens: int = 0
    """Output tokens of the calls whose time and tokens are both known."""
    timed_ms: int = 0
    """The time of those calls."""
    economized: int = 0
    shortened: int = 0
    latencies: collections.Counter[int] = dataclasses.field(
        default_factory=collections.Counter[int]
    )
    """How often a model took how many milliseconds to answer."""
    runs_ended: int = 0
    runs_completed: int = 0

    def add(self, other: Sums) -> None:
        """Add another's sums to these."""
        for field in dataclasses.fields(Sums):
            if field.name == "latencies":
                self.latencies.update(other.latencies)
            else:
                both = getattr(self, field.name) + getattr(other, field.name)
                setattr(self, field.name, both)


def sums_by(ledger: Ledger, by: ReportBy, selection: Selection) -> tuple[dict[str, Sums], Sums]:
    """Add up the calls that are asked for, and the ends of their runs."""
    rows = {key: Sums(**counts) for key, counts in _counts(ledger, by, selection).items()}
    for key, duration, calls in _latencies(ledger, by, selection):
        rows[key].latencies[duration] += calls
    total = Sums()
    for sums in rows.values():
        total.add(sums)
    for key, status, runs in _runs(ledger, by, selection):
        for sums in (total, rows.get(key) if by in RUN_KEYS else None):
            if sums and status in _ENDED:
                sums.runs_ended += runs
                sums.runs_completed += runs if status == "completed" else 0
    return rows, total


def _counts(ledger: Ledger, by: ReportBy, selection: Selection) -> dict[str, dict[str, Any]]:
    found = ledger.select(
        f"""
        SELECT COALESCE({CALL_KEYS[by]}, '') AS key, COUNT(*) AS calls,
            COUNT(*) FILTER (WHERE calls.status IN ('error', 'truncated')) AS failed,
            COUNT(*) FILTER (WHERE calls.status IN ('ok', 'cached')) AS answered,
            SUM(calls.input_tokens) AS input_tokens,
            SUM(calls.output_tokens) AS output_tokens,
            SUM(calls.cost_nanousd) AS nanousd,
            COUNT(calls.cost_nanousd) AS known,
            SUM(calls.output_tokens) FILTER (WHERE calls.duration_ms > 0) AS timed_tokens,
            SUM(calls.duration_ms) FILTER (WHERE calls.output_tokens IS NOT NULL) AS timed_ms,
            COUNT(*) FILTER (WHERE calls.economized = 1) AS economized,
            COUNT(*) FILTER (WHERE calls.shortened = 1) AS shortened
        FROM {CALLS} {selection.where("calls")} GROUP BY 1
        """,  # noqa: S608 - both parts are ours
        selection.values,
    )
    # A sum is a Decimal on a server, and NULL where nothing is known.
    return {
        row["key"]: {name: int(row[name] or 0) for name in dict(row) if name != "key"}
        for row in found
    }


def _latencies(ledger: Ledger, by: ReportBy, selection: Selection) -> list[tuple[str, int, int]]:
    """How long models took, and how often. What the cache answered says nothing of a model."""
    found = ledger.select(
        f"""
        SELECT COALESCE({CALL_KEYS[by]}, '') AS key, calls.duration_ms AS ms, COUNT(*) AS calls
        FROM {CALLS} {selection.where("calls")}
            AND calls.status = 'ok' AND calls.duration_ms IS NOT NULL
        GROUP BY 1, 2
        """,  # noqa: S608 - both parts are ours
        selection.values,
    )
    return [(row["key"], row["ms"], row["calls"]) for row in found]


def _runs(ledger: Ledger, by: ReportBy, selection: Selection) -> list[tuple[str, str, int]]:
    """How many runs have which status. A run whose process is gone has crashed."""
    key, where = RUN_KEYS.get(by, "''"), selection.where("runs")
    ended = ledger.select(
        f"""
        SELECT COALESCE({key}, '') AS key, runs.status AS status, COUNT(*) AS runs
        FROM runs {where} AND runs.status <> 'running' GROUP BY 1, 2
        """,  # noqa: S608 - both parts are ours
        selection.values,
    )
    running = ledger.select(
        f"""
        SELECT COALESCE({key}, '') AS key, host, pid, process_start
        FROM runs {where} AND runs.status = 'running'
        """,  # noqa: S608 - both parts are ours
        selection.values,
    )
    crashed = [(row["key"], "crashed", 1) for row in running if is_gone(_process(row))]
    return [(row["key"], row["status"], row["runs"]) for row in ended] + crashed


def _process(row: Row) -> Process:
    return Process(row["host"], row["pid"], row["process_start"])
