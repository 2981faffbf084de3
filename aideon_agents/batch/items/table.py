"""Tables as text: CSV with a header, whose column `task` holds the tasks."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

from aideon_agents.batch.items import lines
from aideon_agents.batch.items.item import Given, Wrong, is_unicode
from aideon_agents.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import BinaryIO


def read(file: BinaryIO, name: str) -> Iterator[tuple[int, Given]]:
    csv.field_size_limit(
        lines.LONGEST
    )  # the module's own limit is 128 kB, too little for a document
    text = io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline="")
    try:
        yield from _records(text, name)
    finally:
        text.detach()  # the caller closes the file


def _records(text: Iterable[str], name: str) -> Iterator[tuple[int, Given]]:
    reader = csv.reader(text)
    header: list[str] | None = None
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield line, Wrong(f"it is not CSV ({error})")
            continue
        if not cells:
            continue
        if header is None:
            header = _header(cells, f"{name}:{line}")
            continue
        yield line, _row(header, cells)


def _header(cells: list[str], where: str) -> list[str]:
    header = [cell.strip() for cell in cells]
    twice = [name for index, name in enumerate(header) if name in header[:index]]
    if "task" not in header:
        raise InputError(
            f"{where}: there is no column task, only {', '.join(header)}: rename the one that "
            "holds the task"
        )
    if twice:
        raise InputError(f"{where}: two columns are called {twice[0]!r}: rename one")
    return header


def _row(header: list[str], cells: list[str]) -> Given:
    if len(cells) != len(header):
        return Wrong(f"it has {len(cells)} cells, and the header has {len(header)}")
    if not all(is_unicode(cell) for cell in cells):
        return Wrong("it is not text in UTF-8")
    values: dict[str, Any] = dict(zip(header, cells, strict=True))
    return {key: value for key, value in values.items() if key != "id" or value.strip()}
