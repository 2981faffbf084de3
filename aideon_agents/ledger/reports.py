"""What calls add up to: by node, by run, and by any other dimension.

Every figure is a sum over rows of calls, so the sums by any dimension are the same. Sums hold what
is known; `complete` is False when any row's cost is unknown, and the sum is then a lower bound.
Rehearsed rows cost nothing and stand apart unless they are asked for.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from aideon_agents.ledger.comparison import Against, Compared, compared
from aideon_agents.ledger.dimensions import BY_TIME, ReportBy, Selection
from aideon_agents.ledger.measures import Measures, measured
from aideon_agents.ledger.pricing import PricedModel, usd
from aideon_agents.ledger.rows import Call
from aideon_agents.ledger.store import Ledger
from aideon_agents.ledger.sums import Sums, sums_by

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import date, datetime
    from decimal import Decimal


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
    measures: Measures
    against: Against | None
    """The same tokens at another model's price; None: nobody asked."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReportTotal(Totals):
    """What all calls of a report add up to."""

    measures: Measures
    against: Against | None
    """As of a row."""
    economized_calls: int
    """Calls that went to a cheaper model of their chain because a budget was nearly used up."""
    shortened_calls: int
    """Calls whose answer was given less room, to fit a budget."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """What was spent, by one dimension."""

    by: ReportBy
    since: date | datetime | None
    until: date | datetime | None
    rows: tuple[ReportRow, ...]
    total: ReportTotal
    """Of all rows, also of those that were left out."""
    left_out: int = 0
    """Rows that are not among the dearest that were asked for."""


def run_cost(ledger: Ledger, run_id: str) -> Cost:
    """What a run has cost so far."""
    nodes = node_costs(ledger, run_id)
    return Cost(by_node={node.node_path: node for node in nodes}, **vars(_total(nodes)))


def node_costs(ledger: Ledger, run_id: str) -> list[NodeCost]:
    """What each node of a run has cost so far."""
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


def report(
    ledger: Ledger,
    by: ReportBy,
    *,
    run_id: str | None = None,
    since: date | datetime | None = None,
    until: date | datetime | None = None,
    rehearsed: bool = False,
    against: PricedModel | None = None,
    top: int | None = None,
) -> Report:
    """What was spent, by one dimension."""
    selection = Selection(run_id=run_id, since=since, until=until, rehearsed=rehearsed)
    return reports(ledger, (by,), selection, against=against, top=top)[0]


def reports(
    ledger: Ledger,
    dimensions: Sequence[ReportBy],
    selection: Selection,
    *,
    against: PricedModel | None = None,
    top: int | None = None,
) -> tuple[Report, ...]:
    """What was spent, by several dimensions."""
    again = compared(ledger, dimensions, selection, against) if against else {}
    return tuple(_report(ledger, by, selection, again.get(by), top) for by in dimensions)


def _report(
    ledger: Ledger, by: ReportBy, selection: Selection, again: Compared | None, top: int | None
) -> Report:
    sums, total = sums_by(ledger, by, selection)
    keys = sorted(sums, key=lambda key: (-sums[key].nanousd, key))
    shown = keys[:top]
    rows = (
        ReportRow(
            key=key,
            **_plain(sums[key]),
            measures=measured(sums[key]),
            against=again.of(key) if again else None,
        )
        for key in (sorted(shown) if by in BY_TIME else shown)
    )
    return Report(
        by=by,
        since=selection.since,
        until=selection.until,
        rows=tuple(rows),
        total=ReportTotal(
            **_plain(total),
            measures=measured(total),
            against=again.total() if again else None,
            economized_calls=total.economized,
            shortened_calls=total.shortened,
        ),
        left_out=len(keys) - len(shown),
    )


def _plain(sums: Sums) -> dict[str, Any]:
    """The fields of `Totals`."""
    return {
        "calls": sums.calls,
        "failed_calls": sums.failed,
        "input_tokens": sums.input_tokens,
        "output_tokens": sums.output_tokens,
        "usd": usd(sums.nanousd),
        "complete": sums.known == sums.calls,
    }
