from __future__ import annotations

import re
import threading
from datetime import timedelta

import pytest

from aideon_agents.errors import LedgerError, RunNotFound
from aideon_agents.ledger import batches, store
from aideon_agents.ledger.identity import new_run_id, now, those_from
from aideon_agents.ledger.pricing import Usage
from aideon_agents.ledger.rows import Call, CallEnd, Run
from aideon_agents.ledger.store import Ledger

THREADS = 100


def test_a_run_is_written_when_it_starts_and_completed_when_it_ends(ledger):
    run_id = ledger.start_run(
        Run(workflow="article", target="article.py:graph", user="ada", tier="free", thread="t")
    )
    started = ledger.find_run(run_id)
    assert (started.status, started.ended_at, started.rehearsed) == ("running", None, False)
    assert (started.target, started.user, started.tier, started.thread) == (
        "article.py:graph",
        "ada",
        "free",
        "t",
    )

    assert ledger.finish_run(run_id, "stopped", stop_reason="timeout", error="late", error_type="E")
    ended = ledger.find_run(run_id)
    assert (ended.status, ended.stop_reason, ended.error, ended.error_type) == (
        "stopped",
        "timeout",
        "late",
        "E",
    )
    assert ended.ended_at >= ended.started_at
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", ended.ended_at)
    assert (ended.output, ended.results) == (None, None)


def test_content_comes_back_as_it_was_given(ledger, run_id):
    results = {"plan": {"content": "größer", "data": [1, None]}}
    ledger.finish_run(run_id, "completed", output="größer", results=results)
    run = ledger.find_run(run_id)
    assert (run.output, run.results) == ("größer", results)


def test_the_first_finish_of_a_run_stands_until_it_is_resumed(ledger, run_id):
    assert ledger.finish_run(run_id, "failed", error="no", error_type="E")
    assert not ledger.finish_run(run_id, "completed")
    assert ledger.find_run(run_id).status == "failed"

    ledger.resume_run(ledger.find_run(run_id))
    resumed = ledger.find_run(run_id)
    assert (resumed.status, resumed.error, resumed.ended_at) == ("running", None, None)
    assert ledger.finish_run(run_id, "completed")


def test_the_first_end_of_a_call_stands(ledger, run_id, record):
    call_id = record(ledger, run_id, nanousd=7, usage=Usage(input_tokens=3, output_tokens=0))
    assert not ledger.finish_call(call_id, CallEnd(status="error", duration_ms=9, cost_nanousd=0))
    (call,) = ledger.calls(run_id)
    assert (call.status, call.cost_nanousd, call.duration_ms) == ("ok", 7, 5)
    assert (call.input_tokens, call.output_tokens, call.reasoning_tokens) == (3, 0, None)


def test_a_call_that_is_reported_twice_is_one_row(ledger, run_id):
    start = Call(
        call_id="c",
        run_id=run_id,
        node_path="",
        role="",
        provider="together",
        requested_model="m",
        started_at="2026-11-20T09:00:00.000Z",
    )
    ledger.start_call(start)
    ledger.start_call(start)
    assert [call.call_id for call in ledger.calls(run_id)] == ["c"]


def test_calls_come_in_order_of_their_start(ledger, run_id, record):
    late = record(ledger, run_id, at="2026-11-20T10:00:00.000Z")
    early = record(ledger, run_id, at="2026-11-20T09:00:00.000Z")
    beside = record(ledger, run_id, at="2026-11-20T09:00:00.000Z")
    assert [call.call_id for call in ledger.calls(run_id)] == [early, beside, late]


def test_run_ids_always_grow():
    ids = [new_run_id() for _ in range(2000)]
    assert ids == sorted(set(ids))
    assert all(re.fullmatch(r"01[0-9A-HJKMNP-TV-Z]{24}", run_id) for run_id in ids)


def test_last_is_what_began_last_after_the_clock_was_set_back(ledger, monkeypatch):
    some = {"workflow": "w", "target": None, "rehearsed": False, "engine": "local", "items": 1}
    some |= {"item_limit_nanousd": None, "out_path": "out"}
    for day, name in enumerate(("01MIDDLE", "01EARLIER", "01AFTER")):
        monkeypatch.setattr(store, "now", lambda day=day: now() - timedelta(days=day))
        monkeypatch.setattr(batches, "now", lambda day=day: now() - timedelta(days=day))
        ledger.start_run(Run(run_id=name, workflow="w"))
        batches.take(ledger, batches.Batch(batch_id=name, identity=name, **some), None)
    ledger.resume_run(ledger.find_run("01MIDDLE"))
    assert ledger.find_run("last").run_id == "01AFTER"
    assert batches.find_batch(ledger, "last").batch_id == "01AFTER"


def test_runs_come_newest_first_and_last_is_the_newest(ledger):
    ids = [ledger.start_run(Run(workflow=str(number))) for number in range(3)]
    assert [run.run_id for run in ledger.runs()] == ids[::-1]
    assert [run.run_id for run in ledger.runs(limit=2)] == ids[:0:-1]
    assert ledger.find_run("last").run_id == ids[-1]


def test_a_run_is_found_by_the_beginning_of_its_id_in_either_case(ledger):
    for run_id in ("01AAAA", "01AABB", "01AAAACC"):
        ledger.start_run(Run(workflow="w", run_id=run_id))
    assert ledger.find_run("01aab").run_id == "01AABB"
    assert ledger.find_run("01AAAA").run_id == "01AAAA", "a whole id is never ambiguous"
    with pytest.raises(
        RunNotFound, match=r"several runs begin with '01aa'.*01AAAA, 01AAAACC, 01AABB"
    ):
        ledger.find_run("01aa")


def test_the_beginning_of_an_id_bounds_all_that_go_on_from_it():
    """In any order that has digits before letters, as that of every server's language has."""
    ids = [new_run_id() for _ in range(50)]
    for run_id in ids:
        for length in (1, 9, 26):
            ends = those_from(run_id[:length])
            assert ends["first"] <= run_id <= ends["last"]
    assert set("".join(those_from("01A").values())) <= set("0123456789ABCDEFGHJKMNPQRSTVWXYZ")


@pytest.mark.parametrize("ref", ["01ZZ", "", "%", "_", "LAST-ONE"])
def test_a_reference_to_no_run_says_where_to_look(ledger, run_id, ref):
    with pytest.raises(RunNotFound, match="aideon runs list"):
        ledger.find_run(ref)


def test_last_of_an_empty_ledger_says_how_to_get_one(ledger):
    with pytest.raises(RunNotFound, match="aideon run"):
        ledger.find_run("last")


def test_many_runs_with_one_beginning_are_not_all_listed(ledger):
    for number in range(9):
        ledger.start_run(Run(workflow="w", run_id=f"01AA{number}"))
    with pytest.raises(RunNotFound, match=r"01AA4, \.\.\.$"):
        ledger.find_run("01")


def test_rows_of_a_hundred_threads_all_land(ledger, run_id, record):
    barrier = threading.Barrier(THREADS)

    def work():
        barrier.wait()
        for _ in range(5):
            record(ledger, run_id, nanousd=1)

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [call.cost_nanousd for call in ledger.calls(run_id)] == [1] * THREADS * 5


def test_a_row_can_be_read_elsewhere_as_soon_as_it_is_written(ledger, run_id, record, another):
    record(ledger, run_id, status="started")
    assert [call.status for call in another().calls(run_id)] == ["started"]


def test_no_error_carries_a_key_or_a_line_break_into_a_row(ledger, run_id, record):
    call_id = record(ledger, run_id, status="started")
    told = "401:\n bad key sk-proj-abcdef123456"
    ledger.finish_call(call_id, CallEnd(status="error", duration_ms=1, error=told))
    ledger.finish_run(run_id, "failed", error=told)
    assert ledger.calls(run_id)[0].error == "401: bad key [key]"
    assert ledger.find_run(run_id).error == "401: bad key [key]"


def test_a_closed_ledger_says_so(ledger):
    ledger.close()
    with pytest.raises(LedgerError, match="was closed"):
        ledger.runs()
    with pytest.raises(LedgerError, match="was closed"):
        ledger.start_run(Run(workflow="w"))


def test_a_ledger_is_shown_by_its_place(tmp_path):
    with Ledger(tmp_path / "l.db") as ledger:
        assert repr(ledger) == f"Ledger('{tmp_path}/l.db')"
