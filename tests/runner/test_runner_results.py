"""What a result says of itself, as an object, as an exception, as a document."""

from __future__ import annotations

import json

import pytest
from pydantic import BaseModel

from aideon_agents import creative, executor, run, sequential
from aideon_agents.errors import KeyRejected, LimitError, RunError
from aideon_agents.ledger.rows import Run
from aideon_agents.runner import document, recall
from aideon_agents.state import StepResult
from aideon_agents.testing import Fault, SimulatedProvider

PUMPS = "Heat pumps move heat."


class Facts(BaseModel):
    facts: list[str]


def breaks(state):
    raise ValueError("broken")


def test_nothing_is_raised_for_a_run_that_went_well(ledger):
    result = run(creative("draft"), PUMPS, rehearse=True, ledger=ledger)
    assert result.raise_for_status() is result


def test_an_error_of_ours_is_raised_as_it_is_with_the_runs_id(ledger, keyed):
    with SimulatedProvider(faults=Fault(401)) as provider:
        agent = creative("draft", model="together:m")
        result = run(agent, PUMPS, settings=keyed(provider), ledger=ledger)
    with pytest.raises(RunError, match="TOGETHER_API_KEY") as caught:
        result.raise_for_status()
    assert caught.value is result.exception
    assert caught.value.run_id == result.run_id
    assert isinstance(caught.value.__cause__, KeyRejected)


def test_an_error_of_a_node_is_raised_as_the_cause_of_one_of_ours(ledger):
    result = run(breaks, PUMPS, ledger=ledger)
    with pytest.raises(
        RunError, match=r"^breaks: ValueError: broken \(test_runner_results.py:\d+\)$"
    ) as caught:
        result.raise_for_status()
    assert caught.value.run_id == result.run_id
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_limit_is_raised_as_a_limit(ledger, keyed):
    with SimulatedProvider(faults=Fault("hang")) as provider:
        result = run(creative("draft"), PUMPS, settings=keyed(provider), ledger=ledger, timeout=0.2)
    with pytest.raises(LimitError) as caught:
        result.raise_for_status()
    assert (caught.value.kind, caught.value.limit) == ("timeout", 0.2)
    assert caught.value.run_id == result.run_id


def test_a_run_out_of_the_ledger_is_what_it_was_without_its_answers(ledger):
    result = run(creative("draft"), PUMPS, rehearse=True, ledger=ledger)
    recalled = recall(ledger, ledger.find_run(result.run_id))
    assert recalled.raise_for_status() is recalled
    assert document(recalled) == document(result) | {"output": None, "results": {}}


def test_recorded_answers_are_recalled(ledger):
    run_id = ledger.start_run(Run(workflow="article"))
    kept = {"draft": {"role": "creative", "content": "text", "data": None, "round": 2}}
    kept["draft"] |= {"models": ["together:a"], "truncated": True}
    ledger.finish_run(run_id, "completed", output="text", results=kept)
    recalled = recall(ledger, ledger.find_run(run_id))
    assert (recalled.output, recalled.results["draft"].node_path) == ("text", "draft")
    # Kept before results had files.
    assert document(recalled)["results"] == {"draft": kept["draft"] | {"artifacts": []}}


@pytest.mark.parametrize(
    ("status", "error", "says"),
    [
        ("failed", "it broke", "it broke"),
        ("stopped", None, "stopped"),
        ("cancelled", None, "cancelled"),
    ],
)
def test_a_run_out_of_the_ledger_that_went_wrong_is_raised(ledger, status, error, says):
    run_id = ledger.start_run(Run(workflow="article"))
    ledger.finish_run(run_id, status, error=error)
    with pytest.raises(RunError, match=f"^{says}$") as caught:
        recall(ledger, ledger.find_run(run_id)).raise_for_status()
    assert caught.value.run_id == run_id


def test_the_document_holds_typed_answers_as_json(ledger):
    graph = sequential(executor("facts", output=Facts))
    made = document(run(graph, PUMPS, rehearse=True, ledger=ledger))
    assert json.loads(json.dumps(made, allow_nan=False)) == made
    facts = made["results"]["facts"]
    assert set(facts) == {"role", "content", "data", "round", "models", "truncated", "artifacts"}
    assert isinstance(facts["data"]["facts"], list)


def test_what_json_cannot_hold_is_shown_as_python_shows_it(ledger):
    def odd(state):
        data = {1}, object, float("inf")
        return StepResult(node_path="odd", role="function", content="odd", data=data)

    made = document(run(odd, PUMPS, ledger=ledger))
    assert made["results"]["odd"]["data"] == [[1], "<class 'object'>", None]
    json.dumps(made, allow_nan=False)


def test_a_result_does_not_show_its_exception_in_its_repr(ledger):
    assert "exception" not in repr(run(breaks, PUMPS, ledger=ledger))
