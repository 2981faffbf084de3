"""The simulated provider speaks OpenAI's protocol to the real clients."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from typing import Any

import httpx
import openai
import pytest
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langchain_together import ChatTogether

from aideon_agents.models.answers import Answer
from aideon_agents.state import Plan, Verdict
from aideon_agents.testing import Fault, Rate, SimulatedProvider, UsageDetails

PUMPS = "Heat pumps move heat from outdoor air into a house. Installers are scarce."
CLIENTS = pytest.mark.parametrize("client", [ChatOpenAI, ChatTogether])


@tool
def weather(city: str) -> str:
    """Tell the weather of a city."""
    return city


def whole(model: Any, prompt: Any = PUMPS) -> Any:
    chunks = list(model.stream(prompt))
    return sum(chunks[1:], start=chunks[0])


def post(provider: SimulatedProvider, body: Any, **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {"authorization": "Bearer key-1234", **headers}
    return httpx.post(f"{provider.base_url}/chat/completions", content=content, headers=sent)


@pytest.fixture(scope="module")
def shared():
    with SimulatedProvider() as provider:
        yield provider


@CLIENTS
def test_a_plain_answer_is_whole_and_its_usage_is_what_is_billed(chat, client):
    with SimulatedProvider() as provider:
        answer = chat(client, provider).invoke(PUMPS)
        call = provider.bill.calls[0]
    assert answer.content == PUMPS
    assert answer.response_metadata["finish_reason"] == "stop"
    assert answer.usage_metadata["input_tokens"] == call.input_tokens == 19
    assert answer.usage_metadata["output_tokens"] == call.output_tokens == 19
    assert call.delivered
    assert call.key_tail == "1234"


@CLIENTS
def test_a_streamed_answer_adds_up_to_the_plain_one(chat, client, shared):
    plain, streamed = chat(client, shared).invoke(PUMPS), whole(chat(client, shared))
    assert streamed.content == plain.content
    assert streamed.usage_metadata["total_tokens"] == plain.usage_metadata["total_tokens"]
    assert streamed.response_metadata["finish_reason"] == "stop"
    assert shared.bill.calls[-1].streamed


def test_a_stream_reports_usage_only_where_it_is_asked_for(shared):
    body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": PUMPS}]}
    silent = post(shared, body)
    telling = post(shared, {**body, "stream_options": {"include_usage": True}})
    assert "prompt_tokens" not in silent.text
    assert telling.text.count("prompt_tokens") == 1
    assert telling.text.endswith("data: [DONE]\n\n")
    assert telling.headers["content-type"] == "text/event-stream"


@CLIENTS
def test_an_offered_tool_is_called_and_its_answer_ends_the_turn(chat, client, shared):
    model = chat(client, shared).bind_tools([weather])
    for answer in (model.invoke(PUMPS), whole(model)):
        call = answer.tool_calls[0]
        assert call["name"] == "weather"
        assert call["args"]["city"] in PUMPS
        assert answer.response_metadata["finish_reason"] == "tool_calls"
        history = [HumanMessage(PUMPS), answer, ToolMessage("cold", tool_call_id=call["id"])]
        assert model.invoke(history).content == PUMPS


@CLIENTS
async def test_a_schema_is_answered_by_a_valid_instance(chat, client, shared):
    model = chat(client, shared)
    plan = await model.with_structured_output(Plan, method="json_schema").ainvoke(PUMPS)
    verdict = await model.with_structured_output(Verdict, method="function_calling").ainvoke(PUMPS)
    assert [step.id for step in plan.steps] == ["s1", "s2", "s3"]
    assert verdict.passed


def test_json_mode_answers_an_object(chat, shared):
    model = chat(ChatOpenAI, shared).bind(response_format={"type": "json_object"})
    assert json.loads(model.invoke(PUMPS).content)["answer"] in PUMPS


@pytest.mark.parametrize("limit", ["max_tokens", "max_completion_tokens"])
def test_both_names_of_the_token_limit_are_honoured(shared, limit):
    body = {"model": "m", limit: 3, "messages": [{"role": "user", "content": PUMPS}]}
    answer = post(shared, body).json()
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 3


def test_an_alias_answers_and_is_billed_in_its_own_name(chat):
    with SimulatedProvider(aliases={"m": "other/m-2"}) as provider:
        answer = chat(ChatOpenAI, provider).invoke(PUMPS)
        assert answer.response_metadata["model_name"] == "other/m-2"
        assert list(provider.bill.by_model) == ["other/m-2"]
        assert provider.requests[0].model == "m"


@pytest.mark.parametrize("header", ["", "Bearer", "Basic abc"])
def test_a_request_without_a_key_is_refused_and_not_billed(header):
    with SimulatedProvider() as provider:
        answer = post(provider, {}, authorization=header)
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "invalid_api_key"
        assert provider.bill.calls == []
        assert provider.requests[0].outcome == "401"


def test_only_the_accepted_keys_are_accepted(chat):
    with SimulatedProvider(keys={"key-9999"}) as provider:
        with pytest.raises(openai.AuthenticationError):
            chat(ChatOpenAI, provider).invoke(PUMPS)
        assert post(provider, {}, authorization="Bearer key-9999").status_code == 400


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        [],
        {},
        {"model": "m"},
        {"model": "m", "messages": []},
        {"model": "m", "messages": ["hi"]},
        {"model": "m", "messages": [{"role": "user", "content": "hi"}], "n": 2},
        {"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": -1},
        {"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_completion_tokens": 0},
        {"model": "m", "messages": [{"role": "user", "content": "hi"}], "tools": 5},
        {"model": "m", "messages": [{"role": "user", "content": "hi"}], "tools": ["weather"]},
        b"[" * 100_000,
    ],
)
def test_a_request_that_is_none_is_refused_in_openais_shape(shared, body):
    answer = post(shared, body)
    assert answer.status_code == 400
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_the_models_are_listed():
    with SimulatedProvider(models=("a", "b")) as provider:
        key = {"authorization": "Bearer key-1234"}
        listed = httpx.get(f"{provider.base_url}/models", headers=key).json()["data"]
    assert [model["id"] for model in listed] == ["a", "b"]


def test_an_unknown_path_is_not_found(shared):
    answer = httpx.get(f"{shared.base_url}/nothing", headers={"authorization": "Bearer k"})
    assert answer.status_code == 404


def test_what_is_not_http_is_refused(shared):
    with socket.create_connection(("127.0.0.1", shared.port)) as connection:
        connection.sendall(b"hello\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 400")


def test_a_caller_may_wait_for_the_server_to_ask_for_the_body(shared):
    with socket.create_connection(("127.0.0.1", shared.port)) as connection:
        connection.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer k\r\n"
            b"expect: 100-continue\r\ncontent-length: 2\r\n\r\n"
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 100")
        connection.sendall(b"{}")
        assert connection.recv(100).startswith(b"HTTP/1.1 400")


def test_requests_are_recorded_without_the_key():
    with SimulatedProvider() as provider:
        answer = post(provider, {"model": "m", "messages": [{"role": "user", "content": "hi"}]})
        seen = provider.requests[0]
    assert seen.request_id == answer.headers["x-request-id"]
    assert (seen.method, seen.path, seen.model, seen.outcome) == (
        "POST",
        "/v1/chat/completions",
        "m",
        "ok",
    )
    assert seen.body["messages"][0]["content"] == "hi"
    assert "key-1234" not in repr(seen)


def test_cached_and_reasoning_tokens_are_reported_where_openai_puts_them(chat):
    details = UsageDetails(cache_read_tokens=5, reasoning_tokens=7)
    with SimulatedProvider(details=details) as provider:
        usage = chat(ChatOpenAI, provider).invoke(PUMPS).usage_metadata
        call = provider.bill.calls[0]
    assert usage["input_token_details"]["cache_read"] == call.cache_read_tokens == 5
    assert usage["output_token_details"]["reasoning"] == call.reasoning_tokens == 7
    assert usage["output_tokens"] == call.output_tokens == 19 + 7


def test_cached_tokens_are_reported_beside_the_counts_as_together_does():
    details = UsageDetails(cache_read_tokens=500, top_level=True)
    with SimulatedProvider(details=details) as provider:
        body = {"model": "m", "messages": [{"role": "user", "content": PUMPS}]}
        usage = post(provider, body).json()["usage"]
    assert usage["cached_tokens"] == usage["prompt_tokens"] == 19


def test_thoughts_count_against_the_limit_and_may_leave_nothing_to_say(chat):
    with SimulatedProvider(details=UsageDetails(reasoning_tokens=50)) as provider:
        answer = chat(ChatOpenAI, provider, max_tokens=10).invoke(PUMPS)
    assert answer.content == ""
    assert answer.usage_metadata["output_tokens"] == 10
    assert answer.response_metadata["finish_reason"] == "length"


def test_a_function_can_answer_instead_of_the_rules(chat):
    answers = iter(
        [
            "text",
            {"a": 1},
            Verdict(passed=True, score=1, feedback=""),
            Answer(text="cut", finish_reason="length"),
        ]
    )
    with SimulatedProvider(answer=lambda _request: next(answers)) as provider:
        said = [chat(ChatOpenAI, provider).invoke(PUMPS) for _ in range(4)]
    assert [answer.content for answer in said[:2]] == ["text", '{"a": 1}']
    assert json.loads(said[2].content)["passed"]
    assert said[3].response_metadata["finish_reason"] == "length"


def test_an_answering_function_that_fails_is_a_server_error(chat):
    with SimulatedProvider(answer=lambda _request: {}["missing"]) as provider:
        with pytest.raises(openai.InternalServerError, match="missing"):
            chat(ChatOpenAI, provider).invoke(PUMPS)
        assert provider.requests[0].outcome == "500"


def test_a_plan_that_fails_is_a_server_error():
    with SimulatedProvider(faults=lambda request: request.missing) as provider:
        body = {"model": "m", "messages": [{"role": "user", "content": PUMPS}]}
        answer = post(provider, body)
    assert answer.status_code == 500
    assert "missing" in answer.json()["error"]["message"]


def test_a_schema_that_no_rule_can_meet_is_a_server_error(shared):
    schema = {"name": "odd", "schema": {"type": "string", "pattern": "["}}
    body = {
        "model": "m",
        "messages": [{"role": "user", "content": PUMPS}],
        "response_format": {"type": "json_schema", "json_schema": schema},
    }
    assert post(shared, body).status_code == 500


def test_half_a_character_in_the_prompt_does_no_harm(shared):
    content = b'{"model": "m", "messages": [{"role": "user", "content": "Pumps \\ud83d move."}]}'
    answer = post(shared, content)
    assert answer.json()["choices"][0]["message"]["content"] == "Pumps move."


async def test_fifty_at_once_are_answered_each_with_its_own_and_counted(chat):
    everybody = asyncio.Barrier(50)

    async def together(request: Any) -> str:
        await everybody.wait()
        return request.ask.turns[-1].text

    async with SimulatedProvider(answer=together) as provider:
        model = chat(ChatOpenAI, provider)
        said = await asyncio.gather(*(model.ainvoke(f"Pump {nth}.") for nth in range(50)))
        assert [answer.content for answer in said] == [f"Pump {nth}." for nth in range(50)]
        assert provider.max_in_flight == 50
        assert provider.bill.requests == 50
        assert provider.bill.input_tokens == sum(
            answer.usage_metadata["input_tokens"] for answer in said
        )
        assert provider.bill.output_tokens == sum(
            answer.usage_metadata["output_tokens"] for answer in said
        )
    assert provider.in_flight == 0


def test_connections_are_kept_for_the_next_request(shared):
    with httpx.Client(headers={"authorization": "Bearer k"}) as client:
        for _ in range(3):
            assert client.get(f"{shared.base_url}/models").status_code == 200
        connections = client._transport._pool.connections
        assert len(connections) == 1


def test_closing_does_not_wait_for_requests_that_hang(chat):
    provider = SimulatedProvider(faults=Fault("hang")).start()
    failed: list[Exception] = []

    def ask() -> None:
        try:
            chat(ChatOpenAI, provider).invoke(PUMPS)
        except openai.APIConnectionError as error:
            failed.append(error)

    callers = [threading.Thread(target=ask) for _ in range(5)]
    for caller in callers:
        caller.start()
    deadline = time.monotonic() + 60
    while provider.in_flight < 5 and time.monotonic() < deadline:
        time.sleep(0.005)
    provider.close()
    for caller in callers:
        caller.join()
    assert len(failed) == 5
    assert provider.bill.requests == 5


def test_closing_twice_or_before_the_start_is_harmless():
    SimulatedProvider().close()
    with SimulatedProvider() as provider:
        provider.close()


def test_a_provider_serves_once():
    with SimulatedProvider() as provider, pytest.raises(RuntimeError, match="started before"):
        provider.start()


def test_a_port_that_is_taken_is_an_error(shared):
    with pytest.raises(OSError, match="address"):
        SimulatedProvider(port=shared.port).start()


def test_a_bill_in_money_is_exact(chat):
    rates = {"m": Rate(input=150, output=600, cache_read=37)}
    with SimulatedProvider(rates=rates, details=UsageDetails(cache_read_tokens=4)) as provider:
        chat(ChatOpenAI, provider).invoke(PUMPS)
        assert provider.bill.nanousd == 15 * 150 + 4 * 37 + 19 * 600
        chat(ChatOpenAI, provider).bind(model="unpriced").invoke(PUMPS)
        assert provider.bill.nanousd is None
        assert provider.bill.by_model["m"].nanousd == 15 * 150 + 4 * 37 + 19 * 600
