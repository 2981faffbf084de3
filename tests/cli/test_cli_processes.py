"""The command line as a process: signals, pipes whose reader goes away, a full disk."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
import warm

# The first line: a process started in the background ignores interrupts otherwise.
NAP = """
import asyncio, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from aideon_agents import creative, sequential

async def nap(state):
    print("napping", file=sys.stderr, flush=True)
    await asyncio.sleep(60)

graph = sequential(creative("draft"), nap)
"""


@pytest.fixture
def interpreter(command):
    """Calls the command line in an interpreter of its own, whose end is tested as well."""

    def call(*words, stdout=subprocess.PIPE):
        return command(sys.executable, "-m", "aideon_agents", *words, stdout=stdout)

    return call


@pytest.fixture
def nobody_reads():
    """The writing end of a pipe that has no reader."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


@pytest.fixture
def ran(aideon):
    """A run in the ledger, whose id this is."""
    return aideon("run", "one.py", "--task", "Pumps move heat.", "--json").document["run_id"]


@pytest.fixture
def interrupted(folder, begin):
    """A run that was interrupted in its second node: its exit code, stdout and stderr."""
    (folder / "nap.py").write_text(NAP, encoding="utf-8")
    with begin("run", "nap.py", "--task", "x", "--json") as running:
        assert running.stderr.readline() == "napping\n"
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=30)
    return running.returncode, out, err


def test_an_interrupted_run_ends_with_130_and_keeps_its_calls(interrupted, aideon):
    code, out, err = interrupted
    assert code == 130
    assert err.splitlines()[-1].startswith("aideon: interrupted")
    assert "Traceback" not in err
    document = json.loads(out)
    assert (document["status"], list(document["results"])) == ("cancelled", ["draft"])
    shown = aideon("runs", "show", "last", "--json").document
    assert (shown["status"], shown["stop_reason"]) == ("cancelled", "interrupted")
    assert shown["error"] is None
    assert [(call["node_path"], call["status"]) for call in shown["calls"]] == [("draft", "ok")]
    assert shown["cost"]["complete"] is True


@pytest.mark.parametrize(
    "words",
    [["runs", "list"], ["runs", "list", "--json"], ["graph", "one.py"], ["--help"]],
    ids=" ".join,
)
def test_a_reader_that_is_gone_is_no_error(ran, interpreter, nobody_reads, words):
    done = interpreter(*words, stdout=nobody_reads)
    assert done.code == 0
    assert "Traceback" not in done.err
    assert "Exception ignored" not in done.err
    assert "aideon:" not in done.err


def test_a_reader_that_is_gone_does_not_hide_that_the_run_failed(process, nobody_reads):
    done = process("run", "boom.py", "--task", "x", stdout=nobody_reads)
    assert done.code == 1
    assert "\naideon: boom: ValueError: the node is broken (boom.py:3)\n" in done.err


def test_head_gets_its_line(ran, begin):
    with begin("runs", "show", ran, "--json") as shown:
        line = subprocess.check_output(["head", "-n", "1"], stdin=shown.stdout, text=True)
        shown.stdout.close()
        assert (line, shown.stderr.read(), shown.wait(60)) == ("{\n", "", 0)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux has a disk that is full")  # noqa: PTH110 - a device
def test_a_result_that_finds_no_room_on_stdout_follows_on_stderr(ran, interpreter):
    with open("/dev/full", "w", encoding="utf-8") as full:  # noqa: PTH123 - a device
        done = interpreter("runs", "list", stdout=full.fileno())
    assert done.code == 1
    why, shown = done.err.split("\n", 1)
    assert why == (
        "aideon: stdout cannot be written (No space left on device): its text follows here"
    )
    assert ran in shown


def test_a_node_that_exits_does_not_end_the_command_with_its_code(folder, process):
    source = (
        "import sys\nfrom aideon_agents import sequential\n"
        "def leave(state):\n    sys.exit(0)\ngraph = sequential(leave)\n"
    )
    (folder / "leave.py").write_text(source, encoding="utf-8")
    done = process("run", "leave.py", "--task", "x")
    assert done.code == 1
    assert "sys.exit(0)" in done.err
    assert "Traceback" not in done.err


def test_stdin_gives_the_task(folder, environment):
    done = warm.run(
        ["-m", "aideon_agents", "run", "echo.py", "-"],
        cwd=folder,
        env=environment,
        input="Ärger über Wärme.".encode("utf-8-sig"),
        capture_output=True,
    )
    assert done.returncode == 0
    assert done.stdout.decode() == "Ärger über Wärme.\n"
