"""What is sent back in a conversation with tools: names, ids, results and texts that servers accept."""

from __future__ import annotations

import itertools
import json
import re

import pytest
from bodies import USAGE, chunk, events, whole
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.messages.tool import tool_call
from pydantic import BaseModel

from aideon_agents import errors
from aideon_agents.models.protocol.conversation import own_names, valid

STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
ID = re.compile(r"[a-zA-Z0-9_-]{1,40}")


def look(topic: str = "") -> str:
    """Look a topic up."""
    return f"about {topic}" if topic else ""


def answer(*calls, stream=False, **said):
    """An answer with calls, each a name and an id."""
    made = [
        {"id": call_id, "type": "function", "function": {"name": name, "arguments": "{}"}}
        for name, call_id in calls
    ]
    message = {"content": "", **said, **({"tool_calls": made} if calls else {})}
    if not stream:
        return whole(message, "tool_calls" if calls else "stop")
    for nth, call in enumerate(made):
        call["index"] = nth
    return events(chunk(message), chunk({}, "tool_calls" if calls else "stop", usage=USAGE))


def check(messages):
    """Check what strict servers check."""
    waiting, seen, is_first = [], set(), True
    for message in messages:
        role, content = message["role"], message.get("content")
        assert is_first or role != "system"
        is_first = False
        if role == "tool":
            assert message["tool_call_id"] == waiting.pop(0)
        else:
            assert waiting == []
        for call in message.get("tool_calls") or ():
            assert ID.fullmatch(call["id"])
            assert call["id"] not in seen
            seen.add(call["id"])
            waiting.append(call["id"])
            assert NAME.fullmatch(call["function"]["name"])
            assert isinstance(json.loads(call["function"]["arguments"]), dict)
        if not message.get("tool_calls"):
            assert content
        assert content != ""
        json.dumps(message).encode()
    assert waiting == []


@STREAMED
@pytest.mark.parametrize(
    "name", ["notes.search", "", "functions.look:0", "größe", "x" * 80, "look up", "look<|end|>"]
)
async def test_a_made_up_name_is_sent_back_as_a_legal_one_and_the_model_hears_of_it(
    asking, server, stream, name
):
    rounds = [answer((name, "c1"), stream=stream), answer(content="I see.", stream=stream)]
    result = await asking.agent(*rounds, tools=[look], stream=stream)
    assert result.content == "I see."
    check(server.messages())
    assert server.messages()[-1]["content"].startswith("Error: there is no tool ")
    assert "look" in server.messages()[-1]["content"]


@STREAMED
@pytest.mark.parametrize("ids", [("a", "a"), (None, None), ("", ""), ("a.b:1", "x" * 64)])
async def test_ids_occur_once_in_a_conversation(asking, server, stream, ids):
    one_round = answer(*(("look", call_id) for call_id in ids), stream=stream)
    last = answer(content="Done.", stream=stream)
    await asking.agent(one_round, one_round, one_round, last, tools=[look], stream=stream)
    check(server.messages())
    rounds = [server.asked[nth]["messages"] for nth in range(4)]
    # The beginning stays the same, so that a provider's cache finds it.
    assert all(later[: len(one)] == one for one, later in itertools.pairwise(rounds))


@STREAMED
@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
@pytest.mark.parametrize("model", ["together:m", "local:m"])
async def test_thoughts_before_a_call_are_sent_back_where_they_came_from(
    asking, server, stream, field, model
):
    calling = answer(("look", "c1"), stream=stream, **{field: "I shall look."})
    last = answer(content="Done.", stream=stream)
    await asking.agent(calling, last, tools=[look], model=model, stream=stream)
    asked = next(one for one in server.messages() if one.get("tool_calls"))
    assert asked[field] == "I shall look."
    other = {"reasoning_content", "reasoning"} - {field}
    assert not other & asked.keys()


SIGNED = {"type": "reasoning.text", "index": 0, "format": "f", "text": "I shall. I shall.", "signature": "s"}  # fmt: skip
SEALED = [{"type": "reasoning.encrypted", "index": 0, "id": n, "data": f"d{n}"} for n in ("a", "b")]


@STREAMED
@pytest.mark.parametrize("beside", [{}, {"reasoning": "I shall. I shall."}])
async def test_the_parts_of_thoughts_before_a_call_are_sent_back_whole(
    asking, server, stream, beside
):
    details = [SIGNED, *SEALED, {"type": "reasoning.summary", "summary": "Looks."}]
    calling = answer(("look", "c1"), stream=stream, reasoning_details=details, **beside)
    if stream:
        part = {"type": "reasoning.text", "index": 0, "format": "f"}
        pieces = [{**part, "text": "I shall."}, {**part, "text": " "}, {**part, "text": "I shall."}]
        pieces += [{**part, "text": None, "signature": "s"}, *details[1:]]
        sent = [chunk({"content": "", "reasoning_details": [one]}) for one in pieces]
        sent += [chunk(beside)] if beside else []
        calling = events(*sent, done=False) + answer(("look", "c1"), stream=True)
    last = answer(content="Done.", stream=stream)
    await asking.agent(calling, last, tools=[look], model="together:m", stream=stream)
    asked = next(one for one in server.messages() if one.get("tool_calls"))
    assert asked["reasoning_details"] == details
    assert asked.get("reasoning") == beside.get("reasoning")


async def test_parts_of_thoughts_are_left_out_where_a_server_refuses_them_or_is_another(
    asking, server
):
    calling = answer(("look", "c1"), reasoning_details=[SIGNED])
    refused = (400, {"error": {"message": "Unknown field: reasoning_details"}})
    rounds = iter([calling, answer(content="Done.")])
    one = lambda body: refused if "reasoning_details" in json.dumps(body) else next(rounds)  # noqa: E731 - short
    assert (await asking.agent(one, tools=[look], model="together:m")).content == "Done."
    busy = (500, {"error": {"message": "busy"}})
    answers = [calling, busy, busy, busy, answer(content="Done.")]
    await asking.agent(*answers, tools=[look], model=["local:m", "openai:m"])
    other = next(one for one in server.messages() if one.get("tool_calls"))
    assert not {"reasoning_details", "reasoning", "reasoning_content"} & other.keys()


async def test_thoughts_are_sent_to_no_other_provider(asking, server):
    calling = answer(("look", "c1"), reasoning_content="I shall look.")
    refused = (500, {"error": {"message": "busy"}})
    last = answer(content="Done.")
    models = ["together:m", "openai:m"]
    answers = [calling, refused, refused, refused, last]
    await asking.agent(*answers, tools=[look], model=models)
    first, *_, other = [
        next(one for one in asked["messages"] if one.get("tool_calls"))
        for asked in server.asked[1:]
    ]
    assert first["reasoning_content"] == "I shall look."
    assert "reasoning_content" not in other


@STREAMED
async def test_the_last_question_still_defines_the_tools(asking, server, stream):
    calling = answer(("look", "c1"), stream=stream)
    last = answer(content="Done.", stream=stream)
    options = {"tools": [look], "max_tool_rounds": 2, "stream": stream}
    result = await asking.agent(calling, calling, last, **options)
    assert result.content == "Done."
    assert [asked.get("tool_choice") for asked in server.asked] == [None, None, "none"]
    assert server.asked[2]["tools"] == server.asked[0]["tools"]
    assert "No further tool can be called" in server.messages()[-1]["content"]


async def test_a_server_that_calls_tools_all_the_same_is_asked_once_without_them(asking, server):
    calling = answer(("look", "c1"))
    answers = [calling, calling, answer(content="Done.")]
    result = await asking.agent(*answers, tools=[look], max_tool_rounds=1)
    assert result.content == "Done."
    assert ["tools" in asked for asked in server.asked] == [True, True, False]
    check(server.messages())
    assert server.messages()[-1]["content"] == "Error: no further tool can be called"


class Facts(BaseModel):
    facts: list[str]


async def test_a_typed_answer_after_tools_is_asked_for_with_the_tools(asking, server):
    typed = answer(content='{"facts": ["a"]}')
    result = await asking.agent(
        answer(("look", "c1")), answer(content="I have it."), typed, tools=[look], output=Facts
    )
    assert result.data == Facts(facts=["a"])
    last = server.asked[-1]
    assert (last["tools"], last["tool_choice"]) == (server.asked[0]["tools"], "none")


@pytest.mark.parametrize("model", ["local:m", "together:m", "openai:m"])
async def test_no_text_is_empty_beside_calls_in_results_or_in_questions(asking, server, model):
    question = [
        SystemMessage(" "),
        HumanMessage(""),
        AIMessage("", tool_calls=[tool_call(name="look", args={}, id="c1")]),
        ToolMessage("", tool_call_id="c1"),
        AIMessage(" "),
        SystemMessage("Be brief."),
        HumanMessage([{"type": "text", "text": ""}]),
        HumanMessage("Well \ud83d?", name="Ada Lovelace!"),
        SystemMessage("Be kind."),
    ]
    await asking.model(answer(content="Done."), model=model, question=question)
    sent = server.messages()
    check(sent)
    assert sent[0] == {"role": "system", "content": "Be brief.\n\nBe kind."}
    assert sent[2]["content"] is None
    assert sent[-1] == {"role": "user", "content": "Well �?", "name": "Ada_Lovelace_"}


NULL_REFUSED = [
    (400, {"error": {"message": "Invalid value for 'content': expected a string, got null.",
        "type": "invalid_request_error", "param": "messages.[1].content"}}),
    (422, {"detail": [{"type": "string_type", "loc": ["body", "messages", 1, "content"],
        "msg": "Input should be a valid string"}]}),
    (400, {"error": "messages[1]: invalid type: null, expected a string"}),
    (400, {"error": {"message": "invalid message content type: <nil>"}}),
    (500, {"error": {"code": 500, "message": "[json.exception.type_error.302] type must be string, but is null"}}),
    (500, {"error": {"message": "'NoneType' object has no attribute 'startswith'"}}),
    (400, {"object": "error", "message": 'can only concatenate str (not "NoneType") to str', "code": 400}),
]  # fmt: skip
ABSENT_REFUSED = [
    (422, {"error": {"message": "Failed to deserialize the JSON body: messages[1]: missing field `content` at line 1"}}),
    (422, {"detail": [{"type": "missing", "loc": ["body", "messages", 1, "content"], "msg": "Field required"}]}),
    (400, {"error": {"message": "'dict object' has no attribute 'content'"}}),
    (500, {"error": {"message": "Value is not callable: undefined"}}),
]  # fmt: skip
EMPTY_REFUSED = (400, {"error": {"message": "messages: text content blocks must be non-empty"}})


def form_of(body):
    """What a request has beside its tool calls; "": it has none."""
    calling = [one for one in body["messages"] if one.get("tool_calls")]
    return calling[-1].get("content", "absent") if calling else "no calls"


@STREAMED
@pytest.mark.parametrize("model", ["local:m", "together:m", "openai:m"])
@pytest.mark.parametrize("null", NULL_REFUSED)
async def test_a_server_that_refuses_null_beside_calls_gets_no_content(
    asking, server, stream, model, null
):
    rounds = iter(
        [answer(("look", "c1"), stream=stream), *[answer(content="I see.", stream=stream)] * 9]
    )
    one = lambda body: null if form_of(body) is None else next(rounds)  # noqa: E731 - short
    assert (await asking.agent(one, tools=[look], model=model, stream=stream)).content == "I see."
    assert [form_of(body) for body in server.asked] == ["no calls", None, "absent"]
    refused = asking.rows[1]
    assert (refused.status, refused.error_type, refused.cost_nanousd) == ("error", "Unsupported", 0)
    rounds = iter(
        [answer(("look", "c2"), stream=stream), *[answer(content="So.", stream=stream)] * 9]
    )
    assert (await asking.agent(one, tools=[look], model=model, stream=stream)).content == "So."
    assert [form_of(body) for body in server.asked] == ["no calls", "absent"]  # remembered


@pytest.mark.parametrize("absent", ABSENT_REFUSED)
@pytest.mark.parametrize("takes", ["", "(empty)"])
async def test_a_server_that_also_needs_the_content_gets_an_empty_one_or_a_text(
    asking, server, absent, takes
):
    rounds = iter([answer(("look", "c1")), answer(content="I see.")])
    refusals = {None: NULL_REFUSED[1], "absent": absent, "": EMPTY_REFUSED if takes else None}
    one = lambda body: refusals.get(form_of(body)) or next(rounds)  # noqa: E731 - short
    assert (await asking.agent(one, tools=[look], model="together:m")).content == "I see."
    forms = ["no calls", None, "absent", "", "(empty)"]
    assert [form_of(body) for body in server.asked] == forms[: forms.index(takes) + 1]


async def test_what_no_content_helps_with_is_not_remembered(asking, server):
    rounds = iter([answer(("look", "c1")), answer(("look", "c1")), answer(content="I see.")])
    is_wrong = True
    one = lambda body: NULL_REFUSED[0] if is_wrong and form_of(body) != "no calls" else next(rounds)  # noqa: E731 - short
    with pytest.raises(errors.CallerError):
        await asking.agent(one, tools=[look], model="together:m")
    is_wrong = False
    assert (await asking.agent(one, tools=[look], model="together:m")).content == "I see."
    assert [form_of(body) for body in server.asked] == ["no calls", None]


FURTHER = {
    "gemini": {"extra_content": {"google": {"thought_signature": "c2lnbmF0dXJl"}}},
    "signature": {"thought_signature": "c2ln"},
    "in the function": {"function": {"thought_signature": "c2ln"}},
    "unknown": {"x_state": {"a": [1, {"b": None}], "c": True}, "weight": 0.5, "empty": ""},
}


def with_fields(calls, stream):
    """An answer with calls, which have further fields."""
    made = [
        {"id": call_id, "type": "function", **more,
         "function": {"name": "look", "arguments": "{}", **more.get("function", {})}}
        for call_id, more in calls
    ]  # fmt: skip
    if not stream:
        return whole({"content": None, "tool_calls": made}, "tool_calls")
    chunks = [
        chunk({"role": "assistant", "tool_calls": [{"index": nth, **one}]})
        for nth, one in enumerate(made)
    ]
    return events(*chunks, chunk({}, "tool_calls", usage=USAGE))


@STREAMED
@pytest.mark.parametrize("further", FURTHER.values(), ids=FURTHER)
@pytest.mark.parametrize("ids", [("c1", "c2"), ("c1", "c1"), ("a.b", "x" * 64)])
async def test_further_fields_of_a_call_are_sent_back_as_they_came(
    asking, server, stream, further, ids
):
    first, second = ids
    calling = with_fields([(first, further), (second, {})], stream)
    last = answer(content="Done.", stream=stream)
    await asking.agent(calling, calling, last, tools=[look], model="openai:m", stream=stream)
    check(server.messages())
    asked = [one["tool_calls"] for one in server.messages() if one.get("tool_calls")]
    assert len(asked) == 2
    for one, other in asked:
        usual = {"id": one["id"], "type": "function"}
        function = {"name": "look", "arguments": "{}"}
        assert one == {**further, **usual, "function": {**function, **further.get("function", {})}}
        assert other == {"id": other["id"], "type": "function", "function": function}


async def test_further_fields_may_come_in_any_piece_of_a_call(asking, server):
    begun = {
        "index": 0,
        "id": "c1",
        "type": "function",
        "function": {"name": "look", "arguments": ""},
    }
    calling = events(
        chunk({"tool_calls": [begun]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"topic": "a"}'}}]}),
        chunk({"tool_calls": [{"index": 0, "extra_content": {"google": {"thought_signature": "c2"}}}]}),
        chunk({"tool_calls": [{"index": 0, "extra_content": {"google": {"thought_signature": "ln"}}}]}),
        chunk({}, "tool_calls", usage=USAGE),
    )  # fmt: skip
    last = answer(content="Done.", stream=True)
    await asking.agent(calling, last, tools=[look], stream=True)
    (call,) = next(one for one in server.messages() if one.get("tool_calls"))["tool_calls"]
    assert call["extra_content"] == {"google": {"thought_signature": "c2ln"}}


async def test_further_fields_stay_with_a_call_that_cannot_be_read(asking, server):
    broken = with_fields([("c1", {"sign": "of c1"}), ("c2", {"sign": "of c2"})], stream=False)
    broken["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] = '{"topic": '
    await asking.agent(broken, answer(content="Done."), tools=[look])
    calls = next(one for one in server.messages() if one.get("tool_calls"))["tool_calls"]
    assert {call["id"]: call["sign"] for call in calls} == {"c1": "of c1", "c2": "of c2"}


async def test_further_fields_are_sent_to_no_other_provider(asking, server):
    calling = with_fields([("c1", FURTHER["gemini"])], stream=False)
    refused = (500, {"error": {"message": "busy"}})
    answers = [calling, refused, refused, refused, answer(content="Done.")]
    await asking.agent(*answers, tools=[look], model=["together:m", "openai:m"])
    asked = [
        next(one for one in body["messages"] if one.get("tool_calls")) for body in server.asked[1:]
    ]
    assert ["extra_content" in one["tool_calls"][0] for one in asked] == [True, True, True, False]


@pytest.mark.parametrize("field", ["extra_content", "reasoning_content", "sign"])
async def test_a_field_that_a_server_sends_and_refuses_is_left_out(asking, server, field):
    refused = (422, {"detail": [{"type": "extra_forbidden",
        "loc": ["body", "messages", 1, field], "msg": "Extra inputs are not permitted"}]})  # fmt: skip
    further = {"sign": "a", "extra_content": {"google": 1}}
    calling = with_fields([("c1", further)], stream=False)
    calling["choices"][0]["message"]["reasoning_content"] = "I shall look."
    rounds = iter([calling, answer(content="Done.")])
    one = lambda body: refused if field in json.dumps(body) else next(rounds)  # noqa: E731 - short
    assert (await asking.agent(one, tools=[look], model="together:m")).content == "Done."
    others = {"extra_content", "reasoning_content", "sign"} - {field}
    assert len(server.asked) == 3
    assert all(name in json.dumps(server.messages()) for name in others)


async def test_results_and_calls_that_belong_to_nothing_are_put_right(asking, server):
    question = [
        HumanMessage("Look."),
        ToolMessage("lost", tool_call_id="c0"),
        AIMessage("", tool_calls=[tool_call(name="look", args={}, id=n) for n in ("a", "b")]),
        HumanMessage("Go on."),
        ToolMessage("of b", tool_call_id="b"),
        ToolMessage("of b again", tool_call_id="b"),
    ]
    await asking.model(answer(content="Done."), question=question)
    sent = server.messages()
    check(sent)
    roles = [(one["role"], one.get("content")) for one in sent]
    assert roles == [
        ("user", "Look."),
        ("user", "lost"),
        ("assistant", None),
        ("tool", "Error: this call was not run"),
        ("tool", "of b"),
        ("user", "Go on."),
        ("user", "of b again"),
    ]


LONG = "x" * 80
NAMES = ["notes.search", "notes_search", "notes/search", LONG, f"{LONG}y", "", "look up"]


def defined(name):
    parameters = {"type": "object", "properties": {}}
    function = {"name": name, "description": "Look.", "parameters": parameters}
    return {"type": "function", "function": function}


@STREAMED
@pytest.mark.parametrize("name", NAMES)
async def test_tools_with_illegal_names_are_offered_and_called_by_legal_ones(
    asking, server, stream, name
):
    tools = [defined(one) for one in NAMES]
    await asking.model(answer(content="Done."), tools=tools)
    offered = [tool["function"]["name"] for tool in server.asked[0]["tools"]]
    assert len(set(offered)) == len(NAMES)
    assert all(NAME.fullmatch(one) for one in offered)
    assert offered[1] == "notes_search"
    assert own_names(tools) == {
        legal: own for legal, own in zip(offered, NAMES, strict=True) if legal != own
    }
    called = answer((offered[NAMES.index(name)], "c1"), stream=stream)
    message = await asking.model(called, tools=tools, stream=stream, tool_choice=name or None)
    assert [call["name"] for call in message.tool_calls] == [name]
    # A name is sent back as it was offered.
    question = [HumanMessage("Look."), message, ToolMessage("found", tool_call_id="c1")]
    await asking.model(answer(content="Done."), tools=tools, question=question)
    assert server.messages()[1]["tool_calls"][0]["function"]["name"] == offered[NAMES.index(name)]


TEXTS = st.sampled_from(["", " ", "text", "\ud83d"])
IDS = st.sampled_from([None, "", "a", "b", "a.b", "x" * 50, "call_0", "call_1"])
CALLS = st.lists(st.tuples(st.sampled_from(["look", "", "a.b"]), IDS), max_size=3)
MESSAGES = st.lists(
    st.one_of(
        st.builds(HumanMessage, TEXTS),
        st.builds(SystemMessage, TEXTS),
        st.builds(
            lambda text, calls: AIMessage(
                text, tool_calls=[tool_call(name=n, args={}, id=i) for n, i in calls]
            ),
            TEXTS,
            CALLS,
        ),
        st.builds(lambda text, i: ToolMessage(text, tool_call_id=i or ""), TEXTS, IDS),
    ),
    max_size=12,
)


@given(MESSAGES)
@settings(max_examples=300, deadline=None)
def test_any_conversation_becomes_a_valid_one(messages):
    from langchain_openai import ChatOpenAI

    model = ChatOpenAI(model="m", api_key="key")
    payload = model._get_request_payload(messages)
    made = valid(payload, messages, "openai")["messages"]
    check(made)
    texts = [one.content for one in messages if str(one.content).strip() and one.type == "tool"]
    kept = json.dumps([one.get("content") for one in made])
    assert kept.count("text") >= len([text for text in texts if text == "text"])
