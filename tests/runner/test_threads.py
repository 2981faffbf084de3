"""Runs of one thread follow one another: what an earlier one said, the next can read."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import sqlite3
from typing import TYPE_CHECKING, Annotated

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from pydantic import BaseModel

from aideon_agents import (
    arun,
    creative,
    iterative,
    orchestrated,
    parallel,
    planner,
    run,
    sequential,
    validator,
)
from aideon_agents.errors import InputError, LedgerError
from aideon_agents.ledger.checkpoints import open_checkpointer
from aideon_agents.testing import Fault, SimulatedProvider

if TYPE_CHECKING:
    from decimal import Decimal

PUMPS = "Heat pumps move heat."


@pytest.fixture
def provider():
    with SimulatedProvider() as simulated:
        yield simulated


@pytest.fixture
def talk(ledger, keyed, provider):
    """Runs a graph on a thread; keywords are the run's."""

    def say(graph, task, thread="chat", **options):
        given = {"settings": keyed(provider), "ledger": ledger} | options
        return run(graph, task, thread=thread, **given)

    return say


def prompt(request):
    return request.body["messages"][-1]["content"]


def test_a_run_is_told_the_tasks_and_results_of_those_before_it(talk, provider):
    graph = sequential(planner(), creative("draft"))
    talk(graph, PUMPS)
    talk(graph, "Now shorter.")
    told = prompt(provider.requests[-1])
    assert told.startswith(
        f'<conversation>\n<task>\n{PUMPS}\n</task>\n\n<result from="planner">\n1. '
    )
    earlier = f'<result from="draft">\n{PUMPS}\n</result>\n</conversation>'
    assert f'{earlier}\n\n<task>\nNow shorter.\n</task>\n\n<result from="planner">' in told


def test_the_results_of_a_run_are_its_own(talk):
    talk(sequential(creative("one")), PUMPS)
    result = talk(sequential(creative("two")), "More.")
    assert list(result.results) == ["two"]
    assert result.cost.calls == 1


@pytest.mark.parametrize(
    "graph",
    [
        iterative(creative("draft"), validator(), max_rounds=2),
        orchestrated(planner(), creative()),
        parallel(creative("a"), creative("b")),
    ],
    ids=lambda graph: graph.get_name(),
)
def test_a_pattern_at_the_root_starts_each_run_afresh(talk, graph):
    first, second = talk(graph, PUMPS), talk(graph, PUMPS)
    assert (second.status, second.stop_reason) == (first.status, first.stop_reason)
    assert list(second.results) == list(first.results)
    assert second.cost.calls == first.cost.calls


def test_threads_are_apart_and_a_run_without_one_hears_nothing(talk, provider, ledger):
    talk(creative("draft"), PUMPS)
    talk(creative("draft"), "x", thread="other")
    talk(creative("draft"), "y", thread=None)
    assert [prompt(request) for request in provider.requests[1:]] == [
        "<task>\nx\n</task>",
        "<task>\ny\n</task>",
    ]
    assert [row.thread for row in ledger.runs()] == [None, "other", "chat"]


def test_a_run_that_failed_is_no_part_of_the_conversation(ledger, keyed):
    with SimulatedProvider(faults=[Fault(422)]) as provider:
        options = {"settings": keyed(provider), "ledger": ledger, "thread": "chat"}
        assert run(creative("draft"), "first", **options).status == "failed"
        run(creative("draft"), "second", **options)
        assert "first" not in prompt(provider.requests[-1])


def test_a_rehearsal_is_no_part_of_a_paid_conversation(talk, provider):
    talk(creative("draft"), "rehearsed", rehearse=True)
    talk(creative("draft"), "paid")
    assert "rehearsed" not in prompt(provider.requests[-1])


def test_only_the_last_ten_runs_are_told(talk, provider):
    for number in range(12):
        talk(creative("draft"), f"task {number}.")
    told = prompt(provider.requests[-1])
    asked = [line for line in told.splitlines() if line.startswith("task")]
    assert "task 0." not in asked
    assert {"task 1.", "task 10."} <= set(asked)


async def test_what_is_kept_of_a_run_that_is_done_lies_beside_the_ledger_for_its_thread(
    talk, ledger
):
    talk(creative("draft"), PUMPS, thread=None)
    talk(creative("draft"), PUMPS)
    async with open_checkpointer(ledger, []) as kept:
        assert await kept.names() == {"thread:chat"}


class Mood(BaseModel):
    word: str


@dataclasses.dataclass
class Price:
    usd: Decimal | None = None


class Talking(MessagesState):
    price: Price
    moods: Annotated[list[Mood], lambda left, right: [*left, *right]]


def test_what_was_kept_is_read_without_a_word_of_warning(talk, caplog):
    def feels(state):
        assert all(isinstance(mood, Mood) for mood in state["moods"])
        assert isinstance(state.get("price", Price()), Price)
        return {"moods": [Mood(word="calm")], "price": Price()}

    builder = StateGraph(Talking)
    builder.add_node("feels", feels)
    builder.add_edge(START, "feels")
    builder.add_edge("feels", END)
    graph = sequential(planner(), creative("draft"))
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert talk(graph, PUMPS).error is None
            assert talk(builder.compile(), PUMPS).error is None
    assert caplog.records == []


def counts(state):
    return {"messages": [("ai", f"heard {len(state['messages'])}")]}


def counting(**options):
    builder = StateGraph(MessagesState)
    builder.add_node("counts", counts)
    builder.add_edge(START, "counts")
    builder.add_edge("counts", END)
    return builder.compile(**options)


@pytest.mark.parametrize("own", [None, False, InMemorySaver()], ids=["none", "refused", "memory"])
def test_the_state_of_a_graph_made_elsewhere_goes_on_where_it_was(talk, own):
    graph = counting(name="counting", checkpointer=own)
    answers = [talk(graph, "x").output for _ in range(3)]
    assert answers == ["heard 1", "heard 3", "heard 5"]
    assert talk(graph, "x", thread="other").output == "heard 1"
    assert talk(graph, "x", thread=None).output == "heard 1"
    assert talk(graph, "x", rehearse=True).output == "heard 1"
    assert graph.checkpointer is own


def test_another_graph_on_the_same_thread_has_a_state_of_its_own(talk):
    talk(counting(name="one"), "x")
    assert talk(counting(name="two"), "x").output == "heard 1"


async def test_a_conversation_goes_on_in_another_event_loop(ledger, keyed, provider, talk):
    given = {"settings": keyed(provider), "ledger": ledger, "thread": "chat"}
    await arun(creative("draft"), PUMPS, **given)
    talk(creative("draft"), "More.")  # on the loop in the background
    await arun(creative("draft"), "And more.", **given)
    assert prompt(provider.requests[-1]).count("<task>") == 3


def test_a_thread_without_a_name_is_refused(talk, ledger):
    with pytest.raises(InputError, match="a thread needs a name"):
        talk(creative("draft"), PUMPS, thread=" ")
    assert ledger.runs() == []


def test_checkpoints_that_cannot_be_opened_are_one_line_before_anything_is_called(
    talk, provider, ledger
):
    ledger.path.with_name("checkpoints.db").write_text("no database, and longer than a header" * 9)
    with pytest.raises(LedgerError, match=r"checkpoints\.db is not a ledger"):
        talk(creative("draft"), PUMPS)
    assert provider.requests == []
    (row,) = ledger.runs()
    assert row.status == "failed"


def test_a_run_that_its_thread_cannot_keep_is_a_run_all_the_same(talk, ledger, caplog):
    def drops(state):
        with contextlib.closing(sqlite3.connect(ledger.path.with_name("checkpoints.db"))) as file:
            file.execute("DROP TABLE checkpoints")
        return "said"

    result = talk(drops, PUMPS)
    assert (result.status, result.output) == ("completed", "said")
    assert "the thread does not keep this run: no such table: checkpoints" in caplog.messages
