"""What a run would cost, worked out from its rehearsal: about, and at most.

A rehearsal's made-up answers are short. `expected_cost` prices each of its calls with an answer as
long as that node's answers in earlier runs of the workflow, or with `USUAL_SHARE` of `max_tokens`.

`worst_case` rehearses a run at its most expensive: every loop uses all its rounds, and every answer
has `max_tokens`, so each prompt that quotes one is as long as it can get. The routes and the number
of planned steps are those of an ordinary rehearsal. Nothing fails: there are no retries and no
fallbacks.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from aideon_agents.ledger.costs import Cost
from aideon_agents.ledger.money import usd
from aideon_agents.ledger.pricing import Usage, price
from aideon_agents.ledger.reports import answer_lengths
from aideon_agents.ledger.store import Ledger
from aideon_agents.runner.running import Running

if TYPE_CHECKING:
    from collections.abc import Sequence
    from decimal import Decimal

    from aideon_agents.ledger.rows import Call

USUAL_SHARE = 0.065
"""The part of `max_tokens` that 90 % of answers do not exceed: 267 of 4,096 tokens, in the 59,355
answers of 95 models that ZeroEval recorded (github.com/WildEval/ZeroEval, commit 8c1485e)."""


async def worst_case(running: Running) -> tuple[Cost, list[Call]]:
    """Rehearse a run once more at its most expensive, in a ledger of its own: its cost and calls.

    The graph's plain functions run once more as well. The cost is not complete if a model's price is
    unknown, or if the rehearsal does not complete.
    """
    return await rehearsed(running, longest=True)


async def rehearsed(running: Running, *, longest: bool = False) -> tuple[Cost, list[Call]]:
    """Rehearse a run in a ledger of its own: its cost and its calls; for `longest` see `worst_case`."""
    spec = running.spec
    with tempfile.TemporaryDirectory() as folder:
        alone = dataclasses.replace(
            spec,
            context=dataclasses.replace(spec.context, longest=longest),
            start=dataclasses.replace(spec.start, thread=None),
            ledger=Path(folder) / "ledger.db",
            record_content=False,
            checkpoint=None,
            otel=False,
        )
        result = await Running(alone).to_end()
        with Ledger(Path(folder) / "ledger.db") as ledger:
            calls = ledger.calls(result.run_id)
    is_whole = result.cost.complete and result.status == "completed"
    return dataclasses.replace(result.cost, complete=is_whole), calls


async def worst_case_cost(running: Running) -> Cost:
    """What a run costs at most; see `worst_case`."""
    return (await worst_case(running))[0]


def expected_cost(
    ledger: Ledger, calls: Sequence[Call], workflow: str, longest: Sequence[Call]
) -> tuple[Decimal | None, int, int]:
    """What a rehearsed run would cost with answers of the usual length, in US dollars.

    `calls` are those of its rehearsal. `longest` are the calls of its worst case, whose answers have `max_tokens`. Returns the cost, None
    where a price is unknown; how many nodes called a model; and of how many the length of earlier
    answers is known.
    """
    known = answer_lengths(ledger, workflow)
    most = {call.node_path: call.output_tokens or 0 for call in longest}
    total, now = 0, dt.datetime.now(dt.UTC)
    for call in calls:
        usual = known.get(call.node_path, round(USUAL_SHARE * most.get(call.node_path, 0)))
        length = max(usual, call.output_tokens or 0)
        usage = Usage(input_tokens=call.input_tokens or 0, output_tokens=length)
        cost = price(call.provider, call.requested_model, usage, now).nanousd
        if cost is None:
            return None, 0, 0
        total += cost
    nodes = {call.node_path for call in calls}
    return usd(total), len(nodes), len(nodes & known.keys())
