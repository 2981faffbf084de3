"""One node after another: order, names, and what the next one sees."""

from __future__ import annotations

import pytest
from langchain_core.runnables import RunnableLambda, RunnablePassthrough

from aideon_agents import creative, executor, iterative, parallel, planner, sequential, validator
from aideon_agents.errors import UserError
from aideon_agents.graphs.walk import requests
from aideon_agents.testing import GivenModels, ScriptedChatModel


@pytest.fixture(params=[sequential, parallel, iterative])
def pattern(request):
    return request.param


def test_each_node_sees_the_results_of_those_before_it_in_order(stage):
    model = ScriptedChatModel(answers=["one", "two", "three"])
    graph = sequential(executor("a"), executor("b"), creative("c"))
    played = stage.invoke(graph, GivenModels(model))
    assert played.contents == {"a": "one", "b": "two", "c": "three"}
    assert [one.order for one in played.results.values()] == [1, 2, 3]
    prompts = [str(asked.messages[1].content) for asked in model.requests]
    assert "From" not in prompts[0]
    assert prompts[1].endswith('<result from="a">\none\n</result>')
    assert prompts[2].endswith(
        '<result from="a">\none\n</result>\n\n<result from="b">\ntwo\n</result>'
    )


def test_only_what_merges_leaves_a_pattern(stage):
    values = stage.invoke(sequential(planner(), executor(), validator()), inputs={"a": 1}).values
    assert values.keys() == {"results", "plan", "verdict"}


def test_every_call_is_a_row_with_its_place(stage):
    played = stage.invoke(sequential(planner(), executor("facts"), validator(), creative("text")))
    assert [(row.node_path, row.role, row.round, row.status) for row in played.rows] == [
        ("planner", "planner", 1, "ok"),
        ("facts", "executor", 1, "ok"),
        ("validator", "validator", 1, "ok"),
        ("text", "creative", 1, "ok"),
    ]


def test_default_names_are_numbered(stage):
    graph = sequential(
        executor(), executor("executor_2"), executor(), sequential(planner()), sequential(planner())
    )
    assert [*graph.builder.nodes] == [
        "executor",
        "executor_2",
        "executor_3",
        "sequential",
        "sequential_2",
    ]
    assert list(stage.invoke(graph).contents)[-2:] == ["sequential/planner", "sequential_2/planner"]


def test_functions_and_nameless_runnables_are_numbered():
    def count(state):
        return None

    nameless = RunnablePassthrough() | RunnableLambda(count)
    graph = sequential(count, count, lambda state: None, nameless, nameless)
    assert [*graph.builder.nodes] == ["count", "count_2", "lambda", "node", "node_2"]


def test_two_nodes_given_the_same_name_are_an_error_that_names_both(pattern):
    with pytest.raises(UserError, match=r"two nodes called 'draft', number 1 and number 2"):
        pattern(creative("draft"), executor("draft"))


def test_a_pattern_given_the_same_name_as_an_agent_is_an_error(pattern):
    with pytest.raises(UserError, match="'draft'"):
        pattern(creative("draft"), sequential(executor(), name="draft"))


@pytest.mark.parametrize("name", ["a/b", "a|b", "a:b", "__start__", "__end__"])
def test_a_pattern_cannot_have_a_name_that_would_break_the_node_path(pattern, name):
    with pytest.raises(UserError, match="is not a valid node name"):
        pattern(sequential(executor(), name=name), validator())


def test_what_cannot_be_a_node_is_refused(pattern):
    with pytest.raises(UserError, match="'draft' cannot be a node: give an agent"):
        pattern("draft", validator())


@pytest.mark.parametrize("empty", [sequential, parallel])
def test_a_pattern_needs_a_node(empty):
    with pytest.raises(UserError, match="brief needs at least one node"):
        empty(name="brief")


def test_the_error_of_a_pattern_says_which_pattern():
    with pytest.raises(UserError, match=r"^gather has two"):
        parallel(executor("a"), executor("a"), name="gather")


@pytest.mark.parametrize("name", ["plan", "results", "verdict", "task", "round"])
def test_a_node_may_be_called_like_a_key_of_the_state(stage, name):
    played = stage.invoke(sequential(planner(name), iterative(creative(name), validator())))
    assert {name, f"iterative/{name}"} <= played.results.keys()


def test_the_requests_of_a_graph_are_known_without_running_it():
    graph = sequential(
        planner(complexity="high"),
        parallel(executor("facts"), sequential(creative("angle"), lambda state: None)),
        iterative(creative("draft"), validator()),
        iterative(lambda state: "x", sequential(executor("measure"), validator())),
    )
    found = [request.role for request in requests(graph)]
    assert found == [
        "planner",
        "executor",
        "creative",
        "creative",
        "validator",
        "executor",
        "validator",
    ]
    assert requests(graph)[0].complexity == "high"
