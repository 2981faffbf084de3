"""JSON lines: each is an object, or a string that is the task."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from aideon_agents.batch.items.item import Given, Wrong

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

LONGEST = 16 * 1024 * 1024
"""Bytes of one line: a longer one does not fit into any model."""

_SHALLOW = 100
"""Brackets of a line up to which its nesting is not checked."""


def read(file: BinaryIO) -> Iterator[tuple[int, Given]]:
    for number, line in _lines(file):
        if isinstance(line, Wrong):
            yield number, line
        elif line.strip():
            yield number, _parsed(line.rstrip("\r\n"))


def _parsed(line: str) -> Given:
    try:
        value: object = json.loads(line)
        if line.count("[") + line.count("{") > _SHALLOW:
            json.dumps([[value]])  # a line that is nested too deeply can be read, but not written
    except json.JSONDecodeError as error:
        return Wrong(f"it is not JSON ({error.msg}, column {error.colno})")
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, a thousand [
        return Wrong(f"it cannot be read ({type(error).__name__})")
    if isinstance(value, str):
        return {"task": value}
    if not isinstance(value, Mapping):
        return Wrong('it is neither an object with a "task" nor a string')
    return cast("Mapping[str, Any]", value)


def _lines(file: BinaryIO) -> Iterator[tuple[int, str | Wrong]]:
    number = 0
    while line := file.readline(LONGEST + 1):
        number += 1
        if len(line) > LONGEST and not line.endswith(b"\n"):
            while line and not line.endswith(b"\n"):
                line = file.readline(LONGEST)
            yield number, Wrong(f"it is longer than {LONGEST // 1024 // 1024} MB")
            continue
        try:
            yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            yield number, Wrong("it is not text in UTF-8")
