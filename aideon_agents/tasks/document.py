"""A task file as it was written: plain values, and the line of each field.

YAML 1.1 reads an unquoted `no` as false, `1.10` as 1.1 and `12:30` as 750. So every YAML scalar
stays the text it is, and the field it is given to says what it means. JSON's values have types.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, TypeAlias

from aideon_agents.errors import TargetError

if TYPE_CHECKING:
    from collections.abc import Mapping
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
