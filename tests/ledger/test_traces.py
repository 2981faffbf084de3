"""What runs left, read without the rest of their rows, for very many runs at once."""

from __future__ import annotations

import dataclasses

from aideon_agents.ledger.costs import model_of, runs_of_batch, traces
from aideon_agents.ledger.rows import Run


def test_a_trace_has_what_a_picture_is_made_of(ledger, run_id, record):
    record(ledger, run_id, nanousd=5, candidate=1, end={"response_model": "answered"})
    record(ledger, run_id, status="started", at="2026-11-20T09:00:01.500Z", economized=True)
    ledger.finish_run(run_id, "stopped", stop_reason="budget", results={"draft": {}})
    ((run, calls),) = traces(ledger, [run_id, "nobody"])
    assert (run.run_id, run.workflow, run.status) == (run_id, "article", "stopped")
    assert (run.stop_reason, run.rehearsed, run.results) == ("budget", False, {"draft": {}})
    assert run.started_at <= run.ended_at
    first, second = calls
    assert (model_of(first), first.cost_nanousd, first.candidate) == ("together:answered", 5, 1)
    assert (model_of(second), second.status) == ("together:small", "started")
    assert second.economized
    assert second.started_at == "2026-11-20T09:00:01.500Z"
    assert (second.cost_nanousd, second.duration_ms) == (None, None)


def test_the_model_of_a_graph_is_not_read_for_every_run(ledger):
    run_id = ledger.start_run(Run(workflow="w", graph={"nodes": []}, options={"tier": "free"}))
    ((run, _),) = traces(ledger, [run_id])
    assert (run.graph, run.options) == (None, None)
    whole = ledger.find_run(run_id)
    assert dataclasses.replace(whole, graph=None, options=None) == run


def test_a_run_under_way_has_no_end_and_one_whose_process_is_gone_has_crashed(ledger, run_id):
    ((run, _),) = traces(ledger, [run_id])
    assert (run.status, run.ended_at, run.results) == ("running", None, None)
    ledger.database.write("UPDATE runs SET pid = 4000000", {})
    ((run, _),) = traces(ledger, [run_id])
    assert run.status == "crashed"


def test_rehearsed_calls_are_those_of_a_rehearsed_run(ledger, run_id, record):
    rehearsal = ledger.start_run(Run(workflow="article", rehearsed=True))
    for one in (run_id, rehearsal):
        record(ledger, one, rehearsed=True)
    counted = {run.run_id: len(calls) for run, calls in traces(ledger, [rehearsal, run_id])}
    assert counted == {rehearsal: 1, run_id: 0}


def test_more_runs_than_fit_one_question_come_in_their_order(ledger, record):
    runs = [ledger.start_run(Run(workflow="w", batch_id="B")) for _ in range(501)]
    record(ledger, runs[500])
    found = list(traces(ledger, runs[::-1]))
    assert [run.run_id for run, _ in found] == runs[::-1]
    assert [len(calls) for _, calls in found[:2]] == [1, 0]
    assert sorted(runs_of_batch(ledger, "B")) == sorted(runs)
    assert runs_of_batch(ledger, "none") == []
