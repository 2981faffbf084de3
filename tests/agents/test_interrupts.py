"""A question to a person, asked inside a chain of models: no fallback takes it for a failure."""

from __future__ import annotations

from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt

from aideon_agents import Context, CostHandler, Ledger, Settings, executor, sequential
from aideon_agents.models import Models
from aideon_agents.models.fallbacks import HANDLED
from aideon_agents.testing import GivenModels, ScriptedChatModel, SimulatedProvider

PUMPS = "Heat pumps move heat from outdoor air into a house."


def ask(what: str) -> str:
    """Ask the boss."""
    return f"the boss says {interrupt(what)}"


def waiting(graph: Any) -> Any:
    return graph.copy(update={"checkpointer": InMemorySaver()})


@pytest.mark.parametrize("awaits", [True, False])
async def test_a_tools_question_reaches_the_person_and_no_other_candidate_is_asked(
    tmp_path, awaits
):
    with SimulatedProvider() as provider, Ledger(tmp_path / "ledger.db") as ledger:
        settings = Settings(
            together_api_key="key-1",
            together_base_url=provider.base_url,
            openai_api_key="key-2",
            openai_base_url=provider.base_url,
        )
        context = Context(models=Models(settings))
        handler = CostHandler(ledger)
        config = {"configurable": {"thread_id": "t"}, "callbacks": [handler]}
        graph = waiting(sequential(executor(tools=[ask], model=["together:first", "openai:next"])))

        async def go(entry: Any) -> Any:
            if awaits:
                return await graph.ainvoke(entry, config, context=context)
            return graph.invoke(entry, config, context=context)

        asked = (await go({"task": PUMPS}))["__interrupt__"]
        rows = ledger.calls(str(handler.run_id))
        done = await go(Command(resume="yes"))
        models = [seen.body["model"] for seen in provider.requests]
        result = provider.requests[-1].body["messages"][-1]
    assert [(row.candidate, row.status) for row in rows] == [(0, "ok")]
    assert len(asked) == 1
    assert result["content"] == "the boss says yes"
    assert set(models) == {"first"}
    assert done["results"]["executor"].content


async def test_a_question_asked_by_a_model_itself_is_no_failure_of_its_candidate():
    primary = ScriptedChatModel(answers=[lambda _: interrupt("May I?")] * 2)
    spare = ScriptedChatModel(answers=["spare"])
    chain: Any = primary.with_fallbacks([spare], exceptions_to_handle=HANDLED)
    context = Context(models=GivenModels(chain))
    graph = waiting(sequential(executor()))
    config = {"configurable": {"thread_id": "t"}}
    asked = await graph.ainvoke({"task": PUMPS}, config, context=context)
    assert [one.value for one in asked["__interrupt__"]] == ["May I?"]
    done = await graph.ainvoke(Command(resume="Yes."), config, context=context)
    assert done["results"]["executor"].content == "Yes."
    assert spare.requests == []
