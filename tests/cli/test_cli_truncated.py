"""An answer that met max_tokens is shown as cut off, and one of a fallback as such."""

from __future__ import annotations

import json

import pytest

from aideon_agents.testing import Fault, SimulatedProvider

SHORT = """
from aideon_agents import creative, sequential

graph = sequential(creative("draft", max_tokens=3, model=["local:first", "local:second"]))
"""
TEXT = "Heat pumps move heat from outdoor air into a house in every winter."


@pytest.fixture
def local(monkeypatch, folder):
    (folder / "short.py").write_text(SHORT)
    with SimulatedProvider(faults={"first": Fault(404)}) as provider:
        monkeypatch.setenv("AIDEON_LOCAL_BASE_URL", provider.base_url)
        yield provider


def test_a_run_says_which_answer_is_cut_off_and_what_to_do(aideon, local):
    done = aideon("run", "short.py", "--task", TEXT)
    assert "the answer of draft met max_tokens (3) and is cut off: raise max_tokens" in done.err
    assert "draft (fallback, cut off)" in done.err
    assert done.code == 0
    shown = aideon("runs", "show", "last")
    assert "fallback, met max_tokens and is cut off" in shown.out


def test_the_json_of_a_run_says_it_too(aideon, local):
    done = aideon("run", "short.py", "--task", TEXT, "--json")
    assert "the answer of draft met max_tokens (3)" in done.err
    document = json.loads(done.out)
    assert document["results"]["draft"]["models"] == ["local:second"]
    assert document["nodes"][0]["truncated"]


@pytest.mark.parametrize("form", ["text", "mermaid", "svg", "html"])
def test_a_picture_of_the_run_shows_both(aideon, local, form):
    aideon("run", "short.py", "--task", TEXT)
    drawn = aideon("graph", "--run", "last", "-f", form).out
    assert "met max_tokens" in drawn
    assert "fallback" in drawn or "first → second" in drawn


def test_a_batch_counts_the_answers_that_are_cut_off(aideon, local, folder):
    (folder / "items.jsonl").write_text(json.dumps({"id": "a", "task": TEXT}) + "\n")
    done = aideon("batch", "short.py", "items.jsonl", "-o", "out.jsonl")
    assert "1 answer met max_tokens and is cut off: raise max_tokens" in done.err
    line = json.loads((folder / "out.jsonl").read_text())
    assert (line["models"], line["truncated"]) == (["local:second"], True)
