"""Graphs made elsewhere inside our patterns, and our patterns inside such graphs."""

from __future__ import annotations

import dataclasses
import json
from typing import TypedDict

import pytest
from langchain_core.messages import HumanMessage
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.runtime import get_runtime

from aideon_agents import (
    CostHandler,
    State,
    creative,
    executor,
    iterative,
    parallel,
    sequential,
    validator,
)
from aideon_agents.errors import InputError
from aideon_agents.graphs.walk import requests
from aideon_agents.state import Results, StepResult
from aideon_agents.testing import SchemaChatModel


def chain(schema, nodes, *, name=None, **more):
    """A graph as LangGraph's users build them."""
    builder = StateGraph(schema, **more)
    previous = START
    for node, runs in nodes.items():
        builder.add_node(node, runs)
        builder.add_edge(previous, node)
        previous = node
    builder.add_edge(previous, END)
    return builder.compile(name=name)


class Theirs(TypedDict):
    task: str
    answer: str
    results: dict[str, StepResult]


def test_a_foreign_graph_is_one_node(stage):
    chat = SchemaChatModel()

    def model(state):
        chat.invoke([HumanMessage(state["task"])])

    foreign = chain(State, {"model": model}, name="research", output_schema=Results)
    played = stage.invoke(sequential(sequential(foreign, name="inner"), creative("draft")))
    assert played.places == [("draft", "creative", 1), ("inner/research", "", 1)]


def test_what_a_foreign_graph_writes_into_our_keys_is_seen_after_it(stage):
    def find(state):
        found = StepResult(node_path="found", role="theirs", content="Heat moves.", order=1)
        return {"results": {"found": found}, "answer": "not ours"}

    foreign = chain(Theirs, {"find": find}, name="research")
    played = stage.invoke(sequential(foreign, creative("draft")))
    assert [*played.contents] == ["found", "draft"]
    assert "answer" not in played.values


def test_a_foreign_graph_of_other_keys_may_be_any_node(stage):
    def talk(state):
        return {"messages": [HumanMessage("hi")]}

    foreign = chain(MessagesState, {"talk": talk}, name="talk")
    graph = sequential(foreign, parallel(foreign, creative("draft"), name="both"), name="brief")
    contents = stage.invoke(graph).contents
    assert contents.keys() == {"talk", "both/talk", "both/draft"}
    assert (contents["talk"], contents["both/talk"]) == ("hi", "hi")


class Count(TypedDict):
    limit: int
    words: list[int]


def test_a_foreign_graph_is_given_what_it_takes_and_its_answer_is_json(stage):
    foreign = chain(Count, {"count": lambda state: {"words": [1, state["limit"]]}}, name="count")
    result = stage.invoke(sequential(foreign), inputs={"limit": 3}).results["count"]
    assert (result.role, result.data) == ("graph", {"words": [1, 3]})
    assert json.loads(result.content) == {"words": [1, 3]}


def test_a_foreign_graph_that_is_given_nothing_it_takes_says_what_it_needs(stage):
    foreign = chain(Count, {"count": lambda state: {}}, name="count")
    with pytest.raises(
        InputError, match="the graph count takes limit, words, and the run has none of these"
    ):
        stage.invoke(sequential(foreign))


def test_a_foreign_graph_of_messages_receives_its_material_between_tags(stage):
    seen = []
    foreign = chain(MessagesState, {"talk": lambda state: seen.extend(state["messages"])})
    loop = iterative(creative("draft"), validator("check"), max_rounds=1, name="refine")
    contents = stage.invoke(sequential(loop, foreign)).contents
    assert seen[0].text.startswith(
        "<task>\nHeat pumps move heat.\n</task>\n\n"
        f'<result from="refine">\n{contents["refine"]}\n</result>\n\n<instructions>\n'
    )


def test_two_foreign_branches_may_both_give_back_their_task(stage):
    branches = [chain(State, {"work": executor("any")}, name=name) for name in ("one", "two")]
    played = stage.invoke(parallel(*branches))
    assert played.contents.keys() == {"one/work", "two/work"}


def test_agents_keep_their_paths_in_a_foreign_graph_inside_a_pattern(stage):
    foreign = chain(State, {"facts": executor(), "text": creative()}, name="theirs")
    played = stage.invoke(sequential(foreign, name="brief"))
    assert played.places == [("theirs/facts", "executor", 1), ("theirs/text", "creative", 1)]
    assert played.contents.keys() == {"theirs/facts", "theirs/text"}
    assert [one.role for one in requests(sequential(foreign))] == ["executor", "creative"]


def test_our_agents_are_nodes_of_a_foreign_graph(stage):
    played = stage.invoke(chain(State, {"facts": executor("any"), "text": creative()}))
    assert played.places == [("facts", "executor", 1), ("text", "creative", 1)]


def ours():
    loop = iterative(creative("draft"), validator("check"), max_rounds=1, name="refine")
    return sequential(parallel(executor("facts"), creative("angle"), name="gather"), loop)


OURS = [
    ("gather/angle", "creative"),
    ("gather/facts", "executor"),
    ("refine/check", "validator"),
    ("refine/draft", "creative"),
]


@pytest.mark.parametrize("schema", [State, Theirs])
async def test_our_graph_has_its_places_below_a_foreign_one(stage, schema):
    larger = chain(schema, {"before": lambda state: {}, "write": ours()}, name="larger")
    for played in (stage.invoke(larger), await stage.ainvoke(larger)):
        assert [place[:2] for place in played.places] == [
            (f"write/{path}", role) for path, role in OURS
        ]
        assert "write/refine" in played.results


def test_a_loop_in_a_foreign_graph_has_its_result_at_its_place(stage):
    loop = iterative(creative("draft"), validator("check"), max_rounds=1, name="refine")
    played = stage.invoke(chain(State, {"again": loop}))
    assert played.results.keys() == {"again/draft", "again/check", "again"}


def test_a_pattern_in_a_foreign_graph_in_a_pattern_counts_every_level(stage):
    foreign = chain(State, {"write": sequential(creative("draft"))}, name="theirs")
    played = stage.invoke(sequential(parallel(foreign, name="gather")))
    assert played.places == [("gather/theirs/write/draft", "creative", 1)]


def test_a_foreign_loop_round_our_agents_gives_its_verdict_as_feedback(stage):
    builder = StateGraph(State)
    builder.add_node("draft", creative())
    builder.add_node("check", validator())
    builder.add_edge(START, "draft")
    builder.add_edge("draft", "check")
    times = iter(["draft", END])
    builder.add_conditional_edges("check", lambda state: next(times), ["draft", END])
    played = stage.invoke(builder.compile())
    assert [row.node_path for row in played.rows] == ["draft", "check", "draft", "check"]
    assert played.results["draft"].order == 3


@dataclasses.dataclass
class TheirContext:
    who: str


async def test_a_larger_graph_with_a_context_of_its_own_gets_the_environments_models(
    ledger, monkeypatch
):
    from aideon_agents.models import default_models

    monkeypatch.setenv("AIDEON_OFFLINE", "1")
    default_models.cache_clear()
    seen: list[str] = []

    def look(state):
        seen.append(get_runtime(TheirContext).context.who)
        return {}

    larger = chain(State, {"look": look, "write": ours()}, context_schema=TheirContext)
    handler = CostHandler(ledger)
    await larger.ainvoke(
        {"task": "Heat pumps move heat."}, {"callbacks": [handler]}, context=TheirContext("ada")
    )
    default_models.cache_clear()
    assert seen == ["ada"]
    rows = ledger.calls(handler.run_id)
    assert sorted(row.node_path for row in rows) == [f"write/{path}" for path, _ in OURS]
    assert all(row.rehearsed for row in rows)
