"""The form of a file of items, and the reader of each form."""

from __future__ import annotations

import codecs
import csv
import json
from typing import TYPE_CHECKING, Literal, TypeAlias

from aideon_agents.batch.items import lines, table
from aideon_agents.batch.items.item import Item, made
from aideon_agents.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import BinaryIO

Form: TypeAlias = Literal["jsonl", "csv"]


def read(file: BinaryIO, form: Form, name: str) -> Generator[Item]:
    """Read items."""
    return made(table.read(file, name) if form == "csv" else lines.read(file))


def form_of(name: str, start: bytes) -> Form:
    """The format of items, by the name of their file, else by its first line."""
    if name.lower().endswith(".csv"):
        return "csv"
    if name.lower().endswith((".jsonl", ".ndjson", ".json")):
        return "jsonl"
    first = (
        start.removeprefix(b"\xef\xbb\xbf").lstrip().split(b"\n", 1)[0].decode("utf-8", "replace")
    )
    try:
        json.loads(first)
    except ValueError:
        header = next(csv.reader([first]), [])
        return "csv" if "task" in [cell.strip() for cell in header] else "jsonl"
    return "jsonl"


def refuse_binary(name: str, start: bytes) -> None:
    """Refuse a file that is not text."""
    first = start.lstrip().split(b"\n", 1)[0]
    try:
        codecs.getincrementaldecoder("utf-8")().decode(
            first
        )  # its last character may be incomplete
    except UnicodeDecodeError:
        is_text = False
    else:
        is_text = b"\0" not in start
    if not is_text:
        raise InputError(f"{name} is not text in UTF-8: items are JSON lines, or CSV")
