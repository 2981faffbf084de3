"""A folder, settings without a key, and batches that are rehearsed unless a provider is at hand."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import warm

from aideon_agents import Ledger, Settings, abatch, creative, executor, sequential

ROOT = Path(__file__).parents[2]
TWO = sequential(executor("facts"), creative("text"))
HEAD = "from aideon_agents import creative, executor, sequential\n"
TWO_FILE = HEAD + 'graph = sequential(executor("facts"), creative("text"))\n'


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The last line of stdout."""
        return json.loads(self.out.splitlines()[-1])


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The working directory; the environment sets nothing."""
    for field in Settings.model_fields.values():
        for variable in field.validation_alias.choices:
            monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "two.py").write_text(TWO_FILE, encoding="utf-8")
    return tmp_path


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path / "ledger.db") as opened:
        yield opened


@pytest.fixture
def keyed():
    """Settings whose Together is a simulated provider."""

    def settings(provider, **fields) -> Settings:
        return Settings(together_api_key="key", together_base_url=provider.base_url, **fields)

    return settings


@pytest.fixture
def written():
    """Writes items as JSON lines; text is a line as it is."""

    def write(items, name="items.jsonl") -> Path:
        lines = (item if isinstance(item, str) else json.dumps(item) for item in items)
        path = Path(name)
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return path

    return write


@pytest.fixture
def lines():
    """What OUT holds; every line has to be whole."""

    def read(name="out.jsonl") -> list[dict[str, Any]]:
        text = Path(name).read_text(encoding="utf-8")
        assert not text or text.endswith("\n")
        return [json.loads(line) for line in text.splitlines()]

    return read


@pytest.fixture
def rehearse(ledger):
    """Rehearses a batch."""

    async def run(items, out="out.jsonl", graph=TWO, **options):
        return await abatch(graph, items, out, rehearse=True, ledger=ledger, **options)

    return run


@pytest.fixture
def start(folder, monkeypatch):
    """Starts `aideon batch` in a process of its own."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("COLUMNS", "80")

    def run(*words: str, **more: str) -> subprocess.Popen[str]:
        return warm.Process(
            ["-m", "aideon_agents", "batch", *words],
            cwd=folder,
            env=os.environ | more,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return run


@pytest.fixture
def ended():
    """Waits for a process."""

    def wait(process: subprocess.Popen[str]) -> Done:
        with process:
            out, err = process.communicate(timeout=60)
        return Done(process.returncode, out, err)

    return wait
