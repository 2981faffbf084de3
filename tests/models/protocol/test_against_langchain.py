"""The same requests and answers through ChatOpenAI with the openai package, and through our wire.

The wire uses two private methods of langchain-openai. An upgrade that changes them fails here. What
differs on purpose is in `intended`.
"""

from __future__ import annotations

import pytest
from bodies import USAGE, chunk, events, whole
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.messages.tool import tool_call
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

from aideon_agents import Context
from aideon_agents.models import Models
from aideon_agents.state import ModelRequest

LOOK = {
    "type": "function",
    "function": {
        "name": "look",
        "description": "Look a topic up.",
        "parameters": {"type": "object", "properties": {"topic": {"type": "string"}}},
    },
}
DETAILED = {
    **USAGE,
    "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 3},
}
CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"topic": "x"}'}}
BROKEN = {"id": "c2", "type": "function", "function": {"name": "look", "arguments": '{"topic": '}}


def pieces(call):
    name, arguments = call["function"]["name"], call["function"]["arguments"]
    first = {**call, "function": {"name": name, "arguments": arguments[:5]}}
    return [
        chunk({"role": "assistant", "content": None, "tool_calls": [{"index": 0, **first}]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": arguments[5:]}}]}),
        chunk({}, "tool_calls"),
        {"choices": [], "usage": DETAILED},
    ]


LOGPROBS = {
    "content": [{"token": "Warm.", "logprob": -0.5, "bytes": [87], "top_logprobs": []}],
    "refusal": None,
}
ANSWERS = {
    "text": whole({"content": "Grüße 😀"}, usage=DETAILED),
    "no usage": whole({"content": "Warm."}, usage=None),
    "cut off": whole({"content": "Warm"}, "length"),
    "tool": whole({"content": None, "tool_calls": [CALL]}, "tool_calls"),
    "tools": whole(
        {"content": "I look.", "tool_calls": [CALL, {**CALL, "id": "c3"}]}, "tool_calls"
    ),
    "broken tool": whole({"content": None, "tool_calls": [CALL, BROKEN]}, "tool_calls"),
    "reasoning": whole({"content": "Warm.", "reasoning_content": "I think."}),
    "fingerprint": whole({"content": "Warm."}, system_fingerprint="fp", service_tier="default"),
    "log": {
        **whole({"content": "Warm."}),
        "choices": [{**whole({"content": "Warm."})["choices"][0], "logprobs": LOGPROBS}],
    },
    "stream": events(
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": "Grüße "}),
        chunk({"content": "😀"}),
        chunk({}, "stop", system_fingerprint="fp"),
        {"choices": [], "usage": DETAILED},
    ),
    "stream without usage": events(chunk({"content": "Warm."}), chunk({}, "length")),
    "stream of a tool": events(*pieces(CALL)),
}
QUESTIONS = {
    "text": "Heat pumps.",
    "several": [SystemMessage("Be brief."), HumanMessage("Heat pumps."), AIMessage("Warm."), HumanMessage("More.")],
    "picture": [HumanMessage([{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}])],
    "tools": [
        HumanMessage("Look."),
        AIMessage("", tool_calls=[tool_call(name="look", args={"topic": "ä"}, id="c1")]),
        ToolMessage("found", tool_call_id="c1"),
    ],
}  # fmt: skip


class Facts(BaseModel):
    """Facts."""

    facts: list[str]


def ours(settings, *, stream=False):
    request = ModelRequest(role="executor", model=("openai:m",), max_tokens=64, temperature=0.5)
    chain = Models(settings).chat(request, Context(stream=stream))
    return chain.runnable


def theirs(server, *, stream=False):
    return ChatOpenAI(
        model="m",
        api_key="key",
        base_url=server.url,
        max_tokens=64,
        temperature=0.5,
        streaming=stream,
        stream_usage=True,
        max_retries=0,
        use_responses_api=False,
    )


def intended(message):
    """A message without what differs on purpose."""
    known = message.model_dump(exclude={"id", "type"})
    kept = known["additional_kwargs"]
    # LangChain drops thoughts, and notes that there is no refusal.
    for name in ("refusal", "reasoning_content", "aideon_thoughts_from"):
        kept.pop(name, None)
    for call in known["invalid_tool_calls"]:
        call.pop("error")  # LangChain's words
    usage = known["response_metadata"].pop("token_usage", None) or {}
    # LangChain gives the SDK's fields, also those without a value.
    named = ("prompt_tokens", "completion_tokens", "total_tokens")
    known["counts"] = {name: usage.get(name) for name in named}
    metadata = {k: v for k, v in known["response_metadata"].items() if v not in (None, "")}
    known["response_metadata"] = metadata
    return known


@pytest.fixture
def both(server, settings, monkeypatch):
    """Ask through both; what was sent, and what was answered."""
    monkeypatch.setenv("OPENAI_API_KEY", "key")

    async def asked(answer, question="Heat pumps.", *, stream=False, prepare=lambda model: model):
        server.answers, found = [answer], []
        for model in (theirs(server, stream=stream), ours(settings, stream=stream)):
            del server.asked[:]
            message = await prepare(model).ainvoke(question)
            found.append((server.asked[0], message))
        return found

    return asked


@pytest.mark.parametrize("name", ANSWERS)
async def test_an_answer_becomes_the_same_message(both, name):
    sent = ANSWERS[name]
    (_, one), (_, other) = await both(sent, stream=isinstance(sent, bytes))
    assert intended(other) == intended(one)


async def test_a_call_that_broke_off_in_a_stream_is_no_call_for_us_alone(both):
    (_, one), (_, other) = await both(events(*pieces(BROKEN)), stream=True)
    assert (one.tool_calls[0]["args"], one.invalid_tool_calls) == ({}, [])
    assert (other.tool_calls, len(other.invalid_tool_calls)) == ([], 1)


@pytest.mark.parametrize("name", QUESTIONS)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_question_becomes_the_same_request(both, name, stream):
    sent = ANSWERS["stream" if stream else "text"]
    (one, _), (other, _) = await both(
        sent, QUESTIONS[name], stream=stream, prepare=lambda model: model.bind_tools([LOOK])
    )
    # The openai package leaves out that an answer is not to be streamed.
    assert {"stream": False, **other} == {"stream": False, **one}


async def test_chunks_of_a_stream_say_the_same(server, settings):
    server.answers = [ANSWERS["stream"]]
    texts, totals = [], []
    for model in (theirs(server, stream=True), ours(settings, stream=True)):
        chunks = [part async for part in model.astream("Heat pumps.")]
        texts.append([part.text for part in chunks if part.text])
        usage = [part.usage_metadata for part in chunks if part.usage_metadata]
        totals.append(usage)
    assert texts[0] == texts[1]
    assert totals[0] == totals[1] != []


async def test_langchains_own_structured_output_works_on_the_wire(server, settings):
    server.answers = [whole({"content": '{"facts": ["a"]}'})]
    results, requests = [], []
    model = ours(settings)
    bound = ChatOpenAI.with_structured_output(model, Facts, method="json_schema")
    for asking in (theirs(server).with_structured_output(Facts, method="json_schema"), bound):
        del server.asked[:]
        results.append(await asking.ainvoke("Facts."))
        requests.append({"stream": False, **server.asked[0]})
    assert results == [Facts(facts=["a"])] * 2
    assert requests[0] == requests[1]
