"""What was spent, by node, by model, by day or by any other dimension, and how well it was spent.

Every figure is a sum over rows of calls, so the total is the same by every dimension. Shares,
speeds and percentiles are worked out at the end, from a row's sums, because they cannot be added.
Rehearsed calls cost nothing, nor do those of a simulated provider: they count only where the caller
asks for them.

`--against` prices the same tokens at another model's rates. It claims no more than that: another
model would count other tokens, answer at another length, and perhaps do worse. Every call is priced
at its own time, so that comparing a model with itself gives what was spent.
"""

from __future__ import annotations

import collections
import dataclasses
from collections import Counter, defaultdict
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from aideon_agents.ledger.costs import Totals, totals
from aideon_agents.ledger.database import Row
from aideon_agents.ledger.identity import is_gone
from aideon_agents.ledger.money import usd
from aideon_agents.ledger.pricing import OWN_SERVER, PricedModel, Usage
from aideon_agents.ledger.selection import (
    BY_TIME,
    CALL_KEYS,
    CALLS,
    RUN_KEYS,
    ReportBy,
    Selection,
    sums,
)
from aideon_agents.ledger.store import Ledger

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date
    from decimal import Decimal


@dataclasses.dataclass(frozen=True, kw_only=True)
class Against:
    """Some calls' tokens at another model's price."""

    model: str
    """`provider:model`."""
    usd: Decimal
    """US dollars, the sum over the calls whose tokens are known."""
    complete: bool
    """Whether the tokens of every call are known; if not, `usd` is a lower bound."""


_LENGTHS = """
    SELECT node_path, AVG(output_tokens) AS tokens FROM calls
    WHERE status = 'ok' AND rehearsed = 0 AND simulated = 0 AND output_tokens IS NOT NULL AND run_id IN (
        SELECT run_id FROM runs WHERE workflow = :workflow AND rehearsed = 0
        ORDER BY started_at DESC LIMIT :runs
    )
    GROUP BY node_path
"""


def answer_lengths(ledger: Ledger, workflow: str, *, runs: int = 50) -> dict[str, int]:
    """The mean number of output tokens of each node's answers in the newest runs of a workflow."""
    found = ledger.select(_LENGTHS, {"workflow": workflow, "runs": runs})
    return {row["node_path"]: round(row["tokens"]) for row in found}


class Compared:
    """Calls at another model's price, added up by key."""

    def __init__(self, model: PricedModel) -> None:
        self._model = model
        self._nanousd: collections.Counter[str] = collections.Counter()
        self._unknown: collections.Counter[str] = collections.Counter()

    def add(self, key: str, nanousd: int | None) -> None:
        """Count one call."""
        if nanousd is None:
            self._unknown[key] += 1
        else:
            self._nanousd[key] += nanousd

    def of(self, key: str) -> Against:
        """What the calls of a key add up to."""
        return self._against(self._nanousd[key], self._unknown[key])

    def total(self) -> Against:
        """What all calls add up to."""
        return self._against(self._nanousd.total(), self._unknown.total())

    def _against(self, nanousd: int, unknown: int) -> Against:
        return Against(model=self._model.name, usd=usd(nanousd), complete=not unknown)


def compared(
    ledger: Ledger,
    selection: Selection,
    model: PricedModel,
    keys: Mapping[str, str],
    *,
    condition: str = "1 = 1",
    values: Mapping[str, object] | None = None,
) -> dict[str, Compared]:
    """Price the selected calls at another model's price, each once however many the keys.

    `keys` are SQL by a name that no column of a call has; the result has the same names.
    """
    columns = ", ".join(f"{sql} AS {name}" for name, sql in keys.items())
    found = ledger.select(
        f"""
        SELECT {columns}, {_PRICED} FROM {CALLS}
        WHERE {selection.where("calls")} AND {condition}
        """,  # noqa: S608 - all parts are ours
        {**selection.values, **(values or {})},
    )
    made = {name: Compared(model) for name in keys}
    for row in found:
        nanousd = _price(row, model)
        for name, added in made.items():
            added.add(row[name], nanousd)
    return made


_PRICED = (
    "calls.provider AS provider, calls.status AS status, calls.started_at AS started_at, calls.cost_nanousd AS nanousd,"
    " calls.input_tokens AS input_tokens, calls.output_tokens AS output_tokens,"
    " calls.cache_read_tokens AS cache_read_tokens, calls.reasoning_tokens AS reasoning_tokens,"
    " calls.cache_creation_tokens AS cache_creation_tokens"
)


def _price(call: Row, model: PricedModel) -> int | None:
    """What one call's tokens cost at another model's price."""
    if call["status"] == "cached":
        return 0
    if call["input_tokens"] is None or call["output_tokens"] is None:
        used_nothing = call["nanousd"] == 0 and call["provider"] != OWN_SERVER
        return 0 if used_nothing else None
    usage = Usage(
        input_tokens=call["input_tokens"],
        output_tokens=call["output_tokens"],
        cache_read_tokens=call["cache_read_tokens"],
        cache_creation_tokens=call["cache_creation_tokens"],
        reasoning_tokens=call["reasoning_tokens"],
    )
    return model.nanousd(usage, datetime.fromisoformat(call["started_at"]))


_ENDED = ("completed", "failed", "stopped", "cancelled", "crashed")
"""Statuses of runs that are over; a run that waits for an answer is not."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReportRow(Totals):
    """One line of a report, or its total. A share of nothing is None."""

    key: str
    """The dimension's value; empty where calls have none, and for the total."""
    failed_share: float | None
    """Failed calls per call, 0 to 1; every attempt is a call. None: there are none."""
    success_rate: float | None
    """Answered calls per call that was answered or failed, 0 to 1. Calls that were cancelled here,
    and calls whose end was never reported, say nothing about a model. None: there are none."""
    tokens_per_second: float | None
    """Output tokens over the time of the calls that have both. None: there are none."""
    median_ms: int | None
    """Half of the calls that a model answered took this many milliseconds or less: a time that was
    measured, by nearest rank. None: none is timed."""
    p95_ms: int | None
    """95 % of these calls took this many milliseconds or less. None as above."""
    run_success_rate: float | None
    """Completed runs per run that has ended, 0 to 1; a run counts where and when it started.
    None: none has ended, or a run does not belong to one row as a whole, as with nodes."""
    against: Against | None
    """The same tokens at another model's price; None: no comparison was requested."""
    economized_calls: int
    """Calls that went to a cheaper model of their chain because a budget was nearly used up."""
    shortened_calls: int
    """Calls whose `max_tokens` was lowered to fit a budget."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """What was spent, by one dimension."""

    by: ReportBy
    since: date | datetime | None
    until: date | datetime | None
    rows: tuple[ReportRow, ...]
    total: ReportRow
    """Of all rows, also of those that were left out."""
    left_out: int = 0
    """Rows below the `top` ones."""


def report(
    ledger: Ledger,
    by: ReportBy,
    *,
    run_id: str | None = None,
    since: date | datetime | None = None,
    until: date | datetime | None = None,
    rehearsed: bool = False,
    simulated: bool = False,
    against: PricedModel | None = None,
    top: int | None = None,
) -> Report:
    """What was spent, by one dimension."""
    selection = Selection(
        run_id=run_id, since=since, until=until, rehearsed=rehearsed, simulated=simulated
    )
    return reports(ledger, (by,), selection, against=against, top=top)[0]


def reports(
    ledger: Ledger,
    dimensions: Sequence[ReportBy],
    selection: Selection,
    *,
    against: PricedModel | None = None,
    top: int | None = None,
) -> tuple[Report, ...]:
    """What was spent, by several dimensions; of each the `top` most expensive rows, or all."""
    keys = {f"by_{by}": CALL_KEYS[by] for by in dimensions}
    again = compared(ledger, selection, against, keys) if against else {}
    return tuple(_report(ledger, by, selection, again.get(f"by_{by}"), top) for by in dimensions)


def _report(
    ledger: Ledger, by: ReportBy, selection: Selection, again: Compared | None, top: int | None
) -> Report:
    where, values = selection.where("calls"), selection.values
    found = sums(ledger.database, where, values, by={"key": CALL_KEYS[by]}, also=_MEASURED)
    rows = {row["key"]: row for row in found}
    latencies = _latencies(ledger, by, selection)
    ends = _run_ends(ledger, by, selection)
    keys = sorted(rows, key=lambda key: (-rows[key]["nanousd"], key))
    shown = keys[:top]
    return Report(
        by=by,
        since=selection.since,
        until=selection.until,
        rows=tuple(
            _row(
                key,
                [rows[key]],
                latencies[key],
                ends[key] if by in RUN_KEYS else {},
                again.of(key) if again else None,
            )
            for key in (sorted(shown) if by in BY_TIME else shown)
        ),
        total=_row(
            "",
            found,
            sum(latencies.values(), Counter[int]()),
            sum(ends.values(), Counter[str]()),
            again.total() if again else None,
        ),
        left_out=len(keys) - len(shown),
    )


def _row(
    key: str,
    rows: Sequence[Mapping[str, Any]],
    latencies: Mapping[int, int],
    ends: Mapping[str, int],
    against: Against | None,
) -> ReportRow:
    calls, failed, answered, timed_tokens, timed_ms, economized, shortened = (
        sum(row[name] for row in rows) for name in ("calls", "failed_calls", *_MEASURED)
    )
    return ReportRow(
        key=key,
        failed_share=_share(failed, calls),
        success_rate=_share(answered, answered + failed),
        tokens_per_second=_share(timed_tokens * 1000, timed_ms),
        median_ms=percentile(latencies, 50),
        p95_ms=percentile(latencies, 95),
        run_success_rate=_share(ends.get("completed", 0), sum(ends.values())),
        against=against,
        economized_calls=economized,
        shortened_calls=shortened,
        **vars(totals(rows)),
    )


class Figures(NamedTuple):
    """What the founding documents measure besides money. None: there is nothing to measure."""

    mean_ms: float | None
    """The mean time in which a model answered."""
    fallback_share: float | None
    """Answers that came from another model than the first choice, per answer, 0 to 1."""
    availability: float | None
    """Runs that did not fail or crash per run that has ended, 0 to 1: a run that its user or a budget
    has stopped was available."""


def figures(ledger: Ledger, selection: Selection) -> Figures:
    """How quickly and how reliably the selected calls and runs were answered."""
    sql = f"SELECT {_ANSWERED} FROM {CALLS} WHERE calls.status = 'ok' AND "  # noqa: S608 - ours
    (row,) = ledger.select(sql + selection.where("calls"), selection.values)
    ends = sum(_run_ends(ledger, "day", selection).values(), Counter[str]())
    failed = ends["failed"] + ends["crashed"]
    available = _share(ends.total() - failed, ends.total())
    spent, answers = row["milliseconds"], row["answers"]
    mean = None if spent is None else float(spent) / row["timed"]
    return Figures(mean, _share(row["fallbacks"], answers), available)


def percentile(counts: Mapping[int, int], percent: int) -> int | None:
    """The smallest value that at least so many percent of all values do not exceed: nearest rank.

    The values come with how often each occurs.
    """
    rank = -(-sum(counts.values()) * percent // 100)  # rounded up, without floats
    for value in sorted(counts):
        rank -= counts[value]
        if rank <= 0:
            return value
    return None


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


_ANSWERED = (
    "COUNT(*) AS answers, SUM(calls.duration_ms) AS milliseconds, COUNT(calls.duration_ms) AS timed,"
    " COUNT(*) FILTER (WHERE calls.candidate > 0 AND calls.economized = 0) AS fallbacks"
)
_MEASURED = {
    "answered": "COUNT(*) FILTER (WHERE calls.status IN ('ok', 'cached'))",
    # Of the calls whose time and tokens are both known.
    "timed_tokens": "SUM(calls.output_tokens) FILTER (WHERE calls.duration_ms > 0 AND calls.status <> 'cached')",
    "timed_ms": "SUM(calls.duration_ms) FILTER (WHERE calls.output_tokens IS NOT NULL AND calls.status <> 'cached')",
    "economized": "COUNT(*) FILTER (WHERE calls.economized = 1)",
    "shortened": "COUNT(*) FILTER (WHERE calls.shortened = 1)",
}


def _latencies(ledger: Ledger, by: ReportBy, selection: Selection) -> dict[str, Counter[int]]:
    """How often a model took how many milliseconds. The cache's answers say nothing of a model."""
    found = ledger.select(
        f"""
        SELECT {CALL_KEYS[by]} AS key, calls.duration_ms AS ms, COUNT(*) AS calls
        FROM {CALLS} WHERE {selection.where("calls")}
            AND calls.status = 'ok' AND calls.duration_ms IS NOT NULL
        GROUP BY 1, 2
        """,  # noqa: S608 - all parts are ours
        selection.values,
    )
    counts: dict[str, Counter[int]] = defaultdict(Counter[int])
    for row in found:
        counts[row["key"]][row["ms"]] += row["calls"]
    return counts


def _run_ends(ledger: Ledger, by: ReportBy, selection: Selection) -> dict[str, Counter[str]]:
    """How many runs ended in which status. A run whose process is gone has crashed."""
    key, where = RUN_KEYS.get(by, "''"), selection.where("runs")
    ended = ledger.select(
        f"""
        SELECT {key} AS key, runs.status AS status, COUNT(*) AS runs
        FROM runs WHERE {where} AND runs.status <> 'running' GROUP BY 1, 2
        """,  # noqa: S608 - both parts are ours
        selection.values,
    )
    running = ledger.select(
        f"SELECT {key} AS key, host, pid, process_start FROM runs"  # noqa: S608 - as above
        f" WHERE {where} AND runs.status = 'running'",
        selection.values,
    )
    counts: dict[str, Counter[str]] = defaultdict(Counter[str])
    for row in ended:
        if row["status"] in _ENDED:
            counts[row["key"]][row["status"]] += row["runs"]
    for row in running:
        if is_gone(row):
            counts[row["key"]]["crashed"] += 1
    return counts
