"""Loops that pass, if at all, only in the last round that any run went to."""

from __future__ import annotations

import collections
import dataclasses
from typing import TYPE_CHECKING

from aideon_agents.ledger.advice.cells import FEW, Advice, counted, money, percent
from aideon_agents.ledger.dimensions import CALLS
from aideon_agents.ledger.pricing import usd

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aideon_agents.ledger.dimensions import Selection
    from aideon_agents.ledger.store import Ledger

MOST = 0.5
"""Of a workflow's runs: half. A loop is there for the runs that need it, not for most."""


@dataclasses.dataclass
class _Workflow:
    """A workflow's completed runs, as far as they go round."""

    runs: int = 0
    at_last: int = 0
    """Runs that went to the last round."""
    passed: int = 0
    """Of these, the ones that passed there."""
    not_passed: int = 0
    """Of these, the ones that ended because the rounds were used up."""
    later_nanousd: int = 0
    """What all rounds after the first cost."""
    nanousd: int = 0
    unknown: int = 0
    """Calls whose cost nobody knows."""


def last_rounds(ledger: Ledger, selection: Selection) -> Iterator[Advice]:
    """Find workflows most of whose runs go to the last round.

    A row does not hold how many rounds a loop may take, so the last one is the highest that any
    of the workflow's runs went to.
    """
    found = ledger.select(
        f"""
        SELECT runs.workflow AS workflow, runs.run_id AS run_id,
            COALESCE(runs.stop_reason, '') AS stop_reason, MAX(calls.round) AS rounds,
            COALESCE(SUM(calls.cost_nanousd) FILTER (WHERE calls.round > 1), 0) AS later,
            COALESCE(SUM(calls.cost_nanousd), 0) AS nanousd,
            COUNT(*) - COUNT(calls.cost_nanousd) AS unknown
        FROM {CALLS} {selection.where("calls")} AND runs.status = 'completed' GROUP BY 1, 2, 3
        """,  # noqa: S608 - both parts are ours
        selection.values,
    )
    last: collections.Counter[str] = collections.Counter()
    for run in found:
        last[run["workflow"]] = max(last[run["workflow"]], run["rounds"])
    sums: dict[str, _Workflow] = collections.defaultdict(_Workflow)
    for run in found:
        own = sums[run["workflow"]]
        is_last = run["rounds"] == last[run["workflow"]]
        own.runs += 1
        own.at_last += is_last
        own.passed += is_last and run["stop_reason"] == "passed"
        own.not_passed += is_last and run["stop_reason"] == "max_rounds"
        own.later_nanousd += int(run["later"])
        own.nanousd += int(run["nanousd"])
        own.unknown += run["unknown"]
    for workflow in sorted(sums):
        own = sums[workflow]
        if last[workflow] > 1 and own.runs >= FEW and own.at_last >= MOST * own.runs:
            yield _said(workflow, last[workflow], own)


def _said(workflow: str, last: int, own: _Workflow) -> Advice:
    ends, complete = "", not own.unknown
    if own.passed or own.not_passed:
        ends = f", where {own.passed:,} passed and {own.not_passed:,} did not"
    return Advice(
        kind="last_round",
        where=workflow,
        text=(
            f"{own.at_last:,} of {counted(own.runs, 'run')} ({percent(own.at_last / own.runs)})"
            f" went to round {last}, the last that any went to{ends}. Rounds after the first cost"
            f" {money(own.later_nanousd, complete=complete)} of"
            f" {money(own.nanousd, complete=complete)}. Tell the step what the check"
            " asks for, ease the criteria, or begin with a better model"
        ),
        figures={
            "runs": own.runs,
            "last_round": last,
            "runs_at_last_round": own.at_last,
            "share": own.at_last / own.runs,
            "passed_at_last_round": own.passed,
            "not_passed_at_last_round": own.not_passed,
            "later_rounds_usd": usd(own.later_nanousd),
            "usd": usd(own.nanousd),
            "complete": complete,
        },
        nanousd=own.later_nanousd,
    )
