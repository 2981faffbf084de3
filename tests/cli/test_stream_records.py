"""What is kept of a run and shown again: content where asked for, threads, every figure of a call."""

from __future__ import annotations

import os
import pty
import subprocess

import pytest
import warm

from aideon_agents import Ledger
from aideon_agents.ledger.pricing import Usage
from aideon_agents.ledger.rows import Call, CallEnd, Run

PUMPS = "Heat pumps move heat."


def test_content_is_shown_where_it_was_recorded(aideon):
    run = aideon("run", "two.py", "--task", PUMPS, "--record-content", "--json").document
    shown = aideon("runs", "show", "last", "--json").document
    calls = shown.pop("calls")
    assert shown == run
    with_content = aideon("runs", "show", "last", "--content", "--json").document
    assert list(with_content) == [*run, "calls", "contents"]
    assert [one["call_id"] for one in with_content["contents"]] == [c["call_id"] for c in calls]
    assert [list(one) for one in with_content["contents"]] == [["call_id", "prompt", "answer"]] * 2
    printed = aideon("runs", "show", "last", "--content").out
    assert f"    [user]\n    <task>\n    {PUMPS}\n    </task>\n" in printed
    assert f"    [assistant]\n    {PUMPS}\n" in printed


def test_content_that_was_not_recorded_is_said_to_be_missing(aideon):
    aideon("run", "two.py", "--task", PUMPS)
    done = aideon("runs", "show", "last", "--content")
    assert PUMPS not in done.out
    assert (
        done.err == "no prompts or answers were recorded: run with --record-content to keep them\n"
    )
    assert aideon("runs", "show", "last", "--content", "--json").document["contents"] == []


def test_a_thread_goes_on_from_command_to_command(aideon, folder):
    for task in (PUMPS, "Shorter."):
        done = aideon("run", "one.py", "--task", task, "--thread", "pumps", "--record-content")
        assert done.code == 0
    shown = aideon("runs", "show", "last", "--content").out
    assert shown.splitlines()[1] == "thread: pumps"
    assert f"<conversation>\n    <task>\n    {PUMPS}\n    </task>\n" in shown
    assert (folder / ".aideon" / "checkpoints.db").exists()


def test_a_thread_says_in_its_help_that_it_keeps_what_is_said(aideon):
    assert "Its texts are kept beside the ledger" in " ".join(
        aideon("run", "--help").out.replace("│", "").split()
    )


def test_a_thread_without_a_name_is_code_2(aideon):
    done = aideon("run", "one.py", "--task", "x", "--thread", "")
    assert done.code == 2
    assert done.complaint == "a thread needs a name, and it is empty"


@pytest.fixture
def called(folder):
    """A run of two calls about which everything is known."""
    usage = Usage(
        input_tokens=1_234_567,
        output_tokens=89_012,
        cache_read_tokens=1_000_000,
        cache_creation_tokens=200,
        reasoning_tokens=50_000,
    )
    ends = [
        CallEnd(
            status="error",
            duration_ms=20,
            error_type="RateLimited",
            error="together:Qwen/Qwen3.5-397B-A17B-Instruct-Turbo answered 429: "
            + "slow down " * 9,
        ),
        CallEnd(
            status="ok",
            duration_ms=61_500,
            response_model="Qwen/Qwen3.6-Plus",
            finish_reason="length",
            usage=usage,
            usage_source="estimated",
            cost_nanousd=1_234_567_890,
            time_to_first_token_ms=1_250,
        ),
    ]
    with Ledger(folder / ".aideon" / "ledger.db") as ledger:
        run_id = ledger.start_run(Run(workflow="loop", thread="talk"))
        for number, end in enumerate(ends):
            start = Call(
                call_id=f"c{number}",
                run_id=run_id,
                node_path="gather/literature/review",
                role="creative",
                provider="together",
                requested_model="Qwen/Qwen3.5-397B-A17B-Instruct-Turbo",
                started_at=f"2026-11-20T09:00:0{number}.000Z",
                round=2,
                candidate=number,
            )
            ledger.start_call(start)
            ledger.finish_call(start.call_id, end)
        ledger.finish_run(run_id, "completed")
    return run_id


def test_everything_that_is_known_of_a_call_is_told(aideon, called):
    shown = aideon("runs", "show", called).out
    for fact in (
        "gather/literature/review (round 2)",
        "error: RateLimited",
        "answered 429: slow down slow down",
        "1.1",
        "2.1",
        "answered by Qwen/Qwen3.6-Plus",
        "finished: length",
        "1,234,567",
        "1,000,000 of the input cached",
        "200 of the input put into the cache",
        "50,000 of the output reasoning",
        "first token after 1.25 s",
        "tokens estimated",
        "$1.2346",
        "61.50 s",
    ):
        assert fact in shown


def on_terminal(environment, folder, *words, columns):
    """What a command shows on a terminal of a width."""
    ours, theirs = pty.openpty()
    with warm.Process(
        ["-m", "aideon_agents", *words],
        cwd=folder,
        env=environment | {"COLUMNS": str(columns), "TERM": "dumb"},
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    ):
        os.close(theirs)
        shown = b""
        while chunk := _read(ours):
            shown += chunk
    os.close(ours)
    return shown.decode().replace("\r\n", "\n").splitlines()


def _read(terminal):
    try:
        return os.read(terminal, 65_536)
    except OSError:  # Linux says so when the other end is closed
        return b""


def test_calls_fit_into_eighty_columns(called, environment, folder):
    lines = on_terminal(dict(environment), folder, "runs", "show", "last", columns=80)
    assert max(map(len, lines)) <= 80
    assert lines[3].split() == ["status", "try", "in", "out", "cost", "time"]
    assert lines.count("gather/literature/review (round 2)") == 2
    assert "    together:Qwen/Qwen3.5-397B-A17B-Instruct-Turbo" in lines
    (figures,) = [line for line in lines if "1,234,567" in line]
    assert figures.split()[:2] == ["ok", "2.1"]
    wide = on_terminal(dict(environment), folder, "runs", "show", "last", columns=200)
    assert wide[3].split()[:2] == ["node", "model"]
