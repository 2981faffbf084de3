"""The order of candidates that outcomes speak for, and when they say nothing."""

from __future__ import annotations

import pytest

from aideon_agents import Ledger, record_performance
from aideon_agents.ledger.models.outcomes import Record
from aideon_agents.models.learning import posterior
from aideon_agents.models.learning.posterior import Known, known_in, quality_of

SMALL, BIG = "together:small", "together:big"


def order(task_class, prices, found, **given):
    return posterior.order(task_class, prices, Known.of(found), **given)


LADDER = {SMALL: 0.18, BIG: 0.88}


def known(**scores):
    """A hundred outcomes of each model in one class, with a mean score."""
    names = {"small": SMALL, "big": BIG}
    return {("executor", names[name]): Record(100, 100.0 * mean) for name, mean in scores.items()}


def test_quality_is_not_divided_by_price_which_would_choose_the_cheapest():
    found = known(small=0.5, big=0.9)
    assert 0.5 / LADDER[SMALL] > 0.9 / LADDER[BIG]
    assert order("executor", LADDER, found).order == (BIG, SMALL)
    kept = order("executor", {BIG: 0.88, SMALL: 0.18}, found)
    assert (kept.order, kept.reason["abstains"]) == (None, "no certain gain")


def test_of_two_that_answer_alike_the_cheaper_one_is_asked():
    learned = order("executor", {BIG: 0.88, SMALL: 0.08}, known(small=0.95, big=0.95))
    assert learned.order == (SMALL, BIG)
    assert learned.reason["over"] == BIG


def test_the_default_stays_while_the_difference_may_be_chance():
    few = {("executor", SMALL): Record(12, 4.8), ("executor", BIG): Record(12, 9.6)}
    learned = order("executor", LADDER, few)
    assert (learned.order, learned.reason["abstains"]) == (None, "no certain gain")
    many = {key: Record(100, one.total / 12 * 100) for key, one in few.items()}
    assert order("executor", LADDER, many).order == (BIG, SMALL)


@pytest.mark.parametrize("of", [SMALL, BIG])
def test_the_default_stays_while_little_is_known_of_one_of_the_two(of):
    found = known(small=0.1, big=1.0)
    found["executor", of] = Record(9, found["executor", of].total * 0.09)
    assert order("executor", LADDER, found).reason == {
        "class": "executor",
        "abstains": "few outcomes",
    }


def test_a_budget_that_is_nearly_used_up_makes_the_cheaper_model_worth_more():
    dear_first = {BIG: 0.88, SMALL: 0.18}
    found = known(small=0.8, big=0.9)
    assert order("executor", dear_first, found).order is None
    assert order("executor", dear_first, found, left=1000.0).order is None
    assert order("executor", dear_first, found, left=1.0).order == (SMALL, BIG)


def test_a_price_that_is_unknown_counts_as_the_dearest():
    learned = order("executor", {BIG: 0.88, SMALL: None}, known(small=0.95, big=0.95))
    assert learned.order is None


def test_a_model_is_judged_by_its_other_classes_where_one_is_new():
    elsewhere = {("creative", SMALL): Record(100, 90.0), ("creative", BIG): Record(100, 20.0)}
    good, bad = (quality_of("executor", name, Known.of(elsewhere)).mean for name in (SMALL, BIG))
    assert good > 0.8
    assert bad < 0.3
    own = elsewhere | {("executor", SMALL): Record(100, 10.0)}
    assert quality_of("executor", SMALL, Known.of(own)).mean < 0.2


def test_malformed_answers_count_against_a_model_without_any_rating():
    found = {
        ("executor", SMALL): Record(0, 0.0, answered=20, failed=30),
        ("executor", BIG): Record(0, 0.0, answered=50, failed=0),
    }
    assert order("executor", LADDER, found).order == (BIG, SMALL)


def test_one_candidate_alone_has_no_order():
    assert order("executor", {SMALL: 0.1}, known(small=0.9)).order is None


def test_a_ledger_is_read_at_most_once_a_minute(tmp_path, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr(posterior.time, "monotonic", lambda: clock[0])
    with Ledger(tmp_path / "ledger.db") as ledger:
        assert known_in(ledger.database).records == {}
        record_performance("executor", SMALL, 1, ledger=ledger)
        assert known_in(ledger.database).records == {}
        clock[0] += posterior.READ_EVERY
        assert known_in(ledger.database).records == {("executor", SMALL): Record(1, 1.0)}
