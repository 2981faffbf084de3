"""Advice about models: cheaper ones, failing ones, cut answers and unknown costs."""

from __future__ import annotations

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
from aideon_agents.ledger.reports import Against
from aideon_agents.ledger.selection import Selection
from aideon_agents.ledger.store import Ledger

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


LARGE_SHARE = 0.2
"""Of the cost: a fifth. Below it, half the price would reduce the total by less than a tenth."""


def cheaper_models(
    ledger: Ledger, selection: Selection, cells: Cells, rungs: Mapping[str, Sequence[str]]
) -> Iterator[Advice]:
    """Find expensive nodes whose role a cheaper model of the catalog has answered without a failure."""
    rung_of = {name: rung for rung, names in rungs.items() for name in names}
    steps = list(rungs)
    whole = cells.nanousd
    for node, own in cells.by("node").items():
        cost, roles = own.nanousd, {cell.role for cell in own}
        is_expensive = whole and cost >= LARGE_SHARE * whole and own.calls >= FEW
        on_rungs = all(cell.model in rung_of for cell in own)
        if not is_expensive or not on_rungs or len(roles) != 1 or roles == {""}:
            continue
        (role,) = roles
        lowest = min(steps.index(rung_of[cell.model]) for cell in own)
        below = {name for rung in steps[:lowest] for name in rungs[rung]}
        tried = _without_failure(cells, role, below)
        priced = [at_price_of(ledger, selection, name, node) for name in tried]
        cheapest = min((one for one in priced if one), key=lambda one: one.usd, default=None)
        if cheapest is None or cheapest.usd.scaleb(9) >= cost:
            continue
        yield _cheaper_model(
            node, own, whole, cheaper=cheapest, answers=tried[cheapest.model], rung_of=rung_of
        )


def _without_failure(cells: Cells, role: str, models: set[str]) -> dict[str, int]:
    """How often each of some models answered a role, of those that did so often and never failed."""
    answers: dict[str, int] = {}
    for name, own in cells.where(lambda cell: cell.role == role).by("model").items():
        answered = own.where(lambda cell: cell.status == "ok").calls
        if name in models and answered >= FEW and not any(cell.failed for cell in own):
            answers[name] = answered
    return answers


def _cheaper_model(
    node: str, own: Cells, whole: int, *, cheaper: Against, answers: int, rung_of: Mapping[str, str]
) -> Advice:
    cost, role = own.nanousd, own[0].role
    models = list(dict.fromkeys(cell.model for cell in own))
    on = ", ".join(f"{name} ({rung_of[name]})" for name in models)
    return Advice(
        kind="cheaper_model",
        where=named(node),
        text=(
            f"{percent(cost / whole)} of the cost, {own.spent} for"
            f" {own.calls:,} calls, all on {on}."
            f" {cheaper.model} ({rung_of[cheaper.model]}) answered the {role} {answers:,} times"
            f" without a failure. The same tokens at {cheaper.model}'s price:"
            f" {money(cheaper.usd, complete=cheaper.complete)}. Whether its answers are good"
            f" enough only a trial tells: --model {role}={cheaper.model}"
        ),
        figures={
            **own.cost,
            "share": cost / whole,
            "calls": own.calls,
            "role": role,
            "models": models,
            "cheaper_model": cheaper.model,
            "cheaper_model_answers": answers,
            "cheaper_model_failures": 0,
            "against": vars(cheaper),
        },
        nanousd=cost,
    )


MANY_FAILED = 0.1
"""Of a model's calls: one in ten. Retries and fallbacks are there for fewer."""

MANY_CUT = 0.05
"""Of a node's answers: one in twenty. Fewer may be single long answers."""

_CUT = ("length", "max_tokens")
"""The finish reasons of answers that reached max_tokens."""

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


def failing_models(cells: Cells) -> Iterator[Advice]:
    """Find models that fail often."""
    for model, own in cells.by("model").items():
        calls, failed = own.calls, own.where(lambda cell: cell.failed)
        count = failed.calls
        if calls < FEW or count < MANY_FAILED * calls:
            continue
        errors = failed.errors
        yield Advice(
            kind="failing_model",
            where=model,
            text=(
                f"{count:,} of {calls:,} calls failed ({percent(count / calls)}):"
                f" {causes(errors)}; they cost {failed.spent} and time. {_REMEDIES.get(next(iter(errors)), _REMEDY)}"
            ),
            figures={
                "calls": calls,
                "failed_calls": count,
                "failed_share": count / calls,
                "errors": errors,
                **failed.cost,
            },
            nanousd=failed.nanousd,
        )


def cut_short(cells: Cells) -> Iterator[Advice]:
    """Find nodes whose answers reach max_tokens."""
    for node, own in cells.by("node").items():
        answered = own.where(lambda cell: cell.status == "ok" and not cell.shortened)
        cut = answered.where(lambda cell: cell.finish_reason.lower() in _CUT)
        answers, count = answered.calls, cut.calls
        if answers < FEW or count < MANY_CUT * answers:
            continue
        yield Advice(
            kind="cut_short",
            where=named(node),
            text=(
                f"{count:,} of {answers:,} answers ({percent(count / answers)}) ended at their"
                f" max_tokens and are cut short; they cost {cut.spent}."
                " Raise the node's max_tokens, or ask for a shorter answer"
            ),
            figures={
                "answers": answers,
                "cut_answers": count,
                "cut_share": count / answers,
                **cut.cost,
            },
            nanousd=cut.nanousd,
        )


def unknown_costs(cells: Cells) -> Iterator[Advice]:
    """Find calls whose cost is unknown. One is enough: it makes every total a lower bound."""
    whole = cells.calls
    for model, own in cells.by("model").items():
        unknown = own.where(lambda cell: cell.known_calls < cell.calls)
        if not unknown:
            continue
        started = unknown.where(lambda cell: cell.status == "started").calls
        unpriced = sum(cell.unpriced for cell in unknown)
        count = sum(cell.calls - cell.known_calls for cell in unknown)
        without_usage = count - started - unpriced
        why = [
            f"{counted(started, 'call')} whose end is unknown (their process ended, or"
            " still runs): the provider's invoice tells"
            if started
            else "",
            f"{counted(without_usage, 'call')} without a count of tokens (cancelled, timed out, broken"
            " off, or a provider that reports none): more time, or a provider that reports usage"
            if without_usage
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
                "calls_without_usage": without_usage,
                "calls_without_price": unpriced,
            },
            nanousd=0,
        )
