"""README.md and the pages in docs/ work: their Python runs, their commands run, in order, offline."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import warm

from aideon_agents.tasks import load

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SHELLS = {"bash", "sh", "shell", "console"}
PROGRAMS = ("aideon ", "printf ", "sqlite-utils ")


class Fence(NamedTuple):
    page: Path
    language: str
    text: str
    line: int


def fences(page: Path) -> list[Fence]:
    text = page.read_text(encoding="utf-8")
    found = re.finditer(r"^```(\w+)[^\n]*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [Fence(page, one[1], one[2], text.count("\n", 0, one.start()) + 1) for one in found]


def commands(page: Path) -> list[str]:
    """The commands in a page; in a console only what follows the prompt is one."""
    found: list[str] = []
    for fence in fences(page):
        if fence.language not in SHELLS:
            continue
        lines = fence.text.replace("\\\n", " ").splitlines()
        if fence.language == "console":
            lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        found += [line.strip() for line in lines]
    return found


FENCES = [fence for page in PAGES for fence in fences(page)]
PYTHON = [fence for fence in FENCES if fence.language == "python"]
TESTS = [fence for fence in PYTHON if "\ndef test_" in fence.text]
SNIPPETS = [fence for fence in PYTHON if fence not in TESTS]


PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082"
)
"""A picture of one pixel."""

PIPED = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True, "timeout": 60}


def in_shell(command: str, offline: dict[str, str], folder: Path):
    words = ["/bin/sh", "-c", command]
    return subprocess.run(words, cwd=folder, env=offline, check=False, **PIPED)


@pytest.fixture
def offline(tmp_path: Path) -> dict[str, str]:
    """An environment of a newcomer without a key, in a folder that holds the README and a picture."""
    shutil.copy(ROOT / "README.md", tmp_path)
    (tmp_path / "cat.png").write_bytes(PNG)
    scripts = str(Path(sys.executable).parent)
    return {
        "AIDEON_OFFLINE": "1",
        "HOME": str(tmp_path),
        "PATH": scripts + os.pathsep + os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "default",
        "USER": "reader",
    }


@pytest.mark.parametrize(
    "snippet", SNIPPETS, ids=[f"{one.page.name} {one.line}" for one in SNIPPETS]
)
def test_each_python_snippet_runs(snippet: Fence, offline: dict[str, str], tmp_path: Path):
    file = tmp_path / "snippet.py"
    file.write_text(snippet.text, encoding="utf-8")
    done = warm.run([file], cwd=tmp_path, env=offline, **PIPED)
    assert done.returncode == 0, done.stderr


def test_each_test_that_a_page_shows_passes(offline: dict[str, str], tmp_path: Path):
    assert TESTS
    for fence in PYTHON:
        if fence.page in {one.page for one in TESTS}:
            name = f"test_line_{fence.line}.py" if fence in TESTS else "notes.py"
            (tmp_path / name).write_text(fence.text, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    words = ["-m", "pytest", "-q", "-W", "ignore", "-p", "no:cacheprovider"]
    keyless = offline | {"AIDEON_OFFLINE": "0"}  # a rehearsal would ask no model of the tests
    done = warm.run([*words, tmp_path], cwd=tmp_path, env=keyless, **PIPED)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(TESTS)} passed" in done.stdout


@pytest.mark.parametrize(
    "page", [page for page in PAGES if commands(page)], ids=lambda page: page.name
)
def test_the_commands_of_a_page_run_one_after_the_other(
    page: Path, offline: dict[str, str], tmp_path: Path
):
    ours = [command for command in commands(page) if command.startswith(PROGRAMS)]
    assert ours
    for command in ours:
        program, *words = shlex.split(command, comments=True)
        if program == "aideon":
            words = ["-m", "aideon_agents", *words]
            done = warm.run(words, cwd=tmp_path, env=offline, **PIPED)
        else:
            done = in_shell(command, offline, tmp_path)
        assert done.returncode == 0, f"{command}\n{done.stderr}"


def test_the_first_command_runs_in_a_shell(offline, tmp_path):
    first = next(one for one in commands(ROOT / "README.md") if one.startswith("aideon "))
    done = in_shell(first, offline, tmp_path)
    assert done.returncode == 0, done.stderr


def test_every_make_command_has_a_target():
    targets = re.findall(
        r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
    )
    wanted = {
        word
        for line in commands(ROOT / "README.md")
        if line.startswith("make ")
        for word in line.split("#")[0].split()[1:]
    }
    assert {"demo", "test"} <= wanted <= set(targets)


def test_the_demo_prints_a_text_that_reads_well_a_table_and_the_graph(offline, tmp_path):
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    recipe = (ROOT / "Makefile").read_text(encoding="utf-8").partition("\ndemo:")[2]
    shown = []
    for line in recipe.partition("\n\n")[0].splitlines():
        if line.startswith("\t@$(BIN)/aideon "):
            words = ["-m", "aideon_agents", *shlex.split(line)[1:]]
            done = warm.run(words, cwd=tmp_path, env=offline, **PIPED)
            assert done.returncode == 0, done.stderr
            shown += [done.stdout, done.stderr]
    text, table, graph, _ = shown
    material = (ROOT / "examples" / "heat-pumps.txt").read_text(encoding="utf-8")
    assert text.startswith("A heat pump does not make heat")
    assert len(text.split()) > 60
    assert all(sentence in material for sentence in text.strip().split(". ")[:-1])
    assert "refine/draft" in table
    assert re.search(r"draft \(creative\)\n +\$0\.000", graph)


def test_each_task_file_that_is_shown_is_one(tmp_path: Path):
    shown = [fence for fence in FENCES if fence.language == "yaml"]
    assert shown
    for fence in shown:
        file = tmp_path / "shown.yaml"
        file.write_text(fence.text, encoding="utf-8")
        assert load(str(file)).graph.builder.nodes


def test_every_link_to_a_file_leads_to_one():
    for page in [*PAGES, ROOT / "AGENTS.md"]:
        text = page.read_text(encoding="utf-8")
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
