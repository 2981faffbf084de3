"""The ready-made workflow `brief`: what it is made of, and what a rehearsal of it leaves."""

from __future__ import annotations

import pytest

from aideon_agents import Context, CostHandler, Ledger, run
from aideon_agents.graphs.walk import requests
from aideon_agents.state import Plan, Verdict
from aideon_agents.tasks import load
from aideon_agents.testing import GivenModels, ScriptedChatModel

TASK = "Heat pumps move heat. They need a quarter of the power of a heater."
WORK = [
    "planner",
    "gather/facts",
    "gather/risks",
    "gather/angle",
    "refine/draft",
    "refine/validator",
]


@pytest.fixture(scope="module")
def graph():
    return load("brief").graph


@pytest.fixture(scope="module")
def ledger(tmp_path_factory):
    with Ledger(tmp_path_factory.mktemp("brief") / "ledger.db") as opened:
        yield opened


@pytest.fixture(scope="module")
def rehearsed(graph, ledger):
    return run(graph, TASK, rehearse=True, ledger=ledger)


def test_it_is_called_brief(graph):
    assert graph.get_name() == "brief"


def test_it_asks_for_six_agents(graph):
    asked = [request.role for request in requests(graph)]
    assert asked == ["planner", "executor", "executor", "creative", "creative", "validator"]


def test_a_rehearsal_comes_to_its_end(rehearsed):
    assert (rehearsed.workflow, rehearsed.status, rehearsed.error) == ("brief", "completed", None)
    assert rehearsed.rehearsed
    assert rehearsed.results.keys() == {*WORK, "refine"}


def test_its_output_is_the_best_round_of_the_draft(rehearsed):
    own = rehearsed.results["refine"]
    assert rehearsed.output == own.content == own.data.rounds[own.data.best - 1].content


def test_its_typed_answers_are_there(rehearsed):
    assert isinstance(rehearsed.results["planner"].data, Plan)
    assert isinstance(rehearsed.results["refine/validator"].data, Verdict)


def test_every_agent_has_its_cost(rehearsed):
    assert {node.node_path for node in rehearsed.nodes} == set(WORK)
    assert all(node.usd is not None and node.usd > 0 for node in rehearsed.nodes)
    assert rehearsed.cost.usd == sum(node.usd for node in rehearsed.nodes)
    assert rehearsed.cost.complete


def test_the_same_task_is_rehearsed_the_same(graph, ledger, rehearsed):
    again = run(graph, TASK, rehearse=True, ledger=ledger)
    assert {path: one.content for path, one in again.results.items()} == {
        path: one.content for path, one in rehearsed.results.items()
    }
    assert again.cost.usd == rehearsed.cost.usd


async def test_a_draft_that_does_not_pass_is_written_again_with_the_feedback(graph, ledger):
    writer = ScriptedChatModel(answers=["The angle.", "Too long.", "Short."])
    verdicts = [
        Verdict(passed=False, score=0.3, feedback="Under 300 words."),
        Verdict(passed=True, score=0.9, feedback=""),
    ]
    models = GivenModels(
        ScriptedChatModel(answers=["said", "said"]),
        roles={
            "planner": ScriptedChatModel(answers=[Plan(steps=[])]),
            "creative": writer,
            "validator": ScriptedChatModel(answers=verdicts),
        },
    )
    handler = CostHandler(ledger)
    values = await graph.ainvoke(
        {"task": TASK}, {"callbacks": [handler]}, context=Context(models=models)
    )
    assert values["results"]["refine"].content == "Short."
    told = str(writer.requests[2].messages[1].content)
    assert "<earlier_version>\nToo long.\n</earlier_version>" in told
    assert "<feedback>\nUnder 300 words.\n</feedback>" in told
    rows = [(row.node_path, row.round) for row in ledger.calls(handler.run_id)]
    assert rows[-4:] == [
        ("refine/draft", 1),
        ("refine/validator", 1),
        ("refine/draft", 2),
        ("refine/validator", 2),
    ]
