"""Streams as real servers send them: whole ones are whole, wherever the network cuts them."""

from __future__ import annotations

import asyncio
import json
import random

import pytest
from bodies import USAGE, chunk, events
from langchain_core.messages import AIMessageChunk

from aideon_agents import Context, Settings, errors
from aideon_agents.models import Models
from aideon_agents.state import ModelRequest

TEXT = "Wärme 😀 moves."
SAYING = [chunk({"role": "assistant", "content": TEXT[:7]}), chunk({"content": TEXT[7:]})]
COUNTS = {"input_tokens": 12, "output_tokens": 5}


def counts(row):
    return {name: getattr(row, name) for name in COUNTS}


@pytest.mark.parametrize(
    "last",
    [
        [chunk({}, "stop", usage=USAGE)],
        [chunk(None, "stop", usage=USAGE)],
        [{"choices": [{"index": 0, "finish_reason": "stop"}], "usage": USAGE}],
        [chunk({}, "stop"), {"choices": [], "usage": USAGE}],
        [{"choices": [], "usage": USAGE}, chunk({}, "stop")],
        [{"choices": None, "usage": USAGE}, chunk(None, "stop")],
        [chunk({}, "stop"), {"usage": USAGE}],
        [chunk({"content": ""}, "stop"), chunk({}, "stop", usage=USAGE)],
        [chunk({}, "eos", usage={"input_tokens": "12", "output_tokens": "5"})],
        [{"choices": [{"delta": {}, "finish_reason": "stop", "usage": USAGE}]}],
        [chunk({}, "stop", usage={**USAGE, "prompt_tokens_details": []})],
        [chunk({}, "stop", usage={**USAGE, "prompt_tokens_details": None, "x": float("nan")})],
        [chunk({}, "stop", usage={**USAGE, "total_tokens": 10**40})],
        [chunk({}, "stop", usage={**USAGE, "prompt_tokens_details": {"cached_tokens": 10**40}})],
    ],
)
async def test_the_end_of_a_stream_is_read_in_every_form(asking, last):
    message = await asking.model(events(*SAYING, *last), stream=True)
    assert message.text == TEXT
    assert [counts(row) for row in asking.rows] == [COUNTS]


@pytest.mark.parametrize("role", ["model", "user", "", None, 7, "tool", "system", ["assistant"]])
@pytest.mark.parametrize("stream", [False, True])
async def test_any_role_is_the_assistants(asking, role, stream):
    sent = [chunk({"role": role, "content": TEXT}), chunk({"role": role}, "stop", usage=USAGE)]
    body = {
        "choices": [{"message": {"role": role, "content": TEXT}, "finish_reason": "stop"}],
        "usage": USAGE,
    }
    message = await asking.model(events(*sent) if stream else body, stream=stream)
    assert (message.type, message.text) == ("ai", TEXT)
    assert [counts(row) for row in asking.rows] == [COUNTS]


@pytest.mark.parametrize(
    "pieces",
    [
        ["Wärme \ud83d", "\ude00 moves."],
        ["Wärme ", "\ud83d", "\ude00", " moves."],
        [[{"type": "text", "text": TEXT[:6]}, "😀"], [{"type": "text", "text": TEXT[7:]}]],
        [{"type": "text", "text": TEXT}, None, 5],
    ],
)
async def test_text_in_parts_and_halves_of_characters_are_joined(asking, pieces):
    sent = [chunk({"content": one}) for one in pieces]
    message = await asking.model(events(*sent, chunk({}, "stop", usage=USAGE)), stream=True)
    assert message.text == TEXT


async def test_half_a_character_at_the_end_becomes_a_replacement_character(asking):
    sent = [chunk({"content": "Warm \ud83d"}), chunk({}, "stop", usage=USAGE)]
    assert (await asking.model(events(*sent), stream=True)).text.startswith("Warm ")


@pytest.mark.parametrize(
    "noise",
    [b"retry: 3000\n\n", b"id: 7\n\n", b": keep-alive\n\n", b"data:\n\n", b"data: \n\n", b"\n\n\n",
     b"event: message\n", b"data\n\n", b"\xef\xbb\xbf", b"unknown: x\n\n"],
)  # fmt: skip
async def test_what_is_no_data_is_passed_over(asking, noise):
    sent = [json.dumps(one).encode() for one in (*SAYING, chunk({}, "stop", usage=USAGE))]
    between = b"" if noise.startswith(b"\xef") else noise
    stream = noise + b"".join(b"data: " + one + b"\n\n" + between for one in sent)
    message = await asking.model(stream + b"data: [DONE]\n\n", stream=True)
    assert (message.text, counts(asking.rows[0])) == (TEXT, COUNTS)


@pytest.mark.parametrize("end", [b"data: [DONE]", b"data:[DONE]\n", b"data: [DONE]\r\n\r\n", b""])
async def test_the_mark_at_the_end_may_be_without_its_empty_line(asking, end):
    stream = events(*SAYING, chunk({}, "stop", usage=USAGE), done=False)
    assert (await asking.model(stream + end, stream=True)).text == TEXT


async def test_a_stream_without_a_reason_is_whole_for_servers_known_to_omit_it(asking):
    message = await asking.model(events(*SAYING), model="local:m", stream=True)
    assert (message.text, asking.rows[0].status) == (TEXT, "ok")
    for sent, model in ((events(*SAYING), "openai:m"), (events(*SAYING, done=False), "local:m")):
        with pytest.raises(errors.AideonError, match="without saying why"):
            await asking.model(sent, model=model, stream=True)


@pytest.mark.parametrize(
    "error",
    [b'error: {"code": 500, "message": "slot failed"}\n\n', b'data: {"error": "slot failed"}\n\n'],
)
async def test_an_error_in_a_stream_is_reported(asking, error):
    stream = events(*SAYING, done=False) + error
    with pytest.raises(errors.AideonError, match="slot failed"):
        await asking.model(stream, model="openai:m", stream=True)


async def test_thoughts_under_either_name_are_kept(asking):
    for name in ("reasoning", "reasoning_content"):
        sent = [chunk({name: "I "}), chunk({name: "think."}), *SAYING]
        message = await asking.model(events(*sent, chunk({}, "stop", usage=USAGE)), stream=True)
        assert message.additional_kwargs["reasoning_content"] == "I think."


PIECES = [
    [{"index": 0, "id": "a", "function": {"name": "look", "arguments": '{"topic": "W'}}],
    [{"index": 0, "function": {"arguments": 'ärme"}'}}],
]
RECORDED = (
    b"\xef\xbb\xbf: begins\r\nretry: 10\r\n\r\n"
    + events(chunk({"role": "assistant", "content": ""}), *SAYING, done=False)
    + b"data: {}\r\ndata:\r\n\r\n"
    + events(*(chunk({"tool_calls": piece}) for piece in PIECES), done=False)
    + events(chunk({"content": " 😀"}), done=False).replace(b"\n", b"\r")
    + json.dumps(chunk({"content": " Grüße 😀."}), ensure_ascii=False)
    .encode()
    .join((b"data:", b"\n\n"))
    + events(chunk({"reasoning": "I think."}), chunk(None, "stop"), {"usage": USAGE, "choices": []})
)


async def test_a_stream_gives_the_same_answer_wherever_the_network_cuts_it(monkeypatch):
    random_ = random.Random(13)  # noqa: S311 - not a secret
    parts = []

    async def serve(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        await reader.readexactly(length)
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n")
        writer.write(b"Content-Type: text/event-stream\r\n\r\n")
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.0005)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    models = Models(Settings(local_base_url=address))
    chain = models.chat(ModelRequest(role="executor", model=("local:m",)), Context(stream=True))
    seen = []
    for _ in range(60):
        cuts = sorted(random_.sample(range(1, len(RECORDED)), random_.choice((0, 1, 2, 9, 40))))
        parts[:] = [
            RECORDED[begin:end] for begin, end in zip([0, *cuts], [*cuts, None], strict=True)
        ]
        message = AIMessageChunk("")
        async for piece in chain.astream("Heat pumps."):
            message += piece
        seen.append((message.content, message.tool_calls, message.usage_metadata))
    server.close()
    await server.wait_closed()
    assert all(one == seen[0] for one in seen)
    text, (call,), usage = seen[0]
    assert text == f"{TEXT} 😀 Grüße 😀."
    assert (call["name"], call["args"]) == ("look", {"topic": "Wärme"})
    assert (usage["input_tokens"], usage["output_tokens"]) == (12, 5)
