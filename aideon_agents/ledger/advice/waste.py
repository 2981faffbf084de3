"""Advice about calls that repeat work: retries, fallbacks, last rounds and repeated prompts."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from aideon_agents.ledger.advice.cells import (
    FEW,
    Advice,
    Cells,
    at_price_of,
    causes,
    counted,
    money,
    named,
    percent,
)
from aideon_agents.ledger.database import Row
from aideon_agents.ledger.money import usd
from aideon_agents.ledger.pricing import Usage, price
from aideon_agents.ledger.reports import Against
from aideon_agents.ledger.selection import CALLS, Selection, sums
from aideon_agents.ledger.store import Ledger

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


NOTABLE_SHARE = 0.05
"""Of the cost: one dollar in twenty. Less is normal for getting an answer."""


def retries(cells: Cells) -> Iterator[Advice]:
    """Find models whose retries cost much."""
    whole = cells.nanousd
    for model, own in cells.by("model").items():
        again = own.where(lambda cell: cell.retry)
        cost = again.nanousd
        if not cost or cost < NOTABLE_SHARE * whole:
            continue
        errors = own.errors
        yield Advice(
            kind="retries",
            where=model,
            text=(
                f"{counted(again.calls, 'call')} asked again after a failure"
                f"{_because(errors)}, for {again.spent}, {percent(cost / whole)} of the cost."
                " Mend what fails first, or put a model that fails less before it"
            ),
            figures={
                "retry_calls": again.calls,
                **again.cost,
                "share": cost / whole,
                "errors": errors,
            },
            nanousd=cost,
        )


def fallbacks(ledger: Ledger, selection: Selection, cells: Cells) -> Iterator[Advice]:
    """Find nodes whose fallbacks cost much."""
    whole = cells.nanousd
    for node, own in cells.by("node").items():
        second = own.where(lambda cell: cell.fallback)
        cost = second.nanousd
        errors = own.errors
        if not errors or not cost or cost < NOTABLE_SHARE * whole:
            continue  # without an error a budget chose the cheaper model
        first = sorted({cell.model for cell in own if cell.is_primary})
        models = sorted({cell.model for cell in second})
        at_first = None
        if len(first) == 1:
            at_first = at_price_of(ledger, selection, first[0], node, fallbacks=True)
        yield Advice(
            kind="fallbacks",
            where=named(node),
            text=(
                f"{counted(second.calls, 'call')} went to a fallback"
                f" ({', '.join(models)}), for {second.spent},"
                f" {percent(cost / whole)} of the cost, after {', '.join(first) or 'the first model'} failed"
                f"{_because(errors)}.{_at_its_price(at_first)}"
                " Mend that, or begin with the model that answers"
            ),
            figures={
                "fallback_calls": second.calls,
                **second.cost,
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
    return f" ({causes(errors)})" if errors else ""


MOST = 0.5
"""Of a workflow's runs: half. A loop is there for the runs that need it, not for most."""


def last_rounds(ledger: Ledger, selection: Selection) -> Iterator[Advice]:
    """Find workflows most of whose runs go to the last round.

    A row does not hold how many rounds a loop may take, so the last round is the highest that any
    of the workflow's runs reached.
    """
    completed = f"{selection.where('calls')} AND runs.status = 'completed'"
    found = sums(ledger.database, completed, selection.values, by=_RUN, also=_ROUNDS)
    for workflow in sorted({run["workflow"] for run in found}):
        runs = [run for run in found if run["workflow"] == workflow]
        last = max(run["rounds"] for run in runs)
        at_last = [run for run in runs if run["rounds"] == last]
        if last > 1 and len(runs) >= FEW and len(at_last) >= MOST * len(runs):
            yield _last_round(workflow, last, runs, at_last)


def _last_round(workflow: str, last: int, runs: Sequence[Row], at_last: Sequence[Row]) -> Advice:
    passed = sum(run["stop_reason"] == "passed" for run in at_last)
    not_passed = sum(run["stop_reason"] == "max_rounds" for run in at_last)
    cost, later = sum(run["nanousd"] for run in runs), sum(run["later"] for run in runs)
    complete = all(run["known_calls"] == run["calls"] for run in runs)
    ends = f", where {passed:,} passed and {not_passed:,} did not" if passed or not_passed else ""
    return Advice(
        kind="last_round",
        where=workflow,
        text=(
            f"{len(at_last):,} of {counted(len(runs), 'run')} ({percent(len(at_last) / len(runs))})"
            f" went to round {last}, the last that any went to{ends}. Rounds after the first cost"
            f" {money(later, complete=complete)} of"
            f" {money(cost, complete=complete)}. Tell the step what the check"
            " asks for, ease the criteria, or begin with a better model"
        ),
        figures={
            "runs": len(runs),
            "last_round": last,
            "runs_at_last_round": len(at_last),
            "share": len(at_last) / len(runs),
            "passed_at_last_round": passed,
            "not_passed_at_last_round": not_passed,
            "later_rounds_usd": usd(later),
            "usd": usd(cost),
            "complete": complete,
        },
        nanousd=later,
    )


_RUN = {
    "workflow": "runs.workflow",
    "run_id": "calls.run_id",
    "stop_reason": "COALESCE(runs.stop_reason, '')",
}
_ROUNDS = {
    "rounds": "MAX(calls.round)",
    "later": "SUM(calls.cost_nanousd) FILTER (WHERE calls.round > 1)",
}


CACHED_FROM = 1024
"""Tokens of the shortest prompt that providers cache."""

NOTABLE_PROMPT_SHARE = 0.05
"""Of the cost: one dollar in twenty."""


def repeated_input(ledger: Ledger, selection: Selection, whole: int) -> Iterator[Advice]:
    """Find nodes that send the same text again without the provider's cache.

    A ledger holds no prompts, so what is repeated in them is not known. But where a node calls one
    model several times in a run, and its prompt never becomes shorter, it is a conversation: each
    call sends what the last one sent, and more. Then all prompts but the longest are, at most,
    repetition.
    """
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
                FROM {CALLS} WHERE {selection.where("calls")}
                    AND calls.status = 'ok' AND calls.input_tokens IS NOT NULL
            ) AS in_order
            GROUP BY node, provider, model, run_id
            HAVING COUNT(*) > 1 AND COUNT(*) FILTER (WHERE before > input_tokens) = 0
        ) AS growing
        GROUP BY node, provider, model ORDER BY node, provider, model
        """,  # noqa: S608 - the condition is ours
        selection.values,
    )
    for row in found:
        again = int(row["calls"]) - row["runs"]
        repeated, cached = int(row["repeated"]), int(row["cached"])
        if again < FEW or cached or repeated < CACHED_FROM * again:
            continue
        provider, model = row["provider"], row["model"]
        saved = again * _saved_by_cache(provider, model, repeated // again, row["last"])
        if saved and saved >= NOTABLE_PROMPT_SHARE * whole:
            yield _repeated_input(row["node"], f"{provider}:{model}", row, saved)


def _repeated_input(node: str, model: str, row: Row, saved: int) -> Advice:
    calls, repeated, sent = int(row["calls"]), int(row["repeated"]), int(row["input_tokens"])
    return Advice(
        kind="repeated_input",
        where=named(node),
        text=(
            f"{calls:,} calls of {model} in {row['runs']:,} runs sent prompts that only grew, and"
            f" no cache read was reported: up to {repeated:,} of {sent:,} input tokens"
            f" ({percent(repeated / sent)}) had been sent before. Read from the provider's cache,"
            f" the same tokens cost up to {money(saved)} less. Keep what does not change at the"
            " beginning of the prompt, and check whether the provider needs a setting to cache"
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


def _saved_by_cache(provider: str, model: str, tokens: int, at: str) -> int:
    """How many nano-dollars less a prompt costs when it is read from the provider's cache."""
    moment = datetime.fromisoformat(at)
    fresh = price(provider, model, Usage(input_tokens=tokens, output_tokens=0), moment)
    usage = Usage(input_tokens=tokens, output_tokens=0, cache_read_tokens=tokens)
    cached = price(provider, model, usage, moment)
    if fresh.nanousd is None or cached.nanousd is None:
        return 0
    return fresh.nanousd - cached.nanousd
