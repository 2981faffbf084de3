"""The form of a file of items, and the reader of each form.

A file of another form is refused before anything is called: its lines would be invalid items, or
worse, some of them valid ones.
"""

from __future__ import annotations

import contextlib
import json
import re
import zipfile
from typing import TYPE_CHECKING, Literal, TypeAlias

from aideon_agents.batch.items import lines, table
from aideon_agents.batch.items.item import Found, Item, ItemOptions, Maker
from aideon_agents.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import BinaryIO

Form: TypeAlias = Literal["jsonl", "json", "csv", "xlsx"]

LOOKED_AT = 64 * 1024
"""Bytes from the beginning that show the form."""

_GIVE = "give JSON lines, a JSON array, CSV with a column task, or a workbook (.xlsx)"

_ZIP = b"PK\x03\x04"
"""The beginning of a workbook, and of any other archive."""

_BINARY = {
    b"%PDF": "a PDF",
    b"PAR1": "a Parquet file",
    b"ARROW1": "an Arrow file",
    b"Obj\x01": "an Avro file",
    b"ORC": "an ORC file",
    b"SQLite format": "a SQLite database",
    b"\xd0\xcf\x11\xe0": "an old workbook (.xls), or one with a password",
    **dict.fromkeys((b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ", b"BZh"), "compressed"),
}

_TABLES = (".csv", ".tsv", ".tab", ".psv")
_JSON = (".json", ".jsonl", ".ndjson")


def read(
    file: BinaryIO, form: Form, name: str, maker: Maker | None = None, delimiter: str | None = None
) -> Generator[Item]:
    """Read items."""
    maker = maker or Maker()
    maker.is_table = form in ("csv", "xlsx")
    found: Generator[Found]
    if form == "csv":
        found = table.read(file, name, maker, delimiter)
    elif form == "xlsx":
        found = table.rows(table.sheet_rows(file, name), name, maker)
    else:
        found = lines.read(file) if form == "jsonl" else lines.read_array(file, name)
    with contextlib.closing(found):
        for position, one in enumerate(found):
            yield maker.item(position, one)


def form_of(file: BinaryIO, name: str, start: bytes, maker: Maker, delimiter: str | None) -> Form:
    """The form of a file, by its content and its name; one that holds no items is refused."""
    refuse_binary(name, start)
    if start.startswith(_ZIP):
        form = _zipped(file, name)
    else:
        text = lines.decoded(start).removeprefix("\ufeff")
        form = "csv" if delimiter is not None else _of_text(name, text, maker)
    if delimiter is not None and form != "csv":
        raise InputError(f"{name} is a workbook: a delimiter is only for tables of text")
    return form


def delimiter_of(options: ItemOptions) -> str | None:
    """The delimiter that was given, as one character; None: none was."""
    given = options.get("delimiter")
    if given is None:
        return None
    delimiter = {"\\t": "\t", "tab": "\t"}.get(given.casefold(), given)
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise InputError(f"the delimiter is {given!r}: give one character, or tab")
    return delimiter


def refuse_binary(name: str, start: bytes) -> None:
    """Refuse a file that is neither text nor perhaps a workbook."""
    if start.startswith(_ZIP):
        return
    for magic, kind in _BINARY.items():
        if start.startswith(magic):
            raise InputError(f"{name} is {kind}: {_GIVE}")
    text = lines.decoded(start)
    first = next((line for line in re.split(r"[\r\n]", text) if line.strip()), "")
    if "\0" in first or _is_other_encoding(text, first):
        raise InputError(f"{name} is not text in UTF-8: save it as UTF-8, or {_GIVE}")


_BAD = re.compile("[\udc80-\udcff]")


def _is_other_encoding(text: str, first: str) -> bool:
    """Whether the bytes that are not UTF-8 come from another encoding, and not from a damaged line.

    Such a file has them in its first line, or in several, and has no character that is UTF-8.
    """
    if not _BAD.search(text):
        return False
    if any(character > "\x7f" for character in _BAD.sub("", text)):
        return False
    bad = sum(1 for line in re.split(r"[\r\n]+", text) if _BAD.search(line))
    return bad > 1 or bool(_BAD.search(first))


def _zipped(file: BinaryIO, name: str) -> Form:
    try:
        names = zipfile.ZipFile(file).namelist()
    except (zipfile.BadZipFile, NotImplementedError):
        names = []
    if "xl/workbook.xml" not in names:
        raise InputError(f"{name} is an archive and no workbook (.xlsx), or damaged: {_GIVE}")
    return "xlsx"


def _of_text(name: str, text: str, maker: Maker) -> Form:
    ending = name.lower()
    if ending.endswith(_TABLES):
        return "csv"
    found = [line for line in re.split(r"[\r\n]+", text) if line.strip()]
    if not found:
        return "jsonl"
    first = found[0].strip()
    if first.startswith("["):
        return "json"
    if first.startswith("{"):
        _refuse_object(name, text.strip())
        return "jsonl"
    is_named = ending.endswith(_JSON)
    are_json = sum(_is_json(line) for line in found)
    if first.strip('"').casefold() != "task" and are_json > (0 if is_named else len(found) // 2):
        return "jsonl"
    columns = [cell.strip(' "').casefold() for cell in re.split(r"[,;\t|]", first)]
    is_table = "task" in columns or maker.has_task or first.casefold().startswith("sep=")
    if is_table and not is_named:
        return "csv"
    raise InputError(
        f"{name} looks like CSV: name it .csv"
        if is_table
        else f"{name} has neither JSON lines nor a table with a column task: {_GIVE}"
    )


def _is_json(line: str) -> bool:
    """Whether a line is an object or a string in JSON."""
    try:
        return isinstance(json.loads(line), str | dict)
    except (ValueError, RecursionError):
        return False


def _refuse_object(name: str, text: str) -> None:
    """Refuse a file that is one JSON object, or objects of several lines."""
    try:
        _, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        if re.match(r"\{\s*[\r\n]", text) is None:
            return
    else:
        is_whole_file = end == len(text) and name.lower().endswith(".json")
        if not re.search(r"[\r\n]", text[:end]) and not is_whole_file:
            return
    raise InputError(
        f"{name} holds a single JSON object, or objects of several lines: give a JSON array of "
        "objects, or one object in each line (jq -c writes these)"
    )
