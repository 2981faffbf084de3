"""Tool calls in answers: only a whole JSON object runs a tool, streamed or not."""

from __future__ import annotations

import json

import pytest
from bodies import USAGE, chunk, events, whole

from aideon_agents.models.protocol.calls import Calls

ARGUMENTS = '{"path": "a.txt", "confirm": true, "content": "line 1\\nligne é 2 \\" }"}'
READ = {"path": "a.txt", "confirm": True, "content": 'line 1\nligne é 2 " }'}
SAID = {"content": "I see."}
STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


@pytest.fixture
def save():
    saved = []

    def save(path: str = "", content: str = "", confirm: bool = False) -> str:  # noqa: FBT001, FBT002 - as a model sends them
        """Save a file."""
        saved.append({"path": path, "confirm": confirm, "content": content})
        return "saved"

    save.saved = saved
    return save


def calling(arguments, finish="tool_calls", *, stream, **call):
    """An answer that calls `save`."""
    made = {"id": "c1", "type": "function", **call}
    made["function"] = {"name": "save", "arguments": arguments}
    if not stream:
        return whole({"content": None, "tool_calls": [made]}, finish)
    return events(chunk({"tool_calls": [{"index": 0, **made}]}), chunk({}, finish, usage=USAGE))


def saying(stream):
    return events(chunk(SAID), chunk({}, "stop", usage=USAGE)) if stream else whole(SAID)


@STREAMED
@pytest.mark.parametrize("finish", ["length", "stop", "tool_calls"])
async def test_a_call_that_broke_off_anywhere_never_runs_its_tool(
    asking, server, save, stream, finish
):
    for cut in range(0 if finish == "length" else 1, len(ARGUMENTS), 7):
        answer = calling(ARGUMENTS[:cut], finish, stream=stream)
        result = await asking.agent(answer, saying(stream), tools=[save], stream=stream)
        assert (result.content, save.saved) == ("I see.", [])
        # One answer that is kept with its bill, and one question with the error.
        assert [(row.status, row.output_tokens) for row in asking.rows] == [("ok", 5)] * 2
        asked, reply = server.messages()[-2:]
        shown = json.dumps(ARGUMENTS[:cut], ensure_ascii=False)
        assert reply["content"].startswith(
            f"Error: the arguments are no JSON object; they begin {shown[:60]}"
        )
        assert asked["tool_calls"][0]["function"]["arguments"] == "{}"
        assert reply["tool_call_id"] == asked["tool_calls"][0]["id"] == "c1"


def test_arguments_are_read_only_when_they_are_whole_wherever_they_are_cut():
    for cut in range(1, len(ARGUMENTS) + 1):
        calls = Calls()
        calls.take([{"index": 0, "function": {"name": "save", "arguments": ARGUMENTS[:cut]}}])
        readable, unreadable = calls.sorted("stop", {})
        assert [call["args"] for call in readable] == ([READ] if cut == len(ARGUMENTS) else [])
        assert len(unreadable) == 1 - len(readable)


@STREAMED
@pytest.mark.parametrize(
    "sent",
    [ARGUMENTS, json.dumps(ARGUMENTS), json.dumps(json.dumps(ARGUMENTS)), READ, f" {ARGUMENTS}\n"],
)
async def test_arguments_are_read_as_text_as_an_object_and_encoded_twice(
    asking, save, stream, sent
):
    answer = calling(sent, stream=stream)
    await asking.agent(answer, saying(stream), tools=[save], stream=stream)
    assert save.saved == [READ]


@STREAMED
@pytest.mark.parametrize("sent", [" ", "", None, "{}", "null", '"{}"', {}, '""'])
async def test_no_arguments_are_an_empty_object(asking, save, stream, sent):
    answer = calling(sent, stream=stream)
    await asking.agent(answer, saying(stream), tools=[save], stream=stream)
    assert save.saved == [{"path": "", "confirm": False, "content": ""}]


@STREAMED
@pytest.mark.parametrize(
    "sent",
    ["5", "[1]", '"text"', "true", 5, [1], "{'path': 'a'}", '{"path": "a"} and more', '{"path": NaN}',
     '{"path": "a"}{"path": "a"}', '{"n": 1e999}', '{"n": ' + "9" * 5000 + "}", "[" * 100_000, "\ud800"],
)  # fmt: skip
async def test_arguments_that_are_no_object_are_reported_to_the_model(
    asking, server, save, stream, sent
):
    answer = calling(sent, stream=stream)
    result = await asking.agent(answer, saying(stream), tools=[save], stream=stream)
    assert (result.content, save.saved, len(asking.rows)) == ("I see.", [], 2)
    assert "the arguments are no JSON object" in server.messages()[-1]["content"]
    assert len(server.messages()[-1]["content"]) < 300


async def test_what_is_reported_of_unreadable_arguments_is_the_same_streamed_and_not(
    asking, server, save
):
    for sent in ('{"path": "a', "5", '"text"', json.dumps('{"path": ')):
        reports = []
        for stream in (False, True):
            answer = calling(sent, stream=stream)
            await asking.agent(answer, saying(stream), tools=[save], stream=stream)
            reports.append(server.messages())
        assert reports[0] == reports[1]


HALVES = (ARGUMENTS[:20], ARGUMENTS[20:])
OTHER = '{"path": "b"}'


def piece(name, arguments, **known):
    return {**known, "function": {"name": name, "arguments": arguments}}


@pytest.mark.parametrize(
    "chunks",
    [
        [[piece("save", "", index=0, id="a")], [piece(None, HALVES[0], index=0)],
         [piece(None, HALVES[1], index=0)], [piece("save", OTHER, index=1, id="b")]],
        # Interleaved.
        [[piece("save", HALVES[0], index=0, id="a"), piece("save", OTHER[:4], index=1, id="b")],
         [piece(None, OTHER[4:], index=1), piece(None, HALVES[1], index=0)]],
        # Without an index.
        [[piece("save", HALVES[0], id="a")], [piece(None, HALVES[1])], [piece("save", OTHER, id="b")]],
        # Without an index, the id in each piece.
        [[piece("save", HALVES[0], id="a")], [piece(None, HALVES[1], id="a")],
         [piece("save", OTHER, id="b")]],
        # Whole, without index or id: in one chunk, and in two.
        [[piece("save", ARGUMENTS), piece("save", OTHER)]],
        [[piece("save", ARGUMENTS)], [piece("save", OTHER)]],
        # The same index for all.
        [[piece("save", ARGUMENTS, index=0, id="a")], [piece("save", OTHER, index=0, id="b")]],
        [[piece("save", "", index=0, id="a")], [piece(None, ARGUMENTS, index=0)],
         [piece("save", "", index=0, id="b")], [piece(None, OTHER, index=0)]],
        # The same id for all.
        [[piece("save", ARGUMENTS, index=0, id="a"), piece("save", OTHER, index=1, id="a")]],
        [[piece("save", ARGUMENTS, id="a"), piece("save", OTHER, id="a")]],
        # The name in each piece, or in pieces.
        [[piece("save", HALVES[0], index=0, id="a")], [piece("save", HALVES[1], index=0, id="a")],
         [piece("sa", "", index=1, id="b")], [piece("ve", OTHER, index=1)]],
        # A new id in each piece.
        [[piece("save", HALVES[0], index=0, id="a")], [piece("", HALVES[1], index=0, id="z")],
         [piece("save", OTHER, index=1, id="b")]],
        # The whole call again at its end.
        [[piece("save", HALVES[0], index=0, id="a")], [piece(None, HALVES[1], index=0)],
         [piece("save", ARGUMENTS, index=0, id="a")], [piece("save", OTHER, index=1, id="b")]],
        # Arguments as an object, the index as text, what is no call.
        [[piece("save", READ, index="0"), None, "x", 5], [piece("save", {"path": "b"}, index="1")]],
        # The call without `function` around its name, and one call instead of a list.
        [[{"name": "save", "arguments": READ}], {"name": "save", "arguments": {"path": "b"}}],
    ],
)  # fmt: skip
async def test_parallel_calls_are_told_apart_however_they_are_numbered(
    asking, server, save, chunks
):
    sent = [chunk({"tool_calls": calls}) for calls in chunks]
    answer = events(*sent, chunk({}, "tool_calls", usage=USAGE))
    await asking.agent(answer, saying(stream=True), tools=[save], stream=True)
    expected = [READ, {"path": "b", "confirm": False, "content": ""}]
    assert sorted(save.saved, key=str) == sorted(expected, key=str)
    asked, *replies = server.messages()[-3:]
    ids = [call["id"] for call in asked["tool_calls"]]
    assert len(set(ids)) == 2
    assert [reply["tool_call_id"] for reply in replies] == ids


@STREAMED
@pytest.mark.parametrize("call_id", [None, "", 7])
async def test_a_call_without_an_id_of_text_gets_one(asking, server, save, stream, call_id):
    answer = calling(ARGUMENTS, stream=stream, id=call_id)
    await asking.agent(answer, saying(stream), tools=[save], stream=stream)
    asked, reply = server.messages()[-2:]
    assert save.saved == [READ]
    assert asked["tool_calls"][0]["id"] == reply["tool_call_id"] != ""


async def test_a_stream_that_breaks_off_after_a_whole_call_runs_nothing(asking, save):
    made = [{"index": 0, "id": "a", "function": {"name": "save", "arguments": ARGUMENTS}}]
    answer = events(chunk({"tool_calls": made}), done=False)
    with pytest.raises(Exception, match="without saying why"):
        await asking.agent(answer, tools=[save], stream=True)
    assert save.saved == []


async def test_a_whole_answer_to_a_streamed_question_keeps_its_unreadable_calls(
    asking, server, save
):
    answer = calling('{"path": "a', stream=False)
    await asking.agent(answer, saying(stream=True), tools=[save], stream=True)
    assert save.saved == []
    assert "no JSON object" in server.messages()[-1]["content"]
