"""Nodes that cost much on a dear model, where a cheaper one has answered the same role."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aideon_agents.ledger.advice.cells import (
    FEW,
    Advice,
    calls_in,
    grouped,
    is_complete,
    money,
    named,
    nanousd_in,
    percent,
)
from aideon_agents.ledger.advice.prices import at_price_of
from aideon_agents.ledger.pricing import usd

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from aideon_agents.ledger.advice.cells import Cell
    from aideon_agents.ledger.comparison import Against
    from aideon_agents.ledger.dimensions import Selection
    from aideon_agents.ledger.store import Ledger

LARGE_SHARE = 0.2
"""Of the cost: a fifth. Below it, half the price would move the whole by less than a tenth."""


def cheaper_models(
    ledger: Ledger,
    selection: Selection,
    cells: Sequence[Cell],
    rungs: Mapping[str, Sequence[str]],
) -> Iterator[Advice]:
    """Find dear nodes that a cheaper model of the catalog may do as well for."""
    rung_of = {name: rung for rung, names in rungs.items() for name in names}
    steps = list(rungs)
    whole = nanousd_in(cells)
    for node, own in grouped(cells, lambda cell: cell.node).items():
        cost, roles = nanousd_in(own), {cell.role for cell in own}
        is_dear = whole and cost >= LARGE_SHARE * whole and calls_in(own) >= FEW
        on_rungs = all(cell.model in rung_of for cell in own)
        if not is_dear or not on_rungs or len(roles) != 1 or roles == {""}:
            continue
        (role,) = roles
        lowest = min(steps.index(rung_of[cell.model]) for cell in own)
        below = {name for rung in steps[:lowest] for name in rungs[rung]}
        tried = _without_failure(cells, role, below)
        priced = [at_price_of(ledger, selection, name, node) for name in tried]
        cheapest = min((one for one in priced if one), key=lambda one: one.usd, default=None)
        if cheapest is None or cheapest.usd.scaleb(9) >= cost:
            continue
        yield _said(
            node, own, whole, cheaper=cheapest, answers=tried[cheapest.model], rung_of=rung_of
        )


def _without_failure(cells: Sequence[Cell], role: str, models: set[str]) -> dict[str, int]:
    """How often each model answered a role, of those that did often and never failed."""
    answers: dict[str, int] = {}
    for name, own in grouped(
        (one for one in cells if one.role == role), lambda one: one.model
    ).items():
        answered = calls_in(cell for cell in own if cell.status == "ok")
        if name in models and answered >= FEW and not any(cell.failed for cell in own):
            answers[name] = answered
    return answers


def _said(
    node: str,
    own: Sequence[Cell],
    whole: int,
    *,
    cheaper: Against,
    answers: int,
    rung_of: Mapping[str, str],
) -> Advice:
    cost, complete, role = nanousd_in(own), is_complete(own), own[0].role
    models = list(dict.fromkeys(cell.model for cell in own))
    on = ", ".join(f"{name} ({rung_of[name]})" for name in models)
    return Advice(
        kind="cheaper_model",
        where=named(node),
        text=(
            f"{percent(cost / whole)} of the cost, {money(cost, complete=complete)} for"
            f" {calls_in(own):,} calls, all on {on}."
            f" {cheaper.model} ({rung_of[cheaper.model]}) answered the {role} {answers:,} times"
            f" without a failure. The same tokens at {cheaper.model}'s price:"
            f" {money(cheaper.usd, complete=cheaper.complete)}. Whether its answers are good"
            f" enough only a trial tells: --model {role}={cheaper.model}"
        ),
        figures={
            "usd": usd(cost),
            "complete": complete,
            "share": cost / whole,
            "calls": calls_in(own),
            "role": role,
            "models": models,
            "cheaper_model": cheaper.model,
            "cheaper_model_answers": answers,
            "cheaper_model_failures": 0,
            "against": vars(cheaper),
        },
        nanousd=cost,
    )
