"""Calls that failed often, calls whose cost nobody knows, and answers that were cut short."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aideon_agents.ledger.advice.cells import (
    FEW,
    Advice,
    calls_in,
    counted,
    errors_in,
    grouped,
    is_complete,
    named,
    nanousd_in,
    percent,
    spent,
)
from aideon_agents.ledger.pricing import usd

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from aideon_agents.ledger.advice.cells import Cell

MANY_FAILED = 0.1
"""Of a model's calls: one in ten. Fewer are what retries and fallbacks are there for."""

MANY_CUT = 0.05
"""Of a node's answers: one in twenty. Fewer may be the odd long one."""

_CUT = ("length", "max_tokens")
"""How providers say that an answer met its limit."""

_REMEDIES = {
    "RateLimited": "ask less at once (AIDEON_MODEL_CONCURRENCY) or put another provider first",
    "Malformed": "it does not keep to the shape that is asked for: put another model first",
    "ContextTooLong": "give it less, or a model with a longer context",
    "OutOfCredit": "top up the account, or leave the provider out",
    "KeyRejected": "mend the provider's key: aideon doctor shows which",
    "ModelGone": "name another model: this one is gone",
    "TimeLimit": "allow more time, or ask a faster model",
    "Refused": "its content filter says no: put another model first",
}
_REMEDY = "put another model first with --model ROLE=provider:model"


def failing_models(cells: Sequence[Cell]) -> Iterator[Advice]:
    """Find models that fail often."""
    for model, own in grouped(cells, lambda cell: cell.model).items():
        calls, failed = calls_in(own), [cell for cell in own if cell.failed]
        count = calls_in(failed)
        if calls < FEW or count < MANY_FAILED * calls:
            continue
        errors = errors_in(failed)
        told = ", ".join(f"{name} {times:,}" for name, times in errors.items())
        cost = nanousd_in(failed)
        yield Advice(
            kind="failing_model",
            where=model,
            text=(
                f"{count:,} of {calls:,} calls failed ({percent(count / calls)}): {told}; they"
                f" cost {spent(failed)} and time. {_REMEDIES.get(next(iter(errors)), _REMEDY)}"
            ),
            figures={
                "calls": calls,
                "failed_calls": count,
                "failed_share": count / calls,
                "errors": errors,
                "usd": usd(cost),
                "complete": is_complete(failed),
            },
            nanousd=cost,
        )


def cut_short(cells: Sequence[Cell]) -> Iterator[Advice]:
    """Find nodes whose answers meet their limit."""
    for node, own in grouped(cells, lambda cell: cell.node).items():
        answered = [cell for cell in own if cell.status == "ok" and not cell.shortened]
        cut = [cell for cell in answered if cell.finish_reason.lower() in _CUT]
        answers, count, cost = calls_in(answered), calls_in(cut), nanousd_in(cut)
        if answers < FEW or count < MANY_CUT * answers:
            continue
        yield Advice(
            kind="cut_short",
            where=named(node),
            text=(
                f"{count:,} of {answers:,} answers ({percent(count / answers)}) ended at their"
                f" max_tokens and are cut short; they cost {spent(cut)}."
                " Raise the node's max_tokens, or ask for a shorter answer"
            ),
            figures={
                "answers": answers,
                "cut_answers": count,
                "cut_share": count / answers,
                "usd": usd(cost),
                "complete": is_complete(cut),
            },
            nanousd=cost,
        )


def unknown_costs(cells: Sequence[Cell]) -> Iterator[Advice]:
    """Find calls whose cost nobody knows. One is enough: it makes every total a lower bound."""
    whole = calls_in(cells)
    for model, own in grouped(cells, lambda cell: cell.model).items():
        unknown = [cell for cell in own if cell.known < cell.calls]
        if not unknown:
            continue
        started = calls_in(cell for cell in unknown if cell.status == "started")
        unpriced = sum(cell.unpriced for cell in unknown)
        count = sum(cell.calls - cell.known for cell in unknown)
        untold = count - started - unpriced
        why = [
            f"{counted(started, 'call')} of whose end nothing was heard (their process ended, or"
            " still runs): the provider's invoice tells"
            if started
            else "",
            f"{counted(untold, 'call')} without a count of tokens (cancelled, timed out, broken"
            " off, or a provider that reports none): more time, or a provider that reports usage"
            if untold
            else "",
            f"{counted(unpriced, 'call')} whose model has no known price: name one that the price"
            " list has, or no budget can hold it"
            if unpriced
            else "",
        ]
        yield Advice(
            kind="unknown_cost",
            where=model,
            text=(
                f"the cost of {counted(count, 'call')} of {whole:,} is unknown, and every total"
                f" with them a lower bound: {'; '.join(reason for reason in why if reason)}"
            ),
            figures={
                "calls": whole,
                "unknown_calls": count,
                "unknown_share": count / whole,
                "started_calls": started,
                "calls_without_usage": untold,
                "calls_without_price": unpriced,
            },
            nanousd=0,
        )
