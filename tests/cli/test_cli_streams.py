"""A paid answer is shown, whatever stdout and stderr are: 8-bit, closed, full, or read in part."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

ANSWER = "café \U0001f600 ✓"
SAYS = f"""
from aideon_agents import sequential
def say(state):
    return {ANSWER!r}
graph = sequential(say)
"""
COMMAND = f'"{sys.executable}" -m aideon_agents'
OLD = "LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0"


@pytest.fixture
def shell(folder, environment):
    """Calls a line of the shell, in which AIDEON is the command."""
    (folder / "says.py").write_text(SAYS, encoding="utf-8")

    def call(line):
        words = ["bash", "-c", line.replace("AIDEON", COMMAND)]
        return subprocess.run(words, cwd=folder, env=environment, capture_output=True, timeout=60)  # noqa: PLW1510 - a test looks at the code

    return call


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("PYTHONIOENCODING=latin-1", "café \\ud83d\\ude00 \\u2713".encode("latin-1")),
        ("PYTHONIOENCODING=ascii", b"caf\\u00e9 \\ud83d\\ude00 \\u2713"),
        (OLD, b"caf\\u00e9 \\ud83d\\ude00 \\u2713"),
    ],
    ids=["latin-1", "ascii", "C"],
)
def test_an_8_bit_stdout_shows_what_it_lacks_as_escapes(shell, encoding, shown):
    done = shell(f"{encoding} AIDEON run says.py --task x")
    assert (done.returncode, done.stdout) == (0, shown + b"\n"), done.stderr


def test_a_document_on_an_8_bit_stdout_is_json(shell):
    done = shell(f"{OLD} AIDEON run says.py --task 'ü' --user 'ü' --json")
    assert json.loads(done.stdout.decode("ascii"))["output"] == ANSWER
    listed = json.loads(
        shell("PYTHONIOENCODING=latin-1 AIDEON runs list --json").stdout.decode("latin-1")
    )
    assert listed[0]["user"] == "ü"


def test_a_document_holds_no_raw_code_that_a_terminal_obeys(aideon, folder):
    said = "a\x7f\x9b31m\u202eb\ud800c"
    (folder / "odd.py").write_text(
        f"from aideon_agents import sequential\ngraph = sequential(lambda state: {said!r})\n"
    )
    done = aideon("run", "odd.py", "--task", "x", "--json")
    assert done.out.isascii()
    assert done.document["output"].startswith("a\x7f\x9b31m\u202eb")


@pytest.mark.parametrize("closed", [">&-", ">/dev/full"])
def test_a_stdout_that_takes_nothing_leaves_the_answer_to_stderr(shell, closed):
    done = shell(f"AIDEON run says.py --task x {closed}")
    said = done.stderr.decode()
    assert done.returncode == 1
    assert "aideon: stdout cannot be written (" in said
    assert f"): its text follows here\n{ANSWER}\n" in said
    assert "Traceback" not in said
    assert "Exception ignored" not in said


@pytest.mark.parametrize("closed", ["2>&-", "2>/dev/full", "<&- 2>&-"])
def test_a_stderr_that_takes_nothing_does_not_keep_the_answer_back(shell, closed):
    done = shell(f"AIDEON run says.py --task x {closed}")
    assert (done.returncode, done.stdout.decode()) == (0, f"{ANSWER}\n")


@pytest.mark.parametrize("words", ["workflows", "graph says.py", "graph says.py -f png", "--help"])
def test_other_commands_say_that_stdout_is_full(shell, words):
    done = shell(f"AIDEON {words} >/dev/full")
    assert done.returncode == 1
    assert b"No space left on device" in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_pipe_that_closes_early_is_no_error(shell):
    assert shell("AIDEON run says.py --task x").returncode == 0
    done = shell("set -o pipefail; AIDEON runs list --json | head -c 1")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"[", b"")


def test_forced_colours_stay_out_of_files_and_pipes(shell, folder):
    done = shell(
        "FORCE_COLOR=1 AIDEON run says.py --task x;"
        " FORCE_COLOR=1 AIDEON costs --rehearsed -o costs.txt; FORCE_COLOR=1 AIDEON runs list"
    )
    assert b"\x1b" not in done.stdout + done.stderr + (folder / "costs.txt").read_bytes()
