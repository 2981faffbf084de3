"""Answers that are kept and given again: what identifies a question, what is kept, and who asks."""

from __future__ import annotations

import asyncio
import json
import logging
import time

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.rate_limiters import InMemoryRateLimiter
from langchain_core.tools import tool
from pydantic import BaseModel

from aideon_agents import Budget, Context, CostHandler, Ledger, State, arun, chat_model, errors
from aideon_agents.ledger import answers
from aideon_agents.ledger.rows import Run
from aideon_agents.models import Models
from aideon_agents.models.caching import question
from aideon_agents.state import GivenModel, ModelRequest
from aideon_agents.testing import Fault, ScriptedChatModel

PRIMARY = "together:openai/gpt-oss-120b"
SAME = "together:MiniMaxAI/MiniMax-M3"
OTHER = "openai:gpt-4o-mini"
DAY = 86_400.0
STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])


class Facts(BaseModel):
    facts: list[str]


class Titles(BaseModel):
    titles: list[str]


@tool
def search(words: str) -> str:
    """Search for words."""
    return words


@pytest.fixture
def database(counter):
    return counter._ledger.database


@pytest.fixture(autouse=True)
def empty(database, quick):
    answers.clear(database)
    question._logged.clear()


def scripted(*script, provider="together"):
    model = ScriptedChatModel(answers=list(script))
    return model, GivenModel(provider, "scripted", model)


def text_of(asked):
    return asked.answer.content


@pytest.mark.parametrize("first", [False, True], ids=["plain", "streamed"])
@STREAMED
async def test_an_answer_is_given_again_without_asking(counter, first, stream):
    settings = counter.settings()
    asked = await counter.ask(settings=settings, cache=DAY, stream=first)
    again = await counter.ask(settings=settings, cache=DAY, stream=stream)
    assert (len(asked.requests), len(again.requests)) == (1, 0)
    fields = {"id", "example", "chunk_position"}
    assert again.answer.model_dump(exclude=fields) == asked.answer.model_dump(exclude=fields)
    assert again.answer.id != asked.answer.id  # LangGraph replaces messages with the same id
    (paid,), (row,) = asked.rows, again.rows
    assert (row.status, row.cost_nanousd, row.saved_nanousd) == ("cached", 0, paid.cost_nanousd)
    assert (row.provider, row.requested_model) == (paid.provider, paid.requested_model)
    assert row.input_tokens == paid.input_tokens > 0
    assert (paid.status, paid.saved_nanousd) == ("ok", None)


async def test_a_private_question_is_neither_looked_up_nor_kept(counter, database, provider):
    settings = counter.settings(local_base_url=provider.base_url)
    private = {"question": "Write to ada.lovelace@example.com", "model": ("local:m",)}
    await counter.ask(settings=settings, cache=DAY, privacy="off", **private)
    for _ in range(2):  # what was kept when it did not count as private is not used either
        assert (await counter.ask(settings=settings, cache=DAY, **private)).requests
    assert answers.figures(database)["entries"] == 1
    cloud = await counter.ask(settings=settings, cache=DAY, question=private["question"])
    assert [row.provider for row in cloud.rows] == ["local"]
    assert answers.figures(database)["entries"] == 1
    assert database.select("SELECT * FROM leases", {}) == []


async def test_without_it_nothing_is_kept(counter, database):
    await counter.ask()
    assert answers.figures(database)["entries"] == 0


async def test_a_rehearsal_neither_keeps_nor_uses_answers(counter, database):
    settings = counter.settings()
    models = Models(settings)
    request = ModelRequest(role="planner", model=(PRIMARY,), cache=DAY)
    await counter.ask_chain(models.chat(request, Context(rehearse=True)))
    assert answers.figures(database)["entries"] == 0
    await counter.ask_chain(models.chat(request, Context()))
    rehearsed = await counter.ask_chain(models.chat(request, Context(rehearse=True)))
    assert [row.status for row in rehearsed.rows] == ["ok"]


async def test_an_answer_that_is_too_old_is_asked_for_again(counter, database):
    settings = counter.settings()
    await counter.ask(settings=settings, cache=60.0)
    database.write("UPDATE answers SET stored_at = :at", {"at": time.time() - 61})
    assert len((await counter.ask(settings=settings, cache=60.0)).requests) == 1
    database.write("UPDATE answers SET stored_at = :at", {"at": time.time() - 61})
    assert (await counter.ask(settings=settings, cache=DAY)).requests == []


@pytest.mark.parametrize(
    "changed",
    [
        {"question": "Another question"},
        {"temperature": 0.9},
        {"max_tokens": 77},
        {"model": (SAME,)},
        {"output": Facts},
    ],
    ids=str,
)
async def test_another_question_is_asked(counter, changed):
    settings = counter.settings()
    asked = {"settings": settings, "cache": DAY, "temperature": 0.5} | {"model": (PRIMARY,)}
    await counter.ask(**asked)
    other = await counter.ask(**asked | changed)
    assert len(other.requests) == 1
    assert (await counter.ask(**asked | changed)).requests == []


async def test_another_schema_is_another_question(counter):
    settings = counter.settings()
    for output in (Facts, Titles):
        assert (await counter.ask(settings=settings, cache=DAY, output=output)).requests
    again = await counter.ask(settings=settings, cache=DAY, output=Titles)
    assert isinstance(again.answer, Titles)
    assert again.requests == []


async def test_another_server_is_another_model(counter, server):
    server.answers = [{"choices": [{"message": {"content": "theirs"}, "finish_reason": "stop"}]}]
    await counter.ask(cache=DAY)
    asked = await counter.ask(settings=counter.settings(together_base_url=server.url), cache=DAY)
    assert text_of(asked) == "theirs"


class Served(ScriptedChatModel):
    """A model that a program gives, of a class of its own."""

    address: str


async def test_given_models_of_one_class_have_answers_of_their_own(counter):
    async def answer(address):
        model = Served(answers=[f"from {address}"], address=address)
        request = ModelRequest(
            role="executor", model=(GivenModel("together", "served", model),), cache=DAY
        )
        chain = Models(counter.settings()).chat(request, Context())
        return text_of(await counter.ask_chain(chain)), len(model.requests)

    asked = [await answer(address) for address in ("a", "b", "a")]
    assert asked == [("from a", 1), ("from b", 1), ("from a", 0)]


async def test_tool_calls_are_given_again(counter):
    call = {"name": "search", "args": {"words": "heat"}, "id": "call_1", "type": "tool_call"}
    model, given = scripted(AIMessage("", tool_calls=[call]))
    chain = Models(counter.settings()).chat(
        ModelRequest(role="executor", model=(given,), cache=DAY), Context()
    )
    asked = await counter.ask_chain(chain.bind_tools([search]))
    again = await counter.ask_chain(chain.bind_tools([search]))
    assert asked.answer.tool_calls == again.answer.tool_calls == [call]
    assert len(model.requests) == 1
    with pytest.raises(AssertionError):  # without the tools it is another question
        raise (await counter.ask_chain(chain)).error.__cause__ or AssertionError


async def test_ids_and_usage_of_earlier_answers_do_not_count(counter):
    settings = counter.settings()

    def talk(number):
        said = AIMessage("Hello", id=f"run-{number}", response_metadata={"x": number})
        return [HumanMessage("Hi"), said, HumanMessage("And now?")]

    await counter.ask(settings=settings, cache=DAY, question=talk(1))
    assert (await counter.ask(settings=settings, cache=DAY, question=talk(2))).requests == []


@pytest.mark.parametrize(
    "said",
    [
        AIMessage("cut", response_metadata={"finish_reason": "length"}),
        AIMessage("the key is sk-0123456789abcdef0123456789"),
        AIMessage(
            "",
            invalid_tool_calls=[
                {"name": "search", "args": "{", "id": "1", "error": "", "type": "invalid_tool_call"}
            ],
        ),
    ],
    ids=["truncated", "with a key", "malformed call"],
)
async def test_what_is_no_whole_answer_is_not_kept(counter, database, said):
    _, given = scripted(said)
    await counter.ask(cache=DAY, model=(given,))
    assert answers.figures(database)["entries"] == 0


@pytest.mark.parametrize(
    "fault",
    [
        Fault("content_filter"),
        Fault("content_filtered"),
        Fault("cut_after_first_token"),
        Fault(500),
    ],
    ids=lambda fault: str(fault.kind),
)
@STREAMED
async def test_a_failure_is_not_kept(counter, database, fault, stream):
    asked = await counter.ask(fault, cache=DAY, model=(PRIMARY,), stream=stream)
    assert asked.error is not None
    assert answers.figures(database)["entries"] == 0
    assert database.select("SELECT * FROM leases", {}) == []


async def test_an_answer_of_another_shape_is_not_kept(counter, database):
    model, given = scripted("no json", '{"facts": ["a"]}', '{"facts": ["b"]}')
    asked = await counter.ask(cache=DAY, model=(given,), output=Facts)
    assert asked.answer == Facts(facts=["a"])
    assert answers.figures(database)["entries"] == 1  # that of the second question
    again = await counter.ask(cache=DAY, model=(given,), output=Facts)
    assert again.answer == Facts(facts=["b"])
    assert len(model.requests) == 3


async def test_a_kept_answer_needs_no_budget_breaker_or_limit(counter):
    settings = counter.settings([None, *[Fault(401)] * 9])
    kept = await counter.ask(settings=settings, cache=DAY, model=(PRIMARY,))
    broken = await counter.ask(settings=settings, model=(PRIMARY,), question="Another one")
    assert isinstance(broken.error, errors.AllModelsFailed)  # the key rests from here on
    again = await counter.ask(settings=settings, cache=DAY, model=(PRIMARY,), budget=1)
    assert text_of(again) == text_of(kept)


async def test_a_kept_answer_does_not_wait_for_a_given_models_rate_limiter(counter):
    model, _ = scripted("yes")
    limited = model.model_copy(
        update={
            "rate_limiter": InMemoryRateLimiter(requests_per_second=0.000001, max_bucket_size=1)
        }
    )
    limited.rate_limiter.available_tokens = 1
    given = GivenModel("together", "scripted", limited)
    settings = counter.settings()
    async with asyncio.timeout(30):
        await counter.ask(settings=settings, cache=DAY, model=(given,))
        assert text_of(await counter.ask(settings=settings, cache=DAY, model=(given,))) == "yes"


async def test_callers_that_ask_the_same_at_once_pay_once(counter):
    settings = counter.settings([Fault("delay", seconds=0.2)])
    several = [counter.ask(settings=settings, cache=DAY, model=(PRIMARY,)) for _ in range(20)]
    asked = await asyncio.gather(*several)
    assert len({text_of(one) for one in asked}) == 1
    rows = [row.status for one in asked for row in one.rows]
    assert sorted(rows) == ["cached"] * 19 + ["ok"]


@pytest.mark.parametrize("cache", [None, DAY], ids=["uncached", "cached"])
async def test_a_stream_that_is_abandoned_ends_its_row_and_its_lease(counter, database, cache):
    ledger = counter._ledger
    run_id = ledger.start_run(Run(workflow="question"), Budget("1"))
    asked = ModelRequest(role="planner", model=(PRIMARY,), cache=cache)
    chain = Models(counter.settings()).chat(asked, Context(stream=True))
    config = {"callbacks": [CostHandler(ledger, run_id=run_id)]}
    source = chain.runnable.astream("A question that is left", config)
    await anext(source)
    await source.aclose()
    (row,) = ledger.calls(run_id)
    assert (row.status, row.cost_nanousd) == ("cancelled", None)
    held = "SELECT status FROM holds WHERE run_id = :run"
    assert [one["status"] for one in database.select(held, {"run": run_id})] == ["unknown"]
    assert database.select("SELECT * FROM leases", {}) == []
    assert answers.figures(database)["entries"] == 0


async def test_where_the_one_that_asks_fails_the_next_asks(counter):
    settings = counter.settings([Fault(400), None])
    asked = await asyncio.gather(
        *[counter.ask(settings=settings, cache=DAY, model=(PRIMARY,)) for _ in range(3)]
    )
    assert sum(one.error is not None for one in asked) == 1
    assert sorted(row.status for one in asked for row in one.rows) == ["cached", "error", "ok"]


async def test_who_waits_too_long_is_told(counter, database):
    settings = counter.settings()
    await counter.ask(settings=settings, cache=DAY, model=(PRIMARY,))
    (row,) = database.select("SELECT key FROM answers", {})
    answers.clear(database)
    assert answers.lease(database, row["key"], "another", since=0)
    asked = await counter.ask(settings=settings, cache=DAY, model=(PRIMARY,), timeout=0.2)
    assert "another call asks it the same" in str(asked.error)
    answers.give_up(database, row["key"], "another")
    assert (await counter.ask(settings=settings, cache=DAY, model=(PRIMARY,))).answer


async def test_a_damaged_answer_is_asked_for_again(counter, database, caplog):
    settings = counter.settings()
    await counter.ask(settings=settings, cache=DAY)
    for damage in ("{", "[]", '{"type": "human", "data": {"content": "x"}}'):
        database.write("UPDATE answers SET answer = :damage", {"damage": damage})
        with caplog.at_level(logging.WARNING):
            assert len((await counter.ask(settings=settings, cache=DAY)).requests) == 1
    assert caplog.text.count("a damaged answer") == 1
    assert (await counter.ask(settings=settings, cache=DAY)).requests == []


async def test_a_cache_that_fails_costs_no_answer(counter, database, caplog):
    settings = counter.settings()
    database.write("ALTER TABLE answers RENAME TO hidden", {})
    try:
        with caplog.at_level(logging.WARNING):
            for _ in range(2):
                asked = await counter.ask(settings=settings, cache=DAY)
                assert asked.outcomes == [("ok", None)]
    finally:
        database.write("ALTER TABLE hidden RENAME TO answers", {})
    assert caplog.text.count("the answer cache cannot be used") == 1


@STREAMED
async def test_a_disk_without_room_for_an_answer_costs_no_answer_and_loses_none(
    counter, ledger, server, caplog, stream
):
    settings = counter.settings(local_base_url=server.url)
    asks = {"settings": settings, "model": ("local:m",), "stream": stream}

    def reply(words):
        message = {"role": "assistant", "content": words}
        answer = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
        usage = {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18}
        return {"model": "m", "usage": usage} | answer

    server.answers = [reply("short")]
    await counter.ask(cache=DAY, **asks)
    ledger.database.write("UPDATE answers SET stored_at = stored_at - 2000000", {})
    server.answers = [reply("x" * 2_000_000)]
    room = ledger.select("PRAGMA page_count")[0][0] + 100  # for rows alone
    ledger.select(f"PRAGMA max_page_count = {room}")
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            asked = await counter.ask(cache=DAY, **asks)
            assert (len(text_of(asked)), asked.outcomes) == (2_000_000, [("ok", None)])
    assert caplog.text.count("an answer is not kept in the answer cache: the ledger") == 1
    assert "cannot grow, its disk is full" in caplog.text
    assert ledger.select("SELECT * FROM leases") == []
    server.answers = [(500, {"error": {"message": "no"}}, {})]
    old = await counter.ask(fallback=("cached",), **asks)
    assert text_of(old) == "short"
    ledger.select("PRAGMA max_page_count = 1000000")
    server.answers, before = [reply("new")], len(server.asked)
    assert [text_of(await counter.ask(cache=DAY, **asks)) for _ in range(2)] == ["new", "new"]
    assert len(server.asked) == before + 1


async def test_a_kept_answer_streams_in_pieces(counter):
    chain = Models(counter.settings()).chat(
        ModelRequest(role="executor", model=(PRIMARY,), cache=DAY), Context(stream=True)
    )

    class Listener(BaseCallbackHandler):
        def __init__(self):
            self.tokens = []

        def on_llm_new_token(self, token, **_):
            self.tokens.append(token)

    async def streamed():
        listener, pieces = Listener(), []
        bound = chain.with_config(callbacks=[listener])
        asked = await counter.ask_chain(bound, "Say several words about heat pumps")
        return asked, listener.tokens, pieces

    first, tokens, _ = await streamed()
    again, replayed, _ = await streamed()
    assert again.requests == []
    assert "".join(replayed) == "".join(tokens) == text_of(first) == text_of(again)
    assert len([one for one in replayed if one]) > 1
    assert again.rows[0].time_to_first_token_ms is not None


# Strategies of `fallback`.


def names(*models, fallback, of_run=True):
    request = ModelRequest(role="planner", model=models, fallback=fallback)
    return request, Context(fallback=of_run)


@pytest.mark.parametrize(
    ("agent", "run", "asked"),
    [
        (True, True, [PRIMARY, OTHER, SAME]),
        (("same_provider", "other_provider"), True, [PRIMARY, SAME, OTHER]),
        (("other_provider", "same_provider"), True, [PRIMARY, OTHER, SAME]),
        (("same_provider",), True, [PRIMARY, SAME]),
        (("other_provider",), True, [PRIMARY, OTHER]),
        (("cached",), True, [PRIMARY]),
        (("same_provider",), ("other_provider",), [PRIMARY, OTHER]),
        (True, ("same_provider",), [PRIMARY, SAME]),
        (False, ("same_provider",), [PRIMARY]),
        (("same_provider",), False, [PRIMARY]),
    ],
    ids=str,
)
def test_strategies_order_the_chain(counter, agent, run, asked):
    request = ModelRequest(role="planner", model=(PRIMARY, OTHER, SAME), fallback=agent)
    chain = Models(counter.settings()).chat(request, Context(fallback=run))
    assert [str(one) for one in chain.candidates] == asked


@STREAMED
@pytest.mark.parametrize("output", [None, Facts])
async def test_an_old_answer_is_used_where_all_models_fail(
    counter, database, caplog, stream, output
):
    settings = counter.settings([None, *[Fault(503)] * 9])
    how = {"settings": settings, "model": (PRIMARY,), "fallback": ("cached",), "stream": stream}
    first = await counter.ask(**how, output=output)
    database.write("UPDATE answers SET stored_at = :at", {"at": time.time() - 5000})
    with caplog.at_level(logging.WARNING):
        old = await counter.ask(**how, output=output)
    assert old.error is None
    assert (old.answer if output else text_of(old)) == (first.answer if output else text_of(first))
    assert [row.status for row in old.rows] == ["error"] * 3 + ["cached"]
    assert old.rows[-1].cost_nanousd == 0
    assert 5000 <= json.loads(old.rows[-1].choice)["stale_s"] < 6000
    assert "all models failed: an answer of together:openai/gpt-oss-120b is used" in caplog.text


async def test_a_node_of_code_says_that_an_old_answer_was_used(tmp_path):
    model, _ = scripted("good", *[errors.Transient("down")] * 9)
    asking = chat_model(model, fallback=["cached"])

    async def ask(state: State):
        return (await asking.ainvoke(state["task"])).content

    with Ledger.from_url(f"sqlite:///{tmp_path}/kept.db") as ledger:
        results = [await arun(ask, "Hello", ledger=ledger) for _ in range(2)]
    first, old = [one.results["ask"] for one in results]
    assert (first.content, first.stale_s) == ("good", None)
    assert (old.content, old.stale_s is None) == ("good", False)


async def test_an_old_answer_may_be_that_of_any_model_of_the_chain(counter):
    model, given = scripted(errors.Transient("down"), provider="openai")
    settings = counter.settings([None, *[Fault(503)] * 9])
    first = await counter.ask(settings=settings, model=(PRIMARY,), fallback=("cached",))
    strategies = ("other_provider", "cached")
    model.answers = [errors.Transient("down")] * 9
    old = await counter.ask(settings=settings, model=(given, PRIMARY), fallback=strategies)
    assert text_of(old) == text_of(first)
    assert old.rows[-1].requested_model == "openai/gpt-oss-120b"
    assert old.rows[-1].candidate == 1


async def test_an_old_answer_is_used_where_the_new_ones_do_not_fit(counter):
    model, given = scripted('{"facts": ["a"]}', "no", "still no")
    settings = counter.settings()
    how = {"settings": settings, "model": (given,), "fallback": ("cached",), "output": Facts}
    await counter.ask(**how)
    assert (await counter.ask(**how)).answer == Facts(facts=["a"])
    assert len(model.requests) == 3


async def test_without_an_old_answer_the_failure_stays(counter):
    asked = await counter.ask(Fault(503), model=(PRIMARY,), fallback=("cached",))
    assert isinstance(asked.error, errors.AllModelsFailed)


async def test_an_old_answer_is_not_used_where_a_budget_refuses(counter):
    settings = counter.settings()
    how = {"settings": settings, "model": (PRIMARY,), "fallback": ("cached",), "output": Facts}
    await counter.ask(**how)
    refused = await counter.ask(**how, budget=1)
    assert isinstance(refused.error, errors.BudgetExceeded)
