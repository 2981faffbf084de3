"""A valid instance of a JSON Schema, with strings from the material.

Rehearsed answers should let a workflow take its ordinary path: a verdict passes, a score is high, a
plan has a few independent steps with different ids, a list has a few items.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from typing import TYPE_CHECKING, Any

from aideon_agents.models.answers.digest import central
from aideon_agents.models.answers.schemas import (
    Heights,
    Schema,
    as_schema,
    demands,
    kind_of,
    merged,
    resolved,
)
from aideon_agents.models.answers.values import FORMATS, fitted, matching, number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_NOTHING = "Nothing was given."
_SENTENCES = 64
"""How many sentences of the material the strings of an instance use."""
_DEEP = 4
"""Nested references after which only required parts are filled in."""
_ITEMS = 3
_VARIANTS = 64
"""Variants after which an alternative is considered exhausted."""
_DEPENDENCIES = frozenset(
    {"depends_on", "dependencies", "requires", "needs", "after", "blocked_by", "parents"}
)


def instance(schema: Schema, material: str, *, max_words: int = 24) -> Any:
    """A value that a JSON Schema accepts; ValueError: simple means find none.

    It understands what pydantic writes: references, combinations, enums, bounds, lengths, formats,
    tuples, maps. Strings are sentences of the material, distinct as long as some are left;
    booleans are true; a number between two bounds lies near the upper one; an enum gives its
    first value; a field `id` counts s1, s2; lists named like `depends_on` stay empty.
    """
    return _Composer(schema, central(material, _SENTENCES, max_words)).value(schema, _Position())


@dataclasses.dataclass(frozen=True, slots=True)
class _Position:
    """The position of a value in the instance."""

    name: str = ""
    """The name of its property; empty for an item."""
    references: frozenset[str] = frozenset()
    """The references that were followed."""
    lean: bool = False
    """True: only required parts are made, which ends a recursion."""
    variant: int = 0
    """Selects one of the possible values: greater in a set whose items must differ."""
    lists: int = 0
    """How many lists enclose it."""


class _Composer:
    """Composes one instance."""

    def __init__(self, root: Schema, sentences: tuple[str, ...]) -> None:
        self._root = root
        self._heights = Heights(root)
        self._sentences: Iterator[str] = itertools.cycle(sentences or (_NOTHING,))
        self._ids = itertools.count(1)
        self._makers: dict[str, Callable[[Schema, _Position], Any]] = {
            "string": self._string,
            "number": self._number,
            "integer": self._number,
            "boolean": lambda _schema, place: place.variant % 2 == 0,
            "null": lambda _schema, _place: None,
            "array": self._array,
            "object": self._object,
        }

    def value(self, part: object, place: _Position) -> Any:
        schema = as_schema(part)
        if "$ref" in schema:
            return self._referred(schema, place)
        if "allOf" in schema:
            together = demands(schema, "allOf")
            for sub in schema["allOf"]:
                together = merged(together, self._opened(sub))
            return self.value(together, place)
        for key in ("anyOf", "oneOf"):
            if schema.get(key):
                return self._one_of(schema[key], demands(schema, key), place)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            if not schema["enum"]:
                raise ValueError("an empty enum accepts nothing")
            return schema["enum"][place.variant % len(schema["enum"])]
        kind = kind_of(schema)
        if kind not in self._makers:
            raise ValueError(f"the type {kind!r} is unknown to JSON Schema")
        return self._makers[kind](schema, place)

    def _opened(self, part: object) -> Schema:
        """A part of an allOf with its references resolved."""
        schema = as_schema(part)
        if math.isinf(self._heights.of(schema)):
            raise ValueError("the schema has no finite instance")
        while "$ref" in schema:
            schema = merged(resolved(self._root, schema["$ref"]), demands(schema, "$ref"))
        return schema

    def _referred(self, schema: Schema, place: _Position) -> Any:
        reference = schema["$ref"]
        if math.isinf(self._heights.of(schema)):
            raise ValueError(f"{reference} has no finite instance")
        inside = dataclasses.replace(
            place,
            references=place.references | {reference},
            lean=place.lean or reference in place.references or len(place.references) >= _DEEP,
        )
        target = resolved(self._root, reference)
        return self.value(merged(target, demands(schema, "$ref")), inside)

    def _one_of(self, options: list[Any], around: Schema, place: _Position) -> Any:
        heights = [self._heights.of(option) for option in options]
        order = [index for index, height in enumerate(heights) if not math.isinf(height)]
        if place.lean:
            order.sort(key=heights.__getitem__)
        else:
            order.sort(key=lambda index: options[index] == {"type": "null"})
        reason = ValueError("none of the alternatives has a finite instance")
        # A set takes its items from the first alternative until that is exhausted: pydantic writes a
        # Decimal as a number or a string, and not every string is one.
        first, variant = divmod(place.variant, _VARIANTS)
        first %= max(1, len(order))
        inside = dataclasses.replace(place, variant=variant)
        for index in order[first:] + order[:first]:
            try:
                return self.value(merged(around, as_schema(options[index])), inside)
            except ValueError as error:
                reason = error
        raise reason

    def _number(self, schema: Schema, place: _Position) -> int | float:
        whole = kind_of(schema) == "integer"
        variant = next(self._ids) - 1 if place.name == "id" and whole else place.variant
        return number(schema, whole=whole, variant=variant)

    def _string(self, schema: Schema, place: _Position) -> str:
        if "contentSchema" in schema:
            return json.dumps(self.value(schema["contentSchema"], place), ensure_ascii=False)
        shortest, longest = schema.get("minLength", 0), schema.get("maxLength")
        for text in self._texts(schema, place):
            if len(text) >= shortest and (longest is None or len(text) <= longest):
                return text
        raise ValueError(f"no text fits {demands(schema)}")

    def _texts(self, schema: Schema, place: _Position) -> Iterator[str]:
        shortest, longest = schema.get("minLength", 0), schema.get("maxLength")
        variant = next(self._ids) if place.name == "id" else place.variant
        if schema.get("format") in FORMATS:
            yield FORMATS[schema["format"]](variant)
        elif "pattern" in schema:
            yield matching(schema["pattern"], shortest=shortest, longest=longest, variant=variant)
        elif place.name == "id":
            yield f"s{variant}"
            yield fitted(str(variant), shortest=shortest, longest=longest)
        else:
            # When the sentences are used up, a number in front makes the items of a set distinct.
            number_in_front = f"{variant + 1} " if variant else ""
            yield fitted(
                number_in_front + next(self._sentences), shortest=shortest, longest=longest
            )

    def _array(self, schema: Schema, place: _Position) -> list[Any]:
        inside = dataclasses.replace(place, name="", lists=place.lists + 1)
        most = schema.get("maxItems", math.inf)
        prefix = schema.get("prefixItems", [])
        items: list[Any] = [
            self.value(part, inside) for part in prefix[: int(min(most, len(prefix)))]
        ]
        wanted = max(schema.get("minItems", 0), min(most, self._usual_length(schema, place)))
        if not schema.get("uniqueItems"):
            items += [
                self.value(schema.get("items", {}), inside) for _ in range(int(wanted) - len(items))
            ]
            return items
        return self._distinct(items, schema, inside, int(wanted))

    def _usual_length(self, schema: Schema, place: _Position) -> int:
        endless = math.isinf(self._heights.of(schema.get("items")))
        if place.lean or endless or schema.get("prefixItems") or place.name in _DEPENDENCIES:
            return 0
        return max(1, _ITEMS - place.lists)

    def _distinct(
        self, items: list[Any], schema: Schema, inside: _Position, wanted: int
    ) -> list[Any]:
        seen = {json.dumps(item, sort_keys=True) for item in items}
        variant = inside.variant
        for _ in range(wanted + 4 * _VARIANTS):
            if len(items) >= wanted:
                break
            try:
                one = dataclasses.replace(inside, variant=variant)
                item = self.value(schema.get("items", {}), one)
                written = json.dumps(item, sort_keys=True)
            except ValueError:
                # There is no such variant, or no item can be made at all: fewer may be enough.
                variant += 1
                continue
            if written in seen:
                variant += 1
            else:
                seen.add(written)
                items.append(item)
        if len(items) < schema.get("minItems", 0):
            raise ValueError(f"there are not {schema['minItems']} distinct items")
        return items

    def _object(self, schema: Schema, place: _Position) -> dict[str, Any]:
        made: dict[str, Any] = {}
        required = set(schema.get("required", []))
        for name, part in schema.get("properties", {}).items():
            inside = dataclasses.replace(place, name=name)
            # A tag that distinguishes the members of a union has a default, so it is not required.
            tag = isinstance(part, dict) and ("const" in part or "enum" in part)
            if name in required:
                made[name] = self.value(part, inside)
            elif tag or not (place.lean or math.isinf(self._heights.of(part))):
                self._try_optional(made, part, inside)
        for name in schema.get("required", []):
            if name not in made:
                inside = dataclasses.replace(place, name=name)
                made[name] = self.value(schema.get("additionalProperties", {}), inside)
        self._add_entries(made, schema, place)
        return made

    def _try_optional(self, made: dict[str, Any], part: object, inside: _Position) -> None:
        """Leave out an optional property that cannot be made by simple means."""
        try:
            made[inside.name] = self.value(part, inside)
        except ValueError:
            return

    def _add_entries(self, made: dict[str, Any], schema: Schema, place: _Position) -> None:
        """The entries of a map, whose keys the schema does not name."""
        patterns = list(schema.get("patternProperties", {}).items())
        part = patterns[0][1] if patterns else schema.get("additionalProperties")
        is_map = not schema.get("properties") and isinstance(part, dict)
        usual = 0 if place.lean or math.isinf(self._heights.of(part)) or not is_map else 2
        wanted = max(schema.get("minProperties", 0), min(schema.get("maxProperties", usual), usual))
        keys: Schema = {**schema.get("propertyNames", {})}
        if patterns:
            keys = merged(keys, {"pattern": patterns[0][0]})
        for nth in range(wanted + _VARIANTS):
            if len(made) >= wanted:
                return
            # Keys that are plain numbers are also valid for a map with numbers as keys.
            key = str(nth + 1)
            if keys:
                key = self.value(
                    {"type": "string", **keys}, dataclasses.replace(place, variant=nth, name="")
                )
            if key not in made:
                made[key] = self.value(
                    {} if part is None else part, dataclasses.replace(place, name="")
                )
        if len(made) < schema.get("minProperties", 0):
            raise ValueError(f"there are not {schema['minProperties']} distinct keys")
