"""Anybody's graph can be run: what it is given, and what counts as its output."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.messages import AIMessage
from langgraph.graph import END, START, MessagesState, StateGraph
from pydantic import BaseModel

from aideon_agents import NodeEnded, NodeStarted, Token, astream, creative, run, sequential
from aideon_agents.errors import InputError

PUMPS = "Heat pumps move heat."


def graph_of(schema, **nodes):
    """A graph made without us: nodes one after another."""
    builder = StateGraph(schema)
    for name, node in nodes.items():
        builder.add_node(name, node)
    for before, after in zip([START, *nodes], [*nodes, END], strict=True):
        builder.add_edge(before, after)
    return builder.compile(name="foreign")


class Topics(MessagesState):
    topic: str


class Numbers(TypedDict, total=False):
    task: str
    factor: int
    length: int
    _private: int


class Listed(TypedDict, total=False):
    task: str
    results: list[str]


class Modelled(BaseModel):
    task: str
    length: int = 0


@dataclasses.dataclass
class Classed:
    task: str
    length: int = 0


def test_messages_are_given_the_task_and_give_the_last_words(ledger):
    def echo(state):
        (message,) = state["messages"]
        return {"messages": [AIMessage(f"{message.type}: {message.text}")]}

    result = run(graph_of(MessagesState, echo=echo), PUMPS, ledger=ledger)
    assert result.output == f"human: {PUMPS}"
    assert (dict(result.results), result.workflow) == ({}, "foreign")


def test_inputs_go_under_their_own_names(ledger):
    def topic(state):
        return {"messages": [("ai", state["topic"])]}

    graph = graph_of(Topics, topic=topic)
    assert run(graph, PUMPS, inputs={"topic": "pumps"}, ledger=ledger).output == "pumps"


@pytest.mark.parametrize("key", ["colour", "messages"])
def test_an_input_that_it_does_not_take_names_its_keys(ledger, key):
    graph = graph_of(Topics, topic=lambda state: {})
    with pytest.raises(InputError, match=f"no input '{key}': it takes messages, topic"):
        run(graph, PUMPS, inputs={key: "red"}, ledger=ledger)
    assert ledger.runs() == []


def test_a_state_without_a_place_for_a_task_names_its_keys(ledger):
    class Question(TypedDict):
        question: str
        answer: str

    graph = graph_of(Question, ask=lambda state: {})
    with pytest.raises(InputError, match="foreign takes answer, question: a task needs a key task"):
        run(graph, PUMPS, ledger=ledger)
    assert ledger.runs() == []


def measured(state: Any):
    task = state["task"] if isinstance(state, dict) else state.task
    return {"length": len(task)}


@pytest.mark.parametrize("schema", [Numbers, Modelled, Classed])
def test_a_graph_without_messages_or_results_gives_its_values_as_json(ledger, schema):
    result = run(graph_of(schema, measure=measured), PUMPS, ledger=ledger)
    assert json.loads(result.output) == {"task": PUMPS, "length": len(PUMPS)}


def test_results_that_mean_something_else_are_left_alone(ledger):
    result = run(graph_of(Listed, say=lambda state: {"results": ["a"]}), PUMPS, ledger=ledger)
    assert dict(result.results) == {}
    assert json.loads(result.output) == {"task": PUMPS, "results": ["a"]}


def test_messages_that_are_no_chat_say_nothing(ledger):
    class Lines(TypedDict):
        messages: list[Any]

    graph = graph_of(Lines, say=lambda state: {"messages": [1, 2]})
    assert run(graph, PUMPS, ledger=ledger).output is None


def test_an_agent_of_ours_inside_counts_as_in_any_graph(ledger):
    class Shared(TypedDict, total=False):
        task: str
        results: Annotated[dict[str, Any], lambda left, right: {**left, **right}]

    graph = graph_of(Shared, first=creative("first"), rest=sequential(creative("second")))
    result = run(graph, PUMPS, rehearse=True, ledger=ledger)
    assert result.error is None
    assert [node.node_path for node in result.nodes] == ["first", "rest/second"]
    assert list(result.results) == ["first", "rest/second"]
    assert result.output == PUMPS


def test_a_run_that_fails_does_not_give_the_task_back_as_its_output(ledger):
    def breaks(state):
        raise ValueError("broken")

    result = run(graph_of(MessagesState, breaks=breaks), PUMPS, ledger=ledger)
    assert (result.status, result.output) == ("failed", None)


async def test_every_node_of_it_is_a_node(ledger):
    inner = graph_of(MessagesState, says=lambda state: {"messages": [AIMessage("inside")]})
    graph = graph_of(MessagesState, inner=inner, after=lambda state: {"messages": []})
    events = [event async for event in astream(graph, PUMPS, ledger=ledger, thread="chat")]
    started = [event.node_path for event in events if isinstance(event, NodeStarted)]
    assert started == ["inner/says", "after"]
    assert [event.node_path for event in events if isinstance(event, NodeEnded)] == started
    (token,) = [event for event in events if isinstance(event, Token)]
    assert (token.node_path, token.text) == ("inner/says", "inside")


async def test_inside_ours_it_is_one_node(ledger):
    graph = sequential(graph_of(MessagesState, a=lambda state: {"messages": [AIMessage("inside")]}))
    events = [event async for event in astream(graph, PUMPS, ledger=ledger)]
    kinds = [(type(event).__name__, event.node_path) for event in events[:-1]]
    assert kinds == [(kind, "foreign") for kind in ("NodeStarted", "Token", "NodeEnded")]
    assert events[-1].result.output == "inside"
