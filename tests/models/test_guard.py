"""Attempts, deadlines, pauses, keys and what is said of them."""

from __future__ import annotations

import asyncio
import logging
import time

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.globals import set_llm_cache

from aideon_agents import Context, CostHandler, errors
from aideon_agents.ledger.rows import Run
from aideon_agents.models import Models, fallbacks
from aideon_agents.models.limits.pace import process_slots
from aideon_agents.state import ModelRequest
from aideon_agents.testing import Fault

PRIMARY = "together:openai/gpt-oss-120b"
SECOND = "together:MiniMaxAI/MiniMax-M3"
OTHER = "openai:gpt-4o-mini"
STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])


@STREAMED
async def test_each_attempt_is_a_row_and_one_request_that_names_it(counter, quick, stream):
    asked = await counter.ask([Fault(500), Fault(503)], stream=stream)
    assert asked.tries == [(0, 1), (0, 2), (0, 3)]
    assert asked.outcomes == [("error", "Transient")] * 2 + [("ok", None)]
    named = [request.headers["x-aideon-call"] for request in asked.requests]
    assert named == [row.call_id for row in asked.rows]


@STREAMED
async def test_the_failure_of_all_lists_every_attempt_in_order(counter, quick, stream):
    settings = counter.settings(Fault(529), openai_api_key=None)
    asked = await counter.ask(stream=stream, settings=settings, model=(PRIMARY, SECOND))
    assert isinstance(asked.error, errors.AllModelsFailed)
    assert [line.partition(" ")[0] for line in asked.error.attempts] == [PRIMARY] * 3 + [SECOND] * 3
    assert asked.tries == [(0, 1), (0, 2), (0, 3), (1, 1), (1, 2), (1, 3)]
    assert all(line in str(asked.error) for line in asked.error.attempts)
    assert isinstance(asked.error.__cause__, errors.Transient)


async def test_a_chain_that_is_asked_twice_counts_afresh(counter, quick):
    models = Models(counter.settings([Fault(500), None, Fault(500)]))
    chain = models.chat(ModelRequest(role="planner", model=(PRIMARY, OTHER)), Context())
    first, second = await counter.ask_chain(chain), await counter.ask_chain(chain)
    assert first.tries == second.tries == [(0, 1), (0, 2)]


async def test_retry_after_is_waited_for(counter):
    began = time.monotonic()
    asked = await counter.ask([Fault(429, retry_after=0.3)])
    assert time.monotonic() - began >= 0.3
    assert asked.outcomes == [("error", "RateLimited"), ("ok", None)]
    assert asked.tries == [(0, 1), (0, 2)]


async def test_retry_after_beyond_the_deadline_is_not_waited_for(counter):
    asked = await counter.ask([Fault(429, retry_after=30)], timeout=20)
    assert asked.tries == [(0, 1), (1, 1)]
    assert asked.answer  # after a wait there would have been no time for it


async def test_a_server_error_that_says_when_to_come_back_is_believed(counter):
    began = time.monotonic()
    asked = await counter.ask([Fault(503, retry_after=0.2)])
    assert time.monotonic() - began >= 0.2
    assert asked.tries == [(0, 1), (0, 2)]


async def test_a_rate_limit_without_a_time_rests_the_model_for_a_moment(counter):
    began = time.monotonic()
    asked = await counter.ask([Fault(429)])
    assert time.monotonic() - began >= 0.5
    assert asked.tries == [(0, 1), (0, 2)]


async def test_pauses_grow_and_are_spread(counter, monkeypatch):
    spans = []

    def longest(_least, most):
        spans.append(most)
        return 0

    monkeypatch.setattr(fallbacks.random, "uniform", longest)
    await counter.ask([Fault(500), Fault(500)])
    assert spans == [0.5, 1.0]


@STREAMED
async def test_a_primary_that_hangs_leaves_half_of_the_time_to_the_other(
    counter, provider, stream, pass_time, until
):
    seen = len(provider.requests)
    asking = asyncio.create_task(counter.ask(Fault("hang"), stream=stream, timeout=200))
    await until(lambda: len(provider.requests) > seen)
    pass_time(100)
    asked = await asking
    assert asked.outcomes == [("error", "Transient"), ("ok", None)]


async def test_a_primary_that_is_slow_has_half_of_the_time(counter, provider, pass_time, until):
    seen = len(provider.requests)
    asking = asyncio.create_task(counter.ask(Fault("delay", seconds=1), timeout=200))
    await until(lambda: len(provider.requests) > seen)
    pass_time(80)
    assert (await asking).outcomes == [("ok", None)]


async def test_when_all_hang_the_deadline_ends_it(counter, provider, pass_time, until):
    settings = counter.settings(Fault("hang"), openai_api_key=None)
    seen = len(provider.requests)
    asking = asyncio.create_task(
        counter.ask(settings=settings, model=(PRIMARY, SECOND), timeout=200)
    )
    for number in (1, 2):
        await until(lambda asked=seen + number: len(provider.requests) == asked)
        pass_time(100)
    asked = await asking
    assert isinstance(asked.error, errors.AllModelsFailed)
    assert [row.cost_nanousd for row in asked.rows] == [None, None]


class Sees(BaseCallbackHandler):
    """Calls a function at each token."""

    run_inline = True

    def __init__(self, token):
        self.token = token

    def on_llm_new_token(self, *_, **__):
        self.token()


async def test_a_stream_that_stalls_is_cut_at_the_deadline(counter, pass_time):
    times = iter([100])
    sees = Sees(lambda: pass_time(next(times, 0)))
    models = Models(counter.settings(Fault("slow", seconds=0.2)))
    request = ModelRequest(role="planner", model=(PRIMARY, OTHER), timeout=200)
    chain = models.chat(request, Context(stream=True)).with_config(callbacks=[sees])
    asked = await counter.ask_chain(chain)
    assert asked.outcomes == [("broken", "Partial"), ("ok", None)]


async def test_a_call_that_waits_too_long_for_a_slot_is_not_made(counter, pass_time, until):
    settings = counter.settings(model_concurrency=7)
    slots = process_slots(7)
    for _ in range(7):
        await slots._acquire()
    asking = asyncio.create_task(counter.ask(settings=settings, timeout=60))
    await until(lambda: slots._waiting)
    pass_time(60)
    await asyncio.sleep(0.1)
    for _ in range(7):
        slots._release()
    asked = await asking
    assert (asked.rows, asked.requests) == ([], [])
    assert isinstance(asked.error, errors.AllModelsFailed)
    assert asked.error.attempts == (
        f"{PRIMARY} was not asked: the chain's time was up",
        f"{OTHER} was not asked: the chain's time was up",
    )


def said_aloud(caplog):
    """What was logged, but for the announced end of a model."""
    messages = [record.getMessage() for record in caplog.records]
    return [
        message
        for message in messages
        if not message.startswith((f"{OTHER} ends", f"{OTHER} was to end"))
    ]


async def test_a_rejected_key_is_named_once_and_not_used_again(counter, caplog):
    settings = counter.settings(Fault(401))
    models = Models(settings)
    request = ModelRequest(role="planner", model=(PRIMARY, SECOND, OTHER))
    with caplog.at_level(logging.WARNING):
        first = await counter.ask_chain(models.chat(request, Context()))
        second = await counter.ask_chain(models.chat(request, Context()))
    assert [(row.provider, row.error_type) for row in first.rows] == [
        ("together", "KeyRejected"),
        ("openai", None),
    ]
    assert [row.provider for row in second.rows] == ["openai"]
    (said,) = said_aloud(caplog)
    assert "TOGETHER_API_KEY" in said
    assert str(settings.together_api_key.get_secret_value()) not in said


async def test_without_another_key_the_failure_names_the_variable_each_time(counter):
    settings = counter.settings(Fault(403), openai_api_key=None)
    for requests in (1, 0):
        asked = await counter.ask(settings=settings, model=(PRIMARY, SECOND))
        assert len(asked.requests) == requests
        assert isinstance(asked.error, errors.AllModelsFailed)
        assert str(asked.error).count("TOGETHER_API_KEY") >= 1


@pytest.mark.parametrize("kind", [402, 404, 410, "insufficient_quota"])
async def test_what_somebody_has_to_mend_is_said_aloud(counter, caplog, kind):
    with caplog.at_level(logging.WARNING):
        await counter.ask(Fault(kind))
    assert [PRIMARY in message for message in said_aloud(caplog)] == [True]


async def test_what_passes_by_itself_is_not_said_aloud(counter, quick, caplog):
    with caplog.at_level(logging.WARNING):
        await counter.ask(Fault(500))
    assert said_aloud(caplog) == []


async def test_a_question_too_long_for_the_window_is_not_sent_to_it(counter):
    question = "word " * 160_000  # 200,000 tokens: beyond the primary's 131,072
    asked = await counter.ask(
        question=question, model=("together:openai/gpt-oss-120b", "together:MiniMaxAI/MiniMax-M3")
    )
    assert [row.requested_model for row in asked.rows] == ["MiniMaxAI/MiniMax-M3"]
    assert len(asked.requests) == 1


async def test_a_question_too_long_for_all_is_sent_to_none(counter):
    asked = await counter.ask(question="word " * 160_000)
    assert (asked.rows, asked.requests) == ([], [])
    assert isinstance(asked.error, errors.AllModelsFailed)
    assert f"{PRIMARY} takes 131,072 tokens and the prompt has about 200,000" in str(asked.error)


@STREAMED
async def test_a_callers_bug_is_raised_as_it_is_and_nobody_is_asked(counter, stream):
    chain = Models(counter.settings()).chat(
        ModelRequest(role="planner", model=(PRIMARY, OTHER)), Context(stream=stream)
    )
    asked = await counter.ask_chain(chain.bind(nonsense=object()))
    assert isinstance(asked.error, errors.Unsent)
    assert asked.requests == []
    assert [(row.status, row.cost_nanousd) for row in asked.rows] == [("error", 0)]


@STREAMED
async def test_a_cancelled_call_has_a_row_that_says_so(counter, ledger, provider, stream):
    run_id = ledger.start_run(Run(workflow="question"))
    chain = Models(counter.settings(Fault("hang"))).chat(
        ModelRequest(role="planner", model=(PRIMARY, OTHER)), Context(stream=stream)
    )
    config = {"callbacks": [CostHandler(ledger, run_id=run_id)]}
    asking = asyncio.create_task(chain.ainvoke("hello", config))
    while not provider.in_flight:
        await asyncio.sleep(0.01)
    asking.cancel(object())  # type: ignore[arg-type]  # as LangGraph does
    with pytest.raises(asyncio.CancelledError):
        await asking
    (row,) = ledger.calls(run_id)
    assert (row.status, row.error_type, row.cost_nanousd) == ("cancelled", "CancelledError", None)
    assert row.error == "CancelledError"


async def test_a_stream_that_is_left_ends_its_row_at_once(counter, ledger):
    run_id = ledger.start_run(Run(workflow="question"))
    chain = Models(counter.settings()).chat(
        ModelRequest(role="planner", model=(PRIMARY,)), Context(stream=True)
    )
    stream = chain.runnable.astream("hello", {"callbacks": [CostHandler(ledger, run_id=run_id)]})
    await anext(stream)
    await stream.aclose()
    (row,) = ledger.calls(run_id)
    assert (row.status, row.cost_nanousd) == ("cancelled", None)


async def test_a_stream_that_was_filtered_ends_with_a_refusal_and_is_paid(counter, ledger):
    run_id = ledger.start_run(Run(workflow="question"))
    chain = Models(counter.settings(Fault("content_filtered"))).chat(
        ModelRequest(role="planner", model=(PRIMARY, OTHER)), Context(stream=True)
    )
    told = []
    config = {"callbacks": [CostHandler(ledger, run_id=run_id)]}

    async def listen():
        async for chunk in chain.astream("Heat pumps move heat.", config):
            told.append(chunk.text)  # noqa: PERF401 - what came before it raised

    with pytest.raises(errors.Refused, match="content filter"):
        await listen()
    assert "".join(told)
    (row,) = ledger.calls(run_id)
    assert (row.status, row.finish_reason) == ("ok", "content_filter")
    assert row.cost_nanousd


@STREAMED
async def test_a_viewer_changes_no_row(counter, ledger, stream):
    run_id = ledger.start_run(Run(workflow="question"))
    chain = Models(counter.settings()).chat(
        ModelRequest(role="planner", model=(PRIMARY,)), Context(stream=stream)
    )
    config = {"callbacks": [CostHandler(ledger, run_id=run_id)]}
    await chain.ainvoke("Heat pumps move heat.", config)
    async for _ in chain.astream_events("Heat pumps move heat.", config, version="v2"):
        pass
    alone, watched = ledger.calls(run_id)
    for row in (alone, watched):
        assert (row.status, row.time_to_first_token_ms is not None) == ("ok", stream)
    assert alone.cost_nanousd == watched.cost_nanousd > 0


async def test_an_answer_from_langchains_cache_is_a_row_without_a_request(counter, quick):
    set_llm_cache(InMemoryCache())
    try:
        chain = Models(counter.settings()).chat(
            ModelRequest(role="planner", model=(PRIMARY,)), Context()
        )
        asked = [await counter.ask_chain(chain, "Heat pumps.") for _ in range(2)]
    finally:
        set_llm_cache(None)
    assert [len(one.requests) for one in asked] == [1, 0]
    assert [(one.rows[0].status, one.rows[0].cost_nanousd == 0) for one in asked] == [
        ("ok", False),
        ("cached", True),
    ]
