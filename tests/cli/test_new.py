"""`aideon new` writes a folder that works as it is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from aideon_agents.cli.new import FILES

ROOT = Path(__file__).parents[2]


def test_the_folder_holds_what_lies_in_the_template(aideon, folder):
    done = aideon("new", "first/flow")
    assert done.code == 0
    assert done.out.splitlines() == [f"first/flow/{name}" for name in FILES]
    template = ROOT / "aideon_agents" / "cli" / "template"
    assert {file.name for file in template.iterdir() if file.is_file()} == set(FILES)
    for name in FILES:
        assert (folder / "first" / "flow" / name).read_bytes() == (template / name).read_bytes()


def test_as_json_it_says_where_and_what(aideon):
    files = [f"flow/{name}" for name in FILES]
    assert aideon("new", "flow", "--json").document == {"folder": "flow", "files": files}


def test_an_empty_folder_is_filled(aideon, folder):
    (folder / "flow").mkdir()
    assert aideon("new", "flow").code == 0


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("full", "full is not empty: name a new folder"),
        (".", ". is not empty: name a new folder"),
        ("one.py", "one.py is a file: name a new folder"),
        ("one.py/flow", "one.py/flow cannot be created: Not a directory"),
        ("x" * 300, f"{'x' * 300} cannot be created: File name too long"),
    ],
)
def test_a_folder_that_cannot_be_made_is_one_line_and_code_2(aideon, folder, target, says):
    (folder / "full").mkdir()
    (folder / "full" / "notes.txt").write_text("mine")
    done = aideon("new", target)
    assert (done.code, done.complaint) == (2, says)
    assert [file.name for file in (folder / "full").iterdir()] == ["notes.txt"]


def test_its_test_passes_without_a_key(aideon, folder, environment):
    aideon("new", "flow")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "flow"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


@pytest.mark.parametrize("file", ["workflow.py", "brief.yaml"])
def test_its_workflows_run_rehearsed(aideon, file):
    aideon("new", "flow")
    document = aideon(
        "run", f"flow/{file}", "--task", "Heat pumps move heat.", "--rehearse", "--json"
    ).document
    assert document["status"] == "completed"
    assert document["rehearsed"] is True
    assert {"gather/facts", "gather/angle", "refine/draft"} <= set(document["results"])


def test_the_commands_of_its_readme_work(aideon, folder, monkeypatch):
    aideon("new", "flow")
    monkeypatch.chdir(folder / "flow")
    lines = Path("README.md").read_text(encoding="utf-8").splitlines()
    commands = [line.split(" #")[0] for line in lines if line.startswith("aideon ")]
    assert len(commands) >= 6
    for command in commands:
        words = command.replace('"Heat pumps"', "Heat-pumps").split()[1:]
        assert aideon(*words).code == 0, command
