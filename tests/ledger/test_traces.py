"""What runs left, read without the rest of their rows, for very many runs at once."""

from __future__ import annotations

from aideon_agents.ledger.rows import RunStart
from aideon_agents.ledger.traces import runs_of_batch, traces


def test_a_trace_has_what_a_picture_is_made_of(ledger, run_id, record):
    record(ledger, run_id, nanousd=5, candidate=1, end={"response_model": "answered"})
    record(ledger, run_id, status="started", at="2026-11-20T09:00:01.500Z", economized=True)
    ledger.finish_run(run_id, "stopped", stop_reason="budget", results={"draft": {}})
    (trace,) = traces(ledger, [run_id, "nobody"])
    assert (trace.run_id, trace.workflow, trace.status) == (run_id, "article", "stopped")
    assert (trace.stop_reason, trace.rehearsed, trace.given) == ("budget", False, {"draft"})
    assert trace.duration_ms >= 0
    first, second = trace.calls
    assert (first.model, first.nanousd, first.candidate) == ("together:answered", 5, 1)
    assert (second.model, second.status, second.economized) == ("together:small", "started", True)
    assert second.started_ms - first.started_ms == 1500
    assert (second.nanousd, second.duration_ms) == (None, None)


def test_a_run_under_way_has_no_end_and_one_whose_process_is_gone_has_crashed(ledger, run_id):
    (trace,) = traces(ledger, [run_id])
    assert (trace.status, trace.duration_ms, trace.given) == ("running", None, frozenset())
    ledger.database.write("UPDATE runs SET pid = 4000000", {})
    (trace,) = traces(ledger, [run_id])
    assert trace.status == "crashed"


def test_rehearsed_calls_are_those_of_a_rehearsed_run(ledger, run_id, record):
    rehearsal = ledger.start_run(RunStart(workflow="article", rehearsed=True))
    for one in (run_id, rehearsal):
        record(ledger, one, rehearsed=True)
    counted = {trace.run_id: len(trace.calls) for trace in traces(ledger, [rehearsal, run_id])}
    assert counted == {rehearsal: 1, run_id: 0}


def test_more_runs_than_fit_one_question_come_in_their_order(ledger, record):
    runs = [ledger.start_run(RunStart(workflow="w", batch_id="B")) for _ in range(501)]
    record(ledger, runs[500])
    found = list(traces(ledger, runs[::-1]))
    assert [trace.run_id for trace in found] == runs[::-1]
    assert [len(trace.calls) for trace in found[:2]] == [1, 0]
    assert sorted(runs_of_batch(ledger, "B")) == sorted(runs)
    assert runs_of_batch(ledger, "none") == []
