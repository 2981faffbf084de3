"""What a run takes of LangChain's config: callbacks, tags, metadata and one recursion limit."""

from __future__ import annotations

import operator
from typing import Annotated, TypedDict

import pytest
from langchain_core.callbacks import BaseCallbackHandler, CallbackManager
from langchain_core.messages import AIMessage
from langgraph.config import get_config
from langgraph.graph import END, START, StateGraph

from aideon_agents import (
    CostHandler,
    abatch,
    arun,
    astream,
    executor,
    iterative,
    orchestrated,
    parallel,
    planner,
    resume,
    run,
    sequential,
)
from aideon_agents.errors import InputError, UserError
from aideon_agents.state import Plan, PlanStep, Verdict
from aideon_agents.testing import ScriptedChatModel

ROUNDS = 13
"""With more steps than LangChain's limit of 25."""
ROLES = ("planner", "executor", "validator", "creative")


class Heard(BaseCallbackHandler):
    """Notes what it hears of."""

    def __init__(self):
        self.models, self.chains, self.tools, self.ends = [], [], [], 0

    def on_chain_start(self, serialized, inputs, **about):
        self.chains.append(about.get("name"))

    def on_chat_model_start(self, serialized, messages, **about):
        self.models.append((about["tags"], about["metadata"]))

    def on_llm_end(self, response, **about):
        self.ends += 1

    def on_tool_start(self, serialized, text, **about):
        self.tools.append(serialized["name"])


def says(*answers):
    return dict.fromkeys(ROLES, ScriptedChatModel(answers=list(answers)))


class Counting(TypedDict):
    task: str
    n: Annotated[int, operator.add]


def counting(steps: int):
    """A graph made elsewhere that takes so many steps."""
    builder = StateGraph(Counting)
    builder.add_node("count", lambda state: {"n": 1})
    builder.add_edge(START, "count")
    builder.add_conditional_edges("count", lambda state: END if state["n"] >= steps else "count")
    return builder.compile(name="counting")


def limit(state):
    """Its recursion limit, as a result."""
    return str(get_config()["recursion_limit"])


def never(state):
    return {"verdict": Verdict(passed=False, score=0.1, feedback="no")}


def long_loop():
    return iterative(limit, never, max_rounds=ROUNDS)


def in_a_tool():
    graph = counting(30)

    def count() -> int:
        """Count."""
        return graph.invoke({"n": 0})["n"]

    return executor("a", tools=[count])


def in_a_check():
    def check(state):
        counted = counting(30).invoke({"n": 0})["n"]
        return {"verdict": Verdict(passed=counted == 30, score=1, feedback="")}

    return iterative(limit, check, max_rounds=1)


CALL = AIMessage("", tool_calls=[{"name": "count", "args": {}, "id": "c1"}])
PLAN = Plan(
    steps=[
        PlanStep(id=one, description="d", agent="executor", complexity="low", depends_on=[])
        for one in ("s1",)
    ]
)
DEEP = {
    "limited branches": lambda: parallel(long_loop(), limit, max_concurrency=2),
    "kept branches": lambda: parallel(long_loop(), limit, on_failure="keep"),
    "both": lambda: parallel(long_loop(), limit, on_failure="keep", max_concurrency=2),
    "a check": in_a_check,
    "a check that is a graph": lambda: iterative(
        limit, sequential(long_loop(), never), max_rounds=1
    ),
    "a foreign graph": lambda: sequential(counting(30), limit),
    "a foreign graph in a limited branch": lambda: parallel(
        sequential(counting(30)), limit, max_concurrency=2
    ),
}


@pytest.mark.parametrize("make", DEEP.values(), ids=DEEP)
def test_a_graph_inside_may_take_as_many_steps_as_the_one_around_it(make, ledger):
    result = run(make(), "t", ledger=ledger)
    assert (result.status, result.error) == ("completed", None)
    assert not [one for one in result.results.values() if one.role == "failed"]


@pytest.mark.parametrize("make", DEEP.values(), ids=DEEP)
async def test_also_where_the_graph_is_invoked_without_a_run(make):
    graph = make()
    for update in (await graph.ainvoke({"task": "t"}), graph.invoke({"task": "t"})):
        assert not [one for one in update["results"].values() if one.role == "failed"]


def test_a_graph_that_a_tool_runs_may_as_well(ledger):
    result = run(in_a_tool(), "t", model=says(CALL, "thirty"), ledger=ledger)
    assert (result.status, result.output) == ("completed", "thirty")


def test_a_worker_of_a_plan_may_as_well(ledger):
    graph = orchestrated(planner(), in_a_tool())
    models = {**says(CALL, "thirty"), "planner": ScriptedChatModel(answers=[PLAN])}
    result = run(graph, "t", model=models, ledger=ledger)
    assert (result.status, result.error) == ("completed", None)


def test_a_limit_that_is_given_holds_at_every_depth(ledger):
    graph = parallel(iterative(limit, never, max_rounds=2), limit, max_concurrency=2)
    result = run(graph, "t", ledger=ledger, config={"recursion_limit": 50})
    assert {one.content for one in result.results.values() if one.role == "function"} == {"50"}


@pytest.mark.parametrize("steps", [20, 25])
def test_a_limit_that_is_too_low_ends_the_run_at_every_depth(steps, ledger):
    graph = parallel(long_loop(), limit, max_concurrency=2)
    result = run(graph, "t", ledger=ledger, config={"recursion_limit": steps})
    assert result.status == "failed"
    assert f"Recursion limit of {steps}" in str(result.error)


def test_a_run_inside_a_node_has_the_limit_of_the_run_around_it(ledger):
    def nested(state):
        return run(sequential(limit), "inner", ledger=ledger).output

    result = run(sequential(nested), "t", ledger=ledger, config={"recursion_limit": 60})
    assert result.output == "60"


def test_handlers_hear_of_every_chain_and_model_with_the_tags_and_metadata(ledger):
    heard = Heard()
    graph = parallel(executor("a"), executor("b"))
    given = {"tags": ["trial"], "metadata": {"customer": "acme"}, "run_name": "named"}
    result = run(graph, "t", model=says("1", "2"), ledger=ledger, callbacks=[heard], config=given)
    assert (result.status, result.cost.calls) == ("completed", 2)
    assert [tags for tags, _ in heard.models] == [["trial"]] * 2
    assert [about["customer"] for _, about in heard.models] == ["acme"] * 2
    assert heard.chains[0] == "named"
    assert heard.ends == 2


async def test_every_way_to_run_takes_them(ledger, tmp_path):
    heard = Heard()
    given = {"ledger": ledger, "callbacks": [heard], "config": {"tags": ["trial"]}}
    graph = sequential(executor("a"))
    await arun(graph, "t", model=says("1"), **given)
    events = [event async for event in astream(graph, "t", model=says("2"), **given)]
    done = await abatch(graph, ["x", "y"], tmp_path / "out.jsonl", model=says("3", "4"), **given)
    assert events
    assert done.completed == 2
    assert [tags for tags, _ in heard.models] == [["trial"]] * 4
    assert heard.ends == 4


def test_a_run_that_resumes_takes_them_and_a_model_object(ledger):
    graph = sequential(executor("a"), executor("b", approve=True), executor("c"))
    waiting = run(graph, "t", model=says("1", "2"), ledger=ledger)
    assert waiting.status == "waiting"
    with pytest.raises(UserError, match="had a chat model for the planner"):
        resume(graph, waiting.run_id, answer={"approved": True}, ledger=ledger)
    heard = Heard()
    given = {"model": says("3"), "callbacks": [heard], "config": {"tags": ["again"]}}
    result = resume(graph, waiting.run_id, answer={"approved": True}, ledger=ledger, **given)
    assert (result.status, result.output) == ("completed", "3")
    assert [tags for tags, _ in heard.models] == [["again"]]


def test_a_manager_and_the_handlers_of_a_config_are_taken_as_well(ledger):
    one, two = Heard(), Heard()
    manager = CallbackManager(handlers=[], inheritable_handlers=[])
    manager.add_handler(one)
    given = {"callbacks": [two]}
    run(executor("a"), "t", model=says("1"), ledger=ledger, callbacks=manager, config=given)
    assert (len(one.models), len(two.models)) == (1, 1)
    assert manager.handlers == [one]


def test_the_config_of_a_running_node_is_taken(ledger):
    heard = Heard()

    def nested(state):
        inner = run(executor("b"), "u", model=says("x"), ledger=ledger, config=get_config())
        return str(inner.output)

    given = {"callbacks": [heard], "config": {"tags": ["outer"]}}
    result = run(sequential(nested), "t", ledger=ledger, **given)
    assert result.output == "x"
    assert [tags for tags, _ in heard.models] == [["outer"]]


def test_a_recorder_among_the_callbacks_takes_nothing_from_the_run(ledger):
    result = run(
        executor("a"), "t", model=says("1"), ledger=ledger, callbacks=[CostHandler(ledger)]
    )
    assert result.cost.calls == 1
    assert len(ledger.calls(result.run_id)) == 1


def test_a_handler_that_raises_does_not_end_the_run(ledger):
    class Broken(BaseCallbackHandler):
        def on_chat_model_start(self, *_, **__):
            raise RuntimeError("broken")

    result = run(executor("a"), "t", model=says("1"), ledger=ledger, callbacks=[Broken()])
    assert result.output == "1"


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"config": {"recursion_limit": 0}}, "recursion_limit is 0"),
        ({"config": {"recursion_limit": "9"}}, "recursion_limit is '9'"),
        ({"config": {"configurable": {"thread_id": "c"}}}, "thread="),
        ({"config": {"metadata": {"aideon_role": "x"}}}, "'aideon_role' is a name"),
        ({"config": {"limit": 1}}, "takes no 'limit'"),
        ({"config": "x"}, "config is a str"),
        ({"callbacks": Heard()}, "a list of LangChain callback handlers"),
        ({"callbacks": ["x"]}, "a list of LangChain callback handlers"),
    ],
)
def test_what_a_run_cannot_take_is_refused_before_it_begins(given, why, ledger):
    with pytest.raises(InputError, match=why):
        run(executor("a"), "t", model=says("1"), ledger=ledger, **given)
    assert ledger.runs() == []
