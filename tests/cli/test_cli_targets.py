"""What `aideon run TARGET` says when the target is none: one line, code 2, no row."""

from __future__ import annotations

import pytest

SOURCES = {
    "raises.py": "x = 1\n\nraise RuntimeError('not today')\n",
    "syntax.py": "x = 1\ny = = 2\n",
    "exits.py": "import sys\nsys.exit(4)\n",
    "empty.py": "",
    "number.py": "graph = 7\n",
}


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("breif", "no workflow is called 'breif': did you mean brief?"),
        ("zzz", "no workflow is called 'zzz': there are "),
        ("./missing.py:graph", "there is no file missing.py (from './missing.py:graph')"),
        ("./flows", "flows is a folder: name a file in it, such as flows/NAME.py:graph"),
        ("binary.py", "binary.py cannot be read as a workflow"),
        ("raises.py", "raises.py:3: RuntimeError: not today"),
        ("syntax.py", "syntax.py:2: invalid syntax"),
        ("exits.py", "exits.py exits while it is loaded (code 4)"),
        ("empty.py", "empty.py has no 'graph': it defines no graph"),
        ("one.py:draft", "one.py has no 'draft': it has graph"),
        ("number.py", "number.py: 'graph' is a int: it must be a compiled graph, a node"),
    ],
)
@pytest.mark.parametrize("command", [["run", "--task", "x"], ["graph"]], ids=["run", "graph"])
def test_a_target_that_is_none_is_one_line_and_code_2(aideon, folder, command, target, says):
    (folder / "flows").mkdir()
    (folder / "binary.py").write_bytes(bytes(range(128, 256)))
    for name, source in SOURCES.items():
        (folder / name).write_text(source, encoding="utf-8")
    done = aideon(*command, target)
    assert done.code == 2
    assert done.complaint.startswith(says)
    assert not (folder / ".aideon").exists()


def test_a_ready_made_workflow_runs_by_its_bare_name(aideon):
    document = aideon("run", "brief", "--task", "Heat pumps move heat.", "--json").document
    assert document["workflow"] == "brief"
    assert document["status"] == "completed"
    assert {"planner", "gather/facts", "refine/draft"} <= set(document["results"])


def test_a_workflow_of_the_working_directory_comes_first(aideon, folder):
    (folder / "workflows").mkdir()
    (folder / "workflows" / "brief.py").write_text("def graph(state):\n    return 'mine'\n")
    assert aideon("run", "brief", "--task", "x").out == "mine\n"
