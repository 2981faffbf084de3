"""A task file as it was written: plain values, and the line of each field.

YAML 1.1 reads an unquoted `no` as false, `1.10` as 1.1 and `12:30` as 750. So every YAML scalar
stays the text it is, and the field it is given to says what it means. JSON's values have types.

JSON with the line of each field, which the standard library's reader does not tell.

YAML, read from its nodes: text and lines are still there, and no tag makes an object.

What to say beside a word that is not known.
"""

from __future__ import annotations

import bisect
import dataclasses
import difflib
import json
import re
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

import yaml

from aideon_agents.errors import TargetError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path


Place: TypeAlias = tuple[str | int, ...]
"""Where a field is: keys and positions from the root down."""

_MAX_DEPTH = 64
_MAX_FIELDS = 10_000
_MAX_SHOWN = 300


@dataclasses.dataclass(frozen=True)
class Document:
    """What a file says."""

    path: Path
    values: Any
    """Mappings with text as keys, lists, text, None; in JSON also numbers and booleans."""
    lines: Mapping[Place, int]
    """The line of each key and each list item, from 1."""
    typed: bool
    """Whether numbers and booleans are such already, as in JSON, or text, as in YAML."""

    def error(self, place: Place, what: str) -> TargetError:
        """The one line about a field."""
        return complaint(self.path, self.line(place), place, what)

    def line(self, place: Place) -> int:
        """The line of a field, or of the nearest one around it that the file has."""
        around = (place[:end] for end in range(len(place), 0, -1))
        return next((self.lines[one] for one in around if one in self.lines), 1)


def complaint(path: Path, line: int, place: Place, what: str) -> TargetError:
    """The one line about a place in a file: `file:line: path.of.the.field: what is wrong`."""
    field = ".".join(map(str, place))
    told = " ".join(f"{field}: {what}".split() if field else what.split())
    shown = told if len(told) <= _MAX_SHOWN else f"{told[:_MAX_SHOWN]}..."
    return TargetError(f"{path}:{line}: {shown}")


class Fields:
    """The lines of a file's fields, as they are found, within bounds."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: dict[Place, int] = {}

    def found(self, place: Place, line: int) -> None:
        """Take a field down."""
        if place in self.lines:
            first = self.lines[place]
            raise complaint(
                self.path, line, place, f"this key is there twice, first in line {first}"
            )
        if len(place) > _MAX_DEPTH:
            raise complaint(self.path, line, (), f"nested more than {_MAX_DEPTH} levels deep")
        if len(self.lines) >= _MAX_FIELDS:
            raise complaint(self.path, line, (), f"more than {_MAX_FIELDS:,} fields")
        self.lines[place] = line


_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()


def read_json(path: Path, text: str) -> Document:
    """Read a JSON file."""
    if not text.strip():
        return Document(path, None, {}, typed=True)
    try:
        values = json.loads(text, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        raise complaint(path, error.lineno, (), f"this is not JSON: {error.msg}") from None
    except ValueError as error:
        raise complaint(path, 1, (), f"this is not JSON: {error}") from None
    except RecursionError:
        raise complaint(path, 1, (), "nested far too deeply for a task file") from None
    fields = Fields(path)
    _Walk(text, fields).value(())
    return Document(path, values, fields.lines, typed=True)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number of JSON's")


class _Walk:
    """Goes through text that is known to be JSON, and takes each field's line down."""

    def __init__(self, text: str, fields: Fields) -> None:
        self._text = text
        self._fields = fields
        self._ends = [at for at, mark in enumerate(text) if mark == "\n"]
        self._at = 0

    def value(self, place: Place) -> None:
        opening = self._next()
        if opening == "{":
            self._inside("}", place, keyed=True)
        elif opening == "[":
            self._inside("]", place, keyed=False)
        else:
            _, self._at = _DECODER.raw_decode(self._text, self._at)

    def _inside(self, closing: str, place: Place, *, keyed: bool) -> None:
        self._at += 1
        index = 0
        while (mark := self._next()) != closing:
            if mark == ",":
                self._at += 1
                continue
            line = bisect.bisect(self._ends, self._at) + 1
            name = self._key() if keyed else index
            self._fields.found((*place, name), line)
            self.value((*place, name))
            index += 1
        self._at += 1

    def _key(self) -> str:
        key, self._at = _DECODER.raw_decode(self._text, self._at)
        self._next()
        self._at += 1  # the colon
        return key

    def _next(self) -> str:
        """The next mark that is no space."""
        found = _SPACE.match(self._text, self._at)
        self._at = found.end() if found else self._at
        return self._text[self._at]


_NOTHING = {"", "~", "null", "Null", "NULL"}
_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "seq", "map")}


def read_yaml(path: Path, text: str) -> Document:
    """Read a YAML file."""
    reader = _Reader(path)
    try:
        root = yaml.compose(text, yaml.BaseLoader)
        values = None if root is None else reader.value(root, ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise complaint(path, line, (), f"this is not YAML: {error.problem or error}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise complaint(path, line, (), f"this is not YAML: {error.reason}") from None
    except (ValueError, OverflowError) as error:  # an escape beyond Unicode
        raise complaint(path, 1, (), f"this is not YAML: {error}") from None
    except RecursionError:
        raise complaint(path, 1, (), "nested far too deeply for a task file") from None
    return Document(path, values, reader.fields.lines, typed=False)


class _Reader:
    """Turns nodes into values. An alias counts as what it stands for, so that none explodes."""

    def __init__(self, path: Path) -> None:
        self.fields = Fields(path)

    def value(self, node: yaml.Node, place: Place) -> Any:
        if node.tag not in _TAGS:
            line = node.start_mark.line + 1
            raise complaint(self.fields.path, line, place, f"leave out the tag {node.tag}")
        if isinstance(node, yaml.MappingNode):
            return dict(self._entry(key, value, place) for key, value in node.value)
        if isinstance(node, yaml.SequenceNode):
            return [self._item(item, (*place, index)) for index, item in enumerate(node.value)]
        is_plain = isinstance(node, yaml.ScalarNode) and node.style is None
        return None if is_plain and node.value in _NOTHING else node.value

    def _entry(self, key: yaml.Node, value: yaml.Node, place: Place) -> tuple[str, Any]:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise complaint(self.fields.path, line, place, "a key has to be a word")
        inside = (*place, key.value)
        self.fields.found(inside, line)
        return key.value, self.value(value, inside)

    def _item(self, item: yaml.Node, place: Place) -> Any:
        self.fields.found(place, item.start_mark.line + 1)
        return self.value(item, place)


_SHOWN = 60


def nearest(word: str, known: Iterable[str], *, of: str = "there are") -> str:
    """Name what was probably meant, or all there is."""
    words = sorted(known)
    near = difflib.get_close_matches(word[:_SHOWN], words, n=3)
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"{of} {', '.join(words)}" if words else f"{of} none"


def shown(value: Any) -> str:
    """A value as an error shows it: what YAML and JSON call it, and never long."""
    if value is None:
        return "nothing"
    if isinstance(value, dict | list):
        return "keys with values" if isinstance(value, dict) else "a list"
    text = {True: "true", False: "false"}[value] if isinstance(value, bool) else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
