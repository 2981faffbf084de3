"""Runs a Python file as a module, for a workflow's graph or the tools of a task file.

An error in the file is reported with its line.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import inspect
import sys
import traceback
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from langchain_core.runnables import Runnable
from langgraph.graph.state import CompiledStateGraph

from aideon_agents.errors import TargetError
from aideon_agents.graphs import Graph
from aideon_agents.patterns import sequential

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import ModuleType


def graph(path: Path, content: bytes, name: str) -> Graph:
    """The graph that a file defines under a name."""
    module = execute(path, content)
    if not hasattr(module, name):
        graphs = [key for key, value in vars(module).items() if isinstance(value, Runnable)]
        hint = "it defines no graph"
        if graphs:
            hint = f"it has {', '.join(graphs)} (name one: {path}:{graphs[0]})"
        raise TargetError(f"{path} has no {name!r}: {hint}")
    made = getattr(module, name)
    if inspect.isfunction(made) and not _takes_state(made):
        if inspect.iscoroutinefunction(made):
            raise TargetError(f"{path}: {name!r} is an async function: use def to build a graph")
        with _loading(path):
            made = made()
    if isinstance(made, CompiledStateGraph):
        return cast("Graph", made)
    if isinstance(made, Runnable) or _takes_state(made):
        return sequential(cast("Runnable[Any, Any]", made))
    raise TargetError(
        f"{path}: {name!r} is a {type(made).__name__}: it must be a compiled graph, a node, or a "
        "function without arguments that returns one"
    )


def execute(path: Path, content: bytes) -> ModuleType:
    """Run a file as a module that no other code can import by name."""
    name = f"aideon_workflow_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    spec = ModuleSpec(name, SourceFileLoader(name, str(path)), origin=str(path))
    spec.has_location = True
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and typing look their module up there
    with _loading(path):
        exec(compile(content, str(path), "exec"), module.__dict__)  # noqa: S102 - it is what was asked
    return module


@contextlib.contextmanager
def _loading(path: Path) -> Generator[None]:
    """Make the folder of a file importable for a block, and name the line of its errors."""
    folder = str(path.parent.resolve())
    sys.path.insert(0, folder)
    try:
        yield
    except SystemExit as left:
        raise TargetError(
            f"{path} exits while it is loaded (code {left.code}): do not call sys.exit there"
        ) from left
    except Exception as error:
        raise TargetError(_where(error, path)) from error
    finally:
        with contextlib.suppress(ValueError):  # the file may have removed it
            sys.path.remove(folder)


def _where(error: Exception, path: Path) -> str:
    """The line of the user's file on which loading it failed, and why."""
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename).is_file():
        return f"{error.filename}:{error.lineno}: {error.msg}"  # may be a file that it imports
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(path)]
    line = f":{lines[-1]}" if lines else ""
    return f"{path}{line}: {type(error).__name__}: {error}"


def _takes_state(made: Any) -> bool:
    """Whether it is a function with parameters, which is a node itself."""
    return inspect.isfunction(made) and bool(inspect.signature(made).parameters)
