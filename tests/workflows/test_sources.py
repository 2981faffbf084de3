"""The input `source`: given with --source, with -p, or by an item, and checked before any call."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from aideon_agents import UserError, abatch, run, sequential
from aideon_agents.cli.app import main
from aideon_agents.tasks import load


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("notes").mkdir()
    Path("notes/pumps.md").write_text("Heat pumps move heat.\n", encoding="utf-8")
    Path("more.md").write_text("A heat pump needs power.\n", encoding="utf-8")


def batch(*items, more=()):
    text = "".join(json.dumps({"task": "Heat pumps?", **item}) + "\n" for item in items)
    Path("items.jsonl").write_text(text, encoding="utf-8")
    return main(["batch", "research", "items.jsonl", "-o", "out.jsonl", "--rehearse", *more])


def results():
    return [json.loads(line) for line in Path("out.jsonl").read_text("utf-8").splitlines()]


@pytest.mark.parametrize("given", [["--source", "no/such"], ["-p", "source=no/such"]])
def test_a_source_that_is_missing_is_refused_before_anything_is_called(given, capsys):
    assert main(["run", "research", "--task", "x", *given, "--rehearse"]) == 2
    assert "no/such" in (error := capsys.readouterr().err)
    assert "give" in error
    assert batch({}, more=given) == 2
    assert "no/such" in capsys.readouterr().err
    assert not Path("out.jsonl").exists()


def test_a_batch_takes_sources_as_a_run_does(capsys):
    assert batch({}, more=["--source", "notes", "--source", "more.md"]) == 0, (
        capsys.readouterr().err
    )
    assert [one["status"] for one in results()] == ["completed"]


def test_an_item_names_its_own_sources_and_is_invalid_where_one_is_missing(capsys):
    items = ({"source": "notes"}, {"source": ["more.md", "no/such"]}, {"source": 5}, {})
    assert batch(*items, more=["--source", "more.md"]) == 1, capsys.readouterr().err
    assert [one["status"] for one in results()] == ["completed", "invalid", "invalid", "completed"]
    assert results()[1]["error"].startswith("line 2: the input source names no file or folder: no/")
    assert results()[2]["error"].startswith("line 3: ")


async def test_python_refuses_it_too():
    graph = load("research").graph
    with pytest.raises(UserError, match="no/such"):
        run(graph, "x", inputs={"source": Path("no/such")}, rehearse=True)
    with pytest.raises(UserError, match="no/such"):
        await abatch(graph, ["x"], "out.jsonl", inputs={"source": "no/such"}, rehearse=True)


def test_an_input_of_this_name_is_any_text_where_no_function_reads_it():
    graph = sequential(lambda state: state["inputs"]["source"])
    assert run(graph, "x", inputs={"source": "newsletter"}, rehearse=True).output == "newsletter"
