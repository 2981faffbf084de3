"""How an attempt that was held for ends, and how a run ends that is refused."""

from __future__ import annotations

import asyncio
import json
import logging
import socket

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.globals import set_llm_cache

from aideon_agents import (
    Budget,
    Context,
    CostHandler,
    Ledger,
    Settings,
    creative,
    executor,
    iterative,
    parallel,
    run,
    sequential,
    validator,
)
from aideon_agents import errors as err
from aideon_agents.ledger.rows import Run
from aideon_agents.models import Models
from aideon_agents.state import ModelRequest
from aideon_agents.testing import Fault, SimulatedProvider

MODEL = "together:openai/gpt-oss-120b"
STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])


def holds(ledger):
    return [dict(row) for row in ledger.select("SELECT * FROM holds ORDER BY call_id")]


def account(ledger, run_id):
    key = {"key": f"run:{run_id}"}
    (row,) = ledger.select("SELECT * FROM accounts WHERE account = :key", key)
    return row["spent_nanousd"], row["held_nanousd"]


@STREAMED
@pytest.mark.parametrize("status", [400, 401, 404, 413, 422, 429, 500, 503, 529])
async def test_an_error_status_costs_nothing(counter, ledger, quick, status, stream):
    fault = Fault(status, retry_after=4000 if status == 429 else 0.01)
    asked = await counter.ask([fault] * 9, model=(MODEL,), budget=10**9, stream=stream)
    assert asked.error is not None
    assert {row.cost_nanousd for row in asked.rows} == {0}
    assert {hold["status"] for hold in holds(ledger)} == {"settled"}
    assert account(ledger, asked.rows[0].run_id) == (0, 0)


async def test_a_call_with_metadata_of_its_own_keeps_its_place(counter, ledger):
    request = ModelRequest(role="planner", model=(MODEL,))
    chain = Models(counter.settings()).chat(request, Context())

    async def writer(state):
        asked = chain.with_config(metadata={"team": "red"})
        return (await asked.ainvoke(state["task"])).text

    outer = sequential(sequential(writer, name="inner"))
    run_id = ledger.start_run(Run(workflow="tagged"), Budget(1, nodes={"inner/writer": 1}))
    handlers = [CostHandler(ledger, run_id=run_id)]
    await outer.ainvoke({"task": "Go on."}, {"callbacks": handlers})
    assert [row.node_path for row in ledger.calls(run_id)] == ["inner/writer"]
    assert [hold["node_path"] for hold in holds(ledger)] == ["inner/writer"]


class Refuses(BaseCallbackHandler):
    """Somebody else's handler, which lets no call begin."""

    raise_error = True
    run_inline = True  # and so in its turn, before the one that records

    def on_chat_model_start(self, *_: object, **__: object) -> None:
        raise ValueError("not today")


# LangChain leaves the handlers behind the one that raises as they are.
@pytest.mark.filterwarnings("ignore:coroutine 'ahandle_event' was never awaited")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_call_that_another_handler_stops_was_never_made(counter, ledger, provider):
    seen = len(provider.requests)
    run_id = ledger.start_run(Run(workflow="stopped"), Budget.of(1))
    chain = Models(counter.settings()).chat(ModelRequest(role="planner", model=(MODEL,)), Context())
    handlers = [Refuses(), CostHandler(ledger, run_id=run_id)]
    with pytest.raises(ValueError, match="not today"):
        await chain.ainvoke("Go on.", {"callbacks": handlers})
    assert len(provider.requests) == seen
    assert ledger.calls(run_id) == []
    assert account(ledger, run_id) == (0, 0)


async def test_nobody_there_costs_nothing(counter, ledger, quick):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        settings = counter.settings(
            together_base_url=f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        )
        asked = await counter.ask(settings=settings, model=(MODEL,), budget=10**9)
    assert {row.cost_nanousd for row in asked.rows} == {0}
    assert account(ledger, asked.rows[0].run_id) == (0, 0)


@pytest.mark.parametrize(
    ("fault", "stream"),
    [
        (Fault("reset_after"), False),
        (Fault("garbage"), False),
        (Fault("truncated_body"), False),
        (Fault("no_usage"), False),
        (Fault("hang"), False),
        (Fault("cut_after_first_token", after_tokens=2), True),
        (Fault("cut_with_cumulative_usage", after_tokens=5), True),
        (Fault("no_finish_reason"), True),
        (Fault("no_usage"), True),
        (Fault("hang"), True),
    ],
)
async def test_where_nobody_can_know_the_cost_the_worst_case_is_spent(
    counter, ledger, provider, quick, *, fault, stream, pass_time, until
):
    seen = len(provider.requests)
    asking = asyncio.create_task(
        counter.ask(fault, model=(MODEL,), budget=10**9, stream=stream, timeout=60)
    )
    if fault.kind == "hang":
        await until(lambda: len(provider.requests) > seen)
        pass_time(60)
    asked = await asking
    found = holds(ledger)
    assert {row.cost_nanousd for row in asked.rows} == {None}
    assert {hold["status"] for hold in found} == {"unknown"}
    total = sum(hold["amount_nanousd"] for hold in found)
    assert account(ledger, asked.rows[0].run_id) == (total, 0)
    assert sum(line.nanousd for line in asked.bill) <= total


@STREAMED
async def test_an_answer_costs_what_the_provider_charges(counter, ledger, stream):
    asked = await counter.ask(budget=10**9, stream=stream)
    assert account(ledger, asked.rows[0].run_id) == (asked.bill[0].nanousd, 0)


@STREAMED
async def test_a_cancelled_call_counts_at_its_worst_case(counter, ledger, provider, stream):
    settings = counter.settings(Fault("hang"))
    asking = asyncio.create_task(
        counter.ask(settings=settings, model=(MODEL,), budget=10**9, stream=stream)
    )
    seen = len(provider.requests)
    while len(provider.requests) == seen:
        await asyncio.sleep(0.005)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    (hold,) = holds(ledger)
    assert hold["status"] == "unknown"
    assert account(ledger, hold["run_id"]) == (hold["amount_nanousd"], 0)


async def test_a_stream_that_its_reader_leaves_is_settled_with_its_run(counter, ledger):
    chain = Models(counter.settings()).chat(
        ModelRequest(role="planner", model=(MODEL,)), Context(stream=True)
    )
    handler = CostHandler(ledger, run_id=ledger.start_run(Run(workflow="left")))
    stream = chain.astream("Go on.", {"callbacks": [handler]})
    assert await anext(stream)
    await stream.aclose()
    handler.settle_cancelled()
    (hold,) = holds(ledger)
    assert hold["status"] == "unknown"


async def test_a_cached_answer_costs_nothing(counter, ledger):
    set_llm_cache(InMemoryCache())
    try:
        settings = counter.settings()
        asked = [await counter.ask(settings=settings, budget=10**9) for _ in range(2)]
    finally:
        set_llm_cache(None)
    assert [row.status for one in asked for row in one.rows] == ["ok", "cached"]
    assert account(ledger, asked[1].rows[0].run_id) == (0, 0)


def three(last=300):
    """A node, then branches of which those with much room are too dear, then another node."""
    return sequential(
        executor("first", model=MODEL, max_tokens=100),
        parallel(
            creative("small", model=MODEL, max_tokens=100),
            validator("dear", model=MODEL, max_tokens=10_000, question="Is it long?"),
            sequential(
                creative("deep", model=MODEL, max_tokens=100),
                creative("deeper", model=MODEL, max_tokens=100),
                name="nested",
            ),
        ),
        executor("last", model=MODEL, max_tokens=last),
    )


def test_the_branches_beside_a_refused_one_finish(counter, ledger):
    done = run(three(), "Go on.", settings=counter.settings(), ledger=ledger, budget="0.005")
    assert (done.status, done.stop_reason) == ("stopped", "budget")
    assert isinstance(done.exception, err.BudgetExceeded)
    assert {path.rpartition("/")[2] for path in done.results} == {
        *("first", "small", "deep", "deeper")
    }
    assert {row.status for row in ledger.calls(done.run_id)} == {"ok"}
    (row,) = [one for one in ledger.runs() if one.run_id == done.run_id]
    assert (row.status, row.stop_reason, row.error_type) == ("stopped", "budget", "OutOfBudget")
    assert account(ledger, done.run_id) == (int(done.cost.usd.scaleb(9)), 0)


@pytest.mark.parametrize("way", ["ainvoke", "invoke", "astream"])
async def test_a_bare_graph_is_held_to_its_handler_s_budget(counter, ledger, way):
    handler = CostHandler(ledger, budget="0.005", user="ada")
    config = {"callbacks": [handler]}
    context = Context(models=Models(counter.settings()))
    graph = three()

    async def through():
        if way == "ainvoke":
            await graph.ainvoke({"task": "Go on."}, config, context=context)
        elif way == "invoke":
            await asyncio.to_thread(
                lambda: graph.invoke({"task": "Go on."}, config, context=context)
            )
        else:
            async for _ in graph.astream({"task": "Go on."}, config, context=context):
                pass

    with pytest.raises(err.BudgetExceeded):
        await through()
    (row,) = ledger.runs()
    assert (row.status, row.stop_reason) == ("stopped", "budget")
    paths = {call.node_path.rpartition("/")[2] for call in ledger.calls(row.run_id)}
    assert paths == {"first", "small", "deep", "deeper"}
    (limit,) = ledger.select("SELECT * FROM accounts WHERE limit_nanousd IS NOT NULL")
    assert limit["account"] == f"run:{row.run_id}"


@pytest.mark.parametrize(
    ("outer", "inner", "stops"),
    [("1", "1", []), ("1", "0.000001", ["inner"]), ("0.000001", "1", ["inner", "outer"])],
    ids=["neither", "inner", "outer"],
)
def test_a_run_inside_a_run_is_held_to_both_budgets(counter, ledger, outer, inner, stops):
    given = {"settings": counter.settings()}
    seen = []

    def begins(_state):
        # As nearly always, with a connection of its own.
        seen.append(run(executor("deep", model=MODEL), "In.", ledger=path, budget=inner, **given))
        return seen[-1].status

    path = ledger.path
    graph = sequential(begins, executor("last", model=MODEL))
    done = run(graph, "Out.", ledger=path, budget=outer, **given)
    ended = {"inner": seen[0], "outer": done}
    assert [name for name, one in ended.items() if one.status == "stopped"] == stops
    rows = ledger.calls(done.run_id)
    assert len(rows) == 2 - len(stops)
    spent, held = account(ledger, done.run_id)
    assert (spent, held) == (sum(row.cost_nanousd for row in rows), 0)
    of_deep = sum(row.cost_nanousd for row in rows if row.node_path == "deep")
    assert account(ledger, seen[0].run_id) == (of_deep, 0)


async def test_a_run_inside_a_run_of_another_ledger_is_held_to_the_outer_budget(
    counter, ledger, tmp_path
):
    settings = counter.settings()
    with Ledger(tmp_path / "other.db") as other:
        handlers = [
            CostHandler(book, run_id=book.start_run(Run(workflow="w"), budget))
            for book, budget in ((ledger, Budget("1")), (other, Budget("0.000001")))
        ]
        request = ModelRequest(role="planner", model=(MODEL,))
        chain = Models(settings).chat(request, Context())
        assert (await chain.ainvoke("Go on.", {"callbacks": handlers})).text
        assert [len(holds(book)) for book in (ledger, other)] == [1, 0]


async def test_each_run_of_a_bare_graph_has_the_whole_budget(counter, ledger):
    handler = CostHandler(ledger, budget="0.001")
    graph = sequential(executor("one", model=MODEL, max_tokens=100))
    context = Context(models=Models(counter.settings()))
    for _ in range(3):
        await graph.ainvoke({"task": "Go."}, {"callbacks": [handler]}, context=context)
    assert [row.status for row in ledger.runs()] == ["completed"] * 3


WAYS = {
    "ainvoke": lambda chain, config: chain.ainvoke("Go on.", config),
    "invoke": lambda chain, config: asyncio.to_thread(chain.invoke, "Go on.", config),
    "astream": lambda chain, config: listed(chain.astream("Go on.", config)),
    "stream": lambda chain, config: asyncio.to_thread(lambda: list(chain.stream("Go on.", config))),
}


async def listed(stream):
    return [chunk async for chunk in stream]


@pytest.mark.parametrize("way", WAYS)
async def test_a_chain_outside_any_graph_is_held_to_its_handler_s_budget(counter, ledger, way):
    chain = Models(counter.settings()).chat(ModelRequest(role="planner", model=(MODEL,)), Context())
    with pytest.raises(err.BudgetExceeded):
        await WAYS[way](chain, {"callbacks": [CostHandler(ledger, budget=0)]})
    (row,) = ledger.runs()
    assert (row.status, row.stop_reason) == ("stopped", "budget")
    assert ledger.calls(row.run_id) == []
    assert await WAYS[way](chain, {"callbacks": [CostHandler(ledger, budget="1")]})
    assert len(ledger.runs()) == 2


@pytest.mark.parametrize("way", WAYS)
async def test_the_attempts_of_a_chain_outside_any_graph_are_one_run(counter, ledger, quick, way):
    settings = counter.settings([Fault(500), Fault(500)])
    chain = Models(settings).chat(ModelRequest(role="planner", model=(MODEL,)), Context())
    await WAYS[way](chain, {"callbacks": [CostHandler(ledger, budget="1")]})
    (row,) = ledger.runs()
    assert [call.attempt for call in ledger.calls(row.run_id)] == [1, 2, 3]
    assert row.status == "completed"


async def test_a_model_alone_is_held_to_what_stands_in_the_ledger(counter, ledger):
    chain = Models(counter.settings()).chat(ModelRequest(role="planner", model=(MODEL,)), Context())
    config = {"callbacks": [CostHandler(ledger, user="ada")]}
    assert (await chain.runnable.ainvoke("Go on.", config)).text
    ledger.set_budget("day", 0)
    with pytest.raises(err.BudgetExceeded, match="day budget"):
        await chain.runnable.ainvoke("Go on.", config)
    assert len(ledger.runs()) == 1


def test_a_loop_stops_at_its_budget_with_what_it_has(counter, ledger):
    loop = iterative(
        creative("draft", model=MODEL, max_tokens=100),
        validator("judge", model=MODEL, max_tokens=50_000, criteria="short"),
        max_rounds=3,
    )
    done = run(loop, "Go on.", settings=counter.settings(), ledger=ledger, budget="0.01")
    assert (done.status, done.stop_reason) == ("stopped", "budget")
    assert len(ledger.calls(done.run_id)) == 1


def test_a_user_s_and_a_node_s_budgets_stop_a_run_and_are_named(counter, ledger):
    ledger.set_budget("user:ada", "0.000001")
    settings = counter.settings()
    graph = sequential(executor("one", model=MODEL), name="w")
    done = run(graph, "Go.", settings=settings, ledger=ledger, user="ada")
    assert (done.status, done.exception.scope) == ("stopped", "user:ada")
    assert run(graph, "Go.", settings=settings, ledger=ledger, user="bob").status == "completed"
    ledger.set_budget("node", 0)
    done = run(graph, "Go.", settings=settings, ledger=ledger, user="bob")
    assert done.exception.scope == "node:one"


async def test_a_ledger_that_fails_before_a_call_stops_it_before_it_costs(
    tmp_path, counter, provider
):
    broken = Ledger(tmp_path / "broken.db")
    handler = CostHandler(broken, run_id=broken.start_run(Run(workflow="broken")))
    broken.database.write("DROP TABLE holds", {})
    seen = len(provider.requests)
    chain = Models(counter.settings()).chat(ModelRequest(role="planner", model=(MODEL,)), Context())
    with pytest.raises(err.LedgerError):
        await chain.ainvoke("Go on.", {"callbacks": [handler]})
    assert len(provider.requests) == seen
    broken.close()


async def test_an_answer_is_not_lost_to_a_ledger_that_fails_after_it(tmp_path, caplog):
    """Its end cannot be written, and nor can its hold be let go."""
    books = []

    def answer(_request):
        books[0].database.close()
        return "dearly paid"

    with SimulatedProvider(answer=answer) as provider:
        settings = Settings(together_api_key="k", together_base_url=provider.base_url)
        books.append(Ledger(tmp_path / "failing.db"))
        run_id = books[0].start_run(Run(workflow="failing"))
        chain = Models(settings).chat(ModelRequest(role="planner", model=(MODEL,)), Context())
        with caplog.at_level(logging.WARNING):
            config = {"callbacks": [CostHandler(books[0], run_id=run_id)]}
            said = await chain.ainvoke("Go on.", config)
    assert said.text == "dearly paid"
    assert any("stays started" in line for line in caplog.messages)
    with Ledger(tmp_path / "failing.db") as again:
        assert [hold["status"] for hold in holds(again)] == ["held"]
        assert [row.status for row in again.calls(run_id)] == ["started"]


def test_rows_say_what_was_held_for_them(counter, ledger):
    done = run(three(), "Go.", settings=counter.settings(), ledger=ledger, budget="1")
    assert done.status == "completed"
    for row in ledger.calls(done.run_id):
        (hold,) = [one for one in holds(ledger) if one["call_id"] == row.call_id]
        assert hold["node_path"] == row.node_path
        assert f"run:{done.run_id}" in json.loads(hold["accounts"])
        assert row.cost_nanousd <= hold["amount_nanousd"]
