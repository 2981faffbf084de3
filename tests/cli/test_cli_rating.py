"""`aideon runs rate`: a person's view of a run."""

from __future__ import annotations

import pytest

from aideon_agents import Ledger


@pytest.fixture
def ran(aideon):
    return aideon("run", "two.py", "--task", "Pumps move heat.", "--json").document["run_id"]


def test_a_rating_is_an_outcome_of_each_model_that_answered(aideon, ran, folder):
    done = aideon("runs", "rate", "last", "0.8")
    assert done.code == 0
    assert f"rated {ran}: 0.8, 2 outcomes" in done.out
    assert "executor/research" in done.out
    assert "rehearsed" in done.err
    with Ledger(folder / ".aideon" / "ledger.db") as ledger:
        rows = ledger.select("SELECT task_class, score, source, rehearsed FROM outcomes ORDER BY 1")
    assert [tuple(row.values()) for row in map(dict, rows)] == [
        ("creative", 0.8, "person", 1),
        ("executor/research", 0.8, "person", 1),
    ]


def test_a_second_rating_replaces_the_first(aideon, ran, folder):
    aideon("runs", "rate", ran, "0.8")
    again = aideon("runs", "rate", ran, "0.2", "--json").document
    assert (again["run_id"], again["score"], len(again["outcomes"])) == (ran, 0.2, 2)
    with Ledger(folder / ".aideon" / "ledger.db") as ledger:
        assert {row["score"] for row in ledger.select("SELECT score FROM outcomes")} == {0.2}


@pytest.mark.parametrize("score", ["1.1", "-0.1", "nan", "good"])
def test_a_score_out_of_range_is_the_callers_mistake(aideon, ran, score):
    done = aideon("runs", "rate", "last", "--", score)
    assert done.code == 2
    assert "score" in done.complaint.lower()


def test_a_run_in_which_no_model_answered_cannot_be_rated(aideon):
    aideon("run", "echo.py", "--task", "hello")
    done = aideon("runs", "rate", "last", "1")
    assert done.code == 2
    assert "nothing to rate" in done.complaint
