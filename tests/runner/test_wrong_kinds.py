"""An argument of the wrong kind is refused in one line, which names it and what it was given."""

from __future__ import annotations

import asyncio

import pytest

from aideon_agents import (
    CostHandler,
    abatch,
    conditional,
    creative,
    executor,
    iterative,
    orchestrated,
    parallel,
    planner,
    resume,
    run,
    sequential,
    validator,
)
from aideon_agents.errors import UserError
from aideon_agents.testing import ScriptedChatModel

DRAFT, CHECK = creative("draft"), validator(criteria="short")

AGENT_OPTIONS = [
    ({"temperature": "hot"}, "temperature must be a number, not 'hot'"),
    ({"temperature": float("nan")}, "temperature must be a number, not nan"),
    ({"timeout": "5"}, "timeout must be a number, not '5'"),
    ({"max_tokens": True}, "max_tokens must be a whole number, not True"),
    ({"max_tokens": None}, "max_tokens must be a whole number, not None"),
    ({"tool_timeout": "x"}, "tool_timeout must be a number, not 'x'"),
    ({"fallback": "no"}, "fallback must be True or False, not 'no'"),
    ({"approve": 1}, "approve must be True or False, not 1"),
    ({"description": 5}, "description must be text, not 5"),
    ({"instructions": ["a", "b"]}, "instructions must be text, not ['a', 'b']"),
    ({"purpose": 5}, "purpose must be text, not 5"),
    ({"prompt": 5}, "prompt must be text or the path of a file, not 5"),
    ({"tools": 5}, "tools must be a list, not 5"),
    ({"tools": ["x"]}, "'x' cannot be a tool"),
    ({"model": 5}, "model is a int: give provider:model"),
]

MADE = [
    (lambda: executor(5), "executor: name must be text, not 5"),
    (lambda: validator(["a"]), "validator: name must be text, not ['a']"),
    (lambda: validator(criteria=5), "criteria must be text, a function, or a list of these, not 5"),
    (lambda: validator(checks=5), "validator: checks must be a list of functions, not 5"),
    (lambda: validator(checks=[5]), "validator: 5 cannot be a check"),
    (lambda: validator(question=5), "validator: question must be text, not 5"),
    (sequential, "sequential needs at least one node"),
    (lambda: sequential(DRAFT, name=5), "name must be text, not 5"),
    (lambda: parallel(5), "parallel: 5 cannot be a node"),
    (lambda: parallel(DRAFT, max_concurrency="2"), "max_concurrency must be at least 1, not '2'"),
    (lambda: parallel(DRAFT, max_concurrency=True), "max_concurrency must be at least 1, not True"),
    (lambda: iterative(DRAFT, 3), "iterative: 3 cannot be a node"),
    (lambda: iterative(DRAFT, CHECK, max_rounds="3"), "max_rounds must be at least 1, not '3'"),
    (lambda: iterative(DRAFT, CHECK, max_rounds=True), "max_rounds must be at least 1, not True"),
    (lambda: iterative(DRAFT, CHECK, pass_score=5), "pass_score must be from 0 to 1, not 5"),
    (lambda: iterative(DRAFT, CHECK, pass_score="1"), "pass_score must be from 0 to 1, not '1'"),
    (lambda: iterative(DRAFT, CHECK, pass_score=True), "pass_score must be from 0 to 1, not True"),
    (
        lambda: conditional("q", branches=[DRAFT]),
        "branches must be nodes by the name of their rout",
    ),
    (lambda: conditional("q", routes=[1]), "routes must be when to choose each route, by its name"),
    (lambda: conditional("q", {5: DRAFT}), "5 is not a valid route name"),
    (
        lambda: conditional("q", {"a": DRAFT}, default=5),
        "default must be the name of a route, not 5",
    ),
    (
        lambda: orchestrated(planner(), workers=5),
        "workers must be a list of nodes, or nodes by name",
    ),
    (
        lambda: orchestrated(planner(), DRAFT, max_steps="9"),
        "max_steps must be at least 1, not '9'",
    ),
    (lambda: CostHandler("costs.db"), "CostHandler: ledger must be a Ledger"),
]

RUN_OPTIONS = [
    ({"timeout": "5"}, "timeout must be seconds, more than 0, not '5'"),
    ({"timeout": True}, "timeout must be seconds, more than 0, not True"),
    ({"timeout": -1}, "a timeout of -1 s leaves no time"),
    ({"budget": "abc"}, "'abc' is not a budget: write US dollars"),
    ({"budget": []}, "'[]' is not a budget: write US dollars"),
    ({"inputs": [1]}, "the inputs are a list: they must be values by key"),
    ({"inputs": {5: 1}}, "the inputs have the key 5: a key must be text"),
    ({"callbacks": 5}, "callbacks: give a list of LangChain callback handlers"),
    ({"config": 5}, "config is a int: give a RunnableConfig"),
    ({"config": {"tags": 5}}, "config: tags must be a list of texts, not 5"),
    ({"config": {"metadata": 5}}, "config: metadata must be values by key, not 5"),
    ({"config": {"configurable": [1]}}, "config: configurable must be values by key, not [1]"),
    ({"config": {"recursion_limit": True}}, "config: recursion_limit is True"),
    ({"thread": 5}, "thread must be text, not 5"),
    ({"cache": 5}, "cache must be an age such as '1d', not 5"),
    ({"privacy": True}, "privacy must be 'off', 'on' or 'strict', not True"),
    ({"quality": 80}, "quality is 80: give True, False, or a score from 0 to 1"),
    ({"tier": "gold"}, "there is no tier 'gold': one of free, premium, enterprise"),
    ({"tier": ["free"]}, "tier must be 'free', 'premium' or 'enterprise', not ['free']"),
    ({"user": 5}, "user must be text, not 5"),
    ({"model": 5}, "model must be models by role, such as {'executor': 'provider:model'}, not 5"),
    ({"model": "openai:m"}, "model must be models by role, such as"),
    ({"model": {"executor": 5}}, "the executor: model is a int: give provider:model"),
    ({"fallback": "no"}, "fallback must be True or False, not 'no'"),
    ({"rehearse": "no"}, "rehearse must be True or False, not 'no'"),
    ({"checkpoint": "yes"}, "checkpoint must be True, False or None, not 'yes'"),
    ({"record_content": 1}, "record_content must be True or False, not 1"),
    ({"ledger": 5}, "ledger must be a ledger or a path, not 5"),
    ({"settings": {"user": "x"}}, "settings must be Settings, not {'user': 'x'}"),
    ({"workflow": 5}, "workflow must be text, not 5"),
    ({"on_rate_limit": 5}, "on_rate_limit must be 'wait' or 'fallback', not 5"),
]


def refused(call) -> str:
    with pytest.raises(UserError) as caught:
        call()
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


@pytest.mark.parametrize(("options", "says"), AGENT_OPTIONS, ids=str)
@pytest.mark.parametrize("factory", [planner, executor, validator, creative])
def test_an_option_of_an_agent_is_refused_when_the_agent_is_made(factory, options, says):
    assert f"draft: {says}" in refused(lambda: factory("draft", **options))


@pytest.mark.parametrize(("make", "says"), MADE, ids=[says for _, says in MADE])
def test_an_argument_is_refused_when_the_graph_is_made(make, says):
    assert says in refused(make)


@pytest.mark.parametrize(("options", "says"), RUN_OPTIONS, ids=str)
def test_an_option_of_a_run_is_refused_before_anything_is_called(ledger, options, says):
    called = []
    graph = sequential(called.append, executor("facts"))
    given = {"ledger": ledger, "rehearse": True, **options}
    assert says in refused(lambda: run(graph, "x", **given))
    assert called == []
    assert ledger.runs() == []


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: run(5), "the graph is 5: it must be a compiled graph, an agent or a function"),
        (lambda: run("brief", "x"), "the graph is 'brief': it must be a compiled graph"),
        (lambda: run([DRAFT], "x"), "it must be a compiled graph, an agent or a function"),
        (lambda: run(DRAFT, 5, rehearse=True), "the task is 5: it must be text"),
        (lambda: run(DRAFT, rehearse=True), "the task is empty: say what to do"),
        (lambda: resume(DRAFT, 5), "run must be a run id or last, not 5"),
    ],
    ids=["no graph", "a name", "a list", "a number as task", "no task", "no run id"],
)
def test_what_cannot_be_run_is_refused(call, says):
    assert says in refused(call)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"max_concurrency": "2"}, "the concurrency is '2': give at least 1"),
        ({"unordered": "no"}, "unordered must be True or False, not 'no'"),
        ({"inputs": [1]}, "inputs must be values by key, not [1]"),
        ({"watch": 5}, "watch must be a function of the progress, not 5"),
        ({"timeout": "5"}, "timeout must be seconds, more than 0, not '5'"),
        ({"model": 5}, "model must be models by role"),
        (
            {"engine": "distributed", "model": {"creative": [ScriptedChatModel(answers=["x"])]}},
            "the model of the creative is a ScriptedChatModel, and workers get only the names",
        ),
        ({"engine": 5}, "unknown engine 5: use one of local, distributed"),
    ],
    ids=str,
)
def test_an_option_of_a_batch_is_refused_before_anything_is_written(
    tmp_path, ledger, options, says
):
    out = tmp_path / "out.jsonl"
    given = {"ledger": ledger, "rehearse": True, **options}
    assert says in refused(lambda: asyncio.run(abatch(DRAFT, ["x"], out, **given)))
    assert not out.exists()


def test_a_long_value_is_shortened():
    assert len(refused(lambda: executor("draft", purpose=["line\n" * 50] * 50))) < 300
