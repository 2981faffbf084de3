"""What a killed process leaves behind, and two processes on one file."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import warm

from aideon_agents.ledger.costs import run_cost
from aideon_agents.ledger.identity import is_gone, this_process
from aideon_agents.ledger.rows import Run
from aideon_agents.ledger.store import Ledger

DIES_BETWEEN_START_AND_FINISH = """
import os, signal, sys
from aideon_agents.ledger.rows import CallEnd, Call, Run
from aideon_agents.ledger.store import Ledger

ledger = Ledger(sys.argv[1])
run_id = ledger.start_run(Run(workflow="doomed"))
for call_id in ("done", "open"):
    ledger.start_call(Call(
        call_id=call_id, run_id=run_id, node_path="draft", role="creative", provider="together",
        requested_model="m", started_at="2026-11-20T09:00:00.000Z",
    ))
    if call_id == "done":
        ledger.finish_call(call_id, CallEnd(status="ok", duration_ms=1, cost_nanousd=1_000))
print("written", flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""

WRITES_MANY = """
import sys
from aideon_agents.ledger.rows import CallEnd, Call, Run
from aideon_agents.ledger.store import Ledger

sys.stdin.readline()
with Ledger(sys.argv[1]) as ledger:
    run_id = ledger.start_run(Run(workflow="writer"))
    for number in range(100):
        call_id = f"{run_id}-{number}"
        ledger.start_call(Call(
            call_id=call_id, run_id=run_id, node_path="", role="", provider="together",
            requested_model="m", started_at="2026-11-20T09:00:00.000Z",
        ))
        ledger.finish_call(call_id, CallEnd(status="ok", duration_ms=1, cost_nanousd=1))
"""


def start(code, path):
    return warm.Process(
        ["-c", code, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_killed_process_leaves_its_call_started_and_its_run_crashed(tmp_path):
    path = tmp_path / "ledger.db"
    killed = start(DIES_BETWEEN_START_AND_FINISH, path)
    out, err = killed.communicate(timeout=60)
    assert (out, killed.returncode) == ("written\n", -9), err

    with Ledger(path) as ledger:
        assert ledger.find_run("last").status == "crashed"
        assert [call.status for call in ledger.calls(ledger.find_run("last").run_id)] == [
            "ok",
            "started",
        ]
        cost = run_cost(ledger, "last")
        assert (f"{cost.usd:f}", cost.complete, cost.calls) == ("0.000001000", False, 2)


def test_processes_that_make_and_write_one_new_ledger_all_come_to_their_end(tmp_path):
    path = tmp_path / "new" / "ledger.db"
    writers = [start(WRITES_MANY, path) for _ in range(8)]
    for writer in writers:  # all are up before any opens the file
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        _, err = writer.communicate(timeout=60)
        assert writer.returncode == 0, err
    with Ledger(path) as ledger:
        runs = ledger.runs()
        assert len(runs) == 8
        calls = [ledger.calls(run.run_id) for run in runs]
    assert [len(of_run) for of_run in calls] == [100] * 8
    assert {call.status for of_run in calls for call in of_run} == {"ok"}


def test_many_ledgers_open_one_new_file_at_once(tmp_path):
    import threading

    failures = []
    barrier = threading.Barrier(16)

    def open_and_write():
        barrier.wait()
        try:
            with Ledger(tmp_path / "ledger.db") as ledger:
                ledger.start_run(Run(workflow="w"))
        except Exception as error:  # noqa: BLE001 - shown by the assertion
            failures.append(error)

    threads = [threading.Thread(target=open_and_write) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with Ledger(tmp_path / "ledger.db") as ledger:
        assert len(ledger.runs()) == 16


def test_a_running_process_is_not_gone():
    assert not is_gone(this_process())
    assert not is_gone({**this_process(), "process_start": None})


def test_a_reused_process_id_is_not_mistaken_for_the_first():
    here = this_process()
    if here["process_start"] is None:
        pytest.skip("this system has no /proc")
    assert is_gone({**here, "process_start": here["process_start"] + "0"})


def test_a_process_that_was_never_reaped_is_gone():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    from aideon_agents.ledger import identity

    start = identity._start(child.pid)
    owner = {**this_process(), "pid": child.pid, "process_start": start}
    assert not is_gone(owner)
    child.stdin.close()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert is_gone(owner)
    child.wait()
    assert is_gone({**owner, "process_start": None})


def test_nobody_can_know_of_another_machines_process(ledger, run_id):
    assert not is_gone({"host": "another", "pid": 1, "process_start": "x"})
    ledger.database.write("UPDATE runs SET host = 'another', pid = 1, process_start = 'x'", {})
    assert ledger.find_run(run_id).status == "running"
