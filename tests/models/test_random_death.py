"""The same workflow with its primaries dying at random: the ledger is the provider's bill."""

from __future__ import annotations

import pytest

from aideon_agents import Ledger, Settings, arun, tasks
from aideon_agents.ledger.reports import report
from aideon_agents.testing import Fault, RandomFaults, Rate, SimulatedProvider

NOTHING_UNKNOWN = (500, 503, 529, Fault(429, retry_after=0.01))
"""Faults after which nobody can have charged anything."""
RATES = {
    "openai/gpt-oss-120b": Rate(150, 600),
    "MiniMaxAI/MiniMax-M3": Rate(300, 1200),
    "Qwen/Qwen3.5-9B": Rate(170, 250),
    "zai-org/GLM-5.3-Flash": Rate(150, 500),
}
PRIMARIES = ("openai/gpt-oss-120b", "Qwen/Qwen3.5-9B")


@pytest.mark.parametrize("seed", range(3))
async def test_the_ledgers_tokens_and_money_are_those_of_the_bill(tmp_path, quick, seed):
    faults = RandomFaults(seed, 0.5, kinds=NOTHING_UNKNOWN, models=PRIMARIES)
    with (
        SimulatedProvider(announce=False, faults=faults, rates=RATES) as provider,
        Ledger(tmp_path / "ledger.db") as ledger,
    ):
        settings = Settings(together_api_key=f"dying-{seed}", together_base_url=provider.base_url)
        for number in range(3):
            result = await arun(
                tasks.load("brief").graph,
                f"Heat pumps move heat. Installers are scarce in {number} towns.",
                settings=settings,
                ledger=ledger,
            )
            assert result.status == "completed"
            assert result.cost.complete
        total, bill = report(ledger, "model").total, provider.bill.total
    assert total.failed_calls > 0
    assert total.calls == bill.requests
    assert (total.input_tokens, total.output_tokens) == (bill.input_tokens, bill.output_tokens)
    assert total.usd.scaleb(9) == bill.nanousd
