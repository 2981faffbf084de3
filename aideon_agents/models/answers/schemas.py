"""Reads JSON Schemas: references, combined schemas, and which of them have finite instances."""

from __future__ import annotations

import itertools
import math
from typing import Any, cast

Schema = dict[str, Any]

_ANNOTATIONS = frozenset({"title", "description", "default", "examples", "deprecated", "$defs"})
_TIGHTEST = {
    "minimum": max,
    "exclusiveMinimum": max,
    "minLength": max,
    "minItems": max,
    "minProperties": max,
    "maximum": min,
    "exclusiveMaximum": min,
    "maxLength": min,
    "maxItems": min,
    "maxProperties": min,
}
_HINTS = (
    ("object", ("properties", "additionalProperties", "patternProperties", "required")),
    ("array", ("items", "prefixItems", "minItems", "maxItems", "uniqueItems")),
    ("number", ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")),
)


def as_schema(schema: object) -> Schema:
    """Read a schema, which may also be `true`; ValueError: it accepts nothing."""
    if schema is True:
        return {}
    if isinstance(schema, dict):
        return cast("Schema", schema)
    raise ValueError(f"the schema {schema!r} accepts nothing")


def kind_of(schema: Schema) -> str:
    """The type of value to make: the first that is not null, or the one that its keywords imply."""
    declared = schema.get("type")
    kinds = cast("list[str]", declared if isinstance(declared, list) else [declared])
    if declared:
        return next((kind for kind in kinds if kind != "null"), "null")
    return next((kind for kind, hints in _HINTS if any(hint in schema for hint in hints)), "string")


def resolved(root: Schema, reference: str) -> Schema:
    """Follow a reference such as `#/$defs/Step` inside the document."""
    if not reference.startswith("#"):
        raise ValueError(f"the reference {reference!r} leaves the schema")
    target: Any = root
    for step in reference.removeprefix("#").split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        try:
            target = target[int(key)] if isinstance(target, list) else target[key]
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise ValueError(f"the reference {reference!r} points nowhere") from error
    return as_schema(target)


def merged(left: Schema, right: Schema) -> Schema:
    """A schema that accepts what both accept; where keywords cannot be combined, `right` wins."""
    both: Schema = {**left, **right}
    for key in left.keys() & right.keys():
        one, other = left[key], right[key]
        if key in _TIGHTEST:
            both[key] = _TIGHTEST[key](one, other)
        elif key == "required":
            both[key] = [*one, *(name for name in other if name not in one)]
        elif key == "properties":
            both[key] = {
                **one,
                **{
                    name: {"allOf": [one[name], sub]} if name in one else sub
                    for name, sub in other.items()
                },
            }
        elif key == "enum":
            both[key] = [value for value in one if value in other]
        elif key == "allOf":
            both[key] = [*one, *other]
        elif key in {"anyOf", "oneOf"}:
            both[key] = [{"allOf": pair} for pair in itertools.product(one, other)]
    return both


def demands(schema: Schema, *without: str) -> Schema:
    """The keywords of a schema that restrict values, except those named."""
    return {
        key: value
        for key, value in schema.items()
        if key not in _ANNOTATIONS and key not in without
    }


class Heights:
    """How many references deep the smallest instance of each schema is.

    A recursion ends only if the height falls at each step; a schema of infinite height has no finite
    instance. The heights are the least fixed point over the references of the document.
    """

    def __init__(self, root: Schema) -> None:
        self._root = root
        self._known: dict[str, float] = dict.fromkeys(_references(root), math.inf)
        targets = {reference: resolved(root, reference) for reference in self._known}
        changed = True
        while changed:
            changed = False
            for reference, target in targets.items():
                height = 1 + self.of(target)
                if height < self._known[reference]:
                    self._known[reference] = height
                    changed = True

    def of(self, schema: object) -> float:
        """The height of a schema in this document; infinite: it has no finite instance."""
        if schema is False:
            return math.inf
        if not isinstance(schema, dict):
            return 0
        return max(self._parts(cast("Schema", schema)), default=0)

    def _parts(self, schema: Schema) -> list[float]:
        parts: list[float] = []
        if "$ref" in schema:
            parts.append(self._known[schema["$ref"]])
        unions = [schema[key] for key in ("anyOf", "oneOf") if schema.get(key)]
        parts += [min(map(self.of, options)) for options in unions]
        needed = list(schema.get("allOf", []))
        properties = schema.get("properties", {})
        needed += [properties.get(name) for name in schema.get("required", [])]
        needed += schema.get("prefixItems", [])[: schema.get("minItems", 0)]
        if schema.get("minItems", 0) > len(schema.get("prefixItems", [])):
            needed.append(schema.get("items"))
        if schema.get("minProperties", 0) > len(properties):
            needed.append(schema.get("additionalProperties"))
        return parts + [self.of(sub) for sub in needed]


def _references(schema: object) -> set[str]:
    found: set[str] = set()
    waiting = [schema]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            mapping = cast("Schema", part)
            if isinstance(mapping.get("$ref"), str):
                found.add(mapping["$ref"])
            waiting.extend(mapping.values())
        elif isinstance(part, list):
            waiting.extend(cast("list[Any]", part))
    return found
