"""`aideon run FLOW.yaml`: what is wrong in it is one line, code 2, and no row."""

from __future__ import annotations

import pytest

FLOW = """\
type: sequential
steps:
  - {agent: executor, name: facts, description: "Facts about {subject} in {language}"}
  - {agent: creative, name: text}
"""


@pytest.fixture
def flow(folder):
    """A task file that needs two inputs."""
    (folder / "flow.yaml").write_text(FLOW, encoding="utf-8")
    return "flow.yaml"


@pytest.mark.parametrize("command", [["run", "--task", "x"], ["graph"]], ids=["run", "graph"])
def test_a_wrong_field_is_one_line_and_code_2(aideon, folder, flow, command):
    (folder / flow).write_text(FLOW.replace("name: text", "nmae: text"), encoding="utf-8")
    done = aideon(*command, flow)
    assert done.code == 2
    assert done.complaint.startswith("flow.yaml:4: steps.1.nmae: unknown key, did you mean name? (")
    assert not (folder / ".aideon").exists()


RETIRED = "together:meta-llama/Meta-Llama-3.1-8B-Instruct-Turbo"


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (RETIRED, f"flow.yaml:4: steps.1.model: {RETIRED} is retired since 2026-03-06: use"),
        (
            f"[together:openai/gpt-oss-120b, {RETIRED}]",
            f"flow.yaml:4: steps.1.model.1: {RETIRED} is retired since",
        ),
        ("togehter:m", "flow.yaml:4: steps.1.model: unknown provider 'togehter'"),
    ],
)
def test_a_model_that_cannot_be_asked_is_told_with_its_line_and_field(
    aideon, folder, flow, model, says
):
    source = FLOW.replace("name: text", f"name: text, model: {model}")
    (folder / flow).write_text(source, encoding="utf-8")
    inputs = ["-p", "language=German", "-p", "subject=heat"]
    done = aideon("run", flow, "--task", "x", *inputs)
    assert done.code == 2
    assert done.complaint.startswith(says)
    assert not (folder / ".aideon").exists()
    replaced = ["--model", "creative=together:openai/gpt-oss-120b"]
    assert aideon("run", flow, "--task", "x", *inputs, *replaced).code == 0


def test_inputs_that_are_missing_are_named_before_anything_is_called(aideon, folder, flow):
    done = aideon("run", flow, "--task", "x", "-p", "language=German")
    assert done.code == 2
    assert "subject" in done.complaint
    assert "-p" in done.complaint
    assert not (folder / ".aideon").exists()


def test_a_task_file_runs_and_is_drawn(aideon, flow):
    inputs = ["-p", "language=German", "-p", "subject=heat"]
    document = aideon("run", flow, "--task", "Write it.", *inputs, "--json").document
    assert (document["workflow"], document["status"]) == ("flow", "completed")
    assert list(document["results"]) == ["facts", "text"]
    assert aideon("graph", flow).out.startswith("flow\n")


@pytest.fixture
def outside(folder):
    """A task file with a tool outside its folder, which says when it is run."""
    source = "import pathlib\npathlib.Path('ran').touch()\ndef find(q: str):\n    '''Find it.'''\n    return q\n"
    (folder / "tools.py").write_text(source, encoding="utf-8")
    (folder / "flows").mkdir()
    text = "agent: executor\napprove: true\ntools: ['../tools.py:find']\n"
    (folder / "flows/flow.yaml").write_text(text, encoding="utf-8")
    (folder / "items.jsonl").write_text('{"task": "x"}\n', encoding="utf-8")
    return "flows/flow.yaml"


RUN, BATCH = ("run", "--task", "x"), ("items.jsonl", "-o", "out.jsonl", "--rehearse")
SAYS = "flows/flow.yaml:3: tools.0: flows/../tools.py is outside the folder of the task file: "


@pytest.mark.parametrize("flags", [[], ["--rehearse"], ["--json"]])
def test_a_file_outside_the_folder_is_not_run_unless_it_is_allowed(aideon, folder, outside, flags):
    for words in ((*RUN, outside), ("batch", outside, *BATCH[:3]), ("graph", outside)):
        done = aideon(*words, *([] if words[0] == "graph" else flags))
        assert (done.code, done.complaint[: len(SAYS)]) == (2, SAYS)
        assert done.complaint.endswith("put it into that folder or below, or give --allow-outside")
    assert not (folder / "ran").exists()
    assert not (folder / ".aideon").exists()


def test_a_run_that_may_use_files_outside_also_resumes_with_them(aideon, folder, outside):
    assert aideon("graph", outside, "--allow-outside").code == 0
    assert (folder / "ran").exists()
    assert aideon(*RUN, outside, "--rehearse", "--allow-outside").code == 4
    assert aideon("runs", "approve", "last").code == 0
    assert aideon("batch", outside, *BATCH, "--allow-outside", "--json").document["waiting"] == 1
    assert aideon("batches", "approve", "last", "--yes").code == 0


def test_workers_use_no_file_outside_the_folder(aideon, outside):
    done = aideon("batch", outside, *BATCH, "--allow-outside", "--engine", "distributed")
    assert done.code == 2
    assert "workers use no file outside the folder of a task file: leave out" in done.complaint
