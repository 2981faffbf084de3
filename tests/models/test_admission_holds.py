"""Money is held before every attempt: never less than the attempt can cost."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from unicodedata import normalize

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from pydantic import BaseModel

from aideon_agents import Context, CostHandler, Settings, errors
from aideon_agents.ledger.rows import Run
from aideon_agents.models import Models
from aideon_agents.models.admission import RequestBound
from aideon_agents.state import ModelRequest
from aideon_agents.testing import Fault, SimulatedProvider

PRIMARY = "together:openai/gpt-oss-120b"
OTHER = "openai:gpt-4o-mini"
STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
IN, OUT = 150, 600
"""Nano-dollars a token of both models."""


class Verdict(BaseModel):
    passed: bool
    score: float


@tool
def weather(city: str) -> str:
    """Tell the weather.

    Args:
        city: Where.
    """
    return city


def holds(ledger):
    return [dict(row) for row in ledger.select("SELECT * FROM holds ORDER BY call_id")]


def most_tokens(body):
    """Tokens of a request for a tokenizer that knows no word: one for each byte of any text."""
    texts = [str(message.get("content") or "") for message in body["messages"]]
    texts += [json.dumps(message.get("tool_calls") or "") for message in body["messages"]]
    texts += [json.dumps(body[name]) for name in ("tools", "response_format") if name in body]
    return max(
        sum(len(form(text).encode("utf-8", "replace")) for text in texts)
        for form in (str, lambda text: normalize("NFC", text), lambda text: normalize("NFKC", text))
    )


hard = st.one_of(
    st.text(),
    st.text("0123456789", min_size=30),
    st.text("热泵把室外空气中的热量搬进房子", min_size=20),
    st.text("\ufdfa\U0001d160\u0958\ufb2c", min_size=5),  # longer in a tokenizer's own form
    st.binary(min_size=20).map(lambda some: some.hex()),
    st.text('"\\\n\t\u0007', min_size=10),
)


@given(question=hard)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_text_is_more_tokens_than_were_held_for(ledger, provider, question):
    keys = {"together_api_key": "bounds", "together_base_url": provider.base_url}
    request = ModelRequest(role="planner", model=(PRIMARY,), max_tokens=70)
    handler = CostHandler(ledger, run_id=ledger.start_run(Run(workflow="bounds")))
    asked = [SystemMessage("Be short."), HumanMessage(question)]
    Models(Settings(**keys)).chat(request, Context()).invoke(asked, {"callbacks": [handler]})
    (row,) = ledger.calls(handler.run_id)
    (hold,) = ledger.select("SELECT * FROM holds WHERE run_id = :r", {"r": handler.run_id})
    bound, rest = divmod(hold["amount_nanousd"] - 70 * OUT, IN)
    assert rest == 0
    assert bound >= most_tokens(provider.requests[-1].body) + 2 * 16
    assert row.cost_nanousd <= hold["amount_nanousd"]


@STREAMED
@pytest.mark.parametrize("name", [PRIMARY, OTHER])
@pytest.mark.parametrize("shape", ["text", "schema", "tools"])
async def test_the_room_for_an_answer_is_always_sent_and_held_for(
    counter, ledger, stream, name, shape
):
    models = Models(counter.settings())
    chain = models.chat(
        ModelRequest(role="planner", model=(name,), max_tokens=321), Context(stream=stream)
    )
    if shape == "schema":
        chain = chain.with_structured_output(Verdict)
    if shape == "tools":
        chain = chain.bind_tools([weather])
    asked = await counter.ask_chain(chain)
    body = asked.requests[0].body
    sent = [body[key] for key in ("max_tokens", "max_completion_tokens") if key in body]
    assert sent == [321]
    (hold,) = holds(ledger)
    in_, out = (IN, OUT) if name == PRIMARY else (250, 1000)  # a project's default may be priority
    bound, rest = divmod(hold["amount_nanousd"] - 321 * out, in_)
    assert rest == 0
    assert bound >= most_tokens(body)


async def test_a_conversation_with_tools_is_held_for_to_its_last_byte(counter, ledger):
    call = {"name": "weather", "args": {"city": "日本" * 50}, "id": "c1", "type": "tool_call"}
    asked = await counter.ask(
        question=[
            HumanMessage("Where?"),
            AIMessage("", tool_calls=[call]),
            ToolMessage("0" * 500, tool_call_id="c1"),
        ],
        max_tokens=100,
    )
    (hold,) = holds(ledger)
    assert (hold["amount_nanousd"] - 100 * OUT) // IN >= most_tokens(asked.requests[0].body)


@STREAMED
async def test_every_attempt_has_a_hold_of_its_own_that_begins_with_its_row(
    counter, ledger, quick, stream
):
    asked = await counter.ask([Fault(500), Fault(503), Fault(529)], stream=stream)
    assert asked.tries == [(0, 1), (0, 2), (0, 3), (1, 1)]
    found = {hold["call_id"]: hold for hold in holds(ledger)}
    assert list(found) == [row.call_id for row in asked.rows]
    for row in asked.rows:
        hold = found[row.call_id]
        assert (hold["status"], hold["taken_at"]) == ("settled", row.started_at)
        assert (hold["provider"], hold["run_id"]) == (row.provider, row.run_id)


async def test_a_chain_that_does_not_stream_holds_once_for_whoever_streams_it(counter, ledger):
    run_id = ledger.start_run(Run(workflow="streamed"))
    request = ModelRequest(role="planner", model=(PRIMARY,))
    chain = Models(counter.settings()).chat(request, Context())
    handler = CostHandler(ledger, run_id=run_id)
    shown = [chunk.text async for chunk in chain.astream("Go on.", {"callbacks": [handler]})]
    assert len(shown) == 1
    assert [hold["status"] for hold in holds(ledger)] == ["settled"]
    assert [row.attempt for row in ledger.calls(run_id)] == [1]


async def test_an_answer_of_a_wrong_shape_is_held_for_anew(ledger):
    answers = iter(["no JSON", '{"passed": true, "score": 1}'])
    with SimulatedProvider(answer=lambda _request: next(answers)) as provider:
        keys = {"together_api_key": "k", "together_base_url": provider.base_url}
        request = ModelRequest(role="validator", model=(PRIMARY,))
        chain = Models(Settings(**keys)).chat(request, Context()).with_structured_output(Verdict)
        await chain.ainvoke("Is it?", {"callbacks": [CostHandler(ledger)]})
    first, second = holds(ledger)
    assert second["amount_nanousd"] > first["amount_nanousd"]
    assert (first["status"], second["status"]) == ("settled", "settled")


async def test_what_a_provider_may_write_to_its_cache_is_held_for_at_that_price(counter, ledger):
    """As a priority, gpt-6-luna takes 200 nano-dollars for a token, 250 for one that it keeps."""
    for question in ("Go", "Go on"):
        await counter.ask(model=("openai:gpt-6-luna",), question=question)
    first, second = holds(ledger)
    assert second["amount_nanousd"] - first["amount_nanousd"] == len(" on") * 250


@pytest.mark.parametrize(
    ("tier", "price"),
    [("default", 600), ("flex", 600), (None, 1000), ("auto", 1000), ("priority", 1000)],
)
async def test_the_most_expensive_service_tier_that_may_answer_is_held_for(
    counter, ledger, tier, price
):
    models = Models(counter.settings())
    held = []
    for room in (100, 101):
        request = ModelRequest(role="planner", model=(OTHER,), max_tokens=room)
        chain = models.chat(request, Context())
        await counter.ask_chain(chain.bind(service_tier=tier) if tier else chain)
        held.append(holds(ledger)[-1]["amount_nanousd"])
    assert held[1] - held[0] == price


async def test_several_answers_are_held_for(counter, ledger):
    models = Models(counter.settings())
    chain = models.chat(ModelRequest(role="planner", model=(OTHER,), max_tokens=100), Context())
    await counter.ask_chain(chain.bind(n=3))
    (hold,) = holds(ledger)
    assert hold["amount_nanousd"] >= 3 * 100 * OUT


async def test_what_a_caller_puts_into_the_body_is_what_counts(counter, ledger):
    models = Models(counter.settings())
    request = ModelRequest(role="planner", model=(PRIMARY,), max_tokens=100)
    chain = models.chat(request, Context()).bind(extra_body={"max_tokens": 5000})
    asked = await counter.ask_chain(chain, budget=2_000_000)
    assert isinstance(asked.error, errors.BudgetExceeded)
    assert asked.error.needed.scaleb(9) >= 5000 * OUT


PICTURE = [
    HumanMessage(
        [
            {"type": "text", "text": "What is this?"},
            {"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}},
        ]
    )
]


SOUND = [HumanMessage([{"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}])]


async def test_a_picture_has_a_bound_of_its_own_under_a_budget(counter, ledger):
    limited = await counter.ask(question=PICTURE, budget=10**9)
    assert [row.status for row in limited.rows] == ["ok"]
    small = await counter.ask(question=PICTURE, budget=10**5)
    assert small.error.needed > 0
    assert (small.rows, small.requests) == ([], [])


async def test_a_sound_is_refused_under_a_budget_and_asked_about_without(counter, ledger):
    free = await counter.ask(question=SOUND)
    assert [row.status for row in free.rows] == ["ok"]
    limited = await counter.ask(question=SOUND, budget=10**9)
    assert limited.error.needed is None
    assert "its price is unknown, and the run budget of $1 needs" in str(limited.error)
    assert (limited.rows, limited.requests) == ([], [])


@pytest.mark.parametrize(
    "room",
    [
        {},
        {"max_tokens": None},
        {"max_tokens": 0},
        {"max_tokens": 9, "extra_body": {"max_tokens": -1}},
    ],
    ids=["none said", "none", "nothing", "as many as there are"],
)
def test_a_request_that_bounds_nothing_has_no_worst_case(room):
    bound = RequestBound.of({"messages": [{"role": "user", "content": "x"}], **room})
    candidate = type("Candidate", (), {"provider": "together", "model": "openai/gpt-oss-120b"})
    assert bound.worst(candidate, datetime.now(UTC)) is None
    assert bound.most_tokens(candidate, datetime.now(UTC), 10**9) == 0


async def test_a_model_without_a_price_is_refused_under_a_budget_alone(counter, ledger):
    nobody = ("together:nobody/knows-it",)
    assert [row.status for row in (await counter.ask(model=nobody)).rows] == ["ok"]
    refused = await counter.ask(model=nobody, budget=10**12)
    assert isinstance(refused.error, errors.BudgetExceeded)
    assert (refused.error.needed, refused.rows) == (None, [])
    other = await counter.ask(model=(*nobody, OTHER), budget=10**12)
    assert other.tries == [(1, 1)]


async def test_a_server_of_one_s_own_costs_nothing_and_passes_a_budget_of_nothing(counter, ledger):
    address = counter.settings().together_base_url
    local = counter.settings(local_base_url=address)
    asked = await counter.ask(settings=local, model=("local:any-model",), budget=0)
    assert [(row.status, row.cost_nanousd) for row in asked.rows] == [("ok", 0)]
    paid = await counter.ask(budget=0)
    assert (paid.error.kind, paid.rows) == ("budget", [])


async def test_a_rehearsal_holds_nothing(counter, ledger):
    offline = counter.settings(offline=True)
    asked = await counter.ask(settings=offline, budget=0)
    assert [row.rehearsed for row in asked.rows] == [True]
    assert holds(ledger) == []


async def test_the_recorder_s_budget_applies_whatever_other_callbacks_there_are(counter, ledger):
    chain = Models(counter.settings()).chat(ModelRequest(role="planner", model=(OTHER,)), Context())
    listeners = [BaseCallbackHandler(), CostHandler(ledger, budget=0)]
    with pytest.raises(errors.BudgetExceeded):
        await chain.ainvoke("Hello", {"callbacks": listeners})


async def test_without_a_recorder_nothing_is_held(counter, ledger):
    chain = Models(counter.settings()).chat(ModelRequest(role="planner", model=(OTHER,)), Context())
    assert (await chain.ainvoke("Hello")).text
    assert holds(ledger) == []
