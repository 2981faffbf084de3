"""A task file as it was written: plain values, and the line of each field.

YAML 1.1 reads an unquoted `no` as false, `1.10` as 1.1 and `12:30` as 750. So every YAML scalar
stays text, and the type of its field decides what it means. YAML is read from its nodes, which
still have their lines, and no tag creates an object. JSON's values have types; the lines of its
fields come from a second pass, because the standard library's reader does not report them.
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


FieldPath: TypeAlias = tuple[str | int, ...]
"""The keys and positions that lead from the root to a field."""

_MAX_DEPTH = 64
_MAX_FIELDS = 10_000
_MAX_SHOWN = 300


@dataclasses.dataclass(frozen=True)
class Document:
    """The contents of a task file."""

    path: Path
    values: Any
    """Mappings with text as keys, lists, text, None; in JSON also numbers and booleans."""
    lines: Mapping[FieldPath, int]
    """The line of each key and each list item, from 1."""
    typed: bool
    """Whether numbers and booleans have their types, as in JSON, or are text, as in YAML."""

    def error(self, field: FieldPath, what: str, hint: str = "") -> TargetError:
        """The error about a field."""
        return complaint(self.path, self.line(field), field, what, hint)

    def line(self, field: FieldPath) -> int:
        """The line of a field, or of the nearest field around it that the file has."""
        around = (field[:end] for end in range(len(field), 0, -1))
        return next((self.lines[one] for one in around if one in self.lines), 1)


def complaint(path: Path, line: int, field: FieldPath, what: str, hint: str = "") -> TargetError:
    """An error of one line: `file:line: path.of.the.field: what is wrong`.

    It is cut where it is long. `hint` is what follows, which holds nothing from the file.
    """
    name = ".".join(map(str, field))
    text = " ".join(f"{name}: {what}".split() if name else what.split())
    if len(text) > _MAX_SHOWN:
        text = f"{text[:_MAX_SHOWN]}..."
    return TargetError(f"{path}:{line}: {text}{hint}")


class Fields:
    """The lines of a file's fields; refuses duplicates, and more or deeper fields than allowed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: dict[FieldPath, int] = {}

    def add(self, field: FieldPath, line: int) -> None:
        if field in self.lines:
            first = self.lines[field]
            raise complaint(self.path, line, field, f"duplicate key, first used in line {first}")
        if len(field) > _MAX_DEPTH:
            raise complaint(self.path, line, (), f"nested more than {_MAX_DEPTH} levels deep")
        if len(self.lines) >= _MAX_FIELDS:
            raise complaint(self.path, line, (), f"more than {_MAX_FIELDS:,} fields")
        self.lines[field] = line


_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()


def read_json(path: Path, text: str) -> Document:
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
    _LineFinder(text, fields).value(())
    return Document(path, values, fields.lines, typed=True)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON number")


class _LineFinder:
    """Finds the line of each field in text that is known to be valid JSON."""

    def __init__(self, text: str, fields: Fields) -> None:
        self._text = text
        self._fields = fields
        self._ends = [at for at, mark in enumerate(text) if mark == "\n"]
        self._at = 0

    def value(self, field: FieldPath) -> None:
        opening = self._next()
        if opening == "{":
            self._inside("}", field, keyed=True)
        elif opening == "[":
            self._inside("]", field, keyed=False)
        else:
            _, self._at = _DECODER.raw_decode(self._text, self._at)

    def _inside(self, closing: str, field: FieldPath, *, keyed: bool) -> None:
        self._at += 1
        index = 0
        while (mark := self._next()) != closing:
            if mark == ",":
                self._at += 1
                continue
            line = bisect.bisect(self._ends, self._at) + 1
            name = self._key() if keyed else index
            self._fields.add((*field, name), line)
            self.value((*field, name))
            index += 1
        self._at += 1

    def _key(self) -> str:
        key, self._at = _DECODER.raw_decode(self._text, self._at)
        self._next()
        self._at += 1  # the colon
        return key

    def _next(self) -> str:
        """The next character that is not a space."""
        found = _SPACE.match(self._text, self._at)
        self._at = found.end() if found else self._at
        return self._text[self._at]


_NOTHING = {"", "~", "null", "Null", "NULL"}
_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "seq", "map")}


def read_yaml(path: Path, text: str) -> Document:
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
    """Turns nodes into values. An alias counts as the fields of its anchor, so aliases cannot explode."""

    def __init__(self, path: Path) -> None:
        self.fields = Fields(path)

    def value(self, node: yaml.Node, field: FieldPath) -> Any:
        if node.tag not in _TAGS:
            line = node.start_mark.line + 1
            raise complaint(self.fields.path, line, field, f"leave out the tag {node.tag}")
        if isinstance(node, yaml.MappingNode):
            return dict(self._entry(key, value, field) for key, value in node.value)
        if isinstance(node, yaml.SequenceNode):
            return [self._item(item, (*field, index)) for index, item in enumerate(node.value)]
        is_plain = isinstance(node, yaml.ScalarNode) and node.style is None
        return None if is_plain and node.value in _NOTHING else node.value

    def _entry(self, key: yaml.Node, value: yaml.Node, field: FieldPath) -> tuple[str, Any]:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise complaint(self.fields.path, line, field, "a key must be text")
        inside = (*field, key.value)
        self.fields.add(inside, line)
        return key.value, self.value(value, inside)

    def _item(self, item: yaml.Node, field: FieldPath) -> Any:
        self.fields.add(field, item.start_mark.line + 1)
        return self.value(item, field)


_SHOWN = 60


def nearest(word: str, known: Iterable[str], *, of: str = "there are") -> str:
    """`did you mean agent?`, or all known words: `there are a, b, c`."""
    words = sorted(known)
    near = difflib.get_close_matches(word[:_SHOWN], words, n=3, cutoff=0.61)
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"{of} {', '.join(words)}" if words else f"{of} none"


def shown(value: Any) -> str:
    """A value as an error shows it: in the words of YAML and JSON, and never long."""
    if value is None:
        return "nothing"
    if isinstance(value, dict | list):
        return "keys with values" if isinstance(value, dict) else "a list"
    text = {True: "true", False: "false"}[value] if isinstance(value, bool) else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
