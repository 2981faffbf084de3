"""Loads the workflow at an address as a compiled graph.

An address is `path/to/file.py:name`, a task file, or the name of a ready-made workflow, which is
looked up in `./workflows` and then among those in the wheel. Files are loaded by path and never
become part of an importable package.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from pydantic import TypeAdapter, ValidationError

from aideon_agents.agents.prompt_files import workflow_folder
from aideon_agents.errors import TargetError, UserError
from aideon_agents.graphs import Graph
from aideon_agents.tasks import python_file
from aideon_agents.tasks.building import ModelCheck, Site, ToolFiles, root
from aideon_agents.tasks.content import digest
from aideon_agents.tasks.document import (
    Document,
    FieldPath,
    complaint,
    nearest,
    read_json,
    read_yaml,
    shown,
)
from aideon_agents.tasks.fields import LONGEST_NAME, PATTERNS
from aideon_agents.tasks.steps import TYPES, AnyStep, Step

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

SUFFIXES = (".yaml", ".yml", ".json")
"""How the names of task files end."""

_SUFFIXES = (".py", *SUFFIXES)

_PACKAGE = Path(__file__).parents[1]


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
    """SHA-256 in hex of that file and of the files that it needs (`content`)."""
    graph: Graph
    allow_outside: bool = False
    """Whether a task file may use files outside its folder."""

    @property
    def labels(self) -> dict[str, Any]:
        """The options that say what a run, or a batch, is one of."""
        known = {"workflow": self.name, "target": self.address, "target_hash": self.content_hash}
        return {**known, **({"allow_outside": True} if self.allow_outside else {})}


def load(
    address: str,
    *,
    check_model: ModelCheck | None = None,
    content_hash: str | None = None,
    allow_outside: bool = False,
) -> Target:
    """Find a workflow and build its graph.

    `check_model` receives the role and the model of each step of a task file that names a model, and
    raises UserError for an invalid one; the error then has the step's position. None: models are
    checked where the graph is run. `content_hash` is what the content has to be: of any other,
    nothing is run. None: it may be any. `allow_outside` lets a task file use files outside its folder.
    """
    path, attribute = _split(address)
    name = None
    if "/" not in address and not attribute and path.suffix not in _SUFFIXES:
        path, name = _ready_made(address), address
    content = _read(path, address)
    token = workflow_folder.set(path.parent)
    try:
        document = _document(path, content) if path.suffix in SUFFIXES else None
        found = digest(path, content, document.values if document else None)
        if content_hash not in (None, found):
            raise TargetError(
                f"{path} here is another version ({found[:12]}) than that of the batch "
                f"({str(content_hash)[:12]}): bring the same file to this folder"
            )
        files = ToolFiles(path.parent, allow_outside=allow_outside)
        graph, own_name = _graph((path, attribute), content, document, files, check_model)
        return Target(name or own_name, address, path, found, graph, allow_outside)
    finally:
        workflow_folder.reset(token)


def _graph(
    place: tuple[Path, str],
    content: bytes,
    document: Document | None,
    files: ToolFiles,
    check_model: ModelCheck | None,
) -> tuple[Graph, str]:
    """The graph of a file, and its own name."""
    path, attribute = place
    if document is not None:
        step = _check(document)
        own_name = step.name or path.stem
        for prompt in sorted(path.parent.glob("prompts/*.md")):
            files.path(str(prompt.relative_to(path.parent)))
        site = Site(document, files, check_model=check_model)
        return root(step, site, own_name), own_name
    graph = python_file.graph(path, content, attribute or "graph")
    return graph, path.stem if attribute in ("", "graph") else attribute


def workflow(name: str, *, allow_outside: bool = False, **options: Any) -> Graph:
    """A ready-made workflow for use in one's own code: `workflow("research", tools=[search])`.

    Args:
        name: Its name, or the path of a task file or a Python file.
        allow_outside: Whether a task file may use tools, functions and prompts outside its folder.
        **options: Arguments of the function in its file that has the file's name and makes the
            graph. Without them it is the file's `graph`.

    Returns:
        A compiled graph, for `run` or as a node of a pattern.

    Raises:
        UserError: There is no such workflow, or it does not take these options.
    """
    if not options:
        return load(name, allow_outside=allow_outside).graph
    path = Path(name) if name.endswith(".py") else _ready_made(name)
    token = workflow_folder.set(path.parent)
    try:
        module = python_file.execute(path, _read(path, name)) if path.suffix == ".py" else None
        make = getattr(module, path.stem, None)
        known = inspect.signature(make).parameters if inspect.isfunction(make) else ()
        if unknown := [one for one in options if one not in known]:
            takes = f"it takes {', '.join(known)}" if known else "it takes none"
            raise UserError(f"the workflow {name} has no option {unknown[0]!r}: {takes}")
        return cast("Any", make)(**options)
    finally:
        workflow_folder.reset(token)


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
        raise TargetError(f"{path} cannot be read as a workflow: it is not text in UTF-8") from None
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


_STEP = TypeAdapter[AnyStep](Step)

_MAX_BYTES = 262_144


def _document(path: Path, content: bytes) -> Document:
    """Read a task file's values; they are not checked yet."""
    if len(content) > _MAX_BYTES:
        raise complaint(
            path, 1, (), f"the file has {len(content):,} bytes, at most {_MAX_BYTES:,} are allowed"
        )
    text = content.decode("utf-8-sig")
    document = (read_json if path.suffix == ".json" else read_yaml)(path, text)
    try:
        json.dumps(document.values, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # nothing could print it
        what = r"half a character: an escape from \ud800 to \udfff has no second half"
        raise complaint(path, 1, (), what) from None
    if document.values is None:
        raise complaint(path, 1, (), "the file is empty: it needs a type and steps")
    if not isinstance(document.values, Mapping):
        found = shown(document.values)
        raise complaint(
            path, 1, (), f"a task file must have keys, such as `type:` and `steps:`, not {found}"
        )
    return document


def _check(document: Document) -> AnyStep:
    """Check a task file's values; an error names the first field that is wrong."""
    try:
        return _STEP.validate_python(document.values, strict=document.typed)
    except ValidationError as error:
        first, *others = sorted(
            (_explained(document, one) for one in error.errors(include_url=False)),
            key=lambda one: (document.line(one[0]), -len(one[0])),
        )
        raise document.error(*_either(first, others)) from None


_EMPTY = "this must have at least one entry"
_Explained: TypeAlias = "tuple[FieldPath, *tuple[str, ...]]"


def _either(first: _Explained, others: Sequence[_Explained]) -> _Explained:
    """An explanation with those of the other kinds of value that the same field may have."""
    field, text, *more = first
    if (field, _EMPTY) in others:
        return field, _EMPTY
    what, mark, found = text.partition(", not ")
    if what.startswith("this must ") and mark:
        same = (other.partition(mark) for at, other, *_ in others if at == field)
        also = [one.removeprefix("this must ") for one, _, two in same if two == found]
        text = " or ".join(dict.fromkeys((what, *also))) + mark + found
    return (field, text, *more)


def _explained(document: Document, error: ErrorDetails) -> _Explained:
    field = _field(document.values, error["loc"], is_missing=error["type"] == "missing")
    return _EXPLANATIONS.get(error["type"], _other)(field, error)


def _field(values: Any, path: Sequence[str | int], *, is_missing: bool) -> FieldPath:
    """The path in the file: pydantic's path also names the members of unions."""
    field: list[str | int] = []
    inside = values
    for name in path:
        if _has(inside, name):
            inside = inside[name]
            field.append(name)
    return (*field, path[-1]) if is_missing else tuple(field)


def _has(values: Any, name: str | int) -> bool:
    if isinstance(values, list):
        return isinstance(name, int) and name < len(cast("list[Any]", values))
    return isinstance(values, Mapping) and name in values


def _context(error: ErrorDetails) -> dict[str, Any]:
    return error.get("ctx", {})


def _unknown_key(field: FieldPath, error: ErrorDetails) -> tuple[FieldPath, str, str]:
    context = _context(error)
    key, known = context["key"], context["known"]
    hint = nearest(key, known)
    allowed = f" (allowed: {', '.join(known)})" if hint.startswith("did") else ""
    if "workers" in known and "type" not in error["input"]:
        allowed += "; a step without a type or an agent is orchestrated"
    return (*field, key), f"unknown key, {hint}", allowed


def _missing(field: FieldPath, error: ErrorDetails) -> tuple[FieldPath, str]:
    is_orchestrated = field[-1] == "description" and "type" not in error["input"]
    if field[-1] != "agent" and not is_orchestrated:
        return field, "this key is missing"
    types = f"this key is missing, or a type: one of {', '.join(TYPES)}"
    alone = ", or a description: alone it is orchestrated" if is_orchestrated else ""
    return (*field[:-1], "agent"), types + alone


def _no_type(field: FieldPath, error: ErrorDetails) -> tuple[FieldPath, str]:
    kind = error["input"].get("type")
    return (*field, "type"), f"{shown(kind)} is not a step type: {nearest(str(kind), TYPES)}"


def _no_keys(field: FieldPath, error: ErrorDetails) -> tuple[FieldPath, str]:
    found = shown(error["input"])
    return field, f"a step must have keys, such as `agent: executor`, not {found}"


def _literal(field: FieldPath, error: ErrorDetails) -> tuple[FieldPath, str]:
    known = _context(error)["expected"].replace("'", "").replace(" or ", ", ").split(", ")
    return field, f"{shown(error['input'])} is not one of {', '.join(known)}"


def _our_own(field: FieldPath, error: ErrorDetails) -> tuple[FieldPath, str]:
    return field, str(_context(error)["error"])


def _pattern(field: FieldPath, error: ErrorDetails) -> tuple[FieldPath, str]:
    return field, f"{shown(error['input'])} {PATTERNS[_context(error)['pattern']]}"


def _other(field: FieldPath, error: ErrorDetails) -> tuple[FieldPath, str]:
    kind = error["type"]
    if kind == "too_short":
        return field, _EMPTY
    wanted = _WANTED.get(kind.rpartition("_")[0]) or error["msg"].removeprefix("Input should ")
    return field, f"this must {wanted}, not {shown(error['input'])}"


_WANTED = {
    "string": "be text",
    "string_too": f"have at most {LONGEST_NAME} characters",
    "list": "be a list",
    "dict": "be keys with values",
    "int": "be a whole number",
    "float": "be a number",
    "bool": "be true or false",
}
"""By the beginning of pydantic's name for the error."""

_EXPLANATIONS = {
    "unknown_key": _unknown_key,
    "missing": _missing,
    "union_tag_invalid": _no_type,
    "model_type": _no_keys,
    "literal_error": _literal,
    "value_error": _our_own,
    "string_pattern_mismatch": _pattern,
}
