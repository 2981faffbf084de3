"""Several nodes at the same time: who sees what, who waits for whom, what survives the merge."""

from __future__ import annotations

import asyncio
import threading

import pytest
from langgraph.graph.state import CompiledStateGraph

from aideon_agents import creative, executor, iterative, parallel, planner, sequential
from aideon_agents.graphs.walk import walk
from aideon_agents.state import Plan, PlanStep, Verdict
from aideon_agents.testing import GivenModels, SchemaChatModel, ScriptedChatModel

PATIENCE = 60  # seconds until a test that would hang fails instead


def a_plan(what):
    only = PlanStep(id="s1", description=what, agent="executor", complexity="low", depends_on=[])
    return Plan(steps=[only])


def test_a_branch_that_is_one_agent_runs_without_a_graph_of_its_own():
    graph = parallel(executor("facts"), sequential(executor("a"), executor("b"), name="pair"))
    (pair,) = (node for node in walk(graph) if isinstance(node.runs, CompiledStateGraph))
    assert pair.names == ("pair",)


def test_branches_see_what_came_before_and_nothing_of_one_another(stage):
    model = SchemaChatModel()
    gather = parallel(executor("facts"), creative("angle"), name="gather")
    played = stage.invoke(
        sequential(executor("first"), gather, creative("last")), GivenModels(model)
    )
    seen = {}
    for request in model.requests:
        prompt = str(request.messages[1].content)
        seen[len(seen)] = [line for line in prompt.splitlines() if line.startswith("<result from=")]
    assert seen[0] == []
    assert seen[1] == seen[2] == ['<result from="first">']
    assert seen[3] == [
        '<result from="first">',
        '<result from="gather/facts">',
        '<result from="gather/angle">',
    ]
    assert {path: one.order for path, one in played.results.items()} == {
        "first": 1,
        "gather/facts": 2,
        "gather/angle": 3,
        "last": 4,
    }


def test_the_wrapping_of_a_branch_adds_no_part_to_the_path(stage):
    gather = parallel(executor("facts"), sequential(executor("a"), creative("b"), name="chain"))
    assert stage.invoke(gather).places == [
        ("chain/a", "executor", 1),
        ("chain/b", "creative", 1),
        ("facts", "executor", 1),
    ]


async def test_a_quick_branch_does_not_wait_for_a_slow_one(stage):
    quick_is_done = asyncio.Event()

    async def first(state):
        return "one"

    async def second(state):
        quick_is_done.set()
        return "two"

    async def slow(state):
        # Comes to its end only after the quick branch has come to its own.
        await quick_is_done.wait()
        return "three"

    graph = parallel(sequential(first, second, name="quick"), slow)
    async with asyncio.timeout(PATIENCE):
        played = await stage.ainvoke(graph)
    assert played.contents.keys() == {"quick/first", "quick/second", "slow"}


def test_a_quick_branch_does_not_wait_for_a_slow_one_in_synchronous_code(stage):
    quick_is_done = threading.Event()

    def second(state):
        quick_is_done.set()
        return "two"

    def slow(state):
        return "three" if quick_is_done.wait(PATIENCE) else "waited in vain"

    graph = parallel(sequential(lambda state: "one", second, name="quick"), slow)
    assert stage.invoke(graph).contents["slow"] == "three"


async def test_branches_run_at_the_same_time(stage):
    everybody = asyncio.Barrier(3)

    async def meet(state):
        await everybody.wait()

    async with asyncio.timeout(PATIENCE):
        await stage.ainvoke(parallel(meet, meet, meet))


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a")])
def test_a_branch_that_merely_brings_a_plan_back_does_not_undo_a_new_one(stage, names):
    new, bystander = names
    model = ScriptedChatModel(answers=[a_plan("old"), a_plan("new")])
    graph = sequential(
        planner("first"),
        parallel(planner(new), sequential(lambda state: "text", name=bystander), name="again"),
    )
    played = stage.invoke(graph, GivenModels(model))
    assert played.values["plan"] == a_plan("new")


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a")])
def test_a_loop_judges_by_the_new_verdict_of_a_check_with_branches(stage, names):
    judge, bystander = names
    verdicts = iter(
        [
            Verdict(passed=False, score=0.1, feedback="no"),
            Verdict(passed=True, score=1, feedback=""),
        ]
    )

    def judging(state):
        return {"verdict": next(verdicts)}

    branches = parallel(
        sequential(judging, name=judge),
        sequential(lambda state: "text", name=bystander),
        name="check",
    )
    played = stage.invoke(iterative(creative("draft"), branches, max_rounds=5))
    assert [one.verdict.score for one in played.results["iterative"].data.rounds] == [0.1, 1]


def test_of_several_new_values_the_last_by_name_is_kept(stage):
    def chooses(route):
        return lambda state: {"route": route}

    graph = parallel(
        sequential(chooses("from b"), name="b"), sequential(chooses("from a"), name="a")
    )
    assert stage.invoke(graph).values["route"] == "from b"


def test_a_value_can_be_taken_back(stage):
    graph = sequential(planner(), parallel(lambda state: {"plan": None}, lambda state: "text"))
    assert stage.invoke(graph).values["plan"] is None
