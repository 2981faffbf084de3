"""Outcomes: which count, what they are about, and what calls tell of failures."""

from __future__ import annotations

import pytest

from aideon_agents import UserError, record_performance
from aideon_agents.ledger.models.outcomes import COUNTED, Outcome, Record, records, task_class
from aideon_agents.ledger.rows import Run

MODEL = "together:openai/gpt-oss-120b"
KEY = ("executor", MODEL)


def test_a_class_has_no_more_parts_than_are_known():
    assert task_class("executor") == "executor"
    assert task_class("executor", "summaries") == "executor/summaries"
    assert task_class("executor", content="code") == "executor/-/code"
    assert task_class("executor", "a/b", "general") == "executor/a_b"
    assert task_class("", None) == "-"


def test_outcomes_add_up_by_class_and_model(ledger):
    for score in (0.5, 1.0):
        record_performance("executor", MODEL, score, ledger=ledger)
    record_performance("creative", MODEL, 0, source="failure", ledger=ledger)
    found = records(ledger.database)
    assert found == {KEY: Record(2, 1.5), ("creative", MODEL): Record(1, 0.0)}


def test_only_the_newest_outcomes_count_and_are_kept(ledger, monkeypatch):
    import datetime as dt

    from aideon_agents.ledger.models import outcomes

    day = dt.datetime(2026, 11, 20, tzinfo=dt.UTC)
    ticks = iter(range(1000))
    monkeypatch.setattr(outcomes, "now", lambda: day + dt.timedelta(seconds=next(ticks)))
    with ledger.database.transaction() as tx:
        outcomes.record(
            tx, [Outcome(*KEY, 0.0, "user")] * 20 + [Outcome(*KEY, 1.0, "user")] * COUNTED
        )
    assert records(ledger.database) == {KEY: Record(COUNTED, float(COUNTED))}
    assert ledger.select("SELECT COUNT(*) AS n FROM outcomes")[0]["n"] == COUNTED


def test_rehearsed_outcomes_count_only_where_they_are_asked_for(ledger):
    run = ledger.start_run(Run(workflow="w", rehearsed=True))
    record_performance("executor", MODEL, 1, run=run, node_path="n", ledger=ledger)
    assert records(ledger.database) == {}
    assert records(ledger.database, rehearsed=True) == {KEY: Record(1, 1.0)}


def test_a_malformed_answer_is_a_failure_of_its_model_and_an_outage_is_not(ledger, record):
    run = ledger.start_run(Run(workflow="w"))
    for status, error in (("ok", None), ("error", "Malformed"), ("error", "Transient")):
        of = {"role": "executor", "requested_model": "openai/gpt-oss-120b"}
        record(ledger, run, status=status, end={"error_type": error}, **of)
    assert records(ledger.database) == {KEY: Record(0, 0.0, answered=1, failed=1)}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"score": 1.2}, "score 1.2"),
        ({"score": True}, "score True"),
        ({"score": float("nan")}, "score nan"),
        ({"model": "gpt-4o"}, "'gpt-4o'"),
        ({"task_class": " "}, "task_class"),
        ({"source": "rumour"}, "'rumour'"),
        ({"source": "verdict"}, "needs its judge"),
        ({"source": "verdict", "judge": "huggingface:openai/GPT-OSS-120b:groq"}, "gave itself"),
        ({"run": "nope"}, "'nope'"),
    ],
)
def test_an_outcome_that_means_nothing_is_refused(ledger, given, said):
    whole = {"task_class": "executor", "model": MODEL, "score": 1.0} | given
    with pytest.raises(UserError, match=said):
        record_performance(**whole, ledger=ledger)
    assert records(ledger.database) == {}


def test_without_a_ledger_that_of_the_environment_is_written(tmp_path, monkeypatch):
    from aideon_agents import Ledger

    monkeypatch.setenv("AIDEON_LEDGER", f"sqlite:///{tmp_path}/own.db")
    record_performance(*KEY, 0.5)
    with Ledger(tmp_path / "own.db") as own:
        assert records(own.database) == {KEY: Record(1, 0.5)}


def test_ratings_are_of_people_by_tier_and_count_runs(ledger):
    from aideon_agents.ledger.models import outcomes

    for tier, score in (("free", 1.0), ("free", 0.0), ("premium", 1.0)):
        run_id = ledger.start_run(Run(workflow="a", tier=tier))
        rated = [Outcome("executor", one, score, "person", run_id) for one in (MODEL, MODEL + "-2")]
        with ledger.database.transaction() as tx:
            outcomes.record(tx, [*rated, Outcome("executor", MODEL, 0, "verdict", run_id)])
            outcomes.record(tx, [Outcome("x", MODEL, 0, "person", run_id, rehearsed=True)])
    found = outcomes.ratings_by_tier(ledger.database, "2026-01-01")
    assert [(row["tier"], float(row["score"]), row["ratings"]) for row in found] == [
        ("free", 0.5, 2),
        ("premium", 1.0, 1),
    ]
    assert outcomes.ratings_by_tier(ledger.database, "9999") == []
