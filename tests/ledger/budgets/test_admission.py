"""Who is let through: what fits beside all that is spent and held, on every limit there is."""

from __future__ import annotations

import dataclasses
import threading

import pytest

from aideon_agents import Budget
from aideon_agents.errors import LedgerError, UserError
from aideon_agents.ledger.budgets.accounts import limits, remove_limit, set_limit
from aideon_agents.ledger.budgets.runs import RunBudget
from aideon_agents.ledger.identity import now, utc_text


def is_nearly_spent(budget):
    return budget.budgets.remaining(budget.run).is_nearly_spent


def test_what_fits_is_held_until_it_is_settled(till):
    call = till.begin(till.take(60))
    assert till.own == (0, 60)
    assert till.end(call, 25)
    assert till.own == (25, 0)
    assert till.status(call) == "settled"


def test_the_last_nano_dollar_fits_and_the_next_does_not(till):
    till.spend(40)
    assert isinstance(till.take(60), str)
    assert till.take(1).by.left == 0


def test_what_only_other_calls_stand_in_the_way_of_waits(till):
    call = till.begin(till.take(60))
    refused = till.take(70)
    assert (refused.waits, refused.needed, refused.by.held) == (True, 70, 60)
    till.end(call, 20)
    assert isinstance(till.take(70), str)


def test_what_never_fits_does_not_wait(till):
    till.spend(40)
    till.take(10)
    refused = till.take(61)
    assert (refused.waits, refused.by.spent, refused.by.held) == (False, 40, 10)


def test_a_refusal_names_the_tightest_of_several_limits(ledger, till_for):
    till = till_for(ledger, 50, nodes={"draft": "0.000000030"}, providers={"together": "1"})
    ledger.set_budget("day:user", "0.000000040")
    till.spend(25)
    assert till.take(10).by.name == "node:draft"
    assert till.take(20).by.name == "node:draft"
    assert till.take(20, node="check").by.name == "day:user:ada"
    assert till.take(30, node="check", user=None).by.name == "run"


def test_the_tightest_is_named_by_what_is_left_beside_what_is_held(ledger, till_for):
    till = till_for(ledger, 100)
    other = till_for(ledger, 100)
    ledger.set_budget("user", "0.000000120")
    assert isinstance(other.take(80), str)
    refused = till.take(60)
    assert (refused.by.name, refused.waits, refused.by.left) == ("user:ada", True, 40)


def test_nothing_of_a_refused_call_is_held_anywhere(ledger, till_for):
    till = till_for(ledger, 1000)
    ledger.set_budget("day", "0.000000050")
    assert till.take(60).by.name == "day"
    assert {held for _, held in till.accounts().values()} == {0}
    assert ledger.select("SELECT * FROM holds") == []


@pytest.mark.parametrize("scope", ["run", "user", "tier", "node", "provider", "day", "month"])
def test_every_kind_of_limit_refuses_what_does_not_fit(ledger, till_for, scope):
    till = till_for(ledger)
    ledger.set_budget(scope, "0.000000010")
    assert till.spend(7)
    assert till.take(4).by.limit == 10
    assert isinstance(till.take(3), str)


@pytest.mark.parametrize(
    ("scope", "elsewhere"),
    [
        ("run", {"run": "another"}),
        ("user", {"user": "bob"}),
        ("tier", {"tier": "premium"}),
        ("node", {"node": "check"}),
        ("provider", {"provider": "openai"}),
        ("day", {"at": "2026-11-22T00:00:00.000Z"}),
        ("month", {"at": "2026-12-01T00:00:00.000Z"}),
        ("day:user", {"at": "2026-11-20T23:59:59.999Z"}),
    ],
)
def test_a_limit_for_each_one_leaves_the_others_alone(ledger, till_for, scope, elsewhere):
    till = till_for(ledger)
    ledger.set_budget(scope, "0.000000010")
    till.spend(10)
    assert not isinstance(till.take(1), str)
    assert isinstance(till.take(10, **elsewhere), str)


def test_a_named_limit_and_one_for_each_hold_both(ledger, till_for):
    ledger.set_budget("user", "0.000000010")
    ledger.set_budget("user:ada", "0.000000050")
    ada, bob = till_for(ledger), till_for(ledger, user="bob")
    ada.spend(8)
    assert ada.take(3).by.limit == 10
    ledger.set_budget("user:ada", "0.000000009")
    assert ada.take(2).by.limit == 9
    assert isinstance(bob.take(10), str)


def test_a_node_s_limit_counts_all_that_is_inside_it(ledger, till_for):
    till = till_for(ledger, nodes={"refine": "0.000000010"})
    till.spend(6, node="refine/draft")
    assert till.take(5, node="refine/check").by.name == "node:refine"
    assert isinstance(till.take(4, node="refine"), str)
    assert isinstance(till.take(50, node="refinery"), str)


def test_a_run_s_own_limits_are_not_another_run_s(ledger, till_for):
    first = till_for(ledger, nodes={"draft": "0.000000010"}, providers={"openai": 0})
    second = till_for(ledger)
    first.spend(10)
    assert first.take(1).by.name == "node:draft"
    assert first.take(1, node="check", provider="openai").by.name == "provider:openai"
    assert isinstance(second.take(10, provider="openai"), str)


def test_a_call_without_a_known_worst_case_is_refused_under_a_budget(till):
    refused = till.take(None)
    assert (refused.needed, refused.waits, refused.by.name) == (None, False, "run")


def test_a_call_without_a_known_worst_case_passes_where_limits_only_warn(ledger, till_for):
    till = till_for(ledger)
    ledger.set_budget("user", 0, warns=True)
    call = till.begin(till.take(None))
    till.end(call, 5)
    assert till.accounts()["user:ada"] == (5, 0)


def test_a_limit_that_warns_refuses_nothing_and_counts_everything(ledger, till_for):
    till = till_for(ledger)
    ledger.set_budget("day", "0.000000001", warns=True)
    till.spend(50)
    assert isinstance(till.take(50), str)
    assert till.accounts()["day:2026-11-21"] == (50, 50)


def test_what_costs_nothing_passes_a_budget_of_nothing(ledger, till_for):
    till = till_for(ledger, 0)
    assert isinstance(till.take(0), str)
    assert till.take(1).waits is False


def test_a_lowered_limit_refuses_until_it_is_raised_again(ledger, till):
    till.spend(60)
    ledger.set_run_budget(till.run_id, _budget(40))
    assert till.take(1).by.left == -20
    assert isinstance(till.take(0), str)
    ledger.set_run_budget(till.run_id, _budget(61))
    assert isinstance(till.take(1), str)


def test_what_a_new_budget_does_not_name_stays_as_it_was(ledger, till_for):
    till = till_for(ledger, 100, nodes={"draft": "0.000000010"})
    ledger.set_run_budget(till.run_id, _budget(200))
    assert till.take(11).by.name == "node:draft"


def test_a_limit_that_is_set_later_counts_what_was_before(ledger, till_for):
    till = till_for(ledger)
    till.spend(30)
    call = till.begin(till.take(20))
    ledger.set_budget("month:user:ada", "0.000000060")
    refused = till.take(15)
    assert (refused.by.spent, refused.by.held, refused.waits) == (30, 20, True)
    till.end(call, 5)
    assert till.accounts()["month:2026-11:user:ada"] == (35, 0)


def test_a_limit_that_was_away_for_a_while_missed_nothing(ledger, till_for):
    till = till_for(ledger)
    ledger.set_budget("user:ada", "0.000000060")
    till.spend(20)
    remove_limit(ledger.database, "user:ada")
    till.spend(30)
    ledger.set_budget("user:ada", "0.000000060")
    assert till.take(20).by.spent == 50


def test_a_limit_that_is_not_there_cannot_be_removed(ledger):
    with pytest.raises(UserError, match="there is no budget on user:ada: `aideon budget list`"):
        remove_limit(ledger.database, "user:ada")


def test_limits_are_listed_as_they_stand_now(ledger, till_for):
    till = till_for(ledger)
    today = utc_text(now())
    for scope in ("user:ada", "node:refine", "item:b/1", "day:provider", "run"):
        ledger.set_budget(scope, "5")
    till.spend(30, at=today)
    till.take(20, at=today)
    found = {one.scope: one for one in limits(ledger.database)}
    assert list(found) == sorted(found)
    assert {scope for scope, one in found.items() if one.warns} == {"day", "month"}
    ada, day = found["user:ada"], found["day"]
    assert (ada.limit_nanousd, ada.spent_nanousd, ada.held_nanousd) == (5 * 10**9, 30, 20)
    assert (day.window, day.spent_nanousd, day.held_nanousd) == (today[:10], 30, 20)
    assert (found["node:refine"].spent_nanousd, found["item:b/1"].spent_nanousd) == (0, 0)
    assert (found["run"].spent_nanousd, found["day:provider"].spent_nanousd) == (None, None)
    assert found["user:ada"].window is None


def test_a_scope_or_an_amount_that_is_none_sets_nothing(ledger):
    for scope, amount in (("week", 1), ("day", "much")):
        with pytest.raises(UserError):
            ledger.set_budget(scope, amount)
    with pytest.raises(UserError, match="'week' is not a scope"):
        set_limit(ledger.database, "week", 1)
    assert [one.limit_nanousd for one in limits(ledger.database)] == [5 * 10**9, 100 * 10**9]


def test_a_run_budget_is_nearly_spent_from_four_fifths_of_an_enforced_budget(ledger, till_for):
    till = till_for(ledger, 100)
    budget = ledger.run_budget(till.run_id)
    assert isinstance(budget, RunBudget)
    till.spend(79)
    assert not is_nearly_spent(budget)
    till.spend(1)
    assert is_nearly_spent(budget)


def test_what_a_run_may_still_spend_is_told_in_quarters_of_its_tightest_budget(ledger, till_for):
    till = till_for(ledger, 100)
    ledger.set_budget("day", "0.000001")
    budget = ledger.run_budget(till.run_id)
    found = [budget.budgets.remaining(budget.run).left]
    for amount in (1, 24, 25, 25, 24, 1):
        till.spend(amount, at=utc_text(now()))
        found.append(budget.budgets.remaining(budget.run).left)
    assert found == [100, 100, 75, 50, 25, 25, 0]
    assert budget.budgets.remaining(budget.run).is_nearly_spent


@pytest.mark.parametrize(
    ("scope", "warns", "is_near"),
    [
        *(("day", False, True), ("month", False, True), ("run", False, True)),
        *(("day", True, False), ("user", False, False), ("day:user", False, False)),
    ],
)
def test_the_run_s_the_day_s_and_the_month_s_budgets_make_a_run_budget_nearly_spent(
    ledger, till_for, scope, warns, is_near
):
    till = till_for(ledger)
    ledger.set_budget(scope, "0.000000010", warns=warns)
    budget = ledger.run_budget(till.run_id)
    assert not is_nearly_spent(budget)
    till.spend(9, at=utc_text(now()))
    assert is_nearly_spent(budget) is is_near


def test_a_budget_that_is_raised_or_set_here_counts_at_once(ledger, till_for):
    till = till_for(ledger, 100)
    budget = ledger.run_budget(till.run_id)
    till.spend(90)
    assert is_nearly_spent(budget)
    ledger.set_run_budget(till.run_id, Budget.of("0.000001"))
    assert not is_nearly_spent(budget)
    ledger.set_budget("run", "0.000000100")
    assert is_nearly_spent(budget)


def test_the_largest_budgets_are_looked_at_as_any(ledger, till_for):
    till = till_for(ledger)
    ledger.set_run_budget(till.run_id, Budget.of(10**9))
    ledger.set_budget("month", 10**9)
    assert not is_nearly_spent(ledger.run_budget(till.run_id))


def test_what_a_run_inside_has_spent_is_not_taken_for_the_outer_one_s(ledger, till_for):
    outer, inner = till_for(ledger, 10_000), till_for(ledger, 100)
    inside = outer.place(inner=(inner.place(),))
    assert ledger.budgets.take("c1", inside, 90) is None
    outer.end(outer.begin("c1"), 90)
    assert not is_nearly_spent(ledger.run_budget(outer.run_id))


def test_of_many_runs_the_last_are_remembered_and_the_others_looked_up(ledger, till_for):
    first = till_for(ledger, 100)
    first.spend(90)
    for number in range(1030):
        ledger.budgets.take(f"c{number}", first.place(run=f"r{number}"), 1)
    assert is_nearly_spent(ledger.run_budget(first.run_id))


def test_a_run_inside_another_makes_its_budget_nearly_spent_too(ledger, till_for):
    outer, inner = till_for(ledger), till_for(ledger, 10)
    budget = ledger.run_budget(outer.run_id).around([ledger.run_budget(inner.run_id)])
    assert not is_nearly_spent(budget)
    inner.spend(9)
    assert is_nearly_spent(budget)


def test_threads_never_take_more_than_there_is(till):
    taken, start = [], threading.Barrier(8)

    def grab():
        start.wait()
        taken.extend([till.take(3) for _ in range(20)])

    threads = [threading.Thread(target=grab) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    held = [one for one in taken if isinstance(one, str)]
    assert len(held) == 33
    assert till.own == (0, 99)
    assert all(one.waits for one in taken if not isinstance(one, str))


def test_a_ledger_that_cannot_be_written_lets_nothing_through(ledger, till):
    till.begin(till.take(10))
    ledger.close()
    with pytest.raises(LedgerError, match="was closed"):
        till.take(10)


def _budget(limit):
    return Budget(f"{limit / 10**9:.9f}")


def test_a_row_that_is_begun_with_its_hold_says_why_its_model_was_asked(till):
    row = dataclasses.replace(till.row("chosen"), choice='{"rule": "role"}', economized=True)
    assert till.ledger.budgets.take("chosen", till.place(), 1, row=row) is None
    (begun,) = till.ledger.calls(till.run_id)
    assert (begun.choice, begun.economized) == (row.choice, True)
