"""Reads a task file and checks it: the result is a step, or an error of one line."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from pydantic import TypeAdapter, ValidationError

from aideon_agents.tasks.document import (
    Document,
    FieldPath,
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


def check(document: Document) -> AnyStep:
    """Check a task file's values; an error names the first field that is wrong."""
    try:
        return _STEP.validate_python(document.values, strict=document.typed)
    except ValidationError as error:
        first, *_ = sorted(
            (_explained(document, one) for one in error.errors(include_url=False)),
            key=lambda one: (document.line(one[0]), -len(one[0])),
        )
        raise document.error(*first) from None


def _explained(document: Document, error: ErrorDetails) -> tuple[FieldPath, str]:
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


def _unknown_key(field: FieldPath, error: ErrorDetails) -> tuple[FieldPath, str]:
    context = _context(error)
    key, known = context["key"], context["known"]
    hint = nearest(key, known)
    allowed = f" (allowed: {', '.join(known)})" if hint.startswith("did") else ""
    return (*field, key), f"unknown key, {hint}{allowed}"


def _missing(field: FieldPath, _error: ErrorDetails) -> tuple[FieldPath, str]:
    if field[-1] != "agent":
        return field, "this key is missing"
    return field, f"this key is missing, or a type: one of {', '.join(TYPES)}"


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
        return field, "this must have at least one entry"
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
