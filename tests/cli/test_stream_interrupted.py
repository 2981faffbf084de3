"""Ctrl-C and its like, in a process of its own: rows are closed, and the code is 130."""

from __future__ import annotations

import json
import os
import select
import signal
import time

import pytest

from aideon_agents.testing import Fault, SimulatedProvider

STUCK = (
    "import asyncio, sys, time\n"
    "from aideon_agents import sequential\n"
    "async def hold(state):\n"
    "    print('stuck', file=sys.stderr, flush=True)\n"
    "    try:\n"
    "        await asyncio.sleep(60)\n"
    "    except asyncio.CancelledError:\n"
    "        print('holding on', file=sys.stderr, flush=True)\n"
    "        time.sleep(60)\n"
    "graph = sequential(hold)\n"
)
TWO = (
    "import sys\nfrom aideon_agents import creative, executor, sequential\n"
    "def tell(state):\n    print('called', file=sys.stderr, flush=True)\n"
    "graph = sequential(executor('facts'), tell, creative('draft'))\n"
)


@pytest.fixture
def provider(monkeypatch):
    """A provider whose second answer never comes."""
    with SimulatedProvider(faults=[None, Fault("hang")]) as simulated:
        monkeypatch.setenv("TOGETHER_API_KEY", "key")
        monkeypatch.setenv("TOGETHER_BASE_URL", simulated.base_url)
        yield simulated


def until(process, word):
    """Read stderr up to a line that begins with a word."""
    for line in process.stderr:
        if line.startswith(word):
            return
    raise AssertionError(word)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_closes_the_call_in_flight_and_keeps_what_there_was(
    begin, folder, aideon, provider, sent
):
    (folder / "two.py").write_text(TWO, encoding="utf-8")
    running = begin("run", "two.py", "--task", "x", "--json", "--stream")
    until(running, "draft (creative)")
    while len(provider.requests) < 2:
        assert running.poll() is None
        time.sleep(0.01)
    running.send_signal(sent)
    out, err = running.communicate(timeout=60)
    document = json.loads(out)
    assert running.returncode == 130
    assert (document["status"], document["stop_reason"]) == ("cancelled", "interrupted")
    assert (document["error"], list(document["results"])) == (None, ["facts"])
    run_id = document["run_id"]
    (said,) = [line for line in err.splitlines() if run_id in line]
    assert said.startswith(f"aideon: interrupted: run {run_id} is cancelled; ")
    shown = aideon("runs", "show", run_id, "--json").document
    assert [call["status"] for call in shown["calls"]] == ["ok", "cancelled"]
    assert (shown["status"], shown["stop_reason"]) == ("cancelled", "interrupted")
    assert shown["cost"]["complete"] is False


def test_the_second_signal_ends_the_process_at_once(begin, folder, aideon):
    (folder / "stuck.py").write_text(STUCK, encoding="utf-8")
    running = begin("run", "stuck.py", "--task", "x")
    until(running, "stuck")
    running.send_signal(signal.SIGINT)
    until(running, "holding on")  # and with it the event loop, so that nobody closes the row
    running.send_signal(signal.SIGINT)
    assert running.wait(timeout=60) == 130
    assert aideon("runs", "list", "--json").document[0]["status"] == "crashed"


def test_time_that_is_up_is_code_3_and_shows_what_there_is(aideon, folder, provider):
    (folder / "two.py").write_text(TWO, encoding="utf-8")
    done = aideon("run", "two.py", "--task", "Pumps move heat.", "--timeout", "5")
    assert done.code == 3
    assert done.out == "Pumps move heat.\n"
    assert (
        "\naideon: the run reached its time limit of 5 s\ncontinue with: aideon runs resume "
        in done.err
    )
    shown = aideon("runs", "show", "last", "--json").document
    assert (shown["status"], shown["stop_reason"]) == ("stopped", "timeout")
    assert [call["status"] for call in shown["calls"]] == ["ok", "cancelled"]


FULL = (
    "import atexit, resource\nfrom aideon_agents import creative, sequential\n"
    "def limit(size):\n"
    "    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))\n"
    "def fill(state):\n"
    "    atexit.register(limit, resource.RLIM_INFINITY)  # what measures coverage writes a file\n"
    "    limit(0)\n"
    "graph = sequential(creative('draft'), fill, creative('after'))\n"
)


@pytest.mark.parametrize("words", [[], ["--stream"], ["--thread", "t"]], ids=" ".join)
def test_a_disk_that_fills_up_midway_is_one_line(folder, process, words):
    (folder / "full.py").write_text(FULL, encoding="utf-8")
    done = process("run", "full.py", "--task", "Pumps move heat.", *words)
    assert done.code == 1
    assert done.out == "Pumps move heat.\n"
    told = [
        line for line in done.err.splitlines() if "the ledger" in line and "after (" not in line
    ]
    assert len(told) == 1
    assert told[0].startswith("aideon: the ledger .aideon/ledger.db cannot ")
    assert "Traceback" not in done.err
    assert "Warning" not in done.err


def test_a_terminal_that_closes_ends_a_run_as_an_interrupt_does(begin, folder, aideon, provider):
    (folder / "two.py").write_text(TWO, encoding="utf-8")
    ours, theirs = os.openpty()
    running = begin("run", "two.py", "--task", "x", stdout=theirs, stderr=theirs)
    os.close(theirs)
    while len(provider.requests) < 2:
        assert running.poll() is None
        if select.select([ours], [], [], 0.01)[0]:
            os.read(ours, 65536)  # a terminal that is full would hold the run
    os.close(ours)  # what it writes from here on fails
    running.send_signal(signal.SIGHUP)  # the shell and the system may both send it
    running.send_signal(signal.SIGHUP)
    assert running.wait(60) == 130
    assert aideon("runs", "list", "--json").document[0]["status"] == "cancelled"
