"""`aideon graph`: a workflow, drawn on stdout or into a file."""

from __future__ import annotations

import pytest


def test_text_is_drawn_unless_asked_otherwise(aideon):
    done = aideon("graph", "brief")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("brief\n")
    assert done.out.endswith("end\n")
    assert "planner" in done.out
    assert aideon("graph", "brief", "-f", "text").out == done.out


def test_mermaid_can_be_asked_for(aideon):
    done = aideon("graph", "brief", "--format", "mermaid")
    assert (done.code, done.err) == (0, "")
    assert "\nflowchart " in done.out
    assert "draft" in done.out


def test_depth_closes_levels(aideon):
    closed = aideon("graph", "brief", "--depth", "0").out
    assert "gather" in closed
    assert "risks" not in closed
    assert "risks" in aideon("graph", "brief").out


@pytest.mark.parametrize("form", ["text", "mermaid"])
def test_a_drawing_goes_into_a_file(aideon, folder, form):
    printed = aideon("graph", "one.py", "-f", form).out
    done = aideon("graph", "one.py", "-f", form, "-o", "drawn.txt")
    assert (done.code, done.out, done.err) == (0, "", "")
    assert (folder / "drawn.txt").read_text(encoding="utf-8") == printed


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["-f", "gif"], "-f gif: one of text, mermaid"),
        (["-o", "."], ". cannot be written: Is a directory"),
        (["-o", "no/such/folder.txt"], "no/such/folder.txt cannot be written: No such file or"),
    ],
)
def test_what_cannot_be_drawn_is_one_line_and_code_2(aideon, words, says):
    done = aideon("graph", "one.py", *words)
    assert done.code == 2
    assert done.complaint.startswith(says)


def test_drawing_calls_nothing_and_writes_no_ledger(aideon, folder):
    aideon("graph", "brief")
    assert not (folder / ".aideon").exists()
