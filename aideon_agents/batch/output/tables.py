"""OUT as a table, CSV or XLSX: one row for each item, made from the JSON lines beside it.

A table is written whole when the batch ends or stops, and replaces the one before in one step. The
columns are those of the input (`keep_columns`), those of a line, and behind `output` the fields of
the typed data that the result has. A value that is no scalar is JSON.

A CSV file is UTF-8 without a byte order mark, as in RFC 4180. A text that a spreadsheet might read as
a formula, or that begins with an apostrophe, has an apostrophe before it: remove the first
apostrophe of a cell to get the text. A workbook keeps texts as texts, numbers as numbers, and cuts
off a text that a cell cannot hold.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import os
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, cast

import xlsxwriter
from xlsxwriter.exceptions import XlsxWriterException

from aideon_agents.batch.output import read
from aideon_agents.errors import RunError
from aideon_agents.ledger.documents import guarded
from aideon_agents.models.protocol.calls import mended

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from xlsxwriter.format import Format
    from xlsxwriter.worksheet import Worksheet


_log = logging.getLogger("aideon_agents.batch")

_BEFORE_DATA = ("id", "line", "status", "output")
_AFTER_DATA = ("models", "truncated", "usd", "complete", "run_id", "error", "attempts", "version")
_CUT = "cut"
"""The column of a workbook that names the columns of a row whose text is cut off."""

_MOST_COLUMNS = 16_384
"""Columns of a sheet."""
_LONGEST_CELL = 32_767
"""UTF-16 units of a cell."""
_EXACT = 10**15
"""A spreadsheet keeps 15 digits of a number."""

_WIDTH = 16
"""Characters of a column, as it is shown at first."""


class _Columns(NamedTuple):
    """The columns of a table."""

    given: dict[str, str]
    """Titles of the columns of the input, by their names there."""
    fields: list[str]
    """Titles of the fields of a line and its data."""
    left_out: int
    """How many do not fit."""

    @property
    def titles(self) -> list[str]:
        return [*self.given.values(), *self.fields]

    def row(self, values: Mapping[str, Any]) -> list[Any]:
        """The cells of a line."""
        given, cells = values.get("columns") or {}, _cells(values)
        own = [cells["id"] if name == "id" else given.get(name) for name in self.given]
        return [*own, *(cells.get(name) for name in self.fields)]


def write(table: Path, lines: Path) -> None:
    """Write a table from the JSON lines of a batch."""
    table = Path(os.path.realpath(table))
    unfinished = table.with_name(f".{table.name}.unfinished")
    is_csv = table.suffix.lower() == ".csv"
    try:
        columns = _columns_of(lines, is_csv=is_csv)
        with unfinished.open("wb") as file:
            cut = _csv(file, columns, lines) if is_csv else _xlsx(file, columns, lines)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(table)
    except (OSError, XlsxWriterException) as error:
        cause = error.args[0] if isinstance(error, XlsxWriterException) else error
        why = getattr(cause, "strerror", None) or cause
        raise RunError(
            f"{table} cannot be written ({why}): all results are in {lines}, and the same command "
            "writes it once it can be written"
        ) from None
    finally:
        unfinished.unlink(missing_ok=True)
    if cut:
        _log.warning(
            "%s: %s longer than the %s characters that a cell holds, and cut off; the column %s "
            "names them, and the whole texts are in %s",
            *(table.name, "1 text is" if cut == 1 else f"{cut:,} texts are"),
            *(f"{_LONGEST_CELL:,}", _CUT, lines.name),
        )
    if columns.left_out:
        _log.warning(
            "%s: %s more columns than fit are left out; they are in %s",
            *(table.name, f"{columns.left_out:,}", lines.name),
        )


def _rows(lines: Path) -> Iterator[dict[str, Any]]:
    return (values for values, _, _ in read(lines))


def _columns_of(lines: Path, *, is_csv: bool) -> _Columns:
    given: dict[str, None] = {}
    data: dict[str, None] = {}
    for values in _rows(lines):
        given.update(dict.fromkeys(values.get("columns") or ()))
        data.update(dict.fromkeys(_data(values)))
    # An id of the input is the one of the line, except where the input has none.
    first = _BEFORE_DATA[1:] if "id" in given else _BEFORE_DATA
    last = _AFTER_DATA if is_csv else (*_AFTER_DATA, _CUT)
    room = _MOST_COLUMNS - len(first) - len(last)
    kept = list(given) if is_csv else list(given)[:room]
    own = [*first, *list(data)[: room if is_csv else room - len(kept)], *last]
    titles: dict[str, str] = {}
    taken = set(own)
    for name in kept:
        titles[name] = name
        while titles[name] in taken:
            titles[name] = f"input.{titles[name]}"
        taken.add(titles[name])
    columns = len(first) + len(given) + len(data) + len(last)
    return _Columns(titles, own, columns - len(kept) - len(own))


def _cells(values: Mapping[str, Any]) -> dict[str, Any]:
    return {**values, **_data(values), "models": ", ".join(values.get("models") or ()) or None}


def _data(values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the typed data of the result of an item.

    An item that ends in several branches has several results: their fields are behind their names.
    """
    if values.get("status") != "completed":
        return {}
    results: Mapping[str, Any] = values.get("results") or {}
    last = [one for one in results.values() if one["content"] == values["output"]]
    if last:
        return _fields("data", last[-1].get("data"))
    branches = (_fields(f"data.{path}", one.get("data")) for path, one in results.items())
    return {name: value for fields in branches for name, value in fields.items()}


def _fields(name: str, data: object) -> dict[str, Any]:
    if data is None:
        return {}
    if not isinstance(data, Mapping):
        return {name: data}
    return {f"{name}.{key}": value for key, value in cast("Mapping[str, Any]", data).items()}


def _text(value: object) -> str:
    """A cell as text in which every character is whole."""
    if value is None:
        return ""
    return mended(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _csv_cell(value: object) -> str:
    return guarded(_text(value)) if isinstance(value, str) else _text(value)


def _csv(file: IO[bytes], columns: _Columns, lines: Path) -> int:
    text = io.TextIOWrapper(file, "utf-8", newline="")
    rows = csv.writer(text, lineterminator="\r\n")
    rows.writerow(map(_csv_cell, columns.titles))
    rows.writerows(map(_csv_cell, columns.row(values)) for values in _rows(lines))
    text.detach()
    return 0


class _Sink:
    """A file that keeps its first failure: a ZIP file that cannot be closed complains on stderr."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.failure: Exception | None = None
        """None: everything was written."""

    def _tried(self, of_file: Callable[[], int], instead: int) -> int:
        try:
            return instead if self.failure else of_file()
        except (OSError, ValueError) as error:  # ValueError: it is closed already
            self.failure = error
            return instead

    def write(self, content: bytes) -> int:
        return self._tried(lambda: self._file.write(content), len(content))

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._tried(lambda: self._file.seek(offset, whence), 0)

    def tell(self) -> int:
        return self._tried(self._file.tell, 0)

    def flush(self) -> None:
        self._tried(lambda: self._file.flush() or 0, 0)


def _xlsx(file: IO[bytes], columns: _Columns, lines: Path) -> int:
    """Write a workbook; returns how many texts are cut off."""
    sink = _Sink(file)
    made = cast("IO[bytes]", sink)
    with xlsxwriter.Workbook(made, {"constant_memory": True, "use_zip64": True}) as workbook:
        sheet = workbook.add_worksheet("results")
        plain, bold = workbook.add_format(), workbook.add_format({"bold": True})
        money = workbook.add_format({"num_format": "$#,##0.000000000"})
        sheet.freeze_panes(1, 0)
        sheet.set_column(0, len(columns.titles) - 1, _WIDTH)
        for at, title in enumerate(columns.titles):
            _write_text(sheet, 0, at, _text(title), bold)
        total = 0
        for row, values in enumerate(_rows(lines), 1):
            cut: list[str] = []
            for at, (title, value) in enumerate(
                zip(columns.titles, columns.row(values), strict=True)
            ):
                shown, form = (Decimal(value), money) if title == "usd" else (value, plain)
                if title == _CUT:
                    shown = ", ".join(cut) or None
                if _write_cell(sheet, row, at, shown, form):
                    cut.append(title)
            total += len(cut)
    if sink.failure is not None:
        raise sink.failure
    return total


def _write_cell(sheet: Worksheet, row: int, column: int, value: Any, form: Format) -> bool:
    """Write one cell; returns whether it is cut off. An unknown value is an empty cell."""
    if isinstance(value, bool):
        sheet.write_boolean(row, column, value)
    elif isinstance(value, int | float | Decimal) and abs(value) < _EXACT:
        sheet.write_number(row, column, cast("float", value), form)
    elif value is not None:
        return _write_text(sheet, row, column, _text(value), form)
    return False


def _write_text(sheet: Worksheet, row: int, column: int, text: str, form: Format) -> bool:
    units = text.encode("utf-16-le")
    text = units[: 2 * _LONGEST_CELL].decode("utf-16-le", "ignore")
    if text.startswith("<r>") and text.endswith("</r>"):
        # The library takes such a text for XML of its own.
        sheet.write_rich_string(row, column, text[:1], form, text[1:])
    else:
        sheet.write_string(row, column, text, form)
    return len(units) > 2 * _LONGEST_CELL
