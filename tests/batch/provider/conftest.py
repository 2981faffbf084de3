"""A simulated provider with files and batches, and batches that it answers."""

from __future__ import annotations

import pytest

from aideon_agents import Settings, abatch, executor
from aideon_agents.ledger.identity import now
from aideon_agents.ledger.pricing import Usage, price
from aideon_agents.testing import SimulatedProvider
from aideon_agents.testing.simulated.batches import BatchPlan
from aideon_agents.testing.simulated.bill import Rate

LUNA, QWEN = "openai:gpt-6-luna", "together:Qwen/Qwen3.5-9B"
ITEMS = [f"Heat pumps move heat {number}." for number in range(6)]


def rate_of(name: str) -> Rate:
    """What the price list says that a token costs."""
    provider, _, model = name.partition(":")

    def of(usage: Usage) -> int:
        return (price(provider, model, usage, now()).nanousd or 0) // 1000

    return Rate(
        of(Usage(input_tokens=1000, output_tokens=0)),
        of(Usage(input_tokens=0, output_tokens=1000)),
    )


RATES = {name.partition(":")[2]: rate_of(name) for name in (LUNA, QWEN)}


@pytest.fixture
def serving():
    """Starts a simulated provider whose batches are as planned."""
    started = list[SimulatedProvider]()

    def start(**plan) -> SimulatedProvider:
        given = {name: plan.pop(name) for name in ("answer", "keys") if name in plan}
        provider = SimulatedProvider(rates=RATES, batches=BatchPlan(**plan), **given)
        started.append(provider)
        return provider.start()

    yield start
    for one in started:
        one.close()


@pytest.fixture
def settings():
    """Settings whose OpenAI and Together are a simulated provider."""

    def made(provider, **fields) -> Settings:
        keys = {"openai_api_key": "key", "together_api_key": "key", "hf_token": "key"}
        addresses = {"openai_base_url": provider.base_url, "together_base_url": provider.base_url}
        return Settings(**keys, **addresses, **fields)

    return made


@pytest.fixture
def ask(ledger, settings):
    """Runs items by batches of a provider, as far as they go."""

    async def run(provider, graph=None, items=ITEMS, out="out.jsonl", **options):
        options.setdefault("settings", settings(provider))
        options.setdefault("ledger", ledger)
        graph = graph or executor("facts", model=LUNA)
        return await abatch(graph, items, out, engine="provider", **options)

    return run


@pytest.fixture
def rows(ledger):
    """The rows of all calls, as they were made."""

    def read():
        return ledger.select("SELECT * FROM calls ORDER BY started_at, call_id")

    return read


@pytest.fixture
def paid(rows):
    """What the ledger says that all calls cost, in nano-dollars."""
    return lambda: sum(row["cost_nanousd"] for row in rows())
