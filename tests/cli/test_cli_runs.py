"""`aideon runs`: what ran, and every call of one run."""

from __future__ import annotations

import itertools
import re

import pytest

from aideon_agents import Ledger
from aideon_agents.ledger.identity import now
from aideon_agents.ledger.pricing import Usage
from aideon_agents.ledger.rows import Call, CallEnd, Run

CALL_FIELDS = [
    "call_id", "node_path", "role", "round", "candidate", "attempt", "provider", "requested_model",
    "response_model", "status", "error_type", "finish_reason", "shortened", "input_tokens",
    "output_tokens", "cache_read_tokens", "cache_creation_tokens", "reasoning_tokens",
    "usage_source", "usd", "price_source", "started_at", "duration_ms", "time_to_first_token_ms",
    "rehearsed", "simulated", "truncated", "choice", "feature", "modality", "unit", "quantity",
    "provider_job", "cost_told", "processing", "key_source",
]  # fmt: skip


@pytest.fixture
def ran(aideon):
    """A rehearsed run's document."""
    return aideon("run", "two.py", "--task", "Pumps move heat.", "--json").document


def call(call_id: str, run_id: str, node: str, **more: bool) -> Call:
    return Call(
        call_id=call_id,
        run_id=run_id,
        node_path=node,
        role="creative",
        provider="together",
        requested_model="small",
        started_at="2026-11-20T09:00:00.000Z",
        **more,
    )


@pytest.fixture
def lost(folder):
    """A run with a call that was cut off, one whose process died, one that died before its row."""
    with Ledger(folder / ".aideon" / "ledger.db") as ledger:
        run_id = ledger.start_run(Run(workflow="w", user="bob"))
        budget = ledger.run_budget(run_id)
        place = budget.dimensions("n", "together", now())
        for name, amount in (("ok", 8), ("cut", 4), ("gone", 2), ("early", 1), ("local", 0)):
            assert budget.budgets.take(name, place, amount * 1_000_000) is None
            if name != "early":
                ledger.start_call(call(name, run_id, name))
        ledger.finish_call("ok", CallEnd(status="ok", duration_ms=1, cost_nanousd=1))
        ledger.finish_call("cut", CallEnd(status="cancelled", duration_ms=1))
        with ledger.database.transaction() as tx:
            tx.write("UPDATE holds SET pid = 0, process_start = 1 WHERE status = 'held'", {})
        ledger.finish_run(run_id, "stopped")
    return run_id


@pytest.fixture
def paid(folder):
    """A loop that was paid for: a second round, a call that failed and a price nobody knows."""
    with Ledger(folder / ".aideon" / "ledger.db") as ledger:
        run_id = ledger.start_run(Run(workflow="loop", user="bob"))
        for number, end in enumerate(
            [
                CallEnd(status="error", duration_ms=20, error_type="Transient", error="no answer"),
                CallEnd(
                    status="ok",
                    duration_ms=1500,
                    response_model="small-v2",
                    usage=Usage(input_tokens=1200, output_tokens=30),
                    usage_source="reported",
                    cost_nanousd=1_500_000,
                ),
            ]
        ):
            call = Call(
                call_id=f"c{number}",
                run_id=run_id,
                node_path="loop/draft",
                role="creative",
                provider="together",
                requested_model="small",
                started_at=f"2026-11-20T09:00:0{number}.000Z",
                round=number + 1,
                attempt=number + 1,
            )
            ledger.start_call(call)
            ledger.finish_call(call.call_id, end)
        ledger.finish_run(run_id, "completed", stop_reason="max_rounds")
    return run_id


def test_an_empty_ledger_says_how_to_start(aideon):
    done = aideon("runs", "list")
    assert (done.code, done.out) == (0, "")
    assert done.err == "there are no runs: start one with `aideon run brief --task TEXT`\n"
    assert aideon("runs", "list", "--json").document == []


def test_runs_are_listed_newest_first(aideon, ran):
    aideon("run", "boom.py", "--task", "x")
    done = aideon("runs", "list")
    first, second = [line for line in done.out.splitlines() if "rehearsed" in line]
    assert re.search(r"boom +failed, rehearsed +\d\d-\d\d \d\d:\d\d +\$0\.\d{6}", first)
    assert re.search(r"two +rehearsed +\d\d-\d\d \d\d:\d\d", second)
    assert ran["run_id"] in second
    assert done.err == ""


def test_a_run_that_was_paid_for_is_listed_with_a_lower_bound(aideon, paid):
    done = aideon("runs", "list")
    assert re.search(rf"{paid} +loop +completed +.* >= \$0\.001500", done.out)


def test_a_listed_run_has_its_cost(aideon, ran):
    (listed,) = aideon("runs", "list", "--json").document
    assert list(listed) == [
        "run_id", "workflow", "status", "stop_reason", "user", "started_at", "ended_at",
        "rehearsed", "simulated", "cost",
    ]  # fmt: skip
    assert listed["run_id"] == ran["run_id"]
    assert listed["cost"] == ran["cost"]
    assert listed["started_at"] <= listed["ended_at"]


def test_the_list_can_be_shortened(aideon, ran):
    aideon("run", "one.py", "--task", "x")
    listed = aideon("runs", "list", "--limit", "1", "--json").document
    assert [run["workflow"] for run in listed] == ["one"]


def test_a_run_is_shown_with_every_field_of_each_call(aideon, ran):
    shown = aideon("runs", "show", "last", "--json").document
    calls = shown.pop("calls")
    assert list(shown) == list(ran)
    unrecorded = {"output": None, "results": {}}  # answers are not stored
    assert shown == ran | unrecorded
    assert [list(call) for call in calls] == [CALL_FIELDS, CALL_FIELDS]
    assert [call["node_path"] for call in calls] == ["facts", "text"]
    assert [call["choice"] for call in calls] == [
        {"rule": "role", "rung": "small"},
        {"rule": "role", "rung": "medium"},
    ]
    assert all(re.fullmatch(r"\d+\.\d{6,9}", call["usd"]) for call in calls)


@pytest.mark.parametrize("written", [str, lambda run_id: run_id[:12], str.lower])
def test_a_run_is_found_by_its_id_or_a_beginning(aideon, ran, written):
    shown = aideon("runs", "show", written(ran["run_id"]), "--json").document
    assert shown["run_id"] == ran["run_id"]


@pytest.mark.parametrize("reference", ["last", "01ABC", "*"])
def test_a_run_that_is_not_there_is_one_line_and_code_2(aideon, reference):
    done = aideon("runs", "show", reference)
    assert done.code == 2
    assert "no run" in done.complaint


def test_a_beginning_that_several_runs_share_names_them(aideon, ran):
    other = aideon("run", "one.py", "--task", "x", "--json").document
    done = aideon("runs", "show", "0")
    assert done.code == 2
    assert ran["run_id"] in done.complaint
    assert other["run_id"] in done.complaint


def test_a_person_sees_each_attempt_and_a_lower_bound(aideon, paid):
    done = aideon("runs", "show", paid)
    lines = done.out.splitlines()
    assert lines[0] == f"loop {paid}: completed (max_rounds), >= $0.001500"
    assert re.search(r"loop/draft +small +error: Transient +1\.1 +- +- +\? +0\.02 s", done.out)
    assert re.search(
        r"loop/draft \(round 2\) +small-v2 +ok +1\.2 +1,200 +30 +\$0\.001500 +1\.50 s", done.out
    )


def test_a_person_sees_which_calls_budgets_count_at_their_worst_case(aideon, lost):
    lines = aideon("runs", "show", lost).out.splitlines()
    assert lines[1] == (
        "budgets count $0.007000 more as spent: the worst case of 3 calls of unknown cost"
    )
    marks = {
        before.split()[0]: line.strip()
        for before, line in itertools.pairwise(lines)
        if "budgets count its" in line
    }
    assert marks == {
        "cut": "budgets count its worst case, $0.004000",
        "gone": "budgets count its worst case, $0.002000",
    }


def test_a_call_that_was_answered_counts_as_what_it_cost(aideon, ran):
    assert "budgets count" not in aideon("runs", "show", "last").out


def test_a_person_sees_what_a_budget_changed_about_a_call(aideon, folder):
    with Ledger(folder / ".aideon" / "ledger.db") as ledger:
        run_id = ledger.start_run(Run(workflow="w"))
        ledger.start_call(call("c", run_id, "a", economized=True, shortened=True))
    assert (
        "    shortened to fit a budget, a cheaper model, because a budget was nearly used up\n"
    ) in aideon("runs", "show", "last").out


def test_a_run_id_stays_whole_in_a_narrow_list(aideon, folder, paid, monkeypatch):
    with Ledger(folder / ".aideon" / "ledger.db") as ledger:
        long = ledger.start_run(Run(workflow="a workflow with a name that is long"))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    shown = re.sub(r"\x1b\[[0-9;]*m", "", aideon("runs", "list").out)
    assert max(map(len, shown.splitlines())) <= 80
    assert {long, paid} <= set(shown.split())


def test_a_person_sees_why_a_run_failed(aideon):
    aideon("run", "boom.py", "--task", "x")
    first, error = aideon("runs", "show", "last").out.splitlines()[:2]
    assert re.fullmatch(r"boom \w{26}: failed, \$0\.\d{6}, rehearsed", first)
    assert error == "error: boom: ValueError: the node is broken (boom.py:3)"


def test_unknown_money_is_null_in_a_call(aideon, paid):
    failed, answered = aideon("runs", "show", paid, "--json").document["calls"]
    assert (failed["usd"], failed["input_tokens"]) == (None, None)
    assert (answered["usd"], answered["response_model"]) == ("0.001500", "small-v2")


def test_a_run_whose_process_is_gone_reads_crashed(aideon, folder, process):
    source = (
        "import os\nfrom aideon_agents import creative, sequential\n"
        "def die(state):\n    os._exit(9)\n"
        "graph = sequential(creative('draft'), die)\n"
    )
    (folder / "die.py").write_text(source, encoding="utf-8")
    assert process("run", "die.py", "--task", "x").code == 9
    shown = aideon("runs", "show", "last", "--json").document
    assert shown["status"] == "crashed"
    assert [call["status"] for call in shown["calls"]] == ["ok"]
