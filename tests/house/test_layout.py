"""Where things stand, and what the wheel may put on somebody's path."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "aideon_agents"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def python(*arguments: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_workflows_is_a_folder_and_never_a_package():
    assert not list((ROOT / "workflows").rglob("__init__.py"))


def test_a_package_called_workflows_is_not_hidden_by_ours(tmp_path: Path):
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "__init__.py").write_text("OWNER = 'somebody else'\n")
    source = (
        "import sys, aideon_agents\n"
        f"sys.path.append({str(tmp_path)!r})\n"
        "import workflows\n"
        "print(workflows.OWNER)\n"
    )
    done = python("-c", source, cwd=tmp_path)
    assert done.stdout == "somebody else\n", done.stderr


def test_the_wheel_ships_one_package_with_the_workflows_inside_it(tmp_path: Path):
    done = python("-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"aideon_agents"}
    ready_made = {path.name for path in (ROOT / "workflows").iterdir() if path.is_file()}
    shipped = {Path(name).name for name in names if name.startswith("aideon_agents/_gallery/")}
    assert ready_made <= shipped
    assert "aideon_agents/py.typed" in names
    assets = {path.relative_to(ROOT).as_posix() for path in PACKAGE.glob("drawing/page/assets/*")}
    assert assets
    assert assets <= set(names)


def test_an_example_has_at_most_40_lines():
    sizes = {
        path.name: len(path.read_text(encoding="utf-8").splitlines())
        for path in (ROOT / "examples").glob("*.py")
    }
    assert {name: size for name, size in sizes.items() if size > 40} == {}


def test_every_room_has_its_place_in_the_one_way_order():
    (order,) = (
        contract
        for contract in PROJECT["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers"
    )
    placed = {
        room.strip(" ()").removeprefix("aideon_agents.")
        for layer in order["layers"]
        for room in layer.split("|")
    }
    rooms = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    rooms |= {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert rooms == placed
    assert order["exhaustive"] is True


def test_imports_go_one_way():
    done = python(
        "-c", "from importlinter.cli import lint_imports_command as run; run()", "--no-cache"
    )
    assert done.returncode == 0, done.stdout


def test_the_test_folders_stand_for_rooms():
    beside = {"house", "workflows", "examples", "benchmarks", "processes"}
    rooms = {path.stem for path in PACKAGE.iterdir()} | beside
    folders = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir()}
    assert folders - {"__pycache__"} <= rooms


def test_no_two_test_files_share_a_name():
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(set(names)) == sorted(names)


def test_the_build_server_runs_the_test_command_of_the_readme():
    last = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()[-1]
    assert last == "make test </dev/null"
    assert "make test" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_the_lock_names_the_public_index_alone():
    packages = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))["package"]
    sources = [package["source"] for package in packages]
    assert {"editable": "."} in sources
    assert {source["registry"] for source in sources if "registry" in source} == {
        "https://pypi.org/simple"
    }
    assert all("registry" in source or source == {"editable": "."} for source in sources)
