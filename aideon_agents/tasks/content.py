"""The files that make up a workflow, found without running any of them.

Beside its own file these are `prompts/*.md`, the files that a task file names, and the modules that a
Python file imports from its own folder, also through each other. Whatever decides what a workflow does
has to be known before it is run: a worker runs no other content than that of its batch.
"""

from __future__ import annotations

import ast
import hashlib
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Iterator


def digest(path: Path, content: bytes, values: object = None) -> str:
    """SHA-256 in hex of a workflow; `values` are those of a task file."""
    files = {path: content}
    for named in _named(path.parent, values):
        _add(files, named)
    if path.suffix == ".py":
        _add_imports(files, path, content)
    prompts = sorted(filter(Path.is_file, path.parent.glob("prompts/*.md")))  # no endless device
    others = [files[one] for one in sorted(files) if one != path]
    return hashlib.sha256(b"".join([content, *others, *map(Path.read_bytes, prompts)])).hexdigest()


def _named(folder: Path, values: object) -> Iterator[Path]:
    """The files that the texts of a task file name: `file.py:function`, or a prompt."""
    if isinstance(values, Mapping):
        values = list(cast("Mapping[Any, Any]", values).values())
    if isinstance(values, list):
        for one in cast("list[Any]", values):
            yield from _named(folder, one)
    elif isinstance(values, str) and "\n" not in values:
        name, python, _ = values.partition(".py:")
        if python or values.endswith(".md"):
            yield folder / (f"{name}.py" if python else values)


def _add(files: dict[Path, bytes], path: Path) -> None:
    """Add a file, and what it imports; one that cannot be read is reported when it is used."""
    try:
        if path in files or not path.is_file():
            return
        files[path] = path.read_bytes()
    except (OSError, ValueError):
        return
    if path.suffix == ".py":
        _add_imports(files, path, files[path])


def _add_imports(files: dict[Path, bytes], path: Path, content: bytes) -> None:
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError, RecursionError):
        return  # running it reports why
    folder = next(iter(files)).parent
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            modules = [
                node.module or "",
                *(f"{node.module or ''}.{one.name}" for one in node.names),
            ]
        elif isinstance(node, ast.Import):
            modules = [one.name for one in node.names]
        else:
            continue
        for module, base in itertools.product(modules, {folder, path.parent}):
            parts = [part for part in module.split(".") if part]
            for place in itertools.accumulate(parts, Path.joinpath, initial=base):
                if place != base:
                    _add(files, place.with_name(f"{place.name}.py"))
                    _add(files, place / "__init__.py")
