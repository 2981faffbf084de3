"""How many branches run at once, and what happens to the others when one fails."""

from __future__ import annotations

import asyncio
import threading

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphDrained
from langgraph.graph import START, StateGraph
from langgraph.runtime import RunControl, get_runtime
from langgraph.types import Command, interrupt

from aideon_agents import (
    Context,
    State,
    creative,
    executor,
    iterative,
    parallel,
    sequential,
    validator,
)
from aideon_agents.errors import InputError, NoModel, StepFailed, TimeLimit, UserError
from aideon_agents.graphs.walk import requests
from aideon_agents.state import Verdict
from aideon_agents.testing import GivenModels, ScriptedChatModel

PATIENCE = 20


class Crowd:
    """Counts how many branches are in it at once."""

    def __init__(self, expected: int) -> None:
        self.expected = expected
        self.most = self.now = 0
        self._lock = threading.Lock()

    def enter(self):
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)

    def leave(self):
        with self._lock:
            self.now -= 1


def visiting(crowd):
    """A branch that stays in the crowd until so many have met there, and one more could come."""

    async def visit(state):
        crowd.enter()
        while crowd.most < crowd.expected:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)
        crowd.leave()

    return visit


def failing(error, name="fails"):
    def fail(state):
        raise error

    fail.__name__ = name
    return fail


def fine(state):
    return "all is well"


@pytest.mark.parametrize("awaits", [True, False])
@pytest.mark.parametrize("limit", [1, 2])
async def test_no_more_branches_run_at_once_than_asked(stage, awaits, limit):
    crowd = Crowd(limit)
    graph = parallel(*[visiting(crowd)] * 5, max_concurrency=limit)
    await stage.ainvoke(graph) if awaits else stage.invoke(graph)
    assert crowd.most == limit


async def test_the_bound_is_met_where_there_are_branches_enough(stage):
    both = asyncio.Barrier(2)

    async def meet(state):
        await both.wait()

    async with asyncio.timeout(PATIENCE):
        await stage.ainvoke(parallel(meet, meet, max_concurrency=2))


async def test_each_run_of_a_graph_counts_for_itself(stage):
    everybody = asyncio.Barrier(3)

    async def meet(state):
        await everybody.wait()

    graph = parallel(meet, max_concurrency=1)
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*(graph.ainvoke({"task": "Meet."}) for _ in range(3)))


async def test_a_bounded_pattern_inside_another_does_not_wait_for_itself(stage):
    crowd = Crowd(2)

    def inner():
        return parallel(*[visiting(crowd)] * 3, max_concurrency=1)

    graph = parallel(inner(), inner(), inner(), max_concurrency=2)
    async with asyncio.timeout(PATIENCE):
        await stage.ainvoke(graph)
    assert crowd.most == 2
    stage.invoke(graph)


async def test_a_cancelled_branch_gives_its_place_back(stage):
    started = asyncio.Event()

    async def hang(state):
        started.set()
        await asyncio.Event().wait()

    graph = parallel(hang, hang, max_concurrency=1)
    running = asyncio.create_task(graph.ainvoke({"task": "Wait."}))
    await started.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


def test_a_bounded_branch_keeps_its_place_in_the_ledger(stage):
    branches = [executor("facts"), sequential(creative("draft"), name="text")]
    played = stage.invoke(sequential(parallel(*branches, max_concurrency=1, name="gather")))
    assert played.places == [("gather/facts", "executor", 1), ("gather/text/draft", "creative", 1)]


def test_by_default_one_failing_branch_fails_the_whole(stage):
    with pytest.raises(ValueError, match="no luck"):
        stage.invoke(parallel(fine, failing(ValueError("no luck"))))


async def test_by_default_one_failing_branch_ends_the_others(stage):
    ended = asyncio.Event()

    async def hang(state):
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with asyncio.timeout(PATIENCE):
        with pytest.raises(ValueError, match="no luck"):
            await stage.ainvoke(parallel(hang, failing(ValueError("no luck")), max_concurrency=2))
    assert ended.is_set()


@pytest.mark.parametrize("awaits", [True, False])
async def test_a_kept_failure_is_a_result_of_one_line_at_the_branchs_place(stage, awaits):
    branches = parallel(
        failing(ValueError("no\n  luck"), "facts"),
        failing(StepFailed("gave up"), "risks"),
        fine,
        on_failure="keep",
        name="gather",
    )
    graph = sequential(branches)
    played = await stage.ainvoke(graph) if awaits else stage.invoke(graph)
    assert played.contents == {
        "gather/facts": "ValueError: no luck",
        "gather/risks": "gave up",
        "gather/fine": "all is well",
    }
    assert [played.results[f"gather/{at}"].role for at in ("facts", "risks", "fine")] == [
        "failed",
        "failed",
        "function",
    ]


async def test_the_others_go_on_when_a_failure_is_kept(stage):
    failed = asyncio.Event()

    async def fail(state):
        failed.set()
        raise ValueError("no luck")

    async def later(state):
        await failed.wait()
        await asyncio.sleep(0.01)
        return "done"

    async with asyncio.timeout(PATIENCE):
        played = await stage.ainvoke(parallel(later, fail, on_failure="keep"))
    assert played.contents["later"] == "done"


def test_what_a_failed_branch_spent_is_in_the_ledger(stage):
    branch = sequential(creative("draft"), failing(ValueError("no luck")), name="text")
    played = stage.invoke(parallel(branch, executor("facts"), on_failure="keep"))
    assert played.places == [("facts", "executor", 1), ("text/draft", "creative", 1)]
    assert played.contents["text"] == "ValueError: no luck"


def test_a_failed_branch_is_never_the_output(stage):
    graph = parallel(fine, failing(ValueError("no luck")), on_failure="keep")
    played = stage.invoke(sequential(lambda state: "before", graph))
    order = {path: one.order for path, one in played.results.items()}
    assert order["parallel/fails"] < order["parallel/fine"]


@pytest.mark.parametrize("awaits", [True, False])
async def test_when_every_branch_fails_so_does_the_whole(stage, awaits):
    graph = parallel(
        failing(ValueError("no luck"), "a"),
        failing(StepFailed("gave up"), "b"),
        on_failure="keep",
        name="gather",
    )
    wrong = r"^gather: every branch failed: a: ValueError: no luck; b: gave up"
    with pytest.raises(StepFailed, match=wrong):
        await stage.ainvoke(sequential(graph)) if awaits else stage.invoke(graph)


@pytest.mark.parametrize(
    "error", [TimeLimit(3), InputError("no such key"), NoModel("no key"), GraphDrained("stop")]
)
async def test_limits_the_callers_mistakes_and_stops_are_not_kept(stage, error):
    graph = parallel(fine, failing(error), on_failure="keep")
    with pytest.raises(type(error)):
        stage.invoke(graph)
    with pytest.raises(type(error)):
        await stage.ainvoke(graph)


async def test_a_cancellation_is_not_kept():
    started = asyncio.Event()

    async def hang(state):
        started.set()
        await asyncio.Event().wait()

    graph = parallel(fine, hang, on_failure="keep")
    running = asyncio.create_task(graph.ainvoke({"task": "Wait."}))
    await started.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


@pytest.mark.parametrize("awaits", [True, False])
async def test_a_branch_may_ask_a_question_and_the_others_are_not_run_again(awaits):
    times: list[str] = []

    def once(state):
        times.append("once")
        return "done"

    def ask(state):
        return interrupt("May I?")

    graph = parallel(
        once,
        sequential(ask, name="asks"),
        failing(ValueError("no luck")),
        max_concurrency=1,
        on_failure="keep",
    )
    graph.checkpointer = InMemorySaver()
    config = {"configurable": {"thread_id": "t"}}

    async def go(entry):
        return await graph.ainvoke(entry, config) if awaits else graph.invoke(entry, config)

    asked = await go({"task": "Ask."})
    assert [one.value for one in asked["__interrupt__"]] == ["May I?"]
    values = await go(Command(resume="Yes."))
    assert times == ["once"]
    assert {path: one.content for path, one in values["results"].items()} == {
        "once": "done",
        "asks/ask": "Yes.",
        "fails": "ValueError: no luck",
    }


def test_a_drain_that_was_asked_for_stops_a_kept_branch():
    def drain(state):
        get_runtime().control.request_drain("enough")
        return "drained"

    graph = parallel(
        sequential(drain, failing(ValueError("went on"), "after"), name="drains"),
        on_failure="keep",
    )
    with pytest.raises(GraphDrained):
        graph.invoke({"task": "Stop."}, control=RunControl())


def test_in_a_loop_a_branch_that_works_again_has_its_failure_replaced(stage):
    fails = iter([True, False])

    def work(state):
        if next(fails):
            raise ValueError("no luck")
        return "text"

    verdicts = [
        Verdict(passed=False, score=0.1, feedback="More."),
        Verdict(passed=True, score=1, feedback=""),
    ]
    branches = parallel(sequential(work, name="chain"), fine, on_failure="keep", name="gather")
    judge = ScriptedChatModel(answers=verdicts)
    played = stage.invoke(iterative(branches, validator()), GivenModels(judge))
    assert "chain: " not in judge.requests[1].messages[-1].text
    assert "no luck" not in judge.requests[1].messages[-1].text
    assert played.results["gather/chain"].content == "text"
    assert played.results["gather/chain"].role == "graph"


def test_in_a_loop_branches_that_all_fail_at_last_are_a_failure(stage):
    fails = iter([False, True])

    def work(state):
        if next(fails):
            raise ValueError("no luck")
        return "text"

    branches = parallel(sequential(work, name="chain"), on_failure="keep", name="gather")
    verdict = Verdict(passed=False, score=0.1, feedback="More.")
    models = GivenModels(ScriptedChatModel(answers=[verdict]))
    with pytest.raises(StepFailed, match="every branch failed: chain: ValueError: no luck"):
        stage.invoke(iterative(branches, validator()), models)


async def test_options_work_nested_and_in_a_users_own_graph(stage):
    inner = parallel(failing(ValueError("x")), fine, on_failure="keep", name="inner")
    outer = parallel(inner, creative("aside"), max_concurrency=1, on_failure="keep", name="outer")
    builder = StateGraph(State)
    builder.add_node("mine", sequential(outer))
    builder.add_edge(START, "mine")
    graph = builder.compile()
    for played in (stage.invoke(graph), await stage.ainvoke(graph)):
        assert played.results["mine/outer/inner/fails"].role == "failed"
        assert played.places == [("mine/outer/aside", "creative", 1)]


async def test_a_viewer_sees_into_a_bounded_branch():
    graph = parallel(sequential(fine, name="chain"), max_concurrency=1, on_failure="keep")
    seen = [
        (tuple(part.partition(":")[0] for part in namespace), [*update])
        async for namespace, update in graph.astream(
            {"task": "Look."}, stream_mode="updates", subgraphs=True
        )
    ]
    assert seen == [(("chain",), ["fine"]), ((), ["chain"]), ((), ["kept"])]


def test_a_checkpoint_is_written_by_whatever_door_the_run_came_in():
    class SynchronousAlone(InMemorySaver):
        """As savers for one kind of connection are."""

        async def aput(self, *given, **more):
            raise NotImplementedError

        aget_tuple = aput_writes = aput

    inner = iterative(fine, sequential(passing, name="check"), name="inner")
    graph = parallel(inner, max_concurrency=1, on_failure="keep")
    graph.checkpointer = SynchronousAlone()
    config = {"configurable": {"thread_id": "t"}}
    values = graph.invoke({"task": "Save."}, config, context=Context())
    assert values["results"]["inner"].content == "all is well"


def passing(state):
    return {"verdict": Verdict(passed=True, score=1, feedback="")}


def test_a_branch_may_not_be_called_like_the_node_that_counts_what_is_left():
    with pytest.raises(UserError, match="two nodes called 'kept', one of its own"):
        parallel(creative("kept"), on_failure="keep")
    assert [*parallel(creative("kept")).builder.nodes] == ["kept"]


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        ({"max_concurrency": 0}, "max_concurrency must be at least 1, not 0"),
        ({"max_concurrency": "2"}, "max_concurrency must be at least 1, not '2'"),
        ({"on_failure": "ignore"}, "on_failure must be raise or keep, not 'ignore'"),
    ],
)
def test_options_that_cannot_be_are_refused_when_it_is_built(options, wrong):
    with pytest.raises(UserError, match=f"^gather: {wrong}"):
        parallel(creative(), name="gather", **options)


def test_the_requests_of_bounded_branches_are_known_without_running_them():
    graph = parallel(executor(), sequential(creative()), max_concurrency=1, on_failure="keep")
    assert [one.role for one in requests(graph)] == ["executor", "creative"]
