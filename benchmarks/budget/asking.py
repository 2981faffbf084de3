"""The same through real chains over HTTP, judged by the provider's own bill."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING

from judging import Verdict

from aideon_agents import Budget, Context, CostHandler, Ledger, Settings
from aideon_agents.errors import BudgetExceeded
from aideon_agents.ledger.rows import Run
from aideon_agents.models import Models
from aideon_agents.state import ModelRequest
from aideon_agents.testing import Fault, RandomFaults, Rate, SimulatedProvider

if TYPE_CHECKING:
    from pathlib import Path

MODEL = "openai/gpt-oss-120b"
RATES = {MODEL: Rate(150, 600)}
"""In nano-dollars a token, written down once more: the bill shares no code with the ledger."""
ROOM = 400
FAULTS = (Fault(500), Fault("reset_after"), Fault("cut_after_first_token", after_tokens=3))
NANO = 10**9


def ask(folder: Path, count: int, seed: int) -> Verdict:
    """Ask many questions at once on a tenth of the money that they cost.

    Args:
        folder: Where the ledger goes.
        count: How many questions.
        seed: The same seed gives the same questions.

    Returns:
        The verdict; its figures are the provider's, but for the refusals.
    """
    chance = random.Random(seed)
    questions = [f"{number}: " + "word " * chance.randint(5, 60) for number in range(count)]
    with Ledger(folder / "ledger.db") as ledger:
        with SimulatedProvider(announce=False, rates=RATES) as free:
            asyncio.run(_ask_all(questions, free, ledger, None, Verdict(0)))
            budget = (free.bill.nanousd or 0) // 10
        found = Verdict(budget)
        faults = RandomFaults(seed, 0.1, kinds=FAULTS)
        with SimulatedProvider(announce=False, rates=RATES, faults=faults) as provider:
            began = time.monotonic()
            run_id = asyncio.run(_ask_all(questions, provider, ledger, budget, found))
            seconds = time.monotonic() - began
            while provider.in_flight:
                time.sleep(0.01)
            found.spent = provider.bill.nanousd or 0
        _look_at_the_ledger(found, ledger, run_id)
        found.rate = found.admitted / seconds
    return found


async def _ask_all(
    questions: list[str],
    provider: SimulatedProvider,
    ledger: Ledger,
    budget: int | None,
    found: Verdict,
) -> str:
    limit = None if budget is None else Budget(f"{budget / NANO:.9f}")
    run_id = ledger.start_run(Run(workflow="asking"), limit)
    handler = CostHandler(ledger, run_id=run_id)
    keys = {"together_api_key": f"budget-{budget}", "together_base_url": provider.base_url}
    models = Models(Settings(**keys))

    async def one(number: int, question: str) -> None:
        request = ModelRequest(role="creative", model=(f"together:{MODEL}",), max_tokens=ROOM)
        chain = models.chat(request, Context(stream=number % 2 == 0))
        try:
            await chain.ainvoke(question, {"callbacks": [handler]})
        except BudgetExceeded as refused:
            found.refused += 1
            covered = refused.spent + (refused.needed or 0) <= refused.limit
            found.wrongly += covered
        except Exception as error:  # noqa: BLE001 - the faults are part of the plan
            found.killed += 1
            if budget is None:
                found.complaints.append(str(error))

    await asyncio.gather(*(one(number, text) for number, text in enumerate(questions)))
    return run_id


def _look_at_the_ledger(found: Verdict, ledger: Ledger, run_id: str) -> None:
    rows = ledger.calls(run_id)
    found.admitted = len(rows)
    key = {"key": f"run:{run_id}"}
    (row,) = ledger.select("SELECT * FROM accounts WHERE account = :key", key)
    if row["held_nanousd"] or row["spent_nanousd"] > found.budget:
        found.complaints.append(f"the ledger counts {dict(row)}")
    known = sum(one.cost_nanousd or 0 for one in rows)
    if not known <= found.spent <= row["spent_nanousd"]:
        told = f"the bill is {found.spent}, the rows {known}, the account {row['spent_nanousd']}"
        found.complaints.append(told)
