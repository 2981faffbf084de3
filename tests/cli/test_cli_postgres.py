"""The whole command line with its ledger on a server; what goes on does so in another process."""

from __future__ import annotations

import signal

import pytest

from aideon_agents.testing import SimulatedProvider

SECRET = "Tr0ub4dor-and-3"
HEAD = "from aideon_agents import creative, executor, sequential\n"
FILES = {
    "asks.py": HEAD
    + "from langgraph.types import interrupt\n"
    + 'def ask(state):\n    return "told " + interrupt("go on?")\n'
    + 'graph = sequential(creative("draft"), ask)\n',
    "dies.py": HEAD
    + "import os, pathlib, signal\n"
    + "def die(state):\n"
    + '    if not pathlib.Path("died").exists():\n'
    + '        pathlib.Path("died").touch()\n'
    + "        os.kill(os.getpid(), signal.SIGKILL)\n"
    + '    return "alive"\n'
    + 'graph = sequential(creative("draft"), die)\n',
}


@pytest.fixture
def on_server(folder, monkeypatch, postgres_url):
    """Puts the ledger on the server, and gives its address."""
    for name, source in FILES.items():
        (folder / name).write_text(source, encoding="utf-8")
    monkeypatch.setenv("AIDEON_LEDGER", postgres_url)
    return postgres_url


def test_a_run_is_listed_shown_and_added_up(on_server, process, aideon, folder):
    done = process("run", "two.py", "--task", "Pumps move heat.", "--json")
    assert done.code == 0
    run_id = done.document["run_id"]
    assert [run["run_id"] for run in aideon("runs", "list", "--json").document] == [run_id]
    shown = process("runs", "show", run_id[:8].lower(), "--json").document
    assert [call["node_path"] for call in shown["calls"]] == ["facts", "text"]
    costs = process("costs", "--rehearsed", "--by", "node", "--json").document
    assert costs["total"]["calls"] == 2
    assert costs["total"]["usd"] == shown["cost"]["usd"] == done.document["cost"]["usd"]
    for words in (["runs", "show", "last"], ["runs", "list"], ["costs", "--by", "day"]):
        assert aideon(*words).code == 0
    assert not (folder / ".aideon").exists(), "nothing is kept beside the server"


def test_a_question_is_answered_from_another_process(on_server, process):
    asked = process("run", "asks.py", "--task", "Pumps move heat.", "--json")
    assert (asked.code, asked.document["status"]) == (4, "waiting")
    shown = process("runs", "show", "last", "--json").document
    assert [one["question"] for one in shown["questions"]] == ["go on?"]
    done = process("runs", "resume", "last", "--answer", '"yes"', "--json")
    assert (done.code, done.document["output"]) == (0, "told yes")


def test_a_run_whose_process_was_killed_goes_on_where_it_was(on_server, process, aideon):
    assert process("run", "dies.py", "--task", "Pumps move heat.").code == -signal.SIGKILL
    (crashed,) = aideon("runs", "list", "--json").document
    assert crashed["status"] == "crashed"
    done = process("runs", "resume", "last", "--json")
    assert (done.code, done.document["output"]) == (0, "alive")
    calls = aideon("runs", "show", "last", "--json").document["calls"]
    assert [call["node_path"] for call in calls] == ["draft"]


def test_a_budget_on_the_server_stops_whoever_spends(on_server, process, monkeypatch):
    with SimulatedProvider(announce=False) as provider:
        monkeypatch.setenv("TOGETHER_API_KEY", "a-key-of-no-provider")
        monkeypatch.setenv("TOGETHER_BASE_URL", provider.base_url)
        assert process("budget", "set", "day", "0.000001").code == 0
        refused = process("run", "one.py", "--task", "Pumps move heat.", "--json")
        assert (refused.code, refused.document["status"]) == (3, "stopped")
        assert provider.requests == []
        assert process("budget", "set", "day", "1").code == 0
        done = process("runs", "resume", "last", "--json")
        assert (done.code, done.document["status"]) == (0, "completed")
        assert len(provider.requests) == 1
    (day,) = (
        one
        for one in process("budget", "list", "--json").document["budgets"]
        if one["scope"] == "day"
    )
    assert day["spent_usd"] == done.document["cost"]["usd"]
    assert day["held_usd"] == "0.000000"


def test_what_is_old_is_pruned(on_server, aideon):
    aideon("run", "asks.py", "--task", "Pumps move heat.")
    assert len(aideon("runs", "show", "last", "--json").document["questions"]) == 1
    assert aideon("runs", "prune", "--before", "2999-01-01").code == 0
    assert aideon("runs", "show", "last", "--json").document["questions"] == []


def test_the_doctor_looks_at_the_server_and_shows_no_password(
    on_server, process, monkeypatch, postgres
):
    (ledger,) = (one for one in process("doctor", "--json").document if one["what"] == "ledger")
    assert (ledger["state"], ledger["detail"]) == (
        "ok",
        f"postgresql://postgres@/postgres?host={postgres.folder}, 0 runs",
    )
    monkeypatch.setenv("AIDEON_LEDGER", postgres.url("nothing", user=f"postgres:{SECRET}"))
    done = process("doctor", "--json")
    (ledger,) = (one for one in done.document if one["what"] == "ledger")
    assert (done.code, ledger["state"]) == (1, "broken")
    assert ledger["detail"].endswith(
        "CREATE DATABASE makes it, or name another database with AIDEON_LEDGER"
    )
    assert SECRET not in done.out + done.err


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("postgresql://ada:{secret}@/money?host=/nowhere", "cannot be reached"),
        ("postgresql://locked:{secret}@/postgres?host={folder}", "does not take this user"),
        ("postgresql://ada:{secret}@nobody@/money", "is not clear"),
        ("postgresql://ada:{secret}%@/money", "cannot be read"),
    ],
)
def test_an_address_that_leads_nowhere_is_one_line_before_anything_is_called(
    aideon, monkeypatch, postgres, address, said
):
    monkeypatch.setenv("AIDEON_LEDGER", address.format(secret=SECRET, folder=postgres.folder))
    with SimulatedProvider() as provider:
        monkeypatch.setenv("TOGETHER_API_KEY", "a-key-of-no-provider")
        monkeypatch.setenv("TOGETHER_BASE_URL", provider.base_url)
        for words in (
            ["run", "one.py", "--task", "x"],
            ["costs"],
            ["runs", "list"],
            ["budget", "list"],
        ):
            done = aideon(*words)
            assert done.code == 2
            assert said in done.complaint
            assert SECRET not in done.err
        assert provider.requests == []
