"""No text that comes from elsewhere steers a terminal: every command, on a ledger full of such texts.

The commands are those of the app, so that a new one is tried as well.
"""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from pathlib import Path

import pytest
import typer

from aideon_agents.cli.app import app
from aideon_agents.testing import SimulatedProvider

EVIL = (
    "\x1b[2J\x1b]0;owned\x07\x1b]8;;http://127.0.0.1/\x1b\\link\x1b]8;;\x1b\\"
    "\x9b31m\x9d0;c1\x9c\x85\rover\b\x7f\u202edesrever\u2066\x00\x0c"
)
STEERS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
ITEMS = [{"id": f"one{EVIL}", "task": "x"}, {"id": f"two{EVIL}", "task": "fail"}, {"id": "bad"}]
WORKFLOW = f"""
from aideon_agents import creative, sequential
def check(state):
    if "fail" in state["task"]:
        raise ValueError({EVIL!r})
graph = sequential(creative("draft"), check)
"""
BESIDE_WORDS = {
    "run_id", "batch_id", "call_id", "tool_call_id", "identity", "status", "started_at", "ended_at",
    "seen_at", "host", "process_start", "usage_source", "engine", "key", "choice",
}  # fmt: skip
"""Columns of text that hold our own words, or that others refer to."""
OF_BUDGETS = {"accounts", "budgets", "holds", "told", "tickets"}
"""Tables whose texts are parsed; a limit for a user with such a name is set."""
HELD = {"worker", "simulate"}
"""They run until a signal; what they print is tried in their own tests."""
VALUES = {"TARGET": "evil.py", "ITEMS": "items.jsonl", "SCOPE": "day", "USD": "5", "DIR": "made"}
"""By the metavar of an argument; any other one is `last`."""
NEEDED = {"run": ["--task", "x"], "batch": ["-o", "out.jsonl"], "prune": ["--before", "today"]}
MORE = {
    "costs": [["--by", by] for by in ("run", "model", "workflow", "user", "provider")]
    + [["-f", "csv", "--by", by] for by in ("node", "model", "workflow", "user")]
    + [["--advice"], ["--top", "1"]],
    "show": [["--content"]],
    "graph": [["--run", "last", "-f", form] for form in ("text", "mermaid", "svg", "html", "json")],
}
"""More ways to call a command, by its last name."""


def commands(group, path=()):
    for name, one in group.commands.items():
        if hasattr(one, "commands"):
            yield from commands(one, (*path, name))
        elif name not in HELD:
            yield pytest.param((*path, name), one, id=" ".join((*path, name)))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder that keeps the ledger after it was made for the first test."""
    return tmp_path_factory.mktemp("hostile") / "made"


@pytest.fixture
def hostile(folder, aideon, monkeypatch, made):
    """A ledger with a run and a batch of two items, with such codes in every text."""
    Path("evil.py").write_text(WORKFLOW, encoding="utf-8")
    Path("items.jsonl").write_text("".join(json.dumps(one) + "\n" for one in ITEMS))
    with SimulatedProvider(answer=lambda _: f"An answer. {EVIL}") as provider:
        monkeypatch.setenv("TOGETHER_BASE_URL", provider.base_url)
        monkeypatch.setenv("TOGETHER_API_KEY", "a-key-of-this-test")
        if made.exists():
            shutil.copytree(made, folder, dirs_exist_ok=True)
        else:
            fill(aideon)
            shutil.copytree(folder, made)
        yield folder


def fill(aideon):
    user = f"ada{EVIL}".replace("\0", "")
    assert aideon("run", "evil.py", "--task", "x", "--record-content").code == 0
    assert aideon("batch", "evil.py", "items.jsonl", "-o", "out.jsonl", "--user", user).code
    assert aideon("run", "evil.py", "--task", "fail", "--record-content").code == 1
    assert aideon("budget", "set", f"user:{user}", "5").code == 0
    with sqlite3.connect(".aideon/ledger.db") as ledger:
        for table, column in ledger.execute(
            "SELECT m.name, c.name FROM sqlite_master AS m, pragma_table_info(m.name) AS c"
            " WHERE m.type = 'table' AND c.type = 'TEXT' AND m.name NOT LIKE '\\_%' ESCAPE '\\'"
        ).fetchall():
            if column not in BESIDE_WORDS and table not in OF_BUDGETS:
                sql = f"UPDATE OR IGNORE {table} SET {column} = {column} || ?1"  # noqa: S608
                ledger.execute(f"{sql} WHERE {column} NOT GLOB '[[{{]*'", [EVIL.replace("\0", "")])
    ledger.close()


@pytest.mark.parametrize(("path", "command"), [*commands(typer.main.get_command(app))])
def test_no_command_lets_a_text_steer_the_terminal(hostile, aideon, path, command):
    words = [*path]
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    words += [VALUES.get(one.metavar, "last") for one in arguments if one.required]
    words += NEEDED.get(path[-1], [])
    can_json = any("--json" in one.opts for one in command.params)
    for more in ([], *([["--json"]] if can_json else []), *MORE.get(path[-1], [])):
        called = [word for word in words if "--run" not in more or word != "evil.py"] + more
        done = aideon(*called)
        out = done.out.replace("\r\n", "\n") if "csv" in called else done.out
        if path == ("run",) and not more:  # its result goes into a pipe as it is
            out = out.replace(f"An answer. {EVIL}", "")
        assert not STEERS.findall(out), (called, STEERS.findall(out), out)
        assert not STEERS.findall(done.err), (called, done.err)
        assert "--debug" not in done.err, (called, done.err)
