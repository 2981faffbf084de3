"""The direct path of a call: the same rows and events of a model as LangChain's own, and off when others listen."""

from __future__ import annotations

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import AsyncCallbackHandler, get_usage_metadata_callback
from langchain_core.globals import set_llm_cache
from langchain_core.language_models import BaseChatModel

from aideon_agents import Ledger, Settings, arun, executor, sequential
from aideon_agents.models import direct
from aideon_agents.testing import Fault, SimulatedProvider

PRIMARY, OTHER = "together:m", "openai:m"
DIFFERENT = {"call_id", "run_id", "started_at", "duration_ms", "error"}


def graph():
    return sequential(executor("first", model=[PRIMARY, OTHER]), executor("then", model=[OTHER]))


class Listening(AsyncCallbackHandler):
    """Somebody else's handler."""

    def __init__(self):
        self.events = []

    async def on_chat_model_start(self, serialized, messages, **about):
        self.events.append(("start", about["metadata"]["aideon_model"]))

    async def on_llm_end(self, response, **about):
        self.events.append(("end", response.generations[0][0].message.text[:4]))

    async def on_llm_error(self, error, **about):
        self.events.append(("error", type(error).__name__))


@pytest.fixture
def ways(monkeypatch):
    """How each call was made: directly, or as LangChain makes it."""
    seen = []
    answer, ordinary = direct.answer, BaseChatModel.ainvoke

    async def watched(*given):
        seen.append("direct")
        return await answer(*given)

    async def as_langchain(self, *given, **options):
        seen.append("ordinary")
        return await ordinary(self, *given, **options)

    monkeypatch.setattr(direct, "answer", watched)
    monkeypatch.setattr(BaseChatModel, "ainvoke", as_langchain)
    return seen


@pytest.fixture
def asked(tmp_path, quick):
    """Runs the graph, the first call of which is refused three times."""

    async def ask(made=None, **options):
        with SimulatedProvider(faults=[Fault(500)] * 3) as provider:
            settings = Settings(
                together_api_key="key",
                together_base_url=provider.base_url,
                openai_api_key="key",
                openai_base_url=provider.base_url,
                ledger=str(tmp_path / "ledger.db"),
            )
            result = await arun(made or graph(), "Heat pumps.", settings=settings, **options)
        with Ledger(tmp_path / "ledger.db") as ledger:
            return result, [shown(row) for row in ledger.calls(result.run_id)]

    return ask


def shown(row):
    return {name: value for name, value in vars(row).items() if name not in DIFFERENT}


async def test_a_handler_of_somebody_else_switches_it_off_and_receives_every_event(asked, ways):
    _, rows = await asked()
    assert ways == ["direct"] * 5
    other = Listening()
    _, same = await asked(graph().with_config(callbacks=[other]))
    assert ways[5:] == ["ordinary"] * 5
    assert [(row["candidate"], row["status"]) for row in rows] == [
        *[(0, "error")] * 3,
        (1, "ok"),
        (0, "ok"),
    ]
    assert rows == same
    assert other.events == [
        *[("start", "m"), ("error", "Transient")] * 3,
        *[("start", "m"), ("end", "Heat")] * 2,
    ]


async def test_both_give_the_same_answer(asked, ways):
    direct_one, _ = await asked()
    ordinary, _ = await asked(graph().with_config(callbacks=[Listening()]))
    assert direct_one.output == ordinary.output
    assert direct_one.cost.usd == ordinary.cost.usd


async def test_a_cache_of_langchain_is_used_all_the_same(ways, tmp_path):
    set_llm_cache(InMemoryCache())
    try:
        with SimulatedProvider() as provider:
            settings = Settings(
                together_api_key="key",
                together_base_url=provider.base_url,
                ledger=str(tmp_path / "ledger.db"),
            )
            node = executor(model=PRIMARY)
            runs = [await arun(node, "Heat pumps.", settings=settings) for _ in range(2)]
    finally:
        set_llm_cache(None)
    assert set(ways) == {"ordinary"}
    with Ledger(tmp_path / "ledger.db") as ledger:
        rows = [row for one in runs for row in ledger.calls(one.run_id)]
    assert [row.status for row in rows] == ["ok", "cached"]


async def test_usage_callbacks_that_are_registered_in_a_context_receive_the_calls(asked, ways):
    with get_usage_metadata_callback() as usage:
        await asked()
    assert set(ways) == {"ordinary"}
    assert usage.usage_metadata["m"]["output_tokens"] > 0
