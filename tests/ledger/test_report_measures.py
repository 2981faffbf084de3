"""What a report measures: shares, speed and latency of calls, and how runs end."""

from __future__ import annotations

import collections
import math
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aideon_agents.ledger.pricing import Usage
from aideon_agents.ledger.reports import Figures, figures, percentile, report
from aideon_agents.ledger.rows import Run
from aideon_agents.ledger.selection import Selection

USAGE = Usage(input_tokens=10, output_tokens=40)


def measures(ledger, by="node", **selected):
    return report(ledger, by, **selected).total


@given(st.lists(st.integers(0, 50), min_size=1), st.integers(1, 100))
def test_a_percentile_is_the_value_at_the_nearest_rank(values, percent):
    rank = math.ceil(len(values) * percent / 100)
    assert percentile(collections.Counter(values), percent) == sorted(values)[rank - 1]


def test_nothing_has_no_percentile():
    assert percentile({}, 50) is None


def test_every_attempt_counts_for_the_failed_share_and_judged_ones_for_the_success_rate(
    ledger, run_id, record
):
    for status in ("ok", "ok", "cached", "error", "broken", "cancelled", "started", "started"):
        record(ledger, run_id, status=status)
    found = measures(ledger)
    assert found.failed_share == 2 / 8
    assert found.success_rate == 3 / 5, "what was cancelled here or never heard of is no failure"


def test_calls_of_whose_end_nobody_heard_have_no_success_rate(ledger, run_id, record):
    record(ledger, run_id, status="started")
    found = measures(ledger)
    assert (found.failed_share, found.success_rate) == (0, None)
    assert (found.tokens_per_second, found.median_ms, found.p95_ms) == (None, None, None)


def test_nothing_at_all_is_measured_as_unknown(ledger):
    found = measures(ledger)
    shares = (found.failed_share, found.success_rate, found.run_success_rate)
    speeds = (found.tokens_per_second, found.median_ms, found.p95_ms)
    assert {*shares, *speeds} == {None}


def test_latency_is_that_of_answers_alone(ledger, run_id, record):
    for duration in (100, 200, 300, 4000):
        record(ledger, run_id, end={"duration_ms": duration})
    for status in ("error", "broken", "cancelled", "cached"):
        record(ledger, run_id, status=status, end={"duration_ms": 1})
    found = measures(ledger)
    assert (found.median_ms, found.p95_ms) == (200, 4000)


def test_the_95th_percentile_is_exceeded_by_one_answer_in_twenty(ledger, run_id, record):
    for duration in range(1, 21):
        record(ledger, run_id, end={"duration_ms": duration})
    found = measures(ledger)
    assert (found.median_ms, found.p95_ms) == (10, 19)


def test_speed_is_tokens_over_the_time_of_calls_that_have_both(ledger, run_id, record):
    record(ledger, run_id, usage=USAGE, end={"duration_ms": 400})
    record(ledger, run_id, usage=USAGE, status="broken", end={"duration_ms": 600})
    record(ledger, run_id, end={"duration_ms": 60_000})
    record(ledger, run_id, usage=USAGE, end={"duration_ms": 0})
    record(ledger, run_id, status="started")
    assert measures(ledger).tokens_per_second == 80


def test_a_rows_measures_are_its_own_and_the_totals_are_of_all(ledger, run_id, record):
    for node, duration in (("a", 10), ("a", 20), ("b", 30), ("b", 40), ("b", 50)):
        record(ledger, run_id, node_path=node, end={"duration_ms": duration})
    found = report(ledger, "node")
    assert {row.key: row.median_ms for row in found.rows} == {"a": 10, "b": 40}
    assert found.total.median_ms == 30


@pytest.fixture
def ended(ledger, record):
    """Runs that ended in every way, each with a call."""

    def start(workflow, status, **start):
        run_id = ledger.start_run(Run(workflow=workflow, **start))
        record(ledger, run_id)
        if status != "running":
            ledger.finish_run(run_id, status)
        return run_id

    return start


def test_a_runs_success_is_its_completion_once_it_is_over(ledger, ended):
    for status in ("completed", "completed", "failed", "stopped", "cancelled"):
        ended("a", status, user="ada")
    for status in ("running", "waiting"):
        ended("a", status, user="ada")
    ended("b", "waiting", user="bob")
    by_workflow = report(ledger, "workflow")
    shares = {row.key: row.run_success_rate for row in by_workflow.rows}
    assert shares == {"a": 2 / 5, "b": None}
    by_user = {row.key: row.run_success_rate for row in report(ledger, "user").rows}
    assert by_user == {"ada": 2 / 5, "bob": None}
    for by in ("workflow", "node", "day", "month"):
        assert report(ledger, by).total.run_success_rate == 2 / 5


def test_a_run_whose_process_is_gone_did_not_succeed(ledger, ended):
    ended("a", "completed")
    crashed = ended("a", "running")
    ledger.database.write(
        "UPDATE runs SET process_start = 'another boot:1' WHERE run_id = :run_id",
        {"run_id": crashed},
    )
    assert measures(ledger, "workflow").run_success_rate == 1 / 2


def test_a_run_counts_on_the_day_on_which_it_started(ledger, ended):
    early, late = ended("a", "completed"), ended("a", "failed")
    for run_id, day in ((early, 1), (late, 2)):
        for table in ("runs", "calls"):
            ledger.database.write(
                f"UPDATE {table} SET started_at = :at WHERE run_id = :run_id",  # noqa: S608 - ours
                {"at": f"2026-11-0{day}T10:00:00.000Z", "run_id": run_id},
            )
    shares = {row.key: row.run_success_rate for row in report(ledger, "day").rows}
    assert shares == {"2026-11-01": 1, "2026-11-02": 0}
    assert measures(ledger, since=date(2026, 11, 2)).run_success_rate == 0
    assert measures(ledger, run_id=early).run_success_rate == 1


def test_a_node_is_no_place_for_the_success_of_a_run(ledger, ended):
    ended("a", "completed")
    for by in ("node", "role", "model", "provider", "purpose", "run"):
        (row,) = report(ledger, by).rows
        assert row.run_success_rate is None


def test_rehearsed_runs_succeed_nowhere_unless_they_are_asked_for(ledger, ended):
    ended("a", "completed", rehearsed=True)
    ended("a", "failed")
    assert measures(ledger).run_success_rate == 0
    assert measures(ledger, rehearsed=True).run_success_rate == 1 / 2


def test_what_budgets_did_to_calls_is_counted_in_the_total(ledger, run_id, record):
    record(ledger, run_id, economized=True)
    record(ledger, run_id, economized=True, shortened=True)
    record(ledger, run_id)
    total = report(ledger, "node").total
    assert (total.economized_calls, total.shortened_calls) == (2, 1)


def test_the_figures_of_success_are_of_answers_and_of_runs_that_did_not_fail(
    ledger, ended, run_id, record
):
    for status in ("completed", "completed", "stopped", "cancelled", "failed"):
        ended("a", status)
    ended("a", "waiting")
    record(ledger, run_id, end={"duration_ms": 4980}, candidate=1)
    record(ledger, run_id, end={"duration_ms": 10}, candidate=1, economized=True)
    record(ledger, run_id, end={"duration_ms": 90_000}, status="error")
    found = figures(ledger, Selection())
    assert (found.mean_ms, found.fallback_share) == ((6 * 5 + 4980 + 10) / 8, 1 / 8)
    assert found.availability == 4 / 5
    assert figures(ledger, Selection(user="nobody")) == Figures(None, None, None)
