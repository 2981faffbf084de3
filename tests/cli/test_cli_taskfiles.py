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
