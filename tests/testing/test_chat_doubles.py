"""The scripted and the schema chat model behave like chat models."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool

import aideon_agents.testing as doubles
from aideon_agents.errors import NoModel
from aideon_agents.state import Context, ModelRequest, Plan, Verdict
from aideon_agents.testing import GivenModels, OutOfAnswers, SchemaChatModel, ScriptedChatModel

GOOD = Verdict(passed=True, score=1, feedback="")


@tool
def weather(city: str) -> str:
    """Tell the weather of a city."""
    return city


def test_the_public_names_are_sorted_and_all_there():
    assert doubles.__all__ == sorted(doubles.__all__)
    assert all(getattr(doubles, name).__name__ == name for name in doubles.__all__)
    with pytest.raises(AttributeError, match="MockProvider"):
        doubles.MockProvider  # noqa: B018 - the look-up is the test


def test_importing_the_room_loads_no_server_and_no_langchain():
    code = (
        "import sys, aideon_agents.testing;"
        "print([name for name in ('h11', 'langchain_core', 'langchain_openai') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_answers_come_in_the_order_of_the_script():
    model = ScriptedChatModel(answers=["one", GOOD, {"a": 1}, AIMessage("four")])
    said = [model.invoke("?").content for _ in range(4)]
    assert said == ["one", GOOD.model_dump_json(), '{"a": 1}', "four"]


def test_a_scripted_function_sees_the_messages():
    model = ScriptedChatModel(answers=[lambda messages: messages[-1].content.upper()])
    assert model.invoke("hello").content == "HELLO"


def test_a_scripted_exception_is_raised_also_from_a_function():
    model = ScriptedChatModel(answers=[TimeoutError("slow"), lambda _messages: OSError("gone")])
    with pytest.raises(TimeoutError, match="slow"):
        model.invoke("?")
    with pytest.raises(OSError, match="gone"):
        model.invoke("?")


def test_running_out_names_how_many_answers_there_were():
    model = ScriptedChatModel(answers=["one"])
    model.invoke("?")
    with pytest.raises(OutOfAnswers, match="1 answers were scripted and this is request 2"):
        model.invoke("?")
    assert issubclass(OutOfAnswers, AssertionError)


def test_requests_keep_the_messages_and_the_options():
    model = ScriptedChatModel(answers=["one"])
    model.bind_tools([weather], tool_choice="weather").invoke([HumanMessage("How cold?")])
    asked = model.requests[0]
    assert [message.content for message in asked.messages] == ["How cold?"]
    assert asked.options["tools"][0]["function"]["name"] == "weather"
    assert asked.options["tool_choice"] == "weather"


def test_usage_is_estimated_unless_the_message_brings_its_own():
    own = {"input_tokens": 70, "output_tokens": 30, "total_tokens": 100}
    model = ScriptedChatModel(answers=["12345678", AIMessage("x", usage_metadata=own)])
    assert model.invoke("1234").usage_metadata == {
        "input_tokens": 1,
        "output_tokens": 2,
        "total_tokens": 3,
    }
    assert model.invoke("1234").usage_metadata == own


async def test_scripted_answers_stream_in_words():
    model = ScriptedChatModel(answers=["heat pumps move heat"] * 2)
    assert len([chunk for chunk in model.stream("?") if chunk.content]) == 4
    chunks = [chunk async for chunk in model.astream("?")]
    assert "".join(chunk.content for chunk in chunks) == "heat pumps move heat"


def test_a_scripted_message_of_blocks_is_streamed_as_it_is():
    blocks = [{"type": "text", "text": "heat pumps"}]
    model = ScriptedChatModel(answers=[AIMessage(blocks)])
    chunks = list(model.stream("?"))
    assert chunks[0].content == blocks
    assert chunks[-1].usage_metadata["output_tokens"] == 3


def test_a_scripted_tool_call_survives_streaming():
    call = {"name": "weather", "args": {"city": "Oslo"}, "id": "call_1"}
    model = ScriptedChatModel(answers=[AIMessage("", tool_calls=[call])])
    chunks = list(model.stream("?"))
    total = sum(chunks[1:], start=chunks[0])
    assert [(made["name"], made["args"]) for made in total.tool_calls] == [
        ("weather", call["args"])
    ]
    assert total.response_metadata["finish_reason"] == "tool_calls"


def test_a_dict_is_read_as_structured_output():
    model = ScriptedChatModel(answers=[GOOD, GOOD])
    assert model.with_structured_output(Verdict).invoke("?") == GOOD
    schema = Verdict.model_json_schema()
    assert model.with_structured_output(schema).invoke("?") == GOOD.model_dump()


def test_threads_share_a_script_without_losing_or_doubling_an_answer():
    model = ScriptedChatModel(answers=[str(nth) for nth in range(200)])
    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(lambda _: model.invoke("?").content, range(200)))
    assert sorted(said, key=int) == [str(nth) for nth in range(200)]


async def test_the_schema_model_answers_text_schemas_and_tools():
    model = SchemaChatModel()
    assert (await model.ainvoke("Pumps move heat.")).content == "Pumps move heat."
    assert (
        len((await model.with_structured_output(Plan).ainvoke("Pumps move heat.")).steps) == 2 + 1
    )
    assert (await model.bind_tools([weather]).ainvoke("Oslo")).tool_calls[0]["args"][
        "city"
    ] == "Oslo."
    assert len(model.requests) == 3


async def test_the_schema_model_serves_many_at_once():
    model = SchemaChatModel()
    made = await asyncio.gather(*(model.ainvoke(f"Pump {nth}.") for nth in range(50)))
    assert [answer.content for answer in made] == [f"Pump {nth}." for nth in range(50)]


def test_given_models_hand_out_by_role_and_remember_who_asked():
    planner, other = SchemaChatModel(), SchemaChatModel()
    models = GivenModels(other, roles={"planner": planner})
    assert models.chat(ModelRequest(role="planner"), Context()) is planner
    assert models.chat(ModelRequest(role="creative"), Context()) is other
    assert [request.role for request in models.requests] == ["planner", "creative"]
    with pytest.raises(NoModel, match="executor"):
        GivenModels().chat(ModelRequest(role="executor"), Context())
