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
