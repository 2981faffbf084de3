"""`run()` inside a node: it rehearses with its outer run, and its budget holds in the same ledger."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TypedDict

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.runnables.config import ContextThreadPoolExecutor
from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, MessagesState, StateGraph

from aideon_agents import CostHandler, Ledger, State, arun, executor, resume, run, sequential
from aideon_agents.errors import BudgetExceeded, UserError
from aideon_agents.ledger.budgets.limits import CallDimensions
from aideon_agents.ledger.identity import now, utc_text
from aideon_agents.settings import Settings
from aideon_agents.testing import SimulatedProvider

PUMPS = "Heat pumps move heat from outdoor air into a house."


@pytest.fixture
def provider():
    with SimulatedProvider() as started:
        yield started


@pytest.fixture
def settings(provider):
    return Settings(together_api_key="key-1", together_base_url=provider.base_url, user="ada")


@pytest.mark.parametrize("way", ["called", "awaited", "in a thread", "in a pool"])
async def test_a_run_inside_a_rehearsed_one_is_rehearsed(settings, provider, tmp_path, way):
    inner, options = executor("inner"), {"settings": settings, "ledger": tmp_path / "ledger.db"}
    seen = []

    async def nested(state):
        if way == "called":
            made = run(inner, PUMPS, **options)
        elif way == "awaited":
            made = await arun(inner, PUMPS, **options)
        elif way == "in a pool":
            with ContextThreadPoolExecutor() as pool:
                made = pool.submit(run, inner, PUMPS, **options).result()
        else:
            made = await asyncio.to_thread(run, inner, PUMPS, **options)
        seen.append(made.rehearsed)
        return made.output

    result = await arun(sequential(nested), PUMPS, rehearse=True, **options)
    assert result.raise_for_status().status == "completed"
    assert seen == [True]
    assert provider.requests == []


def test_a_pool_of_langchain_passes_the_outer_run_and_its_budget_on(settings, provider, tmp_path):
    options = {"settings": settings, "ledger": tmp_path / "ledger.db"}

    def nested(state):
        with ContextThreadPoolExecutor() as pool:
            return pool.submit(run, executor("inner"), PUMPS, **options).result().status

    result = run(sequential(nested), PUMPS, **options)
    assert (result.output, result.cost.calls) == ("completed", 1)
    limited = run(sequential(nested), PUMPS, budget="0.0000001", **options)
    assert (limited.output, limited.cost.calls) == ("stopped", 0)
    assert len(provider.requests) == 1


def test_a_run_that_asked_models_does_not_resume_inside_a_rehearsal(settings, provider, tmp_path):
    options = {"settings": settings, "ledger": tmp_path / "ledger.db"}
    inner = sequential(executor("inner"), name="inner")
    stopped = run(inner, PUMPS, budget="0.0000001", **options)
    assert stopped.status == "stopped"

    def nested(state):
        return resume(inner, stopped.run_id, budget="1", **options).output

    with pytest.raises(UserError, match="cannot resume in a node of a run that is rehearsed"):
        run(sequential(nested), PUMPS, rehearse=True, **options)
    assert provider.requests == []
    outer = run(sequential(nested), PUMPS, budget="0.0000001", **options)
    assert provider.requests == []
    assert run(sequential(nested), PUMPS, **options).cost.calls == 1
    assert (outer.cost.calls, len(provider.requests)) == (0, 1)


class Other(TypedDict):
    """The context of a graph that is not ours."""

    x: int


@pytest.mark.parametrize("way", ["an agent", "a run"])
async def test_a_graph_with_a_context_of_its_own_is_rehearsed_as_well(
    settings, provider, tmp_path, monkeypatch, way
):
    monkeypatch.setenv("TOGETHER_API_KEY", "key-2")
    monkeypatch.setenv("TOGETHER_BASE_URL", provider.base_url)
    options = {"settings": settings, "ledger": tmp_path / "ledger.db"}

    async def asks(state):
        return {"route": (await arun(executor("inner"), PUMPS, **options)).status}

    larger = StateGraph(State, context_schema=Other)
    larger.add_node("asks", executor("inner") if way == "an agent" else asks)
    larger.add_edge(START, "asks")
    graph = larger.compile()

    async def nested(state):
        await graph.ainvoke({"task": state["task"]}, context={"x": 1})
        return "done"

    result = await arun(sequential(nested), PUMPS, rehearse=True, **options)
    assert result.raise_for_status().output == "done"
    assert provider.requests == []
    if way == "an agent":
        assert [one.node_path for one in result.nodes] == ["nested/asks"]


@pytest.mark.parametrize("spelled", ["same", "relative", "link"])
async def test_the_budget_of_an_inner_run_holds_however_its_ledger_is_spelled(
    settings, provider, tmp_path, monkeypatch, spelled
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link.db").symlink_to(tmp_path / "ledger.db")
    place = {"same": tmp_path / "ledger.db", "relative": Path("./ledger.db")}
    inner = []

    async def nested(state):
        made = await arun(
            executor("inner"),
            PUMPS,
            settings=settings,
            ledger=place.get(spelled, Path("link.db")),
            budget="0.000001",
        )
        inner.append(made.stop_reason)
        return "done"

    await arun(sequential(nested), PUMPS, settings=settings, ledger=tmp_path / "ledger.db")
    assert inner == ["budget"]
    assert provider.requests == []


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream", "astream"])
async def test_a_model_that_is_not_ours_is_refused_once_a_limit_is_used_up(provider, tmp_path, way):
    model = ChatOpenAI(model="gpt-4o-mini", api_key="key-2", base_url=provider.base_url)

    async def ask(state):
        return {"messages": [await model.ainvoke(state["messages"])]}

    def ask_now(state):
        return {"messages": [model.invoke(state["messages"])]}

    graph = StateGraph(MessagesState)
    graph.add_node("ask", ask if way.startswith("a") else ask_now)
    graph.add_node("again", ask if way.startswith("a") else ask_now)
    graph.add_edge(START, "ask")
    graph.add_edge("ask", "again")
    graph.add_edge("again", END)
    compiled = graph.compile()
    with Ledger(tmp_path / "ledger.db") as ledger:
        config = {"callbacks": [CostHandler(ledger, budget="0.00000001")]}
        given = {"messages": [HumanMessage(PUMPS)]}

        async def streamed():
            return [part async for part in compiled.astream(given, config)]

        ways = {
            "ainvoke": lambda: compiled.ainvoke(given, config),
            "astream": streamed,
            "invoke": lambda: asyncio.to_thread(compiled.invoke, given, config),
            "stream": lambda: asyncio.to_thread(lambda: list(compiled.stream(given, config))),
        }
        with pytest.raises(
            BudgetExceeded, match=r"openai:gpt-4o-mini was not asked: the run budget"
        ):
            await ways[way]()
        assert len(provider.requests) == 1
        (only,) = ledger.runs()
        assert (only.status, only.stop_reason) == ("stopped", "budget")


def test_money_that_is_only_held_refuses_no_model_that_is_not_ours(provider, tmp_path):
    model = ChatOpenAI(model="gpt-4o-mini", api_key="key-2", base_url=provider.base_url)
    with Ledger(tmp_path / "ledger.db") as ledger:
        handler = CostHandler(ledger)
        ledger.set_budget("day", "1")
        other = CallDimensions(at=utc_text(now()), node="n", provider="p")
        assert ledger.budgets.take("other", other, 10**9) is None
        model.invoke(PUMPS, {"callbacks": [handler]})
    assert len(provider.requests) == 1
