"""A run as it happens: which events come, in which order, and that watching changes nothing."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from aideon_agents import (
    NodeEnded,
    NodeStarted,
    Restart,
    RunEnded,
    Token,
    arun,
    astream,
    conditional,
    creative,
    executor,
    iterative,
    orchestrated,
    parallel,
    planner,
    sequential,
    validator,
)
from aideon_agents.errors import InputError
from aideon_agents.testing import Fault, SimulatedProvider

PUMPS = "Heat pumps move heat. They need power."


def says_done(state):
    return "done"


def breaks(state):
    raise ValueError("the node\nis broken")


@pytest.fixture
def watch(ledger):
    """Runs a graph and gives back all its events; keywords are the run's."""

    async def events(graph, **options):
        given = {"ledger": ledger, "rehearse": True} | options
        return [event async for event in astream(graph, PUMPS, **given)]

    return events


def places(events, kind):
    return [event.node_path for event in events if isinstance(event, kind)]


def said(events, path):
    tokens = (event for event in events if isinstance(event, Token))
    return "".join(token.text for token in tokens if token.node_path == path)


async def test_a_node_starts_says_its_answer_word_by_word_and_ends(watch):
    started, *tokens, ended, last = await watch(sequential(creative("draft")))
    assert started == NodeStarted(node_path="draft", role="creative", round=1)
    assert len(tokens) > 1
    assert said(tokens, "draft") == PUMPS
    assert (ended.node_path, ended.role, ended.round, ended.error) == ("draft", "creative", 1, None)
    assert ended.result.content == PUMPS
    assert ended.cost.calls == 1
    assert isinstance(last, RunEnded)
    assert last.result.output == PUMPS


async def test_places_are_those_of_the_ledger_and_patterns_are_none(watch, ledger):
    graph = sequential(
        planner(),
        parallel(executor("facts"), sequential(creative("angle"), says_done, name="side")),
        iterative(creative("draft"), validator(), name="refine"),
    )
    events = await watch(graph)
    inside = {"parallel/facts", "parallel/side/angle"}
    called = ["planner", *inside, "refine/draft", "refine/validator"]
    assert sorted(places(events, NodeStarted)) == sorted([*called, "parallel/side/says_done"])
    assert sorted(places(events, NodeEnded)) == sorted(places(events, NodeStarted))
    assert set(places(events, Token)) == set(called)
    rows = ledger.calls(events[-1].result.run_id)
    assert {row.node_path for row in rows} == set(called)


async def test_the_steps_of_a_plan_are_nodes(watch):
    events = await watch(orchestrated(planner(), executor(), creative()))
    steps = ["work/s1", "work/s2", "work/s3"]
    assert [path for path in places(events, NodeStarted) if "/" in path] == steps
    assert "work" not in places(events, NodeStarted)
    assert {path for path in places(events, Token) if "/" in path} == set(steps)


async def test_a_branch_that_is_kept_and_one_that_is_chosen_are_nodes(watch):
    branch = conditional(lambda state: "yes", {"yes": creative("text"), "no": executor()})
    graph = sequential(parallel(breaks, executor("facts"), on_failure="keep"), branch)
    events = await watch(graph)
    started = places(events, NodeStarted)
    assert {"parallel/breaks", "parallel/facts", "conditional/yes"} <= set(started)
    (failed,) = [event for event in events if isinstance(event, NodeEnded) and event.error]
    assert (failed.node_path, failed.error) == ("parallel/breaks", "ValueError: the node is broken")
    assert events[-1].result.status == "completed"


async def test_each_round_starts_anew_and_costs_add_up(watch, keyed):
    def never(request):
        verdict = {"passed": False, "score": 0.5, "feedback": "more"}
        return verdict if request.ask.response_format else "text"

    with SimulatedProvider(answer=never) as provider:
        loop = iterative(creative("draft"), validator(), max_rounds=2)
        events = await watch(loop, settings=keyed(provider), rehearse=False)
    drafts = [
        (type(event).__name__, event.round)
        for event in events
        if isinstance(event, NodeStarted | NodeEnded) and event.node_path == "draft"
    ]
    assert drafts == [("NodeStarted", 1), ("NodeEnded", 1), ("NodeStarted", 2), ("NodeEnded", 2)]
    ends = [event for event in events if isinstance(event, NodeEnded) and event.role == "creative"]
    assert [end.cost.calls for end in ends] == [1, 2]
    assert events[-1].result.stop_reason == "max_rounds"


async def test_a_function_has_no_role_and_no_cost(watch):
    started, ended, last = await watch(says_done)
    assert (started.role, ended.role, ended.cost) == ("", "", None)
    assert ended.result.content == last.result.output == "done"


async def test_a_run_that_fails_says_so_in_its_events(watch):
    *_, ended, last = await watch(sequential(creative("draft"), breaks))
    assert (ended.node_path, ended.result) == ("breaks", None)
    assert ended.error == "ValueError: the node is broken"
    assert (last.result.status, list(last.result.results)) == ("failed", ["draft"])


async def test_a_stream_that_breaks_off_is_followed_by_a_restart(watch, keyed):
    faults = {"broken": Fault("cut_after_first_token", after_tokens=2)}
    agent = creative("draft", model=("together:broken", "together:whole"))
    with SimulatedProvider(faults=faults, answer=lambda _: "one two three four") as provider:
        events = await watch(agent, settings=keyed(provider), rehearse=False)
    kinds = [type(event).__name__ for event in events if not isinstance(event, Token)]
    assert kinds == ["NodeStarted", "Restart", "NodeEnded", "RunEnded"]
    again = next(n for n, event in enumerate(events) if isinstance(event, Restart))
    assert events[again] == Restart(node_path="draft")
    assert said(events[:again], "draft").split() == ["one", "two"]
    assert said(events[again:], "draft") == "one two three four"


def row(call):
    """What a row says, without what differs from run to run."""
    changing = ("call_id", "run_id", "started_at", "duration_ms", "time_to_first_token_ms")
    fields = dataclasses.asdict(call)
    return {name: value for name, value in fields.items() if name not in changing}


async def test_watching_changes_no_row(watch, ledger, keyed):
    graph = sequential(planner(), parallel(executor("facts"), creative("angle")))
    with SimulatedProvider() as provider:
        options = {"settings": keyed(provider), "rehearse": False}
        watched = (await watch(graph, **options))[-1].result
        alone = await arun(graph, PUMPS, ledger=ledger, **options)
        streamed = [request.body["stream"] for request in provider.requests]
    assert streamed == [True] * 3 + [False] * 3
    rows = [sorted(map(repr, map(row, ledger.calls(one.run_id)))) for one in (watched, alone)]
    assert rows[0] == rows[1]
    assert all(call.time_to_first_token_ms is not None for call in ledger.calls(watched.run_id))


async def test_a_slow_viewer_misses_nothing(ledger):
    seen = []
    async with contextlib.aclosing(
        astream(creative("draft"), PUMPS, ledger=ledger, rehearse=True)
    ) as events:
        async for event in events:
            await asyncio.sleep(0.001)
            seen.append(event)
    assert said(seen, "draft") == PUMPS
    assert isinstance(seen[-1], RunEnded)


@pytest.fixture
def hanging(keyed):
    """Settings whose provider answers the first request and never the second."""
    with SimulatedProvider(faults=[None, Fault("hang")]) as provider:
        yield keyed(provider)


async def test_closing_the_iterator_early_cancels_the_run(ledger, hanging, until):
    graph = sequential(executor("facts"), creative("draft"))
    events = astream(graph, PUMPS, settings=hanging, ledger=ledger)
    async for event in events:
        if isinstance(event, NodeStarted) and event.node_path == "draft":
            await until(lambda: len(ledger.calls(ledger.runs()[0].run_id)) == 2)
            break
    await events.aclose()
    (run,) = ledger.runs()
    assert (run.status, run.stop_reason, run.error) == ("cancelled", "interrupted", None)
    assert [call.status for call in ledger.calls(run.run_id)] == ["ok", "cancelled"]


async def test_cancelling_the_viewer_cancels_the_run(ledger, hanging):
    begun = asyncio.Event()

    async def view():
        graph = sequential(executor("facts"), creative("draft"))
        async for event in astream(graph, PUMPS, settings=hanging, ledger=ledger):
            if isinstance(event, NodeEnded):
                begun.set()

    viewing = asyncio.create_task(view())
    await begun.wait()
    viewing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await viewing
    assert ledger.runs()[0].status == "cancelled"


async def test_time_that_is_up_keeps_what_branches_gave_until_then(ledger, keyed):
    faults = {"slow": Fault("hang")}
    graph = parallel(
        creative("quick", model="together:quick"), executor("s", model="together:slow")
    )
    with SimulatedProvider(faults=faults) as provider:
        settings = keyed(provider)
        result = await arun(graph, PUMPS, settings=settings, ledger=ledger, timeout=5)
    assert (result.status, result.stop_reason) == ("stopped", "timeout")
    assert list(result.results) == ["quick"]
    assert result.output == f"# quick\n\n{PUMPS}"
    assert sorted(call.status for call in ledger.calls(result.run_id)) == ["cancelled", "ok"]


async def test_a_mistake_of_the_callers_is_raised_and_nothing_is_written(ledger):
    with pytest.raises(InputError, match="the task is empty"):
        await anext(astream(creative("draft"), " ", ledger=ledger))
    assert ledger.runs() == []


async def test_an_option_that_does_not_exist_is_refused(ledger):
    with pytest.raises(TypeError, match="no option 'colour'"):
        await arun(creative("draft"), PUMPS, ledger=ledger, colour="red")


@pytest.mark.parametrize(
    ("answer", "streamed"),
    [
        (
            "<think>First, water.\nThen heat.</think>\n\nHeat pumps move heat.",
            "Heat pumps move heat.",
        ),
        ("[THINK]so[/THINK]It moves heat.", "It moves heat."),
        ("\n<think>a</think><think>b</think> Yes, it does.", "Yes, it does."),
        ("  Heat < cold, <think> is a mark.", "  Heat < cold, <think> is a mark."),
        ("a", "a"),
        ("<", "<"),
    ],
)
async def test_thoughts_are_no_tokens(watch, answer, streamed):
    events = await watch(creative("a", model=Chunked(answer=answer)), rehearse=False)
    assert said(events, "a") == streamed
    assert [type(one) for one in events if not isinstance(one, Token)] == [
        NodeStarted,
        NodeEnded,
        RunEnded,
    ]
    assert events[-1].result.output.strip() == streamed.strip()


@pytest.mark.parametrize(
    ("answer", "thoughts"),
    [
        ("First, water.\nThen </think>.\n</think>\n\nHeat pumps move heat.", True),
        ("Heat pumps.\n</think>\nIt is warm.\n</think>\nYes.", True),
        ("It ends with </think>, which is a mark.\n", False),
        ("As in\n<think>\nso\n</think>\nit moves heat.", False),
    ],
)
async def test_thoughts_of_which_only_the_end_is_marked_are_taken_back(watch, answer, thoughts):
    events = await watch(creative("a", model=Chunked(answer=answer)), rehearse=False)
    restarts = [nth for nth, one in enumerate(events) if isinstance(one, Restart)]
    assert len(restarts) == thoughts
    shown = said(events[restarts[0] :] if restarts else events, "a")
    assert shown.strip() == events[-1].result.output.strip()


class Chunked(BaseChatModel):
    """Streams its answer in pieces of three characters."""

    answer: str

    @property
    def _llm_type(self):
        return "chunked"

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        message = AIMessage(self.answer, response_metadata={"finish_reason": "stop"})
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _astream(self, messages, stop=None, run_manager=None, **kwargs):
        for at in range(0, len(self.answer), 3):
            yield ChatGenerationChunk(message=AIMessageChunk(self.answer[at : at + 3]))
