"""The rehearsing chat model answers like a chat model, by rule and for nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.tools import tool
from pydantic import BaseModel, Field

from aideon_agents.errors import Malformed
from aideon_agents.ledger import tags
from aideon_agents.models.answers.rehearsal import RehearsalChatModel
from aideon_agents.state import Plan, Verdict

PUMPS = (
    "Heat pumps move heat from outdoor air into a house. Electric heaters make heat themselves. "
    "A heat pump needs a third of the electricity. Installers are scarce."
)
VERDICT = {
    "type": "json_schema",
    "json_schema": {"name": "Verdict", "schema": Verdict.model_json_schema(), "strict": True},
}


@tool
def weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"cold in {city}"


@tool
def price(of: str) -> str:
    """Tell the price of a thing."""
    return f"{of}: 3"


class Odd(BaseModel):
    code: str = Field(pattern=r"^\p{Greek}+$")


def rehearsal(**fields: Any) -> RehearsalChatModel:
    return RehearsalChatModel(provider="together", model="openai/gpt-oss-120b", **fields)


def test_a_plain_prompt_gets_a_digest_of_what_the_person_said():
    answer = rehearsal().invoke([SystemMessage("Summarise in one line."), HumanMessage(PUMPS)])
    assert answer.content == PUMPS
    assert answer.response_metadata["finish_reason"] == "stop"


def test_a_prompt_of_blocks_is_read():
    answer = rehearsal().invoke([HumanMessage([{"type": "text", "text": "Pumps move heat."}])])
    assert answer.content == "Pumps move heat."


def test_an_empty_prompt_still_gets_an_answer():
    assert rehearsal().invoke("").content == "There was nothing to answer from."


def test_the_answer_names_the_model_and_says_that_its_usage_is_estimated():
    answer = rehearsal().invoke("Pumps move heat.")
    assert answer.response_metadata["model_name"] == "openai/gpt-oss-120b"
    assert answer.response_metadata[tags.USAGE_SOURCE] == "estimated"
    assert answer.usage_metadata == {"input_tokens": 4, "output_tokens": 4, "total_tokens": 8}


def test_callbacks_hear_the_provider_and_the_model_that_would_have_answered():
    params = rehearsal()._get_ls_params()
    assert (params["ls_provider"], params["ls_model_name"]) == ("together", "openai/gpt-oss-120b")
    assert rehearsal()._llm_type == "rehearsal"


def test_an_answer_keeps_to_max_tokens_and_says_that_it_broke_off():
    answer = rehearsal(max_tokens=5).invoke(PUMPS)
    assert answer.content == "Heat pumps move heat"
    assert answer.usage_metadata["output_tokens"] == 5
    assert answer.response_metadata["finish_reason"] == "length"


def test_an_answer_ends_before_a_stop_text():
    assert rehearsal().invoke(PUMPS, stop=[" from"]).content == "Heat pumps move heat"


def test_the_same_messages_get_the_same_answer():
    assert rehearsal().invoke(PUMPS).content == rehearsal().invoke(PUMPS).content


@pytest.mark.parametrize(
    "bound", [{"response_format": VERDICT}, {"extra_body": {"response_format": VERDICT}}]
)
def test_a_response_format_is_answered_in_its_shape_wherever_it_is_bound(bound):
    answer = rehearsal().bind(**bound).invoke(PUMPS)
    assert Verdict.model_validate_json(answer.content).passed


def test_the_schema_counts_as_input():
    plain, typed = rehearsal(), rehearsal().bind(response_format=VERDICT)
    tokens = [model.invoke(PUMPS).usage_metadata["input_tokens"] for model in (plain, typed)]
    assert tokens[1] > tokens[0]


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
async def test_structured_output_gives_the_typed_object(method):
    model = rehearsal().with_structured_output(Plan, method=method)
    plan = await model.ainvoke(PUMPS)
    assert plan == model.invoke(PUMPS)
    assert len(plan.steps) == 3


def test_structured_output_with_the_raw_answer_keeps_a_parsing_error():
    model = rehearsal(max_tokens=5).with_structured_output(Plan, include_raw=True)
    made = model.invoke(PUMPS)
    assert made["parsed"] is None
    assert made["parsing_error"] is not None
    assert made["raw"].response_metadata["finish_reason"] == "length"


def test_a_schema_beyond_simple_means_is_malformed_and_not_billed():
    with pytest.raises(Malformed, match=r"together:openai/gpt-oss-120b.*pattern") as caught:
        rehearsal().with_structured_output(Odd).invoke(PUMPS)
    assert caught.value.billed is False


def test_an_offered_tool_is_called_until_it_has_answered():
    model = rehearsal().bind_tools([weather, price])
    first = model.invoke(PUMPS)
    call = first.tool_calls[0]
    assert call["name"] == "weather"
    assert first.response_metadata["finish_reason"] == "tool_calls"
    history = [HumanMessage(PUMPS), first, ToolMessage("cold", tool_call_id=call["id"])]
    assert model.invoke(history).content == PUMPS
    assert model.invoke([*history, HumanMessage("And now?")]).tool_calls


@pytest.mark.parametrize("choice", ["price", {"type": "function", "function": {"name": "price"}}])
def test_a_forced_tool_is_called(choice):
    answer = rehearsal().bind_tools([weather, price], tool_choice=choice).invoke(PUMPS)
    assert [call["name"] for call in answer.tool_calls] == ["price"]


def test_no_tool_is_called_where_none_is_chosen():
    answer = rehearsal().bind_tools([weather], tool_choice="none").invoke(PUMPS)
    assert not answer.tool_calls


def test_a_tool_call_that_cannot_fit_breaks_off_as_an_invalid_one():
    answer = rehearsal(max_tokens=2).bind_tools([weather]).invoke(PUMPS)
    assert not answer.tool_calls
    assert answer.invalid_tool_calls[0]["name"] == "weather"
    assert answer.response_metadata["finish_reason"] == "length"


async def test_a_streamed_answer_adds_up_to_the_whole_one():
    model = rehearsal()
    whole = model.invoke(PUMPS)
    for chunks in (list(model.stream(PUMPS)), [chunk async for chunk in model.astream(PUMPS)]):
        total = sum(chunks[1:], start=chunks[0])
        assert isinstance(total, AIMessageChunk)
        assert len(chunks) > 10
        assert total.content == whole.content
        assert total.usage_metadata == whole.usage_metadata
        assert total.response_metadata == whole.response_metadata


def test_a_streamed_tool_call_is_the_whole_one():
    model = rehearsal().bind_tools([weather])
    chunks = list(model.stream(PUMPS))
    total = sum(chunks[1:], start=chunks[0])
    assert total.tool_calls == model.invoke(PUMPS).tool_calls


@pytest.mark.parametrize("strategy", [None, ToolStrategy, ProviderStrategy])
async def test_an_agent_loop_comes_to_its_end(strategy):
    response_format = strategy(Verdict) if strategy else None
    agent = create_agent(rehearsal(), [weather, price], response_format=response_format)
    state = await agent.ainvoke({"messages": [HumanMessage(PUMPS)]}, {"recursion_limit": 12})
    calls = [
        call["name"]
        for message in state["messages"]
        if isinstance(message, AIMessage)
        for call in message.tool_calls
    ]
    assert calls[0] == "weather"
    if strategy:
        assert state["structured_response"].passed
    else:
        assert state["messages"][-1].content == PUMPS


def test_json_without_a_schema_is_an_object():
    answer = rehearsal().invoke(PUMPS, response_format={"type": "json_object"})
    assert json.loads(answer.content)["answer"] in PUMPS


def test_the_worker_of_a_step_answers_from_the_task_and_not_from_the_plan(tmp_path):
    from aideon_agents import executor, orchestrated, planner, run

    graph = orchestrated(planner(), workers={"clerk": ("finds prices", executor())})
    done = run(graph, "Heat pumps move heat.", rehearse=True, ledger=tmp_path / "ledger.db")
    said = [one.content for path, one in done.results.items() if path.startswith("work/")]
    assert set(said) == {"Heat pumps move heat."}
