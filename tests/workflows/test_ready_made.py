"""What the ready-made workflows check by function, what they take, and how they are listed."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

from aideon_agents import Context, run
from aideon_agents.cli.app import main
from aideon_agents.state import StepResult
from aideon_agents.tasks import load
from aideon_agents.testing import GivenModels, ScriptedChatModel

WORKFLOWS = Path(__file__).parents[2] / "workflows"
QUESTION = "How do heat pumps move heat?"


@pytest.fixture
def notes(tmp_path):
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "pumps.md").write_text("# Pumps\n\nHeat pumps move heat.\n", encoding="utf-8")
    (folder / "cats.txt").write_text("Cats sleep.\n", encoding="utf-8")
    (folder / "picture.bin").write_bytes(b"heat pumps\0")
    return folder


def test_research_finds_the_passages_of_files_and_folders(notes):
    find = runpy.run_path(str(WORKFLOWS / "research.py"))["find"]
    found = find({"task": QUESTION, "inputs": {"source": [str(notes)]}})
    assert found.startswith(f"[{notes}/pumps.md:")
    assert f"[{notes}/pumps.md:3]\nHeat pumps move heat." in found
    assert "Cats" not in found
    assert found.endswith(f"Not read: {notes}/picture.bin (not a text file: convert it to text).")
    assert find({"task": QUESTION, "inputs": {"source": str(notes / "pumps.md")}}) in found
    assert "No source was given" in find({"task": QUESTION})


def test_research_checks_each_citation():
    check = runpy.run_path(str(WORKFLOWS / "research.py"))["cites_its_sources"]
    found = StepResult(node_path="find", role="function", content="[a.md:3]\nHeat.")
    state = {"results": {"find": found}}
    assert check("They move heat [a.md:3].", state) is True
    assert "a.md:4" in check("They move heat [a.md:4].", state)
    assert "Cite what was found" in check("They move heat.", state)
    assert check("They move heat.", {"results": {}}) is True


def test_a_brief_has_at_most_300_words():
    check = runpy.run_path(str(WORKFLOWS / "brief.py"))["is_one_page"]
    assert check("word " * 300) is True
    assert "301 words" in check("word " * 301)


@pytest.mark.parametrize("name", ["research", "triage", "article", "brief", "refine"])
def test_a_rehearsal_of_it_completes_in_one_pass(name, tmp_path, notes):
    inputs = {"source": str(notes)}
    done = run(
        load(name).graph, QUESTION, inputs=inputs, rehearse=True, ledger=tmp_path / "ledger.db"
    )
    assert (done.status, done.error) == ("completed", None)


def test_workflows_are_listed_with_their_inputs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("flow.yaml").write_text(
        "agent: creative\ndescription: Write for {reader}.\n", encoding="utf-8"
    )
    Path("pyproject.toml").write_text(
        '[tool.aideon.workflows]\nnote = "flow.yaml"\n', encoding="utf-8"
    )
    assert main(["workflows", "--json"]) == 0
    listed = {one["name"]: one for one in json.loads(capsys.readouterr().out)["workflows"]}
    assert listed.keys() >= {"research", "triage", "article", "brief", "refine", "insights", "note"}
    assert listed["note"]["inputs"] == [{"key": "reader", "description": None, "required": True}]
    (source,) = listed["research"]["inputs"]
    assert (source["key"], source["required"]) == ("source", False)
    assert "folder" in source["description"]
    assert main(["workflows"]) == 0
    assert "-p reader= (required)" in capsys.readouterr().out


def test_prompts_beside_a_workflow_replace_those_of_the_roles(tmp_path):
    (tmp_path / "prompts").mkdir()
    flow = tmp_path / "flow.yaml"
    flow.write_text("agent: creative\n", encoding="utf-8")
    before = load(str(flow)).content_hash
    (tmp_path / "prompts" / "creative.md").write_text("You are a bard.\n", encoding="utf-8")
    target = load(str(flow))
    assert target.content_hash != before
    model = ScriptedChatModel(answers=["A song."])
    target.graph.invoke({"task": "Sing."}, context=Context(models=GivenModels(model)))
    assert str(model.requests[0].messages[0].content).startswith("You are a bard.\n\n")
