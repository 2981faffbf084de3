"""A run that ended before its end goes on: what was paid for is not asked for again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from decimal import Decimal

import pytest
from langgraph.graph import START, MessagesState, StateGraph
from pydantic import BaseModel

from aideon_agents import (
    Budget,
    aresume,
    arun,
    astream,
    conditional,
    creative,
    executor,
    iterative,
    parallel,
    planner,
    resume,
    run,
    sequential,
    validator,
)
from aideon_agents.errors import InputError, RunNotFound, UserError
from aideon_agents.ledger.checkpoints import open_checkpointer
from aideon_agents.models.limits.queues import OutOfBudget
from aideon_agents.runner import NodeEnded, NodeStarted, prepare_resume
from aideon_agents.state import Verdict
from aideon_agents.testing import Fault, SimulatedProvider

PUMPS = "Heat pumps move heat."


def refusal(name):
    nothing = Decimal(0)
    return OutOfBudget(
        scope="run", limit=nothing, spent=nothing, held=nothing, needed=None, asked=name
    )


class Purse:
    """Nodes that refuse when it is empty, as the guard does."""

    def __init__(self, pence: int) -> None:
        self.pence = pence
        self.paid: list[str] = []

    def node(self, name: str):
        async def pays(state):
            await asyncio.sleep(0)
            if not self.pence:
                raise refusal(name)
            self.pence -= 1
            self.paid.append(name)
            return name

        pays.__name__ = name
        return pays


@pytest.fixture
def provider():
    with SimulatedProvider() as simulated:
        yield simulated


@pytest.fixture
def names(ledger):
    """Under what names something is kept."""

    async def kept():
        async with open_checkpointer(ledger, []) as saver:
            return await saver.names()

    return lambda: asyncio.run(kept())


def test_a_stopped_run_goes_on_as_the_same_run_and_pays_for_the_rest_alone(
    ledger, keyed, provider, names
):
    purse = Purse(0)
    graph = sequential(creative("draft"), purse.node("gate"), creative("end"))
    options = {"settings": keyed(provider), "ledger": ledger}
    stopped = run(graph, PUMPS, **options)
    assert (stopped.status, stopped.stop_reason, stopped.error) == ("stopped", "budget", None)
    assert list(stopped.results) == ["draft"]
    assert names() == {stopped.run_id}

    purse.pence = 1
    done = resume(graph, **options)
    assert (done.run_id, done.status, done.stop_reason) == (stopped.run_id, "completed", None)
    assert list(done.results) == ["draft", "gate", "end"]
    assert (len(provider.requests), done.cost.calls) == (2, 2)
    (row,) = ledger.runs()
    assert (row.status, row.error_type) == ("completed", None)
    assert names() == set()


def test_forty_branches_that_stop_at_half_go_on_with_the_other_half(ledger, keyed, provider):
    purse = Purse(20)
    branches = [
        sequential(purse.node(f"gate{n}"), creative(f"text{n}"), name=f"b{n}") for n in range(40)
    ]
    graph = sequential(planner(), parallel(*branches), creative("end"))
    options = {"settings": keyed(provider), "ledger": ledger}
    stopped = run(graph, PUMPS, **options)
    assert stopped.status == "stopped"
    assert len(provider.requests) == 1 + 20
    given = [path for path in stopped.results if path.endswith("text") or "/text" in path]
    assert len(given) == 20

    purse.pence = 20
    done = resume(graph, **options)
    assert done.status == "completed"
    assert len(provider.requests) == 1 + 40 + 1
    assert sorted(purse.paid) == sorted(f"gate{n}" for n in range(40))
    assert {f"parallel/b{n}/text{n}" for n in range(40)} < set(done.results)


def test_a_stop_at_any_depth_goes_on_where_it_was_however_often_it_stops(ledger):
    purse = Purse(3)
    verdicts = iter([False, True])

    def judges(state):
        return {"verdict": Verdict(passed=next(verdicts), score=0.5, feedback="more")}

    graph = sequential(
        purse.node("first"),
        parallel(
            sequential(purse.node("a1"), purse.node("a2"), name="a"),
            iterative(purse.node("b"), judges, name="loop"),
            conditional(lambda _: "yes", {"yes": sequential(purse.node("c1"), purse.node("c2"))}),
            max_concurrency=2,
        ),
        purse.node("last"),
    )
    result = run(graph, "x", ledger=ledger)
    rounds = 1
    while result.status == "stopped":
        seen = set(result.results)
        purse.pence = 1
        result = resume(graph, ledger=ledger)
        assert seen <= set(result.results)  # what there was is there still
        rounds += 1
    assert result.status == "completed"
    assert sorted(purse.paid) == ["a1", "a2", "b", "b", "c1", "c2", "first", "last"]
    assert rounds == 6


def test_a_failed_run_goes_on_from_the_node_that_failed(ledger, keyed):
    graph = sequential(executor("facts"), creative("text"))
    with SimulatedProvider(faults=[None, Fault(422)]) as provider:
        options = {"settings": keyed(provider), "ledger": ledger}
        failed = run(graph, PUMPS, checkpoint=True, **options)
        assert (failed.status, list(failed.results)) == ("failed", ["facts"])
        done = resume(graph, failed.run_id[:20].lower(), **options)
        assert (done.status, done.error, done.exception) == ("completed", None, None)
        assert len(provider.requests) == 3
    assert [call.status for call in ledger.calls(done.run_id)] == ["ok", "error", "ok"]
    assert ledger.find_run("last").error is None


def test_a_run_out_of_time_goes_on_with_its_time_anew(ledger, keyed):
    graph = sequential(executor("facts"), creative("text"))
    with SimulatedProvider(faults=[None, Fault("hang")]) as provider:
        options = {"settings": keyed(provider), "ledger": ledger}
        stopped = run(graph, PUMPS, timeout=5, checkpoint=True, **options)
        assert (stopped.status, stopped.stop_reason) == ("stopped", "timeout")
        assert ledger.find_run("last").options["timeout"] == 5
        assert prepare_resume(graph, **options).spec.timeout == 5
        done = resume(graph, **options)
        assert (done.status, len(provider.requests)) == ("completed", 3)
        assert done.cost.complete is False  # what became of the call that hung nobody knows


async def test_a_cancelled_run_goes_on(ledger):
    begun = asyncio.Event()
    naps = [60, 0]

    async def sleeps(state):
        begun.set()
        await asyncio.sleep(naps.pop(0))
        return "awake"

    graph = sequential(creative("draft"), sleeps)
    running = asyncio.create_task(arun(graph, PUMPS, rehearse=True, ledger=ledger))
    await begun.wait()
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    done = await aresume(graph, ledger=ledger)
    assert (done.status, done.rehearsed, done.cost.calls) == ("completed", True, 1)
    assert done.output == "awake"


def test_a_run_goes_on_as_it_was_told_to_in_the_beginning(ledger, keyed, provider):
    purse = Purse(0)
    graph = sequential(purse.node("gate"), creative("draft"))
    told = {"tier": "enterprise", "user": "ada", "model": {"creative": "together:some/model"}}
    told |= {"fallback": False, "on_rate_limit": "wait"}
    settings = keyed(provider)
    run(graph, PUMPS, settings=settings, ledger=ledger, record_content=True, timeout=60, **told)
    row = ledger.find_run("last")
    assert row.options == {
        "model": {"creative": ["together:some/model"]},
        "objects": [],
        "timeout": 60,
        "stream": False,
        "record_content": True,
        "fallback": False,
        "on_rate_limit": "wait",
    }
    purse.pence = 1
    done = resume(graph, settings=keyed(provider, user="bob", tier="free"), ledger=ledger)
    assert provider.requests[0].model == "some/model"
    row = ledger.find_run("last")
    assert (row.user, row.tier, row.output) == ("ada", "enterprise", done.output)
    assert len(ledger.contents(done.run_id)) == 1


async def test_a_run_that_streamed_streams_when_it_goes_on(ledger, keyed, provider):
    purse = Purse(0)
    graph = sequential(purse.node("gate"), creative("draft"))
    options = {"settings": keyed(provider), "ledger": ledger}
    async for _ in astream(graph, PUMPS, **options):
        pass
    purse.pence = 1
    await aresume(graph, **options)
    assert provider.requests[0].body["stream"] is True


async def test_whoever_watches_hears_of_what_is_done_now_alone(ledger):
    refusals = [refusal("stops")]

    def stops_once(state):
        if refusals:
            raise refusals.pop()

    builder = StateGraph(MessagesState)  # whose nodes move in step
    for name, node in {"works": lambda state: None, "stops": stops_once}.items():
        builder.add_node(name, node)
        builder.add_edge(START, name)
    graph = builder.compile()
    assert (await arun(graph, "x", ledger=ledger)).status == "stopped"
    heard = []
    result = await prepare_resume(graph, ledger=ledger).to_end(heard.append)
    assert result.status == "completed"
    for kind in (NodeStarted, NodeEnded):
        assert [event.node_path for event in heard if isinstance(event, kind)] == ["stops"]


class Facts(BaseModel):
    facts: list[str]


class Note(BaseModel):
    text: str


def notes(state):
    return Note(text="noted")


def test_what_nodes_gave_has_its_class_still(ledger, keyed, provider, caplog):
    purse = Purse(0)
    graph = sequential(
        planner(),
        executor("facts", output=Facts),
        iterative(creative("draft"), validator(criteria="short"), max_rounds=1, name="loop"),
        notes,
        purse.node("gate"),
    )
    options = {"settings": keyed(provider), "ledger": ledger}
    with caplog.at_level(logging.WARNING):
        stopped = run(graph, PUMPS, **options)
        purse.pence = 1
        done = resume(graph, **options)
    assert done.status == "completed"
    for path in ("planner", "facts", "loop", "notes"):
        assert done.results[path] == stopped.results[path]
        assert type(done.results[path].data) is type(stopped.results[path].data)
    assert {type(one.data).__name__ for one in done.results.values()} >= {
        "Plan",
        "Facts",
        "Rounds",
        "Note",
    }
    assert caplog.records == []


def test_a_new_budget_is_the_runs_new_total(ledger, keyed, provider):
    graph = sequential(creative("draft"), creative("end"))
    options = {"settings": keyed(provider), "ledger": ledger}
    stopped = run(graph, PUMPS, budget="0", **options)
    assert (stopped.status, stopped.stop_reason, provider.requests) == ("stopped", "budget", [])
    again = resume(graph, **options)
    assert again.status == "stopped"  # as before
    done = resume(graph, budget=Budget("1"), **options)
    assert (done.status, len(provider.requests)) == ("completed", 2)


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        (lambda book, run_id: book.finish_run(run_id, "completed"), "is completed"),
        (lambda book, run_id: None, "is still running"),
        (
            lambda book, run_id: book.finish_run(run_id, "stopped", stop_reason="declined"),
            "was declined",
        ),
    ],
    ids=["completed", "running", "declined"],
)
def test_a_run_that_is_done_or_on_its_way_does_not_go_on(ledger, ends, said):
    from aideon_agents.ledger.rows import Run

    run_id = ledger.start_run(Run(workflow="x"))
    ends(ledger, run_id)
    with pytest.raises(UserError, match=f"run {run_id} {said}"):
        resume(creative("draft"), ledger=ledger)


def test_of_two_that_go_on_with_a_run_at_the_same_time_one_does(ledger):
    purse = Purse(0)
    graph = sequential(purse.node("gate"))
    run(graph, "x", ledger=ledger)
    purse.pence = 2
    first, second = prepare_resume(graph, ledger=ledger), prepare_resume(graph, ledger=ledger)

    async def both():
        return await asyncio.gather(first.to_end(), second.to_end(), return_exceptions=True)

    ends = asyncio.run(both())
    (done,) = (one for one in ends if not isinstance(one, Exception))
    (refused,) = (one for one in ends if isinstance(one, Exception))
    assert (done.status, purse.paid) == ("completed", ["gate"])
    assert isinstance(refused, UserError)
    assert "was resumed in the meantime" in str(refused)


def test_a_run_that_keeps_no_state_cannot_go_on_and_says_so(ledger, names):
    graph = sequential(Purse(0).node("gate"))
    run(graph, "x", ledger=ledger, checkpoint=False)
    assert names() == set()
    with pytest.raises(UserError, match="has left nothing to resume from"):
        resume(graph, ledger=ledger)
    assert ledger.find_run("last").status == "stopped"


def test_there_has_to_be_a_run(ledger):
    with pytest.raises(RunNotFound):
        resume(creative("draft"), ledger=ledger)


def test_an_answer_that_nobody_asked_for_is_refused(ledger):
    graph = sequential(Purse(0).node("gate"))
    run(graph, "x", ledger=ledger)
    with pytest.raises(InputError, match="is stopped and waits for no answer"):
        resume(graph, answer="yes", ledger=ledger)
    assert ledger.find_run("last").status == "stopped"


def test_a_paid_run_does_not_go_on_rehearsed_nor_without_a_key(ledger, keyed, provider):
    from aideon_agents import Settings

    graph = sequential(Purse(0).node("gate"), creative("draft"))
    run(graph, PUMPS, settings=keyed(provider), ledger=ledger)
    with pytest.raises(UserError, match="AIDEON_OFFLINE"):
        resume(graph, settings=keyed(provider, offline=True), ledger=ledger)
    with pytest.raises(UserError, match="TOGETHER_API_KEY"):
        resume(graph, settings=Settings(), ledger=ledger)
    assert ledger.find_run("last").status == "stopped"


def test_a_graph_with_other_nodes_or_edges_is_refused_and_the_change_named(ledger):
    purse = Purse(0)
    run(sequential(purse.node("gate"), creative("draft")), "x", rehearse=True, ledger=ledger)
    purse.pence = 9
    gate, other = purse.node("gate"), purse.node("other")
    with pytest.raises(UserError, match=r"\(\+ other \(function\), - draft \(creative\)\)"):
        resume(sequential(gate, other), ledger=ledger)
    with pytest.raises(UserError, match=r"\+ __start__ -> draft"):
        resume(sequential(creative("draft"), gate), ledger=ledger)
    changed = creative("draft", instructions="You are terse.")
    assert resume(sequential(gate, changed), ledger=ledger).status == "completed"


def test_a_run_of_before_graphs_were_kept_goes_on_all_the_same(ledger):
    purse = Purse(0)
    graph = sequential(purse.node("gate"))
    run(graph, "x", ledger=ledger)
    ledger.database.write("UPDATE runs SET graph = NULL, options = NULL", {})
    purse.pence = 1
    assert resume(graph, ledger=ledger).status == "completed"
