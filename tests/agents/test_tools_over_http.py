"""Tools and shapes with the real chat clients, over HTTP, each question a row in the ledger."""

from __future__ import annotations

import asyncio
import json

import pytest
from pydantic import BaseModel

from aideon_agents import Context, Ledger, Settings, arun, creative, executor, sequential
from aideon_agents.models import Models
from aideon_agents.models.answers import Answer
from aideon_agents.state import ModelRequest
from aideon_agents.testing import Fault, SimulatedProvider

PUMPS = "Heat pumps move heat from outdoor air into a house."
CLIENTS = pytest.mark.parametrize("model", ["together:m", "openai:m", "local:m"])


class Sum(BaseModel):
    total: int


def look_up(topic: str) -> str:
    """Look a topic up."""
    return f"All about {topic}"


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path / "ledger.db") as opened:
        yield opened


@pytest.fixture
def settings():
    def make(provider: SimulatedProvider) -> Settings:
        return Settings(
            together_api_key="key-1",
            together_base_url=provider.base_url,
            openai_api_key="key-2",
            openai_base_url=provider.base_url,
            local_base_url=provider.base_url,
            user="ada",
        )

    return make


@CLIENTS
async def test_a_tool_is_called_and_its_result_goes_back_over_http(model, settings, ledger):
    with SimulatedProvider() as provider:
        result = await arun(
            executor(tools=[look_up], model=model),
            PUMPS,
            settings=settings(provider),
            ledger=ledger,
        )
    assert result.raise_for_status().output == PUMPS
    first, second = (seen.body for seen in provider.requests)
    assert [tool["function"]["name"] for tool in second["tools"]] == ["look_up"]
    asked, reply = second["messages"][-2:]
    assert asked["tool_calls"][0]["function"]["name"] == "look_up"
    assert reply["role"] == "tool"
    assert reply["content"].startswith("All about Heat pumps")
    assert reply["tool_call_id"] == asked["tool_calls"][0]["id"]
    assert first["messages"] == second["messages"][:-2]
    calls = ledger.calls(result.run_id)
    assert [(call.node_path, call.role, call.attempt) for call in calls] == [
        ("executor", "executor", 1)
    ] * 2
    assert [call.finish_reason for call in calls] == ["tool_calls", "stop"]
    billed = provider.bill.total
    assert sum(call.input_tokens for call in calls) == billed.input_tokens
    assert sum(call.output_tokens for call in calls) == billed.output_tokens


@CLIENTS
async def test_a_streamed_run_calls_its_tools_as_a_plain_one_does(model, settings, ledger):
    with SimulatedProvider() as provider:
        context = Context(models=Models(settings(provider)), stream=True)
        graph = sequential(executor(tools=[look_up], model=model, output=Sum))
        values = await graph.ainvoke({"task": PUMPS}, context=context)
    assert [bool(seen.body.get("stream")) for seen in provider.requests] == [True] * 3
    assert provider.requests[1].body["messages"][-1]["content"].startswith("All about Heat pumps")
    assert isinstance(values["results"]["executor"].data, Sum)


async def test_a_call_that_the_token_limit_broke_off_is_answered_with_an_error(settings, ledger):
    def answer(request):
        if len(request.body["messages"]) > 2:
            return "I could not look it up."
        return Answer(tool="look_up", arguments='{"topic": "Heat pu', finish_reason="length")

    with SimulatedProvider(answer=answer) as provider:
        node = executor(tools=[look_up], model="openai:m")
        result = await arun(node, PUMPS, settings=settings(provider), ledger=ledger)
    assert result.raise_for_status().output == "I could not look it up."
    asked, reply = provider.requests[1].body["messages"][-2:]
    assert json.loads(asked["tool_calls"][0]["function"]["arguments"]) == {}
    assert "no JSON object" in reply["content"]


async def test_each_round_begins_with_the_primary_again(settings, ledger):
    faults = {"big": [Fault(413), None]}
    with SimulatedProvider(faults=faults) as provider:
        node = executor(tools=[look_up], model=["openai:big", "together:small"])
        result = await arun(node, PUMPS, settings=settings(provider), ledger=ledger)
    assert result.raise_for_status().output == PUMPS
    calls = [(call.candidate, call.attempt, call.status) for call in ledger.calls(result.run_id)]
    assert calls == [(0, 1, "error"), (1, 1, "ok"), (0, 1, "ok")]


async def test_a_model_call_in_a_tool_is_a_row_of_the_node(settings, ledger):
    with SimulatedProvider() as provider:
        given = settings(provider)

        def translate(text: str) -> str:
            """Translate a text."""
            request = ModelRequest(role="creative", model=("openai:small",))
            small = Models(given).chat(request, Context())
            return small.invoke(text).text

        node = executor("work", tools=[translate], model="openai:big")
        result = await arun(node, PUMPS, settings=given, ledger=ledger)
    assert result.raise_for_status().output == PUMPS
    calls = ledger.calls(result.run_id)
    assert [(call.node_path, call.requested_model) for call in calls] == [
        ("work", "big"),
        ("work", "small"),
        ("work", "big"),
    ]
    assert sum(call.input_tokens for call in calls) == provider.bill.total.input_tokens


async def test_a_graph_in_a_tool_is_counted_below_the_node(settings, ledger):
    inner = sequential(creative("draft", model="openai:m"))

    async def write(topic: str) -> str:
        """Write a text."""
        values = await inner.ainvoke({"task": topic})
        return values["results"]["work/draft"].content

    with SimulatedProvider() as provider:
        node = executor("work", tools=[write], model="openai:m")
        result = await arun(node, PUMPS, settings=settings(provider), ledger=ledger)
    result.raise_for_status()
    paths = [(call.node_path, call.role) for call in ledger.calls(result.run_id)]
    assert paths == [("work", "executor"), ("work/draft", "creative"), ("work", "executor")]


async def test_a_run_out_of_time_in_a_tool_is_stopped_and_its_rows_are_whole(settings, ledger):
    async def wait(topic: str) -> str:
        """Wait for ever."""
        await asyncio.Event().wait()
        return topic

    with SimulatedProvider() as provider:
        node = executor(tools=[wait], model="openai:m")
        given = settings(provider)
        result = await arun(node, PUMPS, settings=given, ledger=ledger, timeout=5)
    assert (result.status, result.stop_reason) == ("stopped", "timeout")
    assert [call.status for call in ledger.calls(result.run_id)] == ["ok"]


async def test_a_rehearsed_run_with_tools_makes_two_calls_and_none_of_the_tools(settings, ledger):
    def fail(topic: str) -> str:
        """Must not be called."""
        raise AssertionError(topic)

    with SimulatedProvider() as provider:
        given = settings(provider)
        node = executor(tools=[fail])
        result = await arun(node, PUMPS, settings=given, ledger=ledger, rehearse=True)
    assert result.raise_for_status().output == PUMPS
    assert [call.rehearsed for call in ledger.calls(result.run_id)] == [True, True]
    assert provider.requests == []
