"""The command line called in process, in an empty folder, by somebody without a key."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import warm
from terminals import Terminal

from aideon_agents.cli.app import main
from aideon_agents.settings import Settings

ROOT = Path(__file__).parents[2]
HEAD = "from aideon_agents import creative, executor, parallel, sequential\n"
FILES = {
    "one.py": HEAD + 'graph = sequential(creative("draft"))\n',
    "two.py": HEAD
    + 'graph = sequential(executor("facts", purpose="research"), creative("text"))\n',
    "boom.py": HEAD
    + 'def boom(state):\n    raise ValueError("the node\\nis broken")\n'
    + 'graph = sequential(creative("draft"), boom)\n',
    "inputs.py": HEAD
    + "def show(state):\n    return repr(sorted(state['inputs'].items()))\n"
    + "graph = sequential(show)\n",
    "echo.py": HEAD + "def echo(state):\n    return state['task']\n" + "graph = sequential(echo)\n",
}


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)

    @property
    def complaint(self) -> str:
        """The one line that says what is wrong; there is nothing else on stderr or stdout."""
        assert self.out == ""
        assert self.err.endswith("\n")
        assert self.err.count("\n") == 1, self.err
        assert self.err.startswith("aideon: ")
        return self.err.removeprefix("aideon: ").rstrip("\n")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A working directory with a few workflows; no key and no setting in the environment."""
    for field in Settings.model_fields.values():
        for variable in field.validation_alias.choices:
            monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("AIDEON_USER", "ada")
    monkeypatch.chdir(tmp_path)
    for name, source in FILES.items():
        (tmp_path / name).write_text(source, encoding="utf-8")
    return tmp_path


@pytest.fixture
def aideon(capsys):
    """Calls the command line."""

    def call(*words: str) -> Done:
        code = main(words)
        out, err = capsys.readouterr()
        return Done(code, out, err)

    return call


@pytest.fixture
def environment(folder, monkeypatch):
    """What a process of its own is given: this one's environment, as it is when it starts."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("COLUMNS", "80")
    return os.environ


@pytest.fixture
def begin(folder, environment):
    """Starts the command line in a process of its own; one that is left over is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(*words: str, **streams: int) -> subprocess.Popen[str]:
        piped = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = warm.Process(
            ["-m", "aideon_agents", *words],
            cwd=folder,
            env=environment,
            text=True,
            **(piped | streams),
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def terminal(environment, monkeypatch):
    """Starts a command at a terminal."""
    monkeypatch.setenv("TERM", "xterm")
    opened: list[Terminal] = []

    def start(*words: str) -> Terminal:
        opened.append(Terminal(list(words), dict(environment)))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


@pytest.fixture
def command(folder, environment):
    """Calls any command in a process of its own."""

    def call(*words: str, stdout: int = subprocess.PIPE) -> Done:
        done = subprocess.run(
            words,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
        return Done(done.returncode, done.stdout or "", done.stderr)

    return call


@pytest.fixture
def process(folder, environment):
    """Calls the command line, or a source that ends as it does, in a process of its own."""

    def call(*words: str, source: str | None = None, stdout: int = subprocess.PIPE) -> Done:
        done = warm.run(
            ["-m", "aideon_agents", *words] if source is None else ["-c", source, *words],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
        )
        return Done(done.returncode, done.stdout or "", done.stderr)

    return call
