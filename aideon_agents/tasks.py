"""From an address to a compiled graph.

An address is `path/to/file.py:name`, or the bare name of a ready-made workflow, looked up in
`./workflows` and then among those in the wheel. Files are loaded by path and never become part of
an importable package.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import importlib.util
import inspect
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from langchain_core.runnables import Runnable
from langgraph.graph.state import CompiledStateGraph

from aideon_agents.errors import TargetError
from aideon_agents.patterns import sequential

if TYPE_CHECKING:
    from types import ModuleType

    from aideon_agents.patterns.nodes import Graph

_PACKAGE = Path(__file__).parent


@dataclasses.dataclass(frozen=True)
class Target:
    """A workflow that was found."""

    name: str
    """What it is called in reports."""
    address: str
    """As it was asked for."""
    path: Path
    """The file it came from."""
    content_hash: str
    """SHA-256 of that file, in hex."""
    graph: Graph


def load(address: str) -> Target:
    """Find a workflow and build its graph.

    Args:
        address: `file.py:name`, `file.py`, or the name of a ready-made workflow.

    Returns:
        The target.

    Raises:
        TargetError: There is none, or its file does not give a graph; the message says where.
    """
    file, _, attribute = address.partition(".py:")
    if "/" in address or address.endswith(".py") or attribute:
        path = Path(file + ".py" if attribute else file)
        name = path.stem if not attribute or attribute == "graph" else attribute
    else:
        path, name = _ready_made(address), address
    content = _read(path, address)
    made = _attribute(_execute(path, content), attribute or "graph", path)
    return Target(name, address, path, hashlib.sha256(content).hexdigest(), _graph(made, path))


def ready_made() -> dict[str, Path]:
    """The workflows that can be named without a path.

    Returns:
        Files by name; those of the working directory hide those of the wheel.
    """
    folders = (_PACKAGE.parent / "workflows", _PACKAGE / "_gallery", Path("workflows"))
    found = (file for folder in folders if folder.is_dir() for file in sorted(folder.glob("*.py")))
    return {file.stem: file for file in found}


def _ready_made(name: str) -> Path:
    known = ready_made()
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(sorted(known))}"
    raise TargetError(f"no workflow is called {name!r}: {hint} (or give a path: file.py:graph)")


def _read(path: Path, address: str) -> bytes:
    if path.is_dir():
        raise TargetError(f"{path} is a folder: name a file in it, such as {path}/NAME.py:graph")
    try:
        content = path.read_bytes()
        content.decode("utf-8")
    except FileNotFoundError:
        raise TargetError(f"there is no file {path} (from {address!r})") from None
    except (OSError, UnicodeDecodeError) as error:
        raise TargetError(f"{path} cannot be read as a workflow: {error}") from None
    return content


def _execute(path: Path, content: bytes) -> ModuleType:
    """Run the file as a module of its own; its folder is importable while it runs."""
    name = f"aideon_workflow_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None:
        raise TargetError(f"{path} is no Python file: a workflow's name ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and typing look their module up there
    sys.path.insert(0, str(path.parent.resolve()))
    try:
        exec(compile(content, str(path), "exec"), module.__dict__)  # noqa: S102 - it is what was asked
    except SystemExit as left:
        raise TargetError(f"{path} exits while it is loaded (code {left.code})") from left
    except Exception as error:
        raise TargetError(_where(error, path)) from error
    finally:
        sys.path.remove(str(path.parent.resolve()))
    return module


def _where(error: Exception, path: Path) -> str:
    """The line of the user's file on which loading it failed, and why."""
    if isinstance(error, SyntaxError):
        return f"{path}:{error.lineno}: {error.msg}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(path)]
    line = f":{lines[-1]}" if lines else ""
    return f"{path}{line}: {type(error).__name__}: {error}"


def _attribute(module: ModuleType, name: str, path: Path) -> Any:
    if not hasattr(module, name):
        graphs = [key for key, value in vars(module).items() if isinstance(value, Runnable)]
        hint = f"it has {', '.join(graphs)}" if graphs else "it has no graph at all"
        raise TargetError(f"{path} has no {name!r}: {hint}")
    return getattr(module, name)


def _graph(made: Any, path: Path) -> Graph:
    """What an address names, as a graph: one, a node, or a function that returns one."""
    if inspect.isfunction(made) and not inspect.signature(made).parameters:
        try:
            made = made()
        except Exception as error:
            raise TargetError(_where(error, path)) from error
    if isinstance(made, CompiledStateGraph):
        return cast("Graph", made)
    if isinstance(made, Runnable):
        return sequential(cast("Runnable[Any, Any]", made))
    raise TargetError(
        f"{path} gives a {type(made).__name__}: a workflow is a compiled graph, a node, "
        "or a function without arguments that returns one"
    )
