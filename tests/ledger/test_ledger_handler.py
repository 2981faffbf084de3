from __future__ import annotations

import asyncio
import logging
from typing import TypedDict
from uuid import uuid4

import httpx2
import openai
import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.language_models import FakeListLLM
from langchain_core.outputs import LLMResult
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt

from aideon_agents import errors
from aideon_agents.ledger import tags
from aideon_agents.ledger.costs import run_cost
from aideon_agents.ledger.handler import CostHandler
from aideon_agents.ledger.pricing import Usage
from aideon_agents.ledger.schema import table_names
from aideon_agents.ledger.store import Ledger
from aideon_agents.node_paths import part

USAGE = {"input_tokens": 1000, "output_tokens": 100, "total_tokens": 1100}
MINI = 1000 * 150 + 100 * 600
"""What USAGE costs at gpt-4o-mini's price, in nano-dollars."""


class Text(TypedDict, total=False):
    text: str


def graph_of(*nodes, **options):
    """Nodes beside one another in a stock graph."""
    builder = StateGraph(Text)
    for number, node in enumerate(nodes):
        builder.add_node(f"node{number}", node)
        builder.add_edge(START, f"node{number}")
        builder.add_edge(f"node{number}", END)
    return builder.compile(name="stock", **options)


def asking(model):
    def node(state, config):
        model.invoke("hi", config)
        return {}

    async def anode(state, config):
        await model.ainvoke("hi", config)
        return {}

    return RunnableLambda(node, anode)


def only_call(ledger, handler):
    (call,) = ledger.calls(handler.run_id)
    return call


def http_error(status):
    request = httpx2.Request("POST", "http://localhost")
    response = httpx2.Response(status, request=request)
    return openai.APIStatusError("no such luck", response=response, body=None)


# A run that the caller has made


def test_a_call_is_written_to_the_run_that_was_given(ledger, run_id, foreign):
    handler = CostHandler(ledger, run_id=run_id)
    metadata = {
        tags.ROLE: "creative",
        tags.ROUND: 2,
        tags.PURPOSE: "triage",
        tags.CANDIDATE: 1,
        tags.ATTEMPT: 3,
        tags.PROVIDER: "together",
        tags.MODEL: "openai/gpt-oss-120b",
        "langgraph_checkpoint_ns": "refine:1|draft:2|model:3",
        **part("refine"),
        **part("draft"),
    }
    model = foreign(answers_as="openai/gpt-oss-120b")
    call_id = uuid4()
    model.invoke("hi", {"callbacks": [handler], "metadata": metadata, "run_id": call_id})

    call = only_call(ledger, handler)
    assert call.call_id == str(call_id)
    assert (call.run_id, call.node_path, call.role, call.round) == (
        run_id,
        "refine/draft",
        "creative",
        2,
    )
    assert (call.purpose, call.candidate, call.attempt) == ("triage", 1, 3)
    assert (call.provider, call.requested_model, call.response_model) == (
        "together",
        "openai/gpt-oss-120b",
        "openai/gpt-oss-120b",
    )
    assert (call.status, call.finish_reason, call.usage_source) == ("ok", "stop", "reported")
    assert (call.input_tokens, call.output_tokens, call.cost_nanousd) == (1000, 100, 210_000)
    assert call.price_source.startswith("genai-prices ")
    assert call.time_to_first_token_ms is None
    assert call.duration_ms >= 0
    assert [run.run_id for run in ledger.runs()] == [run_id], "no run of its own"


def test_chains_and_retrievers_are_ignored_when_the_run_is_given_and_tools_are_not(ledger, run_id):
    given, bare = CostHandler(ledger, run_id=run_id), CostHandler(ledger)
    assert given.ignore_chain
    assert not given.ignore_agent  # a call of a tool is a row
    assert given.ignore_retriever
    assert (bare.ignore_chain, bare.ignore_agent, bare.ignore_retriever) == (False,) * 3
    assert (given.run_inline, given.raise_error) == (True, True)


async def test_a_cancelled_calls_row_is_completed_by_whoever_ends_the_run(ledger, run_id, foreign):
    handler = CostHandler(ledger, run_id=run_id)
    reached = asyncio.Event()

    class Waiting(foreign):
        async def _agenerate(self, *args, **kwargs):
            reached.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(Waiting().ainvoke("hi", {"callbacks": [handler]}))
    await reached.wait()
    assert only_call(ledger, handler).status == "started"
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    handler.settle_cancelled()
    call = only_call(ledger, handler)
    assert (call.status, call.cost_nanousd, call.error_type) == (
        "cancelled",
        None,
        "CancelledError",
    )
    assert handler._open == {}


def test_a_ledger_that_cannot_be_written_stops_the_call_before_it_is_made(tmp_path, foreign):
    asked = []

    class Watched(foreign):
        def _generate(self, *args, **kwargs):
            asked.append(self)
            return super()._generate(*args, **kwargs)

    with Ledger(tmp_path / "l.db") as ledger:
        handler = CostHandler(ledger, run_id="01A")
    with pytest.raises(errors.LedgerError, match="was closed"):
        Watched().invoke("hi", {"callbacks": [handler]})
    assert asked == []


def test_an_answer_that_is_paid_for_survives_a_ledger_that_fails_at_its_end(
    tmp_path, foreign, caplog
):
    ledger = Ledger(tmp_path / "l.db")

    class Closing(foreign):
        def _generate(self, *args, **kwargs):
            ledger.close()
            return super()._generate(*args, **kwargs)

    with caplog.at_level(logging.WARNING):
        answer = Closing().invoke("hi", {"callbacks": [CostHandler(ledger)]})
    assert answer.content == "hello"
    assert "stays started" in caplog.text
    with Ledger(tmp_path / "l.db") as again:
        (call,) = again.calls(again.find_run("last").run_id)
    assert call.status == "started"


# What an answer says


def test_the_model_that_answered_is_priced(ledger, foreign):
    handler = CostHandler(ledger)
    model = foreign(model="gpt-4o", answers_as="gpt-4o-mini-2024-07-18")
    model.invoke("hi", {"callbacks": [handler]})
    call = only_call(ledger, handler)
    assert (call.requested_model, call.response_model) == ("gpt-4o", "gpt-4o-mini-2024-07-18")
    assert call.cost_nanousd == MINI


def test_an_answer_without_usage_has_no_known_cost(ledger, foreign):
    handler = CostHandler(ledger)
    foreign(usage=None).invoke("hi", {"callbacks": [handler]})
    call = only_call(ledger, handler)
    assert (call.status, call.cost_nanousd, call.usage_source) == ("ok", None, "none")
    assert (call.input_tokens, call.output_tokens) == (None, None)
    assert not run_cost(ledger, "last").complete


def test_an_answer_of_an_unknown_model_has_no_known_cost(ledger, foreign):
    handler = CostHandler(ledger)
    foreign(model="nobody-knows", provider="nobody").invoke("hi", {"callbacks": [handler]})
    call = only_call(ledger, handler)
    assert (call.cost_nanousd, call.price_source, call.input_tokens) == (None, None, 1000)


def test_estimated_usage_is_marked(ledger, foreign):
    handler = CostHandler(ledger)

    class Estimating(foreign):
        def _generate(self, *args, **kwargs):
            result = super()._generate(*args, **kwargs)
            result.generations[0].message.response_metadata[tags.USAGE_SOURCE] = "estimated"
            return result

    Estimating().invoke("hi", {"callbacks": [handler]})
    call = only_call(ledger, handler)
    assert (call.usage_source, call.cost_nanousd) == ("estimated", MINI)


def test_a_stream_notes_its_first_token_and_does_not_add_up_totals(ledger, streaming):
    handler = CostHandler(ledger)
    totals = [
        {"input_tokens": 1000, "output_tokens": said, "total_tokens": 1000 + said}
        for said in (10, 50, 100)
    ]
    assert len(list(streaming(chunks=totals).stream("hi", {"callbacks": [handler]}))) > 1
    call = only_call(ledger, handler)
    assert (call.input_tokens, call.output_tokens, call.cost_nanousd) == (1000, 100, MINI)
    assert 0 <= call.time_to_first_token_ms <= call.duration_ms


def test_a_stream_that_reports_once_costs_what_it_reports(ledger, streaming):
    handler = CostHandler(ledger)
    list(streaming(chunks=[None, None, USAGE]).stream("hi", {"callbacks": [handler]}))
    assert only_call(ledger, handler).cost_nanousd == MINI


def test_an_answer_from_langchains_cache_costs_nothing(ledger, foreign):
    handler = CostHandler(ledger, workflow="cached")
    model = foreign(cache=InMemoryCache())
    for _ in range(3):
        model.invoke("hi", {"callbacks": [handler]})
    rows = [ledger.calls(run.run_id)[0] for run in ledger.runs()[::-1]]
    assert [(row.status, row.cost_nanousd, row.input_tokens) for row in rows] == [
        ("ok", MINI, 1000),
        ("cached", 0, None),
        ("cached", 0, None),
    ]


def test_a_model_that_completes_text_gets_a_row_too(ledger):
    handler = CostHandler(ledger)
    FakeListLLM(responses=["done"]).invoke("hi", {"callbacks": [handler]})
    call = only_call(ledger, handler)
    assert (call.status, call.cost_nanousd, call.requested_model) == ("ok", None, "unknown")


# What an error says


@pytest.mark.parametrize(
    ("error", "status", "nanousd"),
    [
        (errors.RateLimited("429", billed=False, status=429), "error", 0),
        (errors.Transient("reset after sending"), "error", None),
        (errors.Partial("broke off"), "broken", None),
        (http_error(500), "error", 0),
        (openai.APIConnectionError(request=http_error(500).request), "error", None),
        (openai.APIResponseValidationError(http_error(200).response, body=None), "error", None),
        (ValueError(), "error", None),
        (KeyboardInterrupt(), "cancelled", None),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
def test_a_failed_call_costs_nothing_only_where_nothing_can_be_charged(
    ledger, foreign, error, status, nanousd
):
    handler = CostHandler(ledger)
    with pytest.raises(type(error)):
        foreign(error=error).invoke("hi", {"callbacks": [handler]})
    call = only_call(ledger, handler)
    assert (call.status, call.cost_nanousd) == (status, nanousd)
    assert call.error_type == type(error).__name__
    assert call.error, "even an error without words has a text"
    assert call.usage_source == "none"


def test_an_error_that_knows_its_usage_is_priced_by_the_model_that_answered(ledger, foreign):
    handler = CostHandler(ledger)
    error = errors.Malformed("no JSON")
    error.usage = Usage(input_tokens=1000, output_tokens=100)
    error.response_model = "gpt-4o-mini"
    with pytest.raises(errors.Malformed):
        foreign(model="gpt-4o", error=error).invoke("hi", {"callbacks": [handler]})
    call = only_call(ledger, handler)
    assert (call.status, call.cost_nanousd, call.usage_source) == ("error", MINI, "reported")
    assert (call.input_tokens, call.response_model) == (1000, "gpt-4o-mini")


def test_a_stream_that_is_abandoned_is_cancelled(ledger, streaming):
    handler = CostHandler(ledger)
    stream = streaming(chunks=[None, None, USAGE]).stream("hi", {"callbacks": [handler]})
    next(stream)
    stream.close()
    call = only_call(ledger, handler)
    assert (call.status, call.cost_nanousd) == ("cancelled", None)
    assert ledger.find_run(handler.run_id).status == "cancelled"


def test_no_key_reaches_a_row_or_the_file(ledger, foreign):
    key = "tgp_v1_0123456789abcdefgh"
    with pytest.raises(ValueError, match="tgp"):
        foreign(error=ValueError(f"401 with Bearer {key}")).invoke(
            "hi", {"callbacks": [CostHandler(ledger)]}
        )
    rows = [ledger.select(f"SELECT * FROM {table}") for table in table_names()]  # noqa: S608 - ours
    assert "401 with Bearer [key]" in str([dict(row) for of_table in rows for row in of_table])
    assert key not in str([dict(row) for of_table in rows for row in of_table])
    ledger.close()
    for file in ledger.path.parent.iterdir() if ledger.path else ():
        assert key.encode() not in file.read_bytes()


# Graphs that are invoked bare


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
async def test_a_bare_graph_becomes_a_run_of_its_own(ledger, foreign, way):
    handler = CostHandler(ledger, user="ada", tier="free")
    graph = graph_of(asking(foreign()), asking(foreign(model="gpt-4o")))
    config = {"callbacks": [handler]}
    if way == "invoke":
        graph.invoke({"text": "x"}, config)
    else:
        await graph.ainvoke({"text": "x"}, config)

    (run,) = ledger.runs()
    assert run.run_id == handler.run_id
    assert (run.workflow, run.status, run.user, run.tier) == ("stock", "completed", "ada", "free")
    cost = run_cost(ledger, run.run_id)
    assert sorted(cost.by_node) == ["node0", "node1"]
    assert (cost.calls, cost.complete) == (2, True)
    assert (handler._open, handler._implicit._roots) == ({}, {})


async def test_every_root_is_its_own_run_also_at_the_same_time(ledger, foreign):
    handler = CostHandler(ledger, workflow="article")
    graph = graph_of(asking(foreign()))
    await asyncio.gather(*(graph.ainvoke({}, {"callbacks": [handler]}) for _ in range(20)))
    runs = ledger.runs()
    assert [(run.workflow, run.status) for run in runs] == [("article", "completed")] * 20
    assert [len(ledger.calls(run.run_id)) for run in runs] == [1] * 20
    assert handler._implicit._roots == {}


def test_a_hundred_parallel_sync_nodes_all_land(ledger, foreign):
    handler = CostHandler(ledger)
    graph = graph_of(*(asking(foreign()) for _ in range(100)))
    graph.invoke({}, {"callbacks": [handler], "max_concurrency": 100})
    cost = run_cost(ledger, handler.run_id)
    assert (cost.calls, len(cost.by_node), cost.complete) == (100, 100, True)
    assert int(cost.usd.scaleb(9)) == 100 * MINI


def test_a_model_inside_a_tool_belongs_to_the_graphs_run(ledger, foreign):
    handler = CostHandler(ledger)

    @tool
    def look_up(query: str) -> str:
        """Look something up."""
        return foreign().invoke(query).text

    graph_of(lambda _, config: {"text": look_up.invoke({"query": "x"}, config)}).invoke(
        {}, {"callbacks": [handler]}
    )
    assert [run.workflow for run in ledger.runs()] == ["stock"]
    assert only_call(ledger, handler).node_path == "node0"
    assert handler._implicit._roots == {}


def test_a_model_inside_a_retriever_belongs_to_the_graphs_run(ledger, foreign):
    handler = CostHandler(ledger)

    class Asking(BaseRetriever):
        def _get_relevant_documents(self, query, *, run_manager):
            foreign().invoke(query, {"callbacks": run_manager.get_child()})
            return []

    graph_of(lambda _, config: {"text": str(Asking().invoke("x", config))}).invoke(
        {}, {"callbacks": [handler]}
    )
    assert [run.workflow for run in ledger.runs()] == ["stock"]
    assert only_call(ledger, handler).status == "ok"
    assert handler._implicit._roots == {}


def test_a_model_called_without_a_graph_is_a_run(ledger, foreign):
    handler = CostHandler(ledger)
    assert handler.run_id is None
    foreign().invoke("hi", {"callbacks": [handler]})
    run = ledger.find_run("last")
    assert (run.run_id, run.workflow, run.status) == (handler.run_id, "ForeignModel", "completed")
    assert only_call(ledger, handler).node_path == ""


@pytest.mark.parametrize(
    ("error", "status", "stop_reason"),
    [
        (ValueError("no"), "failed", None),
        (errors.TimeLimit(3), "stopped", "timeout"),
        (KeyboardInterrupt(), "cancelled", None),
    ],
)
def test_an_implicit_run_ends_as_its_graph_does(ledger, foreign, error, status, stop_reason):
    def fail(state):
        raise error

    with pytest.raises(type(error)):
        graph_of(fail).invoke({}, {"callbacks": [CostHandler(ledger)]})
    run = ledger.find_run("last")
    assert (run.status, run.stop_reason, run.error_type) == (
        status,
        stop_reason,
        type(error).__name__,
    )


async def test_calls_cancelled_with_a_bare_graph_are_completed(ledger, foreign):
    handler = CostHandler(ledger)
    reached = asyncio.Event()

    class Waiting(foreign):
        async def _agenerate(self, *args, **kwargs):
            reached.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(graph_of(asking(Waiting())).ainvoke({}, {"callbacks": [handler]}))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ledger.find_run("last").status == "cancelled"
    assert only_call(ledger, handler).status == "cancelled"
    assert (handler._open, handler._implicit._roots) == ({}, {})


def test_a_bare_graph_that_asks_a_person_is_waiting(ledger):
    graph = graph_of(lambda _: {"text": interrupt("go on?")}, checkpointer=InMemorySaver())
    config = {"callbacks": [CostHandler(ledger)], "configurable": {"thread_id": "talk"}}
    graph.invoke({}, config)
    run = ledger.find_run("last")
    assert (run.status, run.thread) == ("waiting", "talk")


def test_a_rehearsed_call_makes_its_implicit_run_a_rehearsed_one(ledger, foreign):
    handler = CostHandler(ledger)
    graph = graph_of(asking(foreign(metadata={tags.REHEARSED: True})), asking(foreign()))
    graph.invoke({}, {"callbacks": [handler]})
    run = ledger.find_run("last")
    assert run.rehearsed
    assert sorted(call.rehearsed for call in ledger.calls(run.run_id)) == [False, True]
    assert run_cost(ledger, run.run_id).calls == 2


def test_two_handlers_on_one_ledger_count_a_call_once(ledger, run_id, foreign):
    first, second = CostHandler(ledger, run_id=run_id), CostHandler(ledger, run_id=run_id)
    foreign().invoke("hi", {"callbacks": [first, second]})
    assert [call.cost_nanousd for call in ledger.calls(run_id)] == [MINI]


def test_events_of_a_call_that_nobody_saw_start_change_nothing(ledger, run_id):
    handler = CostHandler(ledger, run_id=run_id)
    stranger = uuid4()
    handler.on_llm_new_token("x", run_id=stranger)
    handler.on_llm_error(ValueError("x"), run_id=stranger)
    handler.on_llm_end(LLMResult(generations=[]), run_id=stranger)
    handler.on_chain_end({}, run_id=stranger)
    assert ledger.calls(run_id) == []
