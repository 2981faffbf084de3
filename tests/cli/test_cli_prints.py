"""What a workflow prints is no result: stdout holds the result alone."""

from __future__ import annotations

from pathlib import Path

PRINTS = """
from aideon_agents import sequential
print("loading")
def say(state):
    print("working")
    return "done"
graph = sequential(say)
"""


def test_prints_of_a_workflow_go_to_stderr_and_the_document_stands_alone(aideon):
    Path("prints.py").write_text(PRINTS, encoding="utf-8")
    done = aideon("run", "prints.py", "--task", "x", "--json")
    assert done.document["output"] == "done"
    assert "loading\nworking\n" in done.err


def test_prints_of_a_workflow_stay_out_of_its_drawing(aideon):
    Path("prints.py").write_text(PRINTS, encoding="utf-8")
    done = aideon("graph", "prints.py", "--json")
    assert done.document["name"]
    assert done.err.startswith("loading\n")
