"""Calls of a simulated provider: they count in their own runs and batches, and in no standing limit."""

from __future__ import annotations

import dataclasses

import pytest

from aideon_agents.ledger.costs import run_cost
from aideon_agents.ledger.money import usd
from aideon_agents.ledger.reports import report
from aideon_agents.ledger.rows import CallEnd

STANDING = ("day", "month", "user", "tier:free", "provider", "node", "day:user:ada", "day:run")


@pytest.fixture
def limited(till):
    """The same run under every kind of standing limit."""
    for scope in (*STANDING, "run"):
        till.ledger.set_budget(scope, "0.000001")
    return till


def call(till, amount, *, known, with_row=True):
    """Hold an amount for a call; `known`: whether its provider is known to be simulated."""
    call_id = f"call-{next(till.numbers)}"
    row = dataclasses.replace(till.row(call_id), simulated=known)
    place = till.place(simulated=known)
    assert till.ledger.budgets.take(call_id, place, amount, row=row if with_row else None) is None
    till.ledger.budgets.unsent.pop(call_id, None)
    return call_id if with_row else till.begin(call_id)


def end(till, call_id, cost, *, simulated):
    done = CallEnd(status="ok", duration_ms=1, cost_nanousd=cost, simulated=simulated)
    assert till.ledger.finish_call(call_id, done)


def standing(till):
    """What is spent and held in the accounts of standing limits; they are all the same."""
    found = till.accounts()
    assert found.pop(f"run:{till.run_id}") == till.own
    return set(found.values())


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("with_row", [True, False])
def test_what_an_answer_says_decides_where_its_cost_counts(limited, known, with_row):
    first = call(limited, 60, known=known, with_row=with_row)
    assert limited.own == (0, 60)
    assert standing(limited) == (set() if known else {(0, 60)})
    end(limited, first, 20, simulated=True)
    assert limited.own == (20, 0)
    assert standing(limited) <= {(0, 0)}
    # The same address is a real provider's now.
    second = call(limited, 60, known=known, with_row=with_row)
    end(limited, second, 30, simulated=False)
    assert limited.own == (50, 0)
    limited.take(1)  # opens what is not open yet
    assert standing(limited) == {(30, 1)}
    rows = {one.call_id: one.simulated for one in limited.ledger.calls(limited.run_id)}
    assert rows == {first: True, second: False}


@pytest.mark.parametrize("known", [True, False])
def test_a_simulated_call_of_unknown_cost_counts_at_its_worst_case_in_its_run_alone(limited, known):
    end(limited, call(limited, 60, known=known), None, simulated=True)
    assert limited.own == (60, 0)
    assert standing(limited) <= {(0, 0)}


def test_a_limit_that_is_set_later_leaves_simulated_calls_out(till):
    end(till, call(till, 10, known=True), 10, simulated=True)
    end(till, call(till, 10, known=True), None, simulated=True)
    call(till, 10, known=True)
    end(till, call(till, 7, known=False), 7, simulated=False)
    for scope in ("day", "user:ada", "run"):
        till.ledger.set_budget(scope, "1")
    till.take(1)
    assert till.own == (27, 11)
    assert standing(till) == {(7, 1)}


def test_a_simulated_call_is_held_by_no_standing_limit_and_alerts_nobody(till, caplog):
    till.ledger.set_budget("day", "0.000000010")
    end(till, call(till, 60, known=True), 60, simulated=True)
    assert standing(till) <= {(0, 0)}
    assert not [line for line in caplog.messages if "day budget" in line]
    assert till.take(60), "the day refuses a real call"


def test_a_simulated_run_is_marked_and_in_a_report_only_where_it_is_asked_for(till):
    ledger = till.ledger
    end(till, call(till, 60, known=False), 20, simulated=True)
    assert ledger.find_run(till.run_id).simulated
    assert [run.simulated for run in ledger.runs()] == [True]
    assert run_cost(ledger, till.run_id).calls == 1
    ledger.finish_run(till.run_id, "completed")
    for by in ("node", "run", "day"):
        assert report(ledger, by).total.calls == 0
        assert report(ledger, by, run_id=till.run_id).rows == ()
        with_it = report(ledger, by, simulated=True)
        assert (with_it.total.calls, with_it.total.usd) == (1, usd(20))
    assert report(ledger, "day").total.run_success_rate is None
    assert report(ledger, "day", simulated=True).total.run_success_rate == 1
