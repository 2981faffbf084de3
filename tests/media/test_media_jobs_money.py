"""The money of a job that a provider works on: it is held until the job's end is known."""

from __future__ import annotations

import pytest

from aideon_agents.ledger.budgets.limits import CallDimensions
from aideon_agents.ledger.identity import now, utc_text
from aideon_agents.ledger.rows import Call, CallEnd, Run
from aideon_agents.ledger.store import Ledger

WORST, PAID = 900, 500


@pytest.fixture
def dead(ledger):
    """A call of a process that is gone, whose hold nothing renews, under a budget of the day."""
    ledger.set_budget("day", "1")
    run_id = ledger.start_run(Run(workflow="clip"))
    at = utc_text(now())
    row = Call(
        call_id="c-1",
        run_id=run_id,
        node_path="clip",
        role="video",
        provider="runway",
        requested_model="gen4.5",
        started_at=at,
        modality="video",
    )
    call = CallDimensions(run=run_id, at=at, node="clip", provider="runway")
    assert ledger.budgets.take("c-1", call, WORST, row=row) is None
    ledger.budgets.unsent.pop("c-1")
    ledger.budgets.release("c-1")
    ledger.database.write("UPDATE holds SET expires_at = 0, pid = 1, host = 'gone'", {})
    return call


def states(ledger):
    (hold,) = ledger.select("SELECT status FROM holds")
    (day,) = ledger.select(
        "SELECT spent_nanousd AS spent, held_nanousd AS held FROM accounts WHERE account LIKE 'day:%'"
    )
    return hold["status"], day["spent"], day["held"]


def test_money_of_a_process_that_is_gone_counts_as_spent(ledger, dead):
    ledger.budgets.forfeit_dead()
    assert states(ledger) == ("forfeited", WORST, 0)


def test_money_of_a_job_stays_held_and_any_process_settles_it(ledger, dead, folder):
    ledger.database.write("UPDATE calls SET provider_job = 'job-7'", {})
    with Ledger(folder / "ledger.db") as other:
        other.budgets.forfeit_dead()
        assert states(other) == ("held", 0, WORST)
        end = CallEnd(
            status="ok",
            duration_ms=5,
            unit="credit",
            quantity=5_000_000,
            cost_nanousd=PAID,
            cost_reported=PAID,
        )
        assert other.finish_call("c-1", end)
        assert not other.finish_call("c-1", end)
    assert states(ledger) == ("settled", PAID, 0)
    (call,) = ledger.calls(dead.run)
    assert (call.provider_job, call.cost_reported) == ("job-7", PAID)
