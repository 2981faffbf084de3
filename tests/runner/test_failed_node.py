"""The node that failed a run, named in the result, the ledger and the picture."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from langgraph.graph import START, StateGraph

from aideon_agents import (
    State,
    creative,
    executor,
    iterative,
    orchestrated,
    parallel,
    run,
    sequential,
    validator,
)
from aideon_agents.drawing.figures import figures
from aideon_agents.graphs.topology import topology_in
from aideon_agents.runner import document, recall
from aideon_agents.state import Plan, PlanStep
from aideon_agents.testing import Fault, SimulatedProvider

HERE = "test_failed_node.py"


def facts(state):
    return state["nothing"]


def says(state):
    return "done"


def line_of(text):
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


@pytest.mark.parametrize(
    ("graph", "path"),
    [
        (facts, "facts"),
        (sequential(says, facts), "facts"),
        (sequential(parallel(facts, says, name="gather")), "gather/facts"),
        (parallel(sequential(says, facts, name="inner"), says), "inner/facts"),
        (sequential(parallel(facts, says, max_concurrency=1, name="gather")), "gather/facts"),
        (sequential(iterative(says, facts, name="loop")), "loop/facts"),
        (sequential(says, sequential(sequential(facts, name="b"), name="a")), "a/b/facts"),
    ],
)
def test_a_function_that_raises_is_named_with_its_file_and_line(ledger, graph, path):
    result = run(graph, "x", ledger=ledger)
    line = f"{HERE}:{line_of('return state[')}"
    assert result.error == f"{path}: KeyError: 'nothing' ({line})"
    assert result.failed_node == f"{path} {line}"
    assert document(result)["failed_node"] == result.failed_node
    (row,) = ledger.runs()
    assert (row.error, row.failed_node) == (result.error, result.failed_node)
    assert recall(ledger, row).failed_node == result.failed_node
    whole = ledger.find_run(row.run_id)
    found = figures([(whole, [])], topology_in(whole.graph))
    failed = {one.node_path for one in found.nodes.values() if "failed" in one.badges}
    assert path in failed
    assert all(f"{path}/".startswith(f"{one}/") for one in failed)


def test_the_line_is_that_of_the_users_own_code_that_raised(ledger):
    def reads(state):
        import json

        return json.loads("{")

    result = run(reads, "x", ledger=ledger)
    assert result.failed_node == f"reads {HERE}:{line_of('json.loads(')}"


def test_a_step_of_a_plan_is_named(ledger):
    step = PlanStep(id="s1", description="Do.", agent="executor", complexity="low", depends_on=[])
    worker = sequential(facts, name="executor")
    graph = orchestrated(lambda state: {"plan": Plan(steps=[step])}, worker)
    result = run(sequential(graph), "x", ledger=ledger)
    assert result.failed_node.startswith("orchestrated/work/s1/facts ")


def test_an_agent_is_named_without_a_line(ledger, keyed):
    with SimulatedProvider(faults=Fault(422, message="messages must not be empty")) as provider:
        graph = sequential(parallel(creative("draft"), name="gather"))
        result = run(graph, "x", settings=keyed(provider), ledger=ledger)
    assert result.failed_node == "gather/draft"
    assert result.error.startswith("gather/draft: together:")


def test_the_branch_that_failed_is_named_and_not_one_that_was_cancelled(ledger):
    began = asyncio.Event()

    async def fails(state):
        await began.wait()
        raise ValueError("the cause")

    async def aside(state):
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            raise RuntimeError("cleaned up badly")

    for branches in ((fails, aside), (aside, fails)):
        began.clear()
        result = run(sequential(parallel(*branches, name="gather")), "x", ledger=ledger)
        assert result.error.startswith("gather/fails: ValueError: the cause (")


def test_an_error_that_a_graph_handles_is_not_the_failure(ledger):
    def mends(state):
        return {"task": "mended"}

    builder = StateGraph(State)
    builder.add_node("first", facts, error_handler=mends)
    builder.add_node("second", sequential(facts, name="second"))
    builder.add_edge(START, "first")
    builder.add_edge(START, "second")
    result = run(builder.compile(), "x", ledger=ledger)
    assert result.failed_node.startswith("second/facts ")


def test_a_run_that_did_not_fail_names_no_node(ledger):
    completed = run(executor(), "x", rehearse=True, ledger=ledger)
    assert (completed.error, completed.failed_node) == (None, None)
    assert document(completed)["failed_node"] is None


def test_a_validator_that_raises_is_named(ledger):
    def counts(state):
        return {"verdict": state["missing"]}

    loop = iterative(says, counts, name="loop")
    result = run(sequential(loop, validator()), "x", rehearse=True, ledger=ledger)
    assert result.error.startswith("loop/counts: KeyError: 'missing' (")
