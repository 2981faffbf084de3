"""Loads the workflow at an address as a compiled graph.

An address is `path/to/file.py:name`, a task file, or the name of a ready-made workflow, which is
looked up in `./workflows` and then among those in the wheel. Files are loaded by path and never
become part of an importable package.
"""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

from aideon_agents.errors import TargetError
from aideon_agents.graphs import Graph
from aideon_agents.tasks import python_file, reading
from aideon_agents.tasks.building import ModelCheck, Site, ToolFiles, root
from aideon_agents.tasks.document import nearest

SUFFIXES = (".yaml", ".yml", ".json")
"""How the names of task files end."""


_PACKAGE = Path(__file__).parents[1]

_SUFFIXES = (".py", *SUFFIXES)


@dataclasses.dataclass(frozen=True)
class Target:
    """A loaded workflow."""

    name: str
    """Its name in reports."""
    address: str
    """The address that was asked for."""
    path: Path
    """The file that it was loaded from."""
    content_hash: str
    """SHA-256 in hex of that file and of the files with a task file's tools."""
    graph: Graph


def load(address: str, *, check_model: ModelCheck | None = None) -> Target:
    """Find a workflow and build its graph.

    `check_model` receives the role and the model of each step of a task file that names a model, and
    raises UserError for an invalid one; the error then has the step's position. None: models are
    checked where the graph is run.
    """
    path, attribute = _split(address)
    name = None
    if "/" not in address and not attribute and path.suffix not in _SUFFIXES:
        path, name = _ready_made(address), address
    content = _read(path, address)
    if path.suffix in SUFFIXES:
        document = reading.read(path, content)
        step = reading.check(document)
        files = ToolFiles(path.parent)
        own_name = step.name or path.stem
        graph = root(step, Site(document, files, check_model=check_model), own_name)
        digest = hashlib.sha256(b"".join([content, *files.contents]))
        return Target(name or own_name, address, path, digest.hexdigest(), graph)
    graph = python_file.graph(path, content, attribute or "graph")
    name = name or (path.stem if attribute in ("", "graph") else attribute)
    return Target(name, address, path, hashlib.sha256(content).hexdigest(), graph)


def ready_made() -> dict[str, Path]:
    """The files of the workflows that can be named without a path, by name."""
    folders = (_gallery(), Path("workflows"))
    suffixes = reversed(_SUFFIXES)  # of two files with one name, the Python file wins
    patterns = [f"[!_]*{suffix}" for suffix in suffixes]
    found = (file for folder in folders for one in patterns for file in sorted(folder.glob(one)))
    return {file.stem: file for file in found}


def _gallery() -> Path:
    """The wheel's folder, else the checkout's: beside an installed package, `workflows` is not ours."""
    shipped = _PACKAGE / "_gallery"
    return shipped if shipped.is_dir() else _PACKAGE.parent / "workflows"


def _split(address: str) -> tuple[Path, str]:
    """The file and the name in it; only Python files have names."""
    file, separator, attribute = address.partition(".py:")
    if separator:
        return Path(file + ".py"), attribute
    file, _, attribute = address.rpartition(":")
    if file.endswith(SUFFIXES):
        raise TargetError(f"{file} is a task file and holds one workflow: leave out :{attribute}")
    return Path(address), ""


def _ready_made(name: str) -> Path:
    known = ready_made()
    if name in known:
        return known[name]
    if _exists(Path(name)):
        return Path(name)  # a folder, or not a workflow: reading it reports which
    hint = nearest(name, known)
    raise TargetError(f"no workflow is called {name!r}: {hint} (or give a path: file.py:graph)")


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # the name is too long: perhaps a task
        return False


def _read(path: Path, address: str) -> bytes:
    try:
        if path.is_dir():
            raise TargetError(
                f"{path} is a folder: name a file in it, such as {path}/NAME.py:graph"
            )
        if path.exists() and not path.is_file():
            raise TargetError(f"{path} cannot be read as a workflow: it is not a regular file")
        content = path.read_bytes()
        content.decode("utf-8")
    except FileNotFoundError:
        raise TargetError(f"there is no file {path} (from {address!r}){_beside(path)}") from None
    except UnicodeDecodeError:
        raise TargetError(
            f"{path} cannot be read as a workflow: it is not text in UTF-8, which it must be"
        ) from None
    except (OSError, ValueError) as error:
        raise TargetError(f"{path} cannot be read as a workflow: {error}") from None
    if path.suffix not in _SUFFIXES:
        raise TargetError(
            f"{path} is not a workflow: the name of a Python file ends in .py, "
            f"that of a task file in {', '.join(SUFFIXES)}"
        )
    return content


def _beside(path: Path) -> str:
    """A hint at workflows in the folder of a missing file."""
    try:
        names = [str(one) for one in path.parent.iterdir() if one.suffix in _SUFFIXES]
    except OSError:
        return ""  # the folder is missing or cannot be read
    return f": {nearest(str(path), names)}" if names else ""
