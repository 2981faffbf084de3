"""A ledger that gives up, or whose process is killed, in the middle of a run from the command line."""

from __future__ import annotations

import subprocess

import pytest
import warm

from aideon_agents.testing import SimulatedProvider

HEAD = (
    "import os, pathlib, shutil, signal, sqlite3\n"
    "from aideon_agents import creative, executor, sequential\n"
    "from aideon_agents.ledger.store import Ledger\n"
    "def breaks(state):\n    {fault}\n    return 'broken'\n"
)
BETWEEN = "graph = sequential(executor('facts'), breaks, creative('draft'))\n"
AT_THE_END = "graph = sequential(executor('facts'), breaks)\n"
DELETES = "pathlib.Path('.aideon/ledger.db').unlink()"
REMOVES_ITS_FOLDER = "shutil.rmtree('.aideon')"
REPLACES = f"{DELETES}; Ledger('.aideon/ledger.db').close()"
DAMAGES = "sqlite3.connect('.aideon/ledger.db').execute('DROP TABLE calls')"
GONE = "was moved, deleted or replaced while it was in use: put it back, or start again"


@pytest.fixture
def provider(folder, monkeypatch):
    with SimulatedProvider() as serving:
        monkeypatch.setenv("TOGETHER_API_KEY", "a-key-of-no-provider")
        monkeypatch.setenv("TOGETHER_BASE_URL", serving.base_url)
        yield serving


@pytest.fixture
def breaking(folder, process):
    """Runs a workflow with a node that does harm."""

    def call(fault, graph):
        (folder / "breaks.py").write_text(HEAD.format(fault=fault) + graph, encoding="utf-8")
        return process("run", "breaks.py", "--task", "Pumps move heat.")

    return call


def told(done):
    """The one line about the ledger."""
    assert "Traceback" not in done.err
    (line,) = (line for line in done.err.splitlines() if "the ledger .aideon/ledger.db " in line)
    return line


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (DELETES, GONE),
        (REMOVES_ITS_FOLDER, GONE),
        (REPLACES, GONE),
        (DAMAGES, "cannot be used (no such table: calls): move the file away"),
    ],
    ids=["deleted", "folder removed", "replaced", "damaged"],
)
def test_a_ledger_lost_between_two_calls_stops_the_second(breaking, provider, fault, said):
    done = breaking(fault, BETWEEN)
    assert (done.code, done.out) == (1, "broken\n")
    assert told(done).startswith(f"aideon: the ledger .aideon/ledger.db {said}")
    assert len(provider.requests) == 1


@pytest.mark.parametrize("fault", [DELETES, DAMAGES], ids=["deleted", "damaged"])
def test_a_ledger_lost_after_the_last_call_costs_no_result(breaking, provider, fault):
    done = breaking(fault, AT_THE_END)
    assert (done.code, done.out) == (0, "broken\n")
    assert told(done)
    assert len(provider.requests) == 1


def test_a_ledger_lost_during_a_call_costs_no_answer_and_is_told_of_once(
    folder, process, monkeypatch
):
    def answer(request):
        (folder / ".aideon" / "ledger.db").unlink()
        return "Heat moves pumps."

    with SimulatedProvider(answer=answer) as provider:
        monkeypatch.setenv("TOGETHER_API_KEY", "a-key-of-no-provider")
        monkeypatch.setenv("TOGETHER_BASE_URL", provider.base_url)
        done = process("run", "one.py", "--task", "Pumps move heat.")
    assert (done.code, done.out) == (0, "Heat moves pumps.\n")
    assert "stays started: the ledger .aideon/ledger.db was moved" in told(done)


def test_what_a_killed_process_leaves_is_read_and_written_on(breaking, provider, folder, aideon):
    killed = breaking("os.kill(os.getpid(), signal.SIGKILL)", BETWEEN)
    assert killed.code == -9
    assert (folder / ".aideon" / "ledger.db-wal").stat().st_size > 0
    shown = aideon("runs", "show", "last", "--json").document
    assert (shown["status"], [call["status"] for call in shown["calls"]]) == ("crashed", ["ok"])
    assert aideon("run", "one.py", "--task", "Pumps move heat.").code == 0
    assert len(aideon("runs", "list", "--json").document) == 2


def test_commands_that_make_one_ledger_at_once_all_write_to_it(folder, environment, aideon):
    words = ["-m", "aideon_agents", "run", "one.py", "--task", "x", "--json"]
    running = [
        warm.Process(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for one in running:
        _, err = one.communicate(timeout=60)
        assert one.returncode == 0, err
    assert len(aideon("runs", "list", "--json").document) == 3
