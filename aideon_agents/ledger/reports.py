"""What calls add up to: by node, by run, and by any other dimension.

Every figure is a sum over rows of calls, so the sums by any dimension are the same. Sums hold what
is known; `complete` is False when any row's cost is unknown, and the sum is then a lower bound.
Rehearsed rows cost nothing and stand apart unless they are asked for.
"""

from __future__ import annotations

import dataclasses
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Literal

from aideon_agents.ledger.clock import utc_text
from aideon_agents.ledger.pricing import usd

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from decimal import Decimal

    from aideon_agents.ledger.rows import Call
    from aideon_agents.ledger.store import Ledger

ReportBy = Literal[
    "node", "role", "model", "provider", "workflow", "purpose", "run", "user", "day", "month"
]
"""A dimension of the costs report. Days and months are UTC."""

_FAILED = ("error", "truncated")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Totals:
    """What some calls add up to."""

    calls: int
    """Every attempt at a model, failed ones included."""
    failed_calls: int
    """Of these, the ones that raised or whose answer broke off."""
    input_tokens: int
    output_tokens: int
    usd: Decimal
    """US dollars, the sum of what is known."""
    complete: bool
    """Whether the cost of every call is known; if not, `usd` is a lower bound."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class NodeCost(Totals):
    """What one node's calls add up to."""

    node_path: str
    role: str
    """Empty when no agent of ours called the model."""
    models: tuple[str, ...]
    """`provider:model` of the models that answered, or were asked when none did; first use first."""
    duration_ms: int
    """The calls' durations added up, also where they overlapped."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cost(Totals):
    """What one run's calls add up to."""

    by_node: dict[str, NodeCost]
    """By node path, in order of first start; only nodes that called a model."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReportRow(Totals):
    """One line of a report."""

    key: str
    """The dimension's value; empty where calls have none, as a purpose nobody named."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """What was spent, by one dimension."""

    by: ReportBy
    since: date | datetime | None
    until: date | datetime | None
    rows: tuple[ReportRow, ...]
    total: Totals


def run_cost(ledger: Ledger, run_id: str) -> Cost:
    """What a run has cost so far.

    Args:
        ledger: Where its calls are.
        run_id: The run, or a reference to it as `Ledger.find_run` takes it.

    Returns:
        Its totals and its nodes'. A rehearsed run counts its rehearsed calls.

    Raises:
        RunNotFound: There is no such run.
    """
    nodes = node_costs(ledger, run_id)
    return Cost(by_node={node.node_path: node for node in nodes}, **vars(_total(nodes)))


def node_costs(ledger: Ledger, run_id: str) -> list[NodeCost]:
    """What each node of a run has cost so far.

    Args:
        ledger: Where the calls are.
        run_id: The run, or a reference to it as `Ledger.find_run` takes it.

    Returns:
        The nodes that called a model, in order of their first call.

    Raises:
        RunNotFound: There is no such run.
    """
    run = ledger.find_run(run_id)
    by_node: dict[str, list[Call]] = {}
    for call in ledger.calls(run.run_id):
        if run.rehearsed or not call.rehearsed:
            by_node.setdefault(call.node_path, []).append(call)
    return [_node(path, calls) for path, calls in by_node.items()]


def _node(path: str, calls: Sequence[Call]) -> NodeCost:
    models = (f"{call.provider}:{call.response_model or call.requested_model}" for call in calls)
    known = [call.cost_nanousd for call in calls if call.cost_nanousd is not None]
    return NodeCost(
        node_path=path,
        role=next((call.role for call in calls if call.role), ""),
        calls=len(calls),
        failed_calls=sum(call.status in _FAILED for call in calls),
        input_tokens=sum(call.input_tokens or 0 for call in calls),
        output_tokens=sum(call.output_tokens or 0 for call in calls),
        usd=usd(sum(known)),
        complete=len(known) == len(calls),
        models=tuple(dict.fromkeys(models)),
        duration_ms=sum(call.duration_ms or 0 for call in calls),
    )


def _total(parts: Iterable[Totals]) -> Totals:
    known = list(parts)
    return Totals(
        calls=sum(part.calls for part in known),
        failed_calls=sum(part.failed_calls for part in known),
        input_tokens=sum(part.input_tokens for part in known),
        output_tokens=sum(part.output_tokens for part in known),
        usd=sum((part.usd for part in known), start=usd(0)),
        complete=all(part.complete for part in known),
    )


_KEYS: dict[ReportBy, str] = {
    "node": "calls.node_path",
    "role": "calls.role",
    "model": "calls.provider || ':' || calls.requested_model",
    "provider": "calls.provider",
    "workflow": "runs.workflow",
    "purpose": "calls.purpose",
    "run": "calls.run_id",
    "user": "runs.user",
    "day": "substr(calls.started_at, 1, 10)",
    "month": "substr(calls.started_at, 1, 7)",
}
_BY_TIME = ("day", "month")


def report(
    ledger: Ledger,
    by: ReportBy,
    *,
    run_id: str | None = None,
    since: date | datetime | None = None,
    until: date | datetime | None = None,
    rehearsed: bool = False,
) -> Report:
    """What was spent, by one dimension.

    Args:
        ledger: Where the calls are.
        by: The dimension. A model is `provider:model` as it was asked for.
        run_id: Only this run's calls, by its whole id; None: every run's.
        since: Only calls that started at this UTC day or time, or later.
        until: Only calls that started before this time, or on this UTC day and before.
        rehearsed: Count rehearsed calls too.

    Returns:
        Rows by cost, the dearest first; days and months in their order.
    """
    order = "key" if by in _BY_TIME else "nanousd DESC, key"
    found = ledger.select(
        f"""
        SELECT COALESCE({_KEYS[by]}, '') AS key, COUNT(*) AS calls,
            SUM(calls.status IN ('error', 'truncated')) AS failed_calls,
            COALESCE(SUM(input_tokens), 0) AS input_tokens,
            COALESCE(SUM(output_tokens), 0) AS output_tokens,
            COALESCE(SUM(cost_nanousd), 0) AS nanousd,
            COUNT(cost_nanousd) = COUNT(*) AS complete
        FROM calls LEFT JOIN runs USING (run_id)
        WHERE (:run_id IS NULL OR calls.run_id = :run_id)
            AND (:since IS NULL OR calls.started_at >= :since)
            AND (:until IS NULL OR calls.started_at < :until)
            AND (:rehearsed OR NOT calls.rehearsed)
        GROUP BY key ORDER BY {order}
        """,  # noqa: S608 - both parts are ours
        {
            "run_id": run_id,
            "since": None if since is None else _text(since),
            "until": None if until is None else _text(_end(until)),
            "rehearsed": rehearsed,
        },
    )
    rows = tuple(
        ReportRow(
            key=row["key"],
            calls=row["calls"],
            failed_calls=row["failed_calls"],
            input_tokens=row["input_tokens"],
            output_tokens=row["output_tokens"],
            usd=usd(row["nanousd"]),
            complete=bool(row["complete"]),
        )
        for row in found
    )
    return Report(by=by, since=since, until=until, rows=rows, total=_total(rows))


def _text(moment: date | datetime) -> str:
    """The start of a day or a time, as it compares with a row's."""
    return utc_text(moment) if isinstance(moment, datetime) else moment.isoformat()


def _end(until: date | datetime) -> date | datetime:
    """The first moment that is too late: a day named as the end is part of it."""
    return until if isinstance(until, datetime) else until + timedelta(days=1)
