"""JSON with the line of each field, which the standard library's reader does not tell."""

from __future__ import annotations

import bisect
import json
import re
from typing import TYPE_CHECKING, NoReturn

from aideon_agents.tasks.document import Document, Fields, Place, complaint

if TYPE_CHECKING:
    from pathlib import Path

_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()


def read(path: Path, text: str) -> Document:
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
