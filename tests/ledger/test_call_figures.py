"""Sums over calls that are read again and again: each reading adds what is new, and misses nothing."""

from __future__ import annotations

from datetime import timedelta

import pytest

from aideon_agents.ledger.identity import now, utc_text
from aideon_agents.ledger.models.figures import BUCKETS, CallFigures, held_nanousd, recent_runs
from aideon_agents.ledger.rows import CallEnd, Run

OK = ("together", "small", "ok")


def ago(hours):
    return utc_text(now() - timedelta(hours=hours))


@pytest.fixture
def figures(ledger):
    """Those since forty hours ago."""
    return CallFigures(ledger, ago(40))


def calls_in(figures):
    return {key: one["calls"] for key, one in figures.read().items()}


def test_calls_are_added_up_by_provider_model_and_status(ledger, run_id, record, figures):
    record(ledger, run_id, at=ago(3), nanousd=1500)
    record(ledger, run_id, at=ago(0), nanousd=500, end={"time_to_first_token_ms": 300})
    record(ledger, run_id, at=ago(0), status="error", requested_model="large")
    record(ledger, run_id, at=ago(41), nanousd=7)
    record(ledger, run_id, at=ago(1), nanousd=7, rehearsed=True)
    record(ledger, run_id, at=ago(1), nanousd=7, end={"simulated": True})
    sums = figures.read()
    failed = ("together", "large", "error")
    assert {key: one["calls"] for key, one in sums.items()} == {OK: 2, failed: 1}
    assert (sums[OK]["nanousd"], sums[OK]["unknown"], sums[failed]["unknown"]) == (2000, 0, 1)
    assert (sums[OK]["duration_count"], sums[OK]["duration_ms"]) == (2, 10)
    assert (sums[OK]["first_count"], sums[OK]["first_ms"]) == (1, 300)
    assert [sums[OK][f"first_{most}"] for most in BUCKETS[:3]] == [0, 0, 1]


def test_a_call_is_counted_once_however_often_one_reads_and_whenever_it_ends(
    ledger, run_id, record, figures
):
    record(ledger, run_id, at=ago(5))
    open_call = record(ledger, run_id, at=ago(4), status="started")
    record(ledger, run_id, at=ago(3))
    assert calls_in(figures) == calls_in(figures) == {OK: 2}
    ledger.finish_call(open_call, CallEnd(status="ok", duration_ms=9))
    assert calls_in(figures) == {OK: 3}
    record(ledger, run_id, at=ago(0))
    assert calls_in(figures) == calls_in(figures) == {OK: 4}
    assert calls_in(CallFigures(ledger, ago(40))) == {OK: 4}


def test_what_does_not_change_any_more_is_not_read_again(ledger, run_id, record, figures):
    record(ledger, run_id, at=ago(5))
    assert calls_in(figures) == {OK: 1}
    ledger.database.write("DELETE FROM calls", {})
    assert calls_in(figures) == {OK: 1}


def test_a_call_without_an_end_keeps_others_from_being_read_again_for_a_day_only(
    ledger, run_id, record, figures
):
    record(ledger, run_id, at=ago(30), status="started")
    record(ledger, run_id, at=ago(29))
    record(ledger, run_id, at=ago(20), status="started")
    late = record(ledger, run_id, at=ago(19), status="started")
    assert calls_in(figures) == {OK: 1}
    ledger.finish_call(late, CallEnd(status="ok", duration_ms=9))
    assert calls_in(figures) == {OK: 2}
    ledger.database.write("DELETE FROM calls WHERE started_at < :at", {"at": ago(24)})
    assert calls_in(figures) == {OK: 2}


def test_recent_runs_are_counted_by_status_and_holds_are_added_up(ledger):
    ledger.start_run(Run(workflow="w"))
    ended = ledger.start_run(Run(workflow="w"))
    ledger.finish_run(ended, "completed")
    old = ledger.start_run(Run(workflow="w"))
    ledger.database.write(
        "UPDATE runs SET started_at = :at WHERE run_id = :run_id", {"at": ago(25), "run_id": old}
    )
    assert recent_runs(ledger) == {"running": 1, "completed": 1}
    assert held_nanousd(ledger) == 0
