"""Every file that decides what a workflow does is part of its content, and is known before any is run."""

from __future__ import annotations

from pathlib import Path

import pytest

from aideon_agents.errors import TargetError
from aideon_agents.tasks import load

FILES = {
    "flow.py": "import near\nfrom pack import inside\nfrom aideon_agents import sequential\n"
    "def build():\n    from later import says\n    return sequential(says)\n",
    "near.py": "import farther\n",
    "farther.py": "FAR = 1\n",
    "later.py": "def says(state):\n    return 'x'\n",
    "pack/__init__.py": "",
    "pack/inside.py": "from .beside import BESIDE\n",
    "pack/beside.py": "BESIDE = 1\n",
    "prompts/executor.md": "You execute.\n",
    "steps.yaml": "steps:\n- {agent: executor, tools: ['tools.py:find'], prompt: own.md}\n"
    "type: sequential\n",
    "tools.py": "import near\ndef find(word: str) -> str:\n    '''Find it.'''\n    return word\n",
    "own.md": "You are short.\n",
    "unrelated.py": "",
}
OF_PYTHON = ["near.py", "farther.py", "later.py", "pack/inside.py", "pack/beside.py"]
OF_STEPS = ["tools.py", "near.py", "farther.py", "own.md"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("pack", "prompts", "workflows"):
        Path(folder).mkdir()
    for name, text in FILES.items():
        Path(name).write_text(text)


@pytest.mark.parametrize(
    ("address", "part"),
    [
        *(("flow.py:build", name) for name in ("flow.py", *OF_PYTHON, "prompts/executor.md")),
        *(("steps.yaml", name) for name in ("steps.yaml", *OF_STEPS, "prompts/executor.md")),
    ],
)
def test_a_workflow_with_another_part_has_another_hash_and_none_of_it_is_run(address, part):
    before = load(address).content_hash
    Path("unrelated.py").write_text("# changed\n")
    assert load(address, content_hash=before).content_hash == before
    more = "__import__('pathlib').Path('ran').touch()\n" if part.endswith(".py") else "# changed\n"
    Path(part).write_text(Path(part).read_text() + more)
    with pytest.raises(TargetError, match="here is another version"):
        load(address, content_hash=before)
    assert not Path("ran").exists()
    assert load(address).content_hash != before


def test_a_bare_name_is_checked_before_its_file_is_run():
    flow = Path("workflows/mine.py")
    flow.write_text("from aideon_agents import executor\ngraph = executor()\n")
    before = load("mine").content_hash
    flow.write_text("__import__('pathlib').Path('ran').touch()\n" + flow.read_text())
    with pytest.raises(TargetError, match="here is another version"):
        load("mine", content_hash=before)
    assert not Path("ran").exists()


def test_files_that_cannot_be_read_are_reported_by_what_uses_them():
    Path("flow.py").write_text("import near\ngraph = (")
    with pytest.raises(TargetError, match=r"flow\.py:2"):
        load("flow.py")
    Path("near.py").write_bytes(b"\xff\0")
    Path("flow.py").write_text("import missing\n")
    with pytest.raises(TargetError, match="missing"):
        load("flow.py")
