"""Errors that come with status 200, what refusals say to the user, and requests that are never sent."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from aideon_agents import Context, arun, errors, executor, sequential
from aideon_agents.models import Models
from aideon_agents.models.faults import refusal, unreadable
from aideon_agents.state import ModelRequest

pytestmark = pytest.mark.usefixtures("quick")

USAGE = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
TOO_LONG = {"code": "context_length_exceeded", "message": "The context length is 8192 tokens."}


@pytest.fixture
def ask(server, counter):
    """Ask a chain whose first candidate is the odd server; the second is healthy."""

    async def asked(*sends: Any, stream: bool = False) -> Any:
        server.answers = list(sends)
        return await counter.ask(
            settings=counter.settings(together_base_url=server.url), stream=stream
        )

    return asked


def whole(finish: str = "stop", text: str | None = "Heat moves.", **message: Any) -> dict[str, Any]:
    said = {"role": "assistant", "content": text, **message}
    choice = {"index": 0, "message": said, "finish_reason": finish}
    return {
        "id": "x",
        "object": "chat.completion",
        "model": "m",
        "choices": [choice],
        "usage": USAGE,
    }


def events(*sent: Any) -> bytes:
    return "".join([*(f"data: {json.dumps(one)}\n\n" for one in sent), "data: [DONE]\n\n"]).encode()


def chunk(finish: str | None = None, **delta: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "x", "object": "chat.completion.chunk", "model": "m", "choices": [choice]}


NEXT = ("ok", None)
TEXT = chunk(content="Heat ")


@pytest.mark.parametrize(
    "error",
    [
        {"error": {"code": 429, "message": "slow down"}},
        {"error": {"message": "Rate limit reached", "type": "rate_limit_error"}},
        {"error": {"message": "slow down", "status": "RESOURCE_EXHAUSTED"}},
        {"code": "429", "message": "slow down"},
        {"error": {"message": "Provider returned error", "metadata": {"raw": '{"error": {"code": 429, "message": "m"}}'}}},
    ],
)  # fmt: skip
async def test_a_429_inside_an_answer_waits_like_any_other(ask, error):
    asked = await ask(error, whole())
    assert asked.outcomes == [("error", "RateLimited"), NEXT]
    assert asked.tries == [(0, 1), (0, 2)]
    assert asked.rows[0].cost_nanousd == 0


@pytest.mark.parametrize(
    "sent",
    [
        {"error": TOO_LONG},
        events({"error": TOO_LONG}),
        f"event: error\ndata: {json.dumps(TOO_LONG)}\n\n".encode(),
        f"error: {json.dumps(TOO_LONG)}\n\n".encode(),
        {"object": "error", **TOO_LONG},
        {"choices": None, **TOO_LONG},
    ],
)
async def test_an_error_inside_an_answer_keeps_its_class(ask, sent):
    asked = await ask(sent, stream=isinstance(sent, bytes))
    assert asked.outcomes == [("error", "ContextTooLong"), NEXT]
    assert asked.tries == [(0, 1), (1, 1)]


async def test_an_error_inside_an_answer_that_says_nothing_is_tried_again(ask, server):
    asked = await ask({"error": {"message": "Something odd"}})
    assert asked.outcomes == [("error", "Transient")] * 3 + [NEXT]
    assert [row.cost_nanousd for row in asked.rows[:3]] == [None] * 3


@pytest.mark.parametrize(
    "sent",
    [
        whole(text=None, refusal="I cannot help."),
        events(chunk(refusal="I cannot "), chunk(refusal="help."), chunk("stop"), {"choices": [], "usage": USAGE}),
        whole("content_filter"),
        events(TEXT, chunk("content_filter"), {"choices": [], "usage": USAGE}),
        events(TEXT, chunk("sensitive"), {"choices": [], "usage": USAGE}),
    ],
)  # fmt: skip
async def test_a_refusal_is_paid_once_and_asked_of_nobody_else(ask, server, sent):
    asked = await ask(sent, stream=isinstance(sent, bytes))
    assert isinstance(asked.error, errors.Refused)
    (row,) = asked.rows
    assert (row.input_tokens, row.output_tokens) == (100, 10)
    assert len(server.asked) == 1


@pytest.mark.parametrize("reason", ["error", "network_error", "insufficient_system_resource"])
async def test_an_answer_that_ended_with_an_error_is_no_answer(ask, reason):
    asked = await ask(whole(reason))
    assert asked.outcomes == [("error", "Transient")] * 3 + [NEXT]
    asked = await ask(events(TEXT, chunk(reason)), stream=True)
    assert asked.outcomes == [("error", "Transient")] * 3 + [NEXT] or asked.outcomes == [
        ("broken", "Partial"),
        NEXT,
    ]


async def test_an_error_after_the_first_token_may_have_been_charged(ask):
    asked = await ask(events(TEXT, {"error": TOO_LONG}), stream=True)
    assert asked.outcomes == [("error", "ContextTooLong"), NEXT]
    assert asked.rows[0].cost_nanousd is None


async def test_a_stream_that_broke_off_is_asked_once_more_where_nobody_else_is_left(
    server, counter
):
    server.answers = [events(TEXT).removesuffix(b"data: [DONE]\n\n"), events(TEXT, chunk("stop"))]
    address = server.url
    settings = counter.settings(together_base_url=address)
    asked = await counter.ask(
        settings=settings, stream=True, model=("together:openai/gpt-oss-120b",)
    )
    assert asked.outcomes == [("broken", "Partial"), NEXT]
    assert asked.answer.text == "Heat "


async def test_a_server_that_answers_200_at_a_wrong_address_says_so(ask):
    asked = await ask({"error": "Unexpected endpoint or method. (POST /chat/completions)"})
    assert asked.outcomes == [("error", "ModelGone"), NEXT]
    assert "check TOGETHER_BASE_URL (now http://127.0.0.1" in asked.rows[0].error


def test_a_web_page_in_place_of_an_answer_is_called_one():
    page = "<html><title>Sign in</title></html>"
    error = unreadable("local:m", "it is no JSON", page.encode())
    assert "sent a web page (Sign in) instead of an answer" in str(error)


def test_the_words_of_a_refusal_are_kept_without_keys():
    key = "sk-proj-0123456789abcdefghijkl"
    body = json.dumps({"error": {"message": f"{key} may not", "param": "model"}}).encode()
    error = refusal(400, {}, body, asked="a:m", key_variable=None)
    assert (error.words, error.param) == ("[key] may not", "model")
    assert key not in str(error)


def said(status: int, body: Any, address: str = "http://h:1/v1", **headers: str) -> str:
    sent = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    error = refusal(
        status,
        headers,
        sent,
        asked="local:m",
        key_variable="HF_TOKEN",
        address=address + "/chat/completions",
        address_variable="AIDEON_LOCAL_BASE_URL",
    )
    return str(error)


@pytest.mark.parametrize("body", ["404 page not found", {"detail": "Not Found"}, "", {"error": {"message": "File Not Found", "code": 404}}])  # fmt: skip
def test_an_address_without_v1_is_named_with_its_variable(body):
    message = said(404, body, "http://h:1")
    assert "there is nothing at http://h:1/chat/completions" in message
    assert message.endswith("end AIDEON_LOCAL_BASE_URL (now http://h:1) with /v1")
    assert "check AIDEON_LOCAL_BASE_URL (now http://h:1/v1)" in said(404, body)


def test_a_model_that_is_gone_is_not_blamed_on_the_address():
    message = said(
        404, {"error": {"message": "model 'x' not found, try pulling it first"}}, "http://h:1"
    )
    assert "name another with --model" in message


def test_a_redirect_names_where_it_points_and_what_to_set():
    message = said(308, "", Location="https://h/v1/chat/completions?token=x")
    assert "a redirect to https://h/v1/chat/completions," in message
    assert "set AIDEON_LOCAL_BASE_URL (now http://h:1/v1) to https://h/v1 " in message
    assert "token" not in message
    assert "a redirect to http://h:1/v2/chat/completions," in said(
        301, "", Location="/v2/chat/completions"
    )


@pytest.mark.parametrize(
    ("body", "says", "not_says"),
    [
        ("<!doctype html><title>Access denied</title>", "a web page (Access denied)", "key"),
        ("<html></html>", "a proxy, a firewall or another server", "key"),
        ({"error": {"message": "Country, region, or territory not supported"}}, "your country or region", "key"),
        ({"error": "Insufficient balance"}, "no credit left", "valid one"),
        ({"error": "You may not"}, "check what the key may do: You may not", "valid one"),
        ({"error": {"message": "Incorrect API key provided"}}, "the key in HF_TOKEN", "valid one"),
    ],
)  # fmt: skip
def test_a_403_says_which_of_its_reasons_it_is(body, says, not_says):
    message = said(403, body)
    assert says in message
    assert not_says not in message


def test_a_refusal_that_no_rule_knows_says_so():
    message = said(400, {"error": {"message": "The flux is wrong"}})
    assert "for a reason that is not known here: it answered 400: The flux is wrong" in message


HALF = "\ud83d"


async def test_what_cannot_be_sent_costs_nothing_and_says_nothing_about_the_model(counter):
    settings = counter.settings()
    chain: Any = Models(settings).chat(
        ModelRequest(role="planner", model=("together:openai/gpt-oss-120b", "openai:gpt-4o-mini")),
        Context(),
    )
    for _ in range(7):
        asked = await counter.ask_chain(chain.bind(extra_body={"top_k": math.nan}))
        assert isinstance(asked.error, errors.Unsent)
        assert asked.outcomes == [("error", "Unsent")]
        assert asked.rows[0].cost_nanousd == 0
        assert not asked.requests
    assert (await counter.ask(settings=settings)).outcomes == [NEXT]


async def test_a_request_that_cannot_be_made_gives_its_permit_back(counter):
    settings = counter.settings()
    chain = Models(settings).chat(
        ModelRequest(role="planner", model=("together:openai/gpt-oss-120b",)), Context()
    )
    with pytest.raises(errors.Unsent, match="cannot be made"):
        await chain.ainvoke("Task.", tools=[object()])
    candidate = chain.candidates[0]
    assert not candidate.rest_left()
    assert candidate.admit()


async def test_half_a_character_of_a_function_node_is_sent_as_a_whole_one(
    counter, provider, ledger
):
    def half(state):
        return f"Heat {HALF} pumps \ud83d\ude00"

    graph = sequential(half, executor("facts", model="together:openai/gpt-oss-120b"))
    settings = counter.settings()
    result = await arun(graph, "Task.", settings=settings, ledger=ledger)
    assert result.status == "completed"
    sent = provider.requests[-1].body["messages"][-1]["content"]
    assert "Heat � pumps 😀" in sent
