"""What goes on after its run has ended may not spend anything any more."""

from __future__ import annotations

from uuid import uuid4

import pytest

from aideon_agents.errors import RunError
from aideon_agents.ledger.handler import CostHandler
from aideon_agents.ledger.rows import Run


def test_a_call_for_a_run_that_was_given_and_has_ended_is_refused(ledger):
    run_id = ledger.start_run(Run(workflow="mine"))
    handler = CostHandler(ledger, run_id=run_id)
    handler.on_chat_model_start({}, [], run_id=uuid4())
    handler.settle_cancelled()
    with pytest.raises(RunError, match="has ended"):
        handler.on_chat_model_start({}, [], run_id=uuid4())
    assert [call.status for call in ledger.calls(run_id)] == ["cancelled"]


def test_what_was_left_inside_an_implicit_run_that_has_ended_starts_nothing_more(ledger):
    handler = CostHandler(ledger)
    root, branch = uuid4(), uuid4()
    handler.on_chain_start({}, {}, run_id=root, name="graph")
    handler.on_chain_start({}, {}, run_id=branch, parent_run_id=root, name="branch")
    handler.on_chain_error(ValueError("another branch"), run_id=root)
    with pytest.raises(RunError, match="has ended"):
        handler.on_chat_model_start({}, [], run_id=uuid4(), parent_run_id=branch)
    assert [run.status for run in ledger.runs()] == ["failed"]


def test_a_handler_serves_one_implicit_run_after_another(ledger):
    handler = CostHandler(ledger)
    for _ in range(2):
        root = uuid4()
        handler.on_chain_start({}, {}, run_id=root, name="graph")
        handler.on_chat_model_start({}, [], run_id=uuid4(), parent_run_id=root)
        handler.on_chain_end({}, run_id=root)
    assert [run.status for run in ledger.runs()] == ["completed", "completed"]
