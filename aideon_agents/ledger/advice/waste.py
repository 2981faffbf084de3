"""What second tries and second choices cost.

Loops that pass, if at all, only in the last round that any run went to.

Prompts that grow from call to call and are paid for afresh each time.

A ledger holds no prompts, so what is repeated in them is not known. But where a node calls one
model several times in a run, and its prompt never becomes shorter, it is a conversation: each call
sends what the last one sent, and more. Then all prompts but the longest are, at most, repetition.
"""

from __future__ import annotations

import collections
import dataclasses
from typing import TYPE_CHECKING

from aideon_agents.ledger.advice.cells import (
    FEW,
    Advice,
    Cell,
    at_price_of,
    calls_in,
    counted,
    errors_in,
    grouped,
    is_complete,
    money,
    named,
    nanousd_in,
    percent,
    saved_by_cache,
    spent,
)
from aideon_agents.ledger.comparison import Against
from aideon_agents.ledger.database import Row
from aideon_agents.ledger.dimensions import CALLS, Selection
from aideon_agents.ledger.pricing import usd
from aideon_agents.ledger.store import Ledger

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


NOTABLE_SHARE = 0.05
"""Of the cost: one dollar in twenty. Less is the price of getting an answer at all."""


def retries(cells: Sequence[Cell]) -> Iterator[Advice]:
    """Find models whose second tries cost much."""
    whole = nanousd_in(cells)
    for model, own in grouped(cells, lambda cell: cell.model).items():
        again = [cell for cell in own if cell.retry]
        cost = nanousd_in(again)
        if not cost or cost < NOTABLE_SHARE * whole:
            continue
        errors = errors_in(own)
        yield Advice(
            kind="retries",
            where=model,
            text=(
                f"{counted(calls_in(again), 'call')} asked again after a failure"
                f"{_because(errors)}, for {spent(again)}, {percent(cost / whole)} of the cost."
                " Mend what fails first, or put a model that fails less before it"
            ),
            figures={
                "retry_calls": calls_in(again),
                "usd": usd(cost),
                "complete": is_complete(again),
                "share": cost / whole,
                "errors": errors,
            },
            nanousd=cost,
        )


def fallbacks(ledger: Ledger, selection: Selection, cells: Sequence[Cell]) -> Iterator[Advice]:
    """Find nodes that are often answered by another model than their first."""
    whole = nanousd_in(cells)
    for node, own in grouped(cells, lambda cell: cell.node).items():
        second = [cell for cell in own if cell.fallback]
        cost = nanousd_in(second)
        errors = errors_in(own)
        if not errors or not cost or cost < NOTABLE_SHARE * whole:
            continue  # without an error it was a budget that chose the cheaper one
        first = sorted({cell.model for cell in own if cell.is_primary})
        models = sorted({cell.model for cell in second})
        at_first = None
        if len(first) == 1:
            at_first = at_price_of(ledger, selection, first[0], node, fallbacks=True)
        yield Advice(
            kind="fallbacks",
            where=named(node),
            text=(
                f"{counted(calls_in(second), 'call')} went to a fallback"
                f" ({', '.join(models)}), for {spent(second)},"
                f" {percent(cost / whole)} of the cost, after {', '.join(first) or 'the first model'} failed"
                f"{_because(errors)}.{_at_its_price(at_first)}"
                " Mend that, or begin with the model that answers"
            ),
            figures={
                "fallback_calls": calls_in(second),
                "usd": usd(cost),
                "complete": is_complete(second),
                "share": cost / whole,
                "first_models": first,
                "fallback_models": models,
                "errors": errors,
                **({"against": vars(at_first)} if at_first else {}),
            },
            nanousd=cost,
        )


def _at_its_price(against: Against | None) -> str:
    if against is None:
        return ""
    amount = money(against.usd, complete=against.complete)
    return f" The same tokens at {against.model}'s price: {amount}."


def _because(errors: dict[str, int]) -> str:
    told = ", ".join(f"{name} {times:,}" for name, times in errors.items())
    return f" ({told})" if told else ""


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


CACHED_FROM = 1024
"""Tokens of the shortest prompt that providers keep; a shorter one is never read from a cache."""

NOTABLE_PROMPT_SHARE = 0.05
"""Of the cost: one dollar in twenty."""


def repeated_input(ledger: Ledger, selection: Selection, whole: int) -> Iterator[Advice]:
    """Find nodes that send the same again without the provider's cache."""
    found = ledger.select(
        f"""
        SELECT node, provider, model, COUNT(*) AS runs, SUM(calls) AS calls,
            SUM(repeated) AS repeated, SUM(input_tokens) AS input_tokens, MAX(last) AS last,
            SUM(cached) AS cached
        FROM (
            SELECT node, provider, model, run_id, COUNT(*) AS calls, MAX(started_at) AS last,
                SUM(input_tokens) - MAX(input_tokens) AS repeated,
                SUM(input_tokens) AS input_tokens, SUM(cache_read_tokens) AS cached
            FROM (
                SELECT calls.node_path AS node, calls.provider AS provider,
                    calls.requested_model AS model, calls.run_id AS run_id,
                    calls.started_at AS started_at, calls.input_tokens AS input_tokens,
                    COALESCE(calls.cache_read_tokens, 0) AS cache_read_tokens,
                    LAG(calls.input_tokens) OVER (
                        PARTITION BY calls.run_id, calls.node_path, calls.provider,
                            calls.requested_model
                        ORDER BY calls.started_at, calls.call_id
                    ) AS before
                FROM calls {selection.where("calls")}
                    AND calls.status = 'ok' AND calls.input_tokens IS NOT NULL
            ) AS in_order
            GROUP BY node, provider, model, run_id
            HAVING COUNT(*) > 1 AND COUNT(*) FILTER (WHERE before > input_tokens) = 0
        ) AS growing
        GROUP BY node, provider, model ORDER BY node, provider, model
        """,  # noqa: S608 - both parts are ours
        selection.values,
    )
    for row in found:
        again = int(row["calls"]) - row["runs"]
        repeated, cached = int(row["repeated"]), int(row["cached"])
        if again < FEW or cached or repeated < CACHED_FROM * again:
            continue
        provider, model = row["provider"], row["model"]
        saved = again * saved_by_cache(provider, model, repeated // again, row["last"])
        if saved and saved >= NOTABLE_PROMPT_SHARE * whole:
            yield _prompt_said(row["node"], f"{provider}:{model}", row, saved)


def _prompt_said(node: str, model: str, row: Row, saved: int) -> Advice:
    calls, repeated, sent = int(row["calls"]), int(row["repeated"]), int(row["input_tokens"])
    return Advice(
        kind="repeated_input",
        where=named(node),
        text=(
            f"{calls:,} calls of {model} in {row['runs']:,} runs sent prompts that only grew, and"
            f" no cache read was reported: up to {repeated:,} of {sent:,} input tokens"
            f" ({percent(repeated / sent)}) had been sent before. Read from the provider's cache,"
            f" the same tokens cost up to {money(saved)} less. Keep what does not change at the"
            " beginning of the prompt, and see whether the provider has to be told to cache"
        ),
        figures={
            "model": model,
            "runs": row["runs"],
            "calls": calls,
            "input_tokens": sent,
            "repeated_tokens_at_most": repeated,
            "cache_read_tokens": 0,
            "cache_discount_usd": usd(saved),
        },
        nanousd=saved,
    )
