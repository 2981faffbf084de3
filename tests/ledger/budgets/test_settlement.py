"""What becomes of a hold: settled once, released, forfeited, corrected; and who is told."""

from __future__ import annotations

import json
import logging
import subprocess
import sys

import pytest

from aideon_agents import Budget
from aideon_agents.errors import LedgerError
from aideon_agents.ledger.budgets.accounts import remove_limit
from aideon_agents.ledger.rows import Call, CallEnd, Run
from aideon_agents.ledger.store import Ledger


@pytest.fixture(scope="module")
def dead():
    """The id of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    return child.pid


def kill(ledger, call_id, pid):
    values = {"pid": pid, "call": call_id}
    change = "UPDATE holds SET pid = :pid, process_start = 'boot:1' WHERE call_id = :call"
    assert ledger.database.write(change, values) == 1


def test_a_call_whose_cost_nobody_knows_counts_at_its_worst_case(till):
    call = till.begin(till.take(60))
    till.end(call, None)
    assert till.own == (60, 0)
    assert till.status(call) == "unknown"


def test_a_call_that_cost_nothing_gives_everything_back(till):
    till.end(till.begin(till.take(60)), 0)
    assert till.own == (0, 0)


def test_a_limit_that_is_set_while_a_call_is_under_way_counts_its_cost(till):
    call = till.begin(till.take(60))
    till.ledger.set_budget("user:ada", 1)
    till.take(10)  # another call, which opens the account with what is held
    assert till.accounts()["user:ada"] == (0, 70)
    till.end(call, 20)
    assert till.accounts()["user:ada"] == (20, 10)
    assert till.own == (20, 10)


def test_a_limit_that_is_raised_while_a_call_is_under_way_warns_of_nothing(till, caplog):
    till.ledger.set_budget("user:ada", "0.000000100")
    call = till.begin(till.take(90))
    till.ledger.set_budget("user:ada", "0.000001")
    with caplog.at_level(logging.WARNING):
        till.end(call, 90)
    assert "user:ada" not in caplog.text


def test_a_call_is_settled_once(till):
    call = till.begin(till.take(60))
    assert till.end(call, 20)
    assert not till.end(call, 50)
    assert not till.end(call, None)
    assert till.own == (20, 0)


def test_a_call_that_was_never_made_gives_its_hold_back(till):
    call = till.take(60)
    till.ledger.budgets.release(call)
    assert till.own == (0, 0)
    assert till.status(call) == "released"


def test_a_row_that_was_begun_with_the_hold_is_gone_when_the_call_is_never_made(till):
    budgets, row = till.ledger.budgets, till.row("c1")
    assert budgets.take("c1", till.place(), 60, row=row) is None
    assert budgets.unsent == {"c1": row}
    assert [call.status for call in till.ledger.calls(till.run_id)] == ["started"]
    budgets.release("c1")
    assert till.ledger.calls(till.run_id) == []
    assert till.own == (0, 0)
    assert till.status("c1") == "released"


def test_a_row_that_was_begun_with_the_hold_is_the_call_s_once_it_is_made(till):
    budgets = till.ledger.budgets
    budgets.take("c1", till.place(), 60, row=till.row("c1"))
    del budgets.unsent["c1"]
    budgets.release("c1")
    assert [call.status for call in till.ledger.calls(till.run_id)] == ["started"]
    assert till.own == (0, 60)
    till.end("c1", 20)
    assert till.own == (20, 0)


def test_a_call_that_is_refused_has_no_row(till):
    assert till.ledger.budgets.take("c1", till.place(), 101, row=till.row("c1"))
    assert till.ledger.calls(till.run_id) == []


def test_a_call_under_way_keeps_its_hold_when_nobody_waits_for_it(till):
    call = till.begin(till.take(60))
    till.ledger.budgets.release(call)
    assert till.own == (0, 60)
    till.end(call, 10)
    assert till.own == (10, 0)


def test_the_hold_of_a_dead_process_counts_as_spent(till, dead):
    call = till.begin(till.take(60))
    kill(till.ledger, call, dead)
    till.ledger.budgets.forfeit_dead()
    assert till.own == (60, 0)
    assert till.status(call) == "forfeited"


def test_whoever_waits_finds_out_that_a_process_is_dead(till, dead):
    call = till.begin(till.take(60))
    assert till.take(70).waits
    kill(till.ledger, call, dead)
    till.ledger.budgets._searched = 0.0
    refused = till.take(70)
    assert (refused.waits, refused.by.spent) == (False, 60)
    assert isinstance(till.take(40), str)


def test_the_dead_are_looked_for_once_in_a_while(till, dead):
    call = till.begin(till.take(60))
    assert till.take(70).waits
    kill(till.ledger, call, dead)
    assert till.take(70).waits


def test_a_process_on_another_machine_is_dead_when_its_lease_is_over(till, another):
    call = till.begin(till.take(60))
    elsewhere = "UPDATE holds SET host = 'elsewhere', expires_at = :at"
    till.ledger.database.write(elsewhere, {"at": 2**40})
    another().budgets.forfeit_dead()
    assert till.status(call) == "held"
    till.ledger.database.write(elsewhere, {"at": 1.5})
    another().budgets.forfeit_dead()
    assert till.status(call) == "forfeited"


def test_a_late_end_corrects_what_was_given_up_as_lost(till, dead):
    call = till.begin(till.take(60))
    kill(till.ledger, call, dead)
    till.ledger.budgets.forfeit_dead()
    till.end(call, 15)
    assert till.own == (15, 0)
    assert till.status(call) == "settled"


def test_a_late_end_of_unknown_cost_leaves_the_worst_case(till, dead):
    call = till.begin(till.take(60))
    kill(till.ledger, call, dead)
    till.ledger.budgets.forfeit_dead()
    till.end(call, None)
    assert till.own == (60, 0)
    assert till.status(call) == "unknown"


def test_a_late_end_corrects_an_account_that_was_opened_meanwhile(till, dead):
    call = till.begin(till.take(60))
    kill(till.ledger, call, dead)
    till.ledger.budgets.forfeit_dead()
    till.ledger.set_budget("user", "1")
    till.take(1)
    assert till.accounts()["user:ada"] == (60, 1)
    till.end(call, 15)
    assert till.accounts()["user:ada"] == (15, 1)


def test_several_dead_holds_are_counted_where_a_limit_is_new(till, dead):
    calls = [till.begin(till.take(10)) for _ in range(3)]
    for call in calls:
        kill(till.ledger, call, dead)
    till.ledger.set_budget("user", "1")
    till.ledger.budgets.forfeit_dead()
    assert till.accounts()["user:ada"] == (30, 0)


def test_a_call_that_was_forfeited_and_never_made_gives_its_hold_back(till, dead):
    call = till.take(60)
    kill(till.ledger, call, dead)
    till.ledger.budgets.forfeit_dead()
    till.ledger.budgets.release(call)
    assert till.own == (0, 0)


def test_calls_that_nobody_held_money_for_count_all_the_same(till):
    till.ledger.set_budget("user", "1")
    till.take(1)
    till.end(till.begin("foreign"), 70)
    assert till.own == (70, 1)
    assert till.accounts()["user:ada"] == (70, 1)
    till.end(till.begin("unknown"), None)
    assert till.own == (70, 1)


def test_a_foreign_call_that_opens_an_account_counts_in_it_once(ledger, till_for):
    till = till_for(ledger)
    ledger.set_budget("user", "1")
    till.end(till.begin("foreign"), 70)
    assert till.accounts()["user:ada"] == (70, 0)


def test_a_rehearsed_call_counts_nowhere(till):
    till.ledger.start_call(
        Call(
            call_id="rehearsed",
            run_id=till.run_id,
            node_path="draft",
            role="creative",
            provider="together",
            requested_model="m",
            started_at="2026-11-21T12:00:00.000Z",
            rehearsed=True,
        )
    )
    till.end("rehearsed", 50)
    till.ledger.set_budget("user", "1")
    till.take(1)
    assert till.own == (0, 1)
    assert till.accounts()["user:ada"] == (0, 1)


def test_a_call_counts_on_the_day_on_which_it_began(ledger, till_for):
    till = till_for(ledger)
    ledger.set_budget("day", "1")
    call = till.take(10, at="2026-11-30T23:59:59.999Z")
    till.begin(call, at="2026-11-30T23:59:59.999Z")
    till.end(call, 10)
    till.spend(5, at="2026-12-01T00:00:00.000Z")
    found = {key: spent for key, (spent, _) in till.accounts().items()}
    assert (found["day:2026-11-30"], found["day:2026-12-01"]) == (10, 5)
    assert (found["month:2026-11"], found["month:2026-12"]) == (10, 5)


@pytest.fixture
def told(caplog):
    """The alerts' thresholds in the log so far, by budget, since it was last asked."""
    caplog.set_level(logging.INFO, "aideon_agents.budgets")

    def since(scope):
        lines = [record.getMessage() for record in caplog.records if "% is" in record.getMessage()]
        return [
            int(line.partition(" %")[0].rpartition(" ")[2])
            for line in lines
            if line.startswith(f"the {scope} budget")
        ]

    return since


def test_each_threshold_is_told_of_once(till, told):
    for amount in (49, 1, 29, 1, 14, 1, 4, 1):
        till.spend(amount)
    assert told("run") == [50, 80, 95, 100]


def test_one_step_over_several_thresholds_tells_of_the_highest(till, told):
    till.spend(96)
    assert told("run") == [95]


def test_what_is_held_tells_nobody_anything(till, told):
    till.begin(till.take(100))
    assert told("run") == []


def test_a_raised_limit_tells_anew(till, told):
    till.spend(100)
    till.ledger.set_run_budget(till.run_id, Budget("0.000000250"))
    till.spend(10)
    assert told("run") == [100]
    till.spend(100)
    assert told("run") == [100, 80]


def test_each_day_tells_anew(ledger, till_for, told):
    till = till_for(ledger)
    ledger.set_budget("day", "0.000000100")
    till.spend(60)
    till.spend(60, at="2026-11-22T00:00:00.000Z")
    till.spend(1, at="2026-11-22T00:00:00.000Z")
    assert told("day") == [50, 50]


def test_two_limits_on_one_account_are_both_told_of(ledger, till_for, told):
    till = till_for(ledger)
    ledger.set_budget("user", "0.000000010", warns=True)
    ledger.set_budget("user:ada", "0.000000100")
    till.spend(10)
    till.spend(50)
    assert told("user:ada") == [100, 50]


def test_a_limit_that_is_removed_and_set_again_does_not_repeat_itself(ledger, till_for, told):
    till = till_for(ledger)
    for _ in range(2):
        ledger.set_budget("user", "0.000000100")
        till.spend(30)
        till.spend(9)
        remove_limit(ledger.database, "user")
    assert told("user:ada") == [50]


def test_a_forfeited_hold_can_pass_a_threshold(till, told, dead):
    kill(till.ledger, till.begin(till.take(90)), dead)
    till.ledger.budgets.forfeit_dead()
    assert told("run") == [80]


def test_a_budget_of_nothing_tells_nothing(ledger, till_for, told):
    till = till_for(ledger, 0)
    till.end(till.begin(till.take(0)), 0)
    assert told("run") == []


def test_of_two_processes_one_tells_of_a_crossing(tmp_path, till_for, told):
    with Ledger(tmp_path / "l.db") as first, Ledger(tmp_path / "l.db") as second:
        here = till_for(first, 100)
        calls = [here.begin(here.take(50)) for _ in range(2)]
        end = CallEnd(status="ok", duration_ms=1, cost_nanousd=50)
        assert first.finish_call(calls[0], end)
        assert second.finish_call(calls[1], end)
        assert not first.finish_call(calls[1], end)
    assert told("run") == [50, 100]


def test_a_call_keeps_the_names_of_all_accounts_that_its_end_counts_in(till):
    call = till.take(5)
    till.ledger.set_budget("user", "1")
    till.take(1)
    (row,) = till.ledger.select("SELECT * FROM holds WHERE call_id = :c", {"c": call})
    assert set(json.loads(row["accounts"])) >= {f"run:{till.run_id}", "user:ada"}


def test_an_end_that_cannot_be_written_leaves_the_money_held(tmp_path, till_for):
    ledger = Ledger(tmp_path / "l.db")
    till = till_for(ledger, 100)
    call = till.begin(till.take(60))
    ledger.close()
    with pytest.raises(LedgerError):
        till.end(call, 10)
    with Ledger(tmp_path / "l.db") as again:
        till.ledger = again
        assert till.own == (0, 60)
        assert [one.status for one in again.calls(till.run_id)] == ["started"]


def test_a_run_that_nobody_wrote_has_money_counted_all_the_same(ledger, till_for):
    till = till_for(ledger)
    ledger.set_budget("run", "0.000000010")
    budget = ledger.run_budget("nobody-wrote-it")
    assert budget.run.user is None
    assert ledger.budgets.take("c1", till.place(run="nobody-wrote-it", user=None), 10) is None
    assert ledger.start_run(Run(workflow="w"))
    assert till.accounts()["run:nobody-wrote-it"] == (0, 10)
