"""Each dialect of a real server: what it refuses, and what it sends."""

from __future__ import annotations

import asyncio
import json
from typing import get_args

import httpx
import pytest

from aideon_agents.errors import UserError
from aideon_agents.testing import Dialect, Fault, SimulatedProvider, UsageDetails
from aideon_agents.testing.simulated.dialects import DialectName

HELLO = {"model": "m", "messages": [{"role": "user", "content": "Heat pumps move heat."}]}
SCHEMA = {
    "type": "object",
    "properties": {"facts": {"type": "array", "items": {"type": "string"}}},
    "required": ["facts"],
}
TOOL = {"type": "function", "function": {"name": "look_up", "parameters": SCHEMA}}
NAMED = {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "look_up"}}}
OF_SCHEMA = {"type": "json_schema", "json_schema": {"name": "Facts", "schema": SCHEMA}}
BESIDE = {"type": "json_object", "schema": SCHEMA}
NAMES = get_args(DialectName)


def post(dialect, *, key="key", provider=None, **fields):
    with SimulatedProvider(dialect=dialect, **(provider or {})) as server:
        return httpx.post(
            f"{server.base_url}/chat/completions",
            json={**HELLO, **fields},
            headers={"authorization": f"Bearer {key}"} if key else {},
        )


def refusal(dialect, **fields):
    """Status and body of a request that is refused."""
    answer = post(dialect, **fields)
    return answer.status_code, answer.json()


def deltas(answer):
    """The deltas of a stream."""
    events = [line.removeprefix("data: ") for line in answer.text.splitlines() if line]
    bodies = [json.loads(event) for event in events if event.startswith("{")]
    return [choice["delta"] for body in bodies for choice in body["choices"]]


def test_a_dialect_has_the_name_of_a_server():
    with pytest.raises(UserError, match=r"there is no dialect 'olama'; it is one of together, "):
        SimulatedProvider(dialect="olama")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_every_server_answers_a_plain_question(name, stream):
    answer = post(name, stream=stream, max_tokens=100)
    assert answer.status_code == 200
    text = answer.text if stream else answer.json()["choices"][0]["message"]["content"]
    assert all(word in text for word in ("Heat", "pumps", "heat."))


ASKED = [
    ("together", "json_schema", "json_object", "tool"),
    ("openai", "json_schema", "tool"),
    ("huggingface", "json_schema", "tool"),
    ("llama-cpp-python", "json_object", "tool"),
    ("llama-server", "json_schema", "json_object", "tool"),
    ("ollama", "json_schema", "tool"),
    ("vllm", "json_schema", "tool"),
    ("lmstudio", "json_schema", "tool"),
    ("tgi", "tool"),
]
"""The ways of asking for an answer of a shape that give one, on each server."""


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("name", "ways"), [(name, ways) for name, *ways in ASKED])
def test_a_shape_is_given_where_the_server_takes_the_way_of_asking(name, ways, stream):
    asked = {
        "json_schema": {"response_format": OF_SCHEMA},
        "json_object": {"response_format": BESIDE},
        "tool": NAMED,
    }
    for way, fields in asked.items():
        answer = post(name, stream=stream, **fields)
        has_it = answer.status_code == 200 and "facts" in answer.text
        assert has_it == (way in ways), (way, answer.text)


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_in_the_words_of_the_prompt_is_obeyed_everywhere(name):
    words = f"Heat pumps move heat.\n\nAnswer with JSON that fits: {json.dumps(SCHEMA)}"
    answer = post(name, messages=[{"role": "user", "content": words}])
    assert json.loads(answer.json()["choices"][0]["message"]["content"]).keys() == {"facts"}


@pytest.mark.parametrize(
    ("name", "status", "words"),
    [
        ("llama-cpp-python", 500, "Input should be 'text' or 'json_object'"),
        ("lmstudio", 200, None),
        ("tgi", 422, "response_format: missing field `value`"),
    ],
)
def test_a_json_schema_is_refused_in_the_words_of_the_server(name, status, words):
    answer = post(name, response_format=OF_SCHEMA)
    assert answer.status_code == status
    assert words is None or words in answer.text


def test_lm_studio_refuses_a_json_object():
    assert refusal("lmstudio", response_format=BESIDE) == (
        400,
        {"error": "'response_format.type' must be 'json_schema' or 'text'"},
    )


def test_tgi_sends_text_for_what_it_cannot_read_and_takes_its_own_form():
    answer = post("tgi", response_format=OF_SCHEMA)
    assert answer.headers["content-type"].startswith("text/plain")
    taken = post("tgi", response_format={"type": "json", "value": SCHEMA})
    assert "facts" in taken.json()["choices"][0]["message"]["content"]
    assert "unknown variant `text`" in post("tgi", response_format={"type": "text"}).text


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"response_format": BESIDE}, "Unknown parameter: 'response_format.schema'."),
        ({"response_format": {"type": "json_object"}}, "must contain the word 'json'"),
        ({"top_k": 3}, "Unrecognized request argument supplied: top_k"),
        ({"model": "gpt-5-mini", "max_tokens": 9}, "Use 'max_completion_tokens' instead."),
        ({"model": "o3", "temperature": 0.5}, "Only the default (1) value is supported."),
        ({"response_format": {"type": "yaml"}}, "Invalid value: 'yaml'."),
    ],
)
def test_openai_refuses_what_it_does_not_take(fields, words):
    status, body = refusal("openai", **fields)
    assert (status, body["error"]["type"]) == (400, "invalid_request_error")
    assert words in body["error"]["message"]


def test_openai_names_the_parameter_that_it_refuses():
    _, body = refusal("openai", model="gpt-5", max_tokens=9)
    assert (body["error"]["code"], body["error"]["param"]) == (
        "unsupported_parameter",
        "max_tokens",
    )
    assert post("openai", model="gpt-4o-mini", max_tokens=9, temperature=0.5).status_code == 200


def test_ollama_refuses_tools_for_models_without_them():
    status, body = refusal("ollama", model="llama3:8b", tools=[TOOL])
    assert (status, body["error"]["type"]) == (400, "invalid_request_error")
    assert body["error"]["message"] == "registry.ollama.ai/library/llama3:8b does not support tools"
    assert post("ollama", model="llama3.1", tools=[TOOL]).status_code == 200


@pytest.mark.parametrize("arguments", ["", "[1]", '{"a": ', {"a": 1}])
def test_ollama_refuses_an_earlier_tool_call_that_is_no_object(arguments):
    function = {"name": "look_up", "arguments": arguments}
    call = {"id": "call_1", "type": "function", "function": function}
    asked = [*HELLO["messages"], {"role": "assistant", "content": "", "tool_calls": [call]}]
    assert refusal("ollama", messages=asked)[1]["error"]["message"] == "invalid tool call arguments"


def test_vllm_refuses_the_system_role_for_models_without_it():
    asked = [{"role": "system", "content": "Be brief."}, *HELLO["messages"]]
    assert refusal("vllm", model="google/gemma-2-9b-it", messages=asked) == (
        400,
        {
            "object": "error",
            "message": "System role not supported",
            "type": "BadRequestError",
            "param": None,
            "code": 400,
        },
    )
    assert post("vllm", messages=asked).status_code == 200


def test_vllm_refuses_a_free_choice_of_tools():
    _, body = refusal("vllm", tools=[TOOL])
    assert "--enable-auto-tool-choice" in body["message"]


def test_llama_cpp_python_reads_tools_only_if_one_is_named():
    message = post("llama-cpp-python", tools=[TOOL]).json()["choices"][0]["message"]
    assert "tool_calls" not in message


@pytest.mark.parametrize("name", ["llama-cpp-python", "ollama", "tgi", "together"])
def test_a_parameter_that_is_not_known_is_not_read(name):
    answer = post(name, max_completion_tokens=1)
    assert answer.json()["choices"][0]["finish_reason"] in {"stop", "eos"}


def test_a_role_that_llama_cpp_python_does_not_know_is_an_error_of_the_server():
    status, body = refusal(
        "llama-cpp-python", messages=[{"role": "developer", "content": "Be brief."}]
    )
    assert (status, body["error"]["type"]) == (500, "internal_server_error")
    assert "'input': 'developer'" in body["error"]["message"]


ERRORS = [
    ("together", {"id", "error"}),
    ("openai", {"error"}),
    ("huggingface", {"error"}),
    ("llama-cpp-python", {"error"}),
    ("llama-server", {"error"}),
    ("ollama", {"error"}),
    ("vllm", {"object", "message", "type", "param", "code"}),
    ("lmstudio", {"error"}),
    ("tgi", {"error", "error_type"}),
]


@pytest.mark.parametrize(("name", "keys"), ERRORS)
def test_an_error_has_the_form_of_the_server(name, keys):
    status, body = refusal(name, provider={"faults": Fault("context_length_exceeded")})
    assert (400 <= status < 500, body.keys()) == (True, keys)


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("together", 404, "Unable to access non-serverless model m."),
        ("together", 429, "Your rate limits are 600 RPM (10 QPS)"),
        ("openai", 404, "The model `m` does not exist"),
        ("huggingface", 404, "'m' is not supported by any provider you have enabled."),
        ("huggingface", 402, "monthly included credits"),
        ("llama-server", 503, "Loading model"),
        ("llama-server", "context_length_exceeded", "exceed_context_size_error"),
        ("ollama", 404, "model 'm' not found"),
        ("vllm", 404, "The model `m` does not exist."),
        ("lmstudio", "context_length_exceeded", "loaded with context length of only 2048"),
        ("tgi", 429, '"error_type": "overloaded"'),
    ],
)
def test_a_fault_is_worded_as_the_server_does(name, kind, words):
    assert words in post(name, provider={"faults": Fault(kind)}).text


def test_a_fault_keeps_the_message_and_the_pause_that_it_is_given():
    fault = Fault(429, message="Slow down.", retry_after=3)
    answer = post("together", provider={"faults": fault})
    assert answer.headers["retry-after"] == "3"
    error = answer.json()["error"]
    assert (error["message"], error["type"]) == ("Slow down.", "credit_limit")


@pytest.mark.parametrize("name", ["lmstudio", "tgi"])
def test_a_stream_may_hold_its_error_with_status_200(name):
    fault = {"faults": Fault("context_length_exceeded")}
    answer = post(name, stream=True, provider=fault)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/event-stream"
    assert "error" in json.loads(answer.text.removeprefix("data: "))
    assert post(name, stream=True, provider={"faults": Fault(429)}).status_code == 429


@pytest.mark.parametrize("name", NAMES)
def test_only_services_need_a_key(name):
    status = post(name, key=None).status_code
    assert status == (401 if name in {"together", "openai", "huggingface"} else 200)


def test_a_wrong_key_is_refused_as_the_server_does():
    keys = {"keys": {"right"}}
    assert refusal("llama-cpp-python", provider=keys) == (401, {"detail": "Invalid API key"})
    assert refusal("huggingface", provider=keys)[1] == {"error": "Invalid username or password."}


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("together", "reasoning"),
        ("ollama", "reasoning"),
        ("vllm", "reasoning_content"),
        ("llama-server", "reasoning_content"),
        ("lmstudio", "reasoning_content"),
        ("openai", None),
    ],
)
def test_thoughts_are_sent_in_the_field_of_the_server(name, field):
    provider = {"details": UsageDetails(reasoning_tokens=8)}
    message = post(name, provider=provider).json()["choices"][0]["message"]
    assert message.keys() - {"role", "content"} == ({field} if field else set())
    streamed = post(name, stream=True, provider=provider)
    assert [delta[field] for delta in deltas(streamed) if field in delta] == (
        [message[field]] if field else []
    )


def test_together_reports_cached_tokens_beside_the_other_counts():
    provider = {"details": UsageDetails(cache_read_tokens=2)}
    usage = post("together", provider=provider).json()["usage"]
    assert (usage["cached_tokens"], "prompt_tokens_details" in usage) == (2, False)


def calls_in(answer):
    """The parts of tool calls in a stream."""
    return [call for delta in deltas(answer) for call in delta.get("tool_calls") or ()]


def test_a_streamed_tool_call_has_the_form_of_the_server():
    whole = calls_in(post("ollama", stream=True, **NAMED))
    assert len(whole) == 1
    assert json.loads(whole[0]["function"]["arguments"]).keys() == {"facts"}
    repeated = calls_in(post("llama-cpp-python", stream=True, **NAMED))
    assert {call["function"]["name"] for call in repeated} == {"look_up"}
    assert len({call["id"] for call in repeated}) == 1
    assert repeated[0]["id"] == "call__0_look_up_cmpl-req-000001"
    first, *rest = calls_in(post("vllm", stream=True, **NAMED))
    assert first["id"] == "chatcmpl-tool-req-000001"
    assert all(call.keys() == {"index", "function"} for call in rest)


def test_arguments_may_be_an_object_and_a_chunk_may_hold_a_call_without_its_list():
    """As TGI sent them up to version 3.0, and some builds of llama-server.

    https://github.com/huggingface/text-generation-inference/issues/2461 and /2794,
    https://github.com/ggml-org/llama.cpp/issues/20198
    """
    dialect = Dialect(calls_as_objects=True)
    message = post(dialect, **NAMED).json()["choices"][0]["message"]
    assert message["tool_calls"][0]["function"]["arguments"].keys() == {"facts"}
    parts = [
        one["tool_calls"]
        for one in deltas(post(dialect, stream=True, **NAMED))
        if one.get("tool_calls")
    ]
    assert parts[0]["function"]["name"] == "look_up"


def test_llama_cpp_python_has_no_usage_in_a_stream_and_pings():
    answer = post("llama-cpp-python", stream=True, stream_options={"include_usage": True})
    assert '"usage"' not in answer.text
    assert ": ping" in answer.text
    assert "usage" in post("llama-cpp-python").json()


async def test_llama_cpp_python_answers_one_request_at_once_and_cuts_a_stream_off():
    slow = Fault("slow", seconds=0.02)
    with SimulatedProvider(dialect="llama-cpp-python", faults=[slow]) as server:
        async with httpx.AsyncClient() as client:
            url = f"{server.base_url}/chat/completions"
            many = [{"role": "user", "content": "Heat pumps move heat into a house. " * 20}]
            first = asyncio.create_task(
                client.post(url, json={**HELLO, "messages": many, "stream": True})
            )
            while not server.in_flight:
                await asyncio.sleep(0.005)
            second = await client.post(url, json=HELLO)
            cut = await first
    assert second.json()["choices"][0]["finish_reason"] == "stop"
    assert cut.text.endswith("data: [DONE]\n\n")
    assert '"finish_reason": "stop"' not in cut.text
    assert server.max_in_flight == 1
