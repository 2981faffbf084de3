"""From what a file says to a step, or to the one line about what it cannot say."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from pydantic import TypeAdapter, ValidationError

from aideon_agents.tasks.document import (
    Document,
    Place,
    complaint,
    nearest,
    read_json,
    read_yaml,
    shown,
)
from aideon_agents.tasks.steps import LONGEST_NAME, PATTERNS, TYPES, Step

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic_core import ErrorDetails


AnyStep: TypeAlias = Any
"""One of the models of the union `Step`."""

_STEP = TypeAdapter[AnyStep](Step)

_MAX_BYTES = 262_144


def read(path: Path, content: bytes) -> Document:
    """Read a task file's values."""
    if len(content) > _MAX_BYTES:
        raise complaint(path, 1, (), f"{len(content):,} bytes are too many: at most {_MAX_BYTES:,}")
    text = content.decode("utf-8-sig")
    document = (read_json if path.suffix == ".json" else read_yaml)(path, text)
    try:
        json.dumps(document.values, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # nothing further down could print it
        what = r"half a character: an escape from \ud800 to \udfff stands alone"
        raise complaint(path, 1, (), what) from None
    if document.values is None:
        raise complaint(path, 1, (), "the file is empty: it needs a type and steps")
    if not isinstance(document.values, Mapping):
        found = shown(document.values)
        raise complaint(path, 1, (), f"a task file has keys, `type:` and `steps:` say, not {found}")
    return document


def check(document: Document) -> AnyStep:
    """Check a task file's values."""
    try:
        return _STEP.validate_python(document.values, strict=document.typed)
    except ValidationError as error:
        first, *_ = sorted(
            (_told(document, one) for one in error.errors(include_url=False)),
            key=lambda told: (document.line(told[0]), -len(told[0])),
        )
        raise document.error(*first) from None


def _told(document: Document, error: ErrorDetails) -> tuple[Place, str]:
    place = _place(document.values, error["loc"], is_missing=error["type"] == "missing")
    return _SENTENCES.get(error["type"], _other)(place, error)


def _place(values: Any, path: Sequence[str | int], *, is_missing: bool) -> Place:
    """Where the file has it: pydantic also names the members of unions that it went through."""
    place: list[str | int] = []
    inside = values
    for name in path:
        if _has(inside, name):
            inside = inside[name]
            place.append(name)
    return (*place, path[-1]) if is_missing else tuple(place)


def _has(values: Any, name: str | int) -> bool:
    if isinstance(values, list):
        return isinstance(name, int) and name < len(cast("list[Any]", values))
    return isinstance(values, Mapping) and name in values


def _context(error: ErrorDetails) -> dict[str, Any]:
    return error.get("ctx", {})


def _unknown_key(place: Place, error: ErrorDetails) -> tuple[Place, str]:
    context = _context(error)
    key, known = context["key"], context["known"]
    hint = nearest(key, known)
    allowed = f" (allowed: {', '.join(known)})" if hint.startswith("did") else ""
    return (*place, key), f"unknown key, {hint}{allowed}"


def _missing(place: Place, _error: ErrorDetails) -> tuple[Place, str]:
    if place[-1] != "agent":
        return place, "this key is missing"
    return place, f"this key is missing, or a type: one of {', '.join(TYPES)}"


def _no_type(place: Place, error: ErrorDetails) -> tuple[Place, str]:
    kind = error["input"].get("type")
    return (*place, "type"), f"{shown(kind)} is no type: {nearest(str(kind), TYPES)}"


def _no_keys(place: Place, error: ErrorDetails) -> tuple[Place, str]:
    found = shown(error["input"])
    return place, f"a step has keys, such as `agent: executor`, this is {found}"


def _literal(place: Place, error: ErrorDetails) -> tuple[Place, str]:
    known = _context(error)["expected"].replace("'", "").replace(" or ", ", ").split(", ")
    found = error["input"]
    return place, f"{shown(found)} is none of {', '.join(known)}"


def _own(place: Place, error: ErrorDetails) -> tuple[Place, str]:
    return place, str(_context(error)["error"])


def _pattern(place: Place, error: ErrorDetails) -> tuple[Place, str]:
    return place, f"{shown(error['input'])} {PATTERNS[_context(error)['pattern']]}"


def _other(place: Place, error: ErrorDetails) -> tuple[Place, str]:
    kind = error["type"]
    if kind == "too_short":
        return place, "this must have at least one entry"
    wanted = _WANTED.get(kind.rpartition("_")[0]) or error["msg"].removeprefix("Input should ")
    return place, f"this must {wanted}, not {shown(error['input'])}"


_WANTED = {
    "string": "be text",
    "string_too": f"have at most {LONGEST_NAME} characters",
    "list": "be a list",
    "dict": "be keys with values",
    "int": "be a whole number",
    "float": "be a number",
    "bool": "be true or false",
}
"""By what pydantic's name for a wrong value begins with."""

_SENTENCES = {
    "unknown_key": _unknown_key,
    "missing": _missing,
    "union_tag_invalid": _no_type,
    "model_type": _no_keys,
    "literal_error": _literal,
    "value_error": _own,
    "string_pattern_mismatch": _pattern,
}
