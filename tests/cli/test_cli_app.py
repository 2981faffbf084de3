"""What holds for every command: exit codes, one-line errors, help."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
import typer

from aideon_agents.cli import app as door
from aideon_agents.cli.app import main
from aideon_agents.errors import TimeLimit
from aideon_agents.ledger.rows import Call, CallEnd, Run
from aideon_agents.ledger.store import Ledger

COMMANDS = [
    *(
        ["run"],
        ["runs"],
        ["runs", "list"],
        ["runs", "show"],
        ["runs", "resume"],
        ["runs", "approve"],
        ["runs", "decline"],
        ["runs", "prune"],
    ),
    *(["batch"], ["batches"], ["worker"], ["graph"], ["costs"], ["budget"], ["budget", "set"]),
    *(["simulate"], ["new"], ["schema"], ["doctor"]),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help_on_stdout(aideon, command):
    done = aideon(*command, "--help")
    assert done.code == 0
    assert f"Usage: aideon {' '.join(command)}" in done.out
    assert done.err == ""


def test_help_is_answered_by_a_process_without_loading_langchain(command):
    done = command(sys.executable, "-m", "aideon_agents", "--help")
    assert done.code == 0
    for name in ("run", "runs", "graph", "costs", "doctor"):
        assert re.search(rf"│ {name} ", done.out)
    assert done.err == ""


def test_no_command_imports_langchain_before_it_runs():
    heavy = ("langchain_core", "langgraph", "pydantic", "openai", "aideon_agents.runner")
    told = f"import sys, aideon_agents.cli.app; print(*sys.modules.keys() & {set(heavy)})"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


REPORTS = """
import sys
from aideon_agents.cli.app import main

commands = ["costs"], ["doctor"], ["runs", "list"], ["models", "choose"]
codes = [main(words) for words in commands]
loaded = {name.partition(".")[0] for name in sys.modules}
print(codes, sorted(loaded & set(sys.argv[1:])), file=sys.stderr)
"""


def test_commands_that_read_the_ledger_import_no_langchain_and_no_database_library(folder):
    heavy = ["langchain_core", "langgraph", "langchain_openai", "openai", "sqlite_utils", "psycopg"]
    with Ledger(folder / ".aideon" / "ledger.db") as ledger:
        run_id = ledger.start_run(Run(workflow="mine"))
        call = Call(
            call_id="a",
            run_id=run_id,
            node_path="draft",
            role="creative",
            provider="openai",
            requested_model="gpt-4o-mini",
            started_at="2026-11-20T09:00:00.000Z",
        )
        ledger.start_call(call)
        ledger.finish_call("a", CallEnd(status="ok", duration_ms=5, cost_nanousd=1_000))
    done = subprocess.run(
        [sys.executable, "-c", REPORTS, *heavy],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr.splitlines()[-1] == "[0, 0, 0, 0] []"
    assert "draft" in done.stdout
    assert "mine" in done.stdout


def test_without_a_command_help_is_shown_and_the_code_says_mistake(aideon):
    done = aideon()
    assert done.code == 2
    assert "Usage: aideon" in done.out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["bogus"], "No such command 'bogus' (see aideon --help)"),
        (["runs", "bogus"], "No such command 'bogus' (see aideon runs --help)"),
        (["run"], "Missing argument 'TARGET' (see aideon run --help)"),
        (["run", "brief", "--bogus"], "No such option: --bogus"),
        (["runs", "list", "--limit", "0"], "'--limit'"),
        (["run", "brief", "--modell", "x"], "No such option: --modell; did you mean --model?"),
        (["run", "brief", "--timeout", "soon"], "'--timeout': Input should be a valid number (see"),
        (["batch", "brief", "x", "-o", "y", "--engine", "z"], "'--engine': 'z' is not one of"),
        (["graph", "brief", "--depth", "-1"], "'--depth'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_flag_is_one_line_and_code_2(aideon, words, says):
    done = aideon(*words)
    assert done.code == 2
    assert says in done.complaint


def test_each_command_that_takes_o_also_takes_out():
    commands = typer.main.get_command(door.app).commands
    taking = {
        name: parameter.opts
        for name, command in commands.items()
        for parameter in command.params
        if "-o" in parameter.opts
    }
    names = ("batch", "graph", "costs", "image", "speak", "transcribe", "video")
    assert taking == {name: ["-o", "--out"] for name in names}


def test_debug_adds_a_traceback_and_keeps_the_code_and_the_line(aideon):
    plain = aideon("run", "nothing", "--task", "x")
    debugged = aideon("--debug", "run", "nothing", "--task", "x")
    assert plain.code == debugged.code == 2
    assert debugged.err.startswith("Traceback (most recent call last)")
    assert debugged.err.endswith(plain.err)


def test_debug_shows_where_a_node_raised(aideon):
    plain = aideon("run", "boom.py", "--task", "x")
    debugged = aideon("run", "boom.py", "--task", "x", "--debug")
    assert plain.code == debugged.code == 1
    assert "Traceback" not in plain.err
    assert re.search(r'boom\.py", line 3, in boom', debugged.err)
    assert (
        "\naideon: boom: ValueError: the node is broken (boom.py:3)\ncontinue with: "
        in debugged.err
    )


def test_what_nobody_foresaw_is_one_line_with_its_type(aideon, monkeypatch):
    monkeypatch.setattr(sys, "stdin", object())
    done = aideon("run", "one.py", "-")
    assert done.code == 1
    assert re.fullmatch(r"AttributeError: .* \(add --debug to see the traceback\)", done.complaint)


def test_a_limit_that_a_command_meets_is_code_3(capsys):
    assert door._explain(TimeLimit(2)) == 3
    assert capsys.readouterr().err == "aideon: the run reached its time limit of 2 s\n"


def test_an_interrupt_before_a_run_has_begun_is_130(aideon, folder):
    (folder / "interrupts.py").write_text("raise KeyboardInterrupt\n", encoding="utf-8")
    done = aideon("run", "interrupts.py", "--task", "x")
    assert (done.code, done.complaint) == (130, "interrupted")


def test_an_operating_system_error_is_said_in_its_own_words(capsys):
    assert door._explain(OSError(28, "No space left on device")) == 1
    assert capsys.readouterr().err == "aideon: [Errno 28] No space left on device\n"


def test_the_console_script_is_this_door():
    from aideon_agents import __main__ as script

    assert script.main is main


def test_main_reads_the_words_of_its_process(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["aideon", "runs", "list", "--json"])
    assert main() == 0
    assert capsys.readouterr().out == "[]\n"
