"""Tables, as text with any delimiter or in a workbook. The first row names the columns.

Python's csv module cannot read these: at a quote that is never closed it takes the rest of the file
for one cell, and the longest cell it reads is a setting of the whole process.

What RFC 4180 allows is read as it says. A quote that is opened and never closed makes its own row
invalid, and no other. That it is not closed is seen at a quote that opens a cell in a later line, or
at the end of the file.
"""

from __future__ import annotations

import datetime as dt
import re
import warnings
from collections import Counter, deque
from typing import TYPE_CHECKING, Any

from aideon_agents.batch.items import lines
from aideon_agents.batch.items.item import Found, Maker, Wrong
from aideon_agents.errors import InputError, UserError
from aideon_agents.graphs.material import unsendable

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from typing import BinaryIO

_DELIMITERS = ",;\t|"

_NEVER_CLOSED = "a quote is opened and never closed"
_NULL = r"\N"
"""How Postgres and MySQL write NULL."""


def read(file: BinaryIO, name: str, maker: Maker, delimiter: str | None) -> Generator[Found]:
    """Read a table."""
    usual = "\t" if name.lower().endswith((".tsv", ".tab")) else ","  # where the header shows none
    with lines.text(file) as opened:
        records = _Records(lines.numbered(opened), delimiter, maker, usual=usual)
        yield from rows(records.read(), name, maker)


def rows(
    records: Iterator[tuple[int, Sequence[Any] | Wrong]], name: str, maker: Maker
) -> Generator[Found]:
    """The rows below the header, by its names; blank rows are left out."""
    header: list[str] = []
    for line, cells in records:
        if isinstance(cells, Wrong):
            if not header:
                raise InputError(f"{name}:{line}: {cells}: correct the header")
            yield line, line, Wrong(str(cells), _named(header, cells.values.get("cells", ())))
        elif not any(cell is not None and str(cell).strip() for cell in cells):
            continue
        elif not header:
            header = _header(cells, f"{name}:{line}")
            maker.check_columns([cell for cell in header if cell], f"{name}:{line}")
        else:
            yield line, line, _row(header, cells)


def _header(cells: Sequence[Any], where: str) -> list[str]:
    header = ["" if cell is None else str(cell).strip() for cell in cells]
    twice = [name for name, count in Counter(filter(None, header)).items() if count > 1]
    if twice:
        raise InputError(f"{where}: two columns are called {twice[0]!r}: rename one")
    if any(unsendable(name, "") for name in header):
        raise InputError(f"{where}: the header is not text in UTF-8: save the file as UTF-8")
    return header


def _row(header: Sequence[str], cells: Sequence[Any]) -> dict[str, Any] | Wrong:
    values = _named(header, cells)
    more = any(cell is not None and str(cell).strip() for cell in cells[len(header) :])
    if len(cells) < len(header) or more:
        return Wrong(f"it has {len(cells)} cells, and the header has {len(header)}", values)
    return values


def _named(header: Sequence[str], cells: Any) -> dict[str, Any]:
    """The cells by their columns; those without a name are left out."""
    pairs = zip(header, cells, strict=False)
    return {name: None if cell == _NULL else cell for name, cell in pairs if name}


class _Unclosed(Exception):  # noqa: N818 - it says what happened
    """A quote is never closed."""


class _Records:
    """The records of a table, each with the number of its first line."""

    def __init__(
        self,
        numbered: Iterator[tuple[int, str | Wrong]],
        delimiter: str | None,
        maker: Maker,
        *,
        usual: str,
    ) -> None:
        self._behind = numbered
        self._ahead: deque[tuple[int, str | Wrong]] = deque()
        """Lines that were read while the end of a quote was looked for."""
        self._delimiter, self._maker, self._usual = delimiter or "", maker, usual
        self._columns = 0

    def read(self) -> Iterator[tuple[int, Sequence[str] | Wrong]]:
        while (found := self._line()) is not None:
            number, line = found
            if isinstance(line, Wrong):
                yield number, line
                continue
            if not line.strip():
                continue
            if not self._columns:
                if line[:4].casefold() == "sep=":  # as Excel writes it
                    self._delimiter = self._delimiter or line[4:].rstrip("\r\n")[:1]
                    continue
                self._delimiter = self._delimiter or _sniffed(line, self._maker, self._usual)
                self._compile(line)
            if '"' in line:
                record = self._quoted(line)
            else:
                record = line.rstrip("\r\n").split(self._delimiter)
            self._columns = self._columns or len(record if isinstance(record, list) else ())
            yield number, record

    def _compile(self, header: str) -> None:
        delimiter = re.escape(self._delimiter)
        self._cell = re.compile(rf' *"|[^{delimiter}\r\n]*')
        self._closes = re.compile(rf" *(?=[{delimiter}\r\n]|$)")
        # A quote after a space opens a cell only in a file that has spaces behind its delimiters.
        space = " ?" if f"{self._delimiter} " in header else ""
        self._opens = re.compile(rf"(?:^|{delimiter}{space})$")

    def _line(self) -> tuple[int, str | Wrong] | None:
        return self._ahead.popleft() if self._ahead else next(self._behind, None)

    def _quoted(self, line: str) -> list[str] | Wrong:
        """The record that starts with a line which has quotes."""
        more: list[tuple[int, str | Wrong]] = []
        cells: list[str] = []
        at, why = 0, None
        try:
            while not cells or line[at - 1 : at] == self._delimiter:
                found = self._cell.match(line, at)
                content, end = (found[0], found.end()) if found else ("", at)
                if content.endswith('"') and not content.strip(' "'):
                    content, line, end, is_sound = self._content(line, end, more)
                    why = why if is_sound else "a quote inside of a cell is not doubled"
                cells.append(content)
                at = end + 1
        except _Unclosed:
            self._ahead.extendleft(reversed(more))
            self._skip_pieces()
            why = _NEVER_CLOSED
        if why and len(cells) != self._columns:
            why = _NEVER_CLOSED
        return Wrong(why, {"cells": cells}) if why else cells

    def _content(
        self, line: str, at: int, more: list[tuple[int, str | Wrong]]
    ) -> tuple[str, str, int, bool]:
        """The content of a quoted cell, the line where it ends, and the place behind it."""
        parts: list[str] = []
        is_sound, is_first, is_inside, size = True, True, False, 0
        while True:
            quotes = _QUOTES.search(line, at)
            if quotes is None:
                parts.append(line[at:])
                size += len(line)
                found = self._line()
                if found is not None:
                    more.append(found)
                if found is None or isinstance(found[1], Wrong) or size > lines.LONGEST:
                    raise _Unclosed
                line, at, is_first, is_inside = found[1], 0, False, False
                continue
            before = line[max(0, quotes.start() - 2) : quotes.start()]
            parts += (line[at : quotes.start()], '"' * (len(quotes[0]) // 2))
            at = quotes.end()
            if len(quotes[0]) % 2 == 0:
                continue
            closes = self._closes.match(line, at)
            if closes and not is_inside:
                return "".join(parts), line, closes.end(), is_sound
            if not is_first and self._opens.search(before):
                raise _Unclosed
            # A quotation in the cell: its second quote does not close the cell.
            is_inside = not is_inside and before[-1:] in _BEFORE_QUOTATION
            is_sound = False
            parts.append('"')

    def _skip_pieces(self) -> None:
        """Leave out the lines behind a quote that is never closed which have but one cell."""
        while self._columns > 1 and (found := self._line()) is not None:
            if isinstance(found[1], Wrong) or self._delimiter in found[1] or '"' in found[1]:
                self._ahead.appendleft(found)
                return


_QUOTES = re.compile('"+')
_BEFORE_QUOTATION = ("", " ", "(", "[", "\n")


def _sniffed(header: str, maker: Maker, usual: str) -> str:
    """The delimiter of a table, by its header: what gives most columns, with the named ones first."""
    wanted = [name.casefold() for name in maker.wanted] or ["task"]

    def score(delimiter: str) -> tuple[bool, int]:
        cells = [cell.strip(' "\r\n').casefold() for cell in header.split(delimiter)]
        return all(name in cells for name in wanted), len(cells)

    return max(usual + _DELIMITERS, key=score)


def sheet_rows(file: BinaryIO, name: str) -> Iterator[tuple[int, list[Any]]]:
    """The rows of the first visible sheet, with their numbers."""
    try:
        import openpyxl  # noqa: PLC0415 - an extra
    except ImportError:
        raise UserError(
            f"{name} is a workbook, and to read it needs more: pip install 'aideon-agents[xlsx]'"
        ) from None
    try:
        how: dict[str, Any] = {"read_only": True, "data_only": True, "keep_links": False}
        (opened,) = _quietly(openpyxl.load_workbook(one, **how) for one in (file,))
        sheet: Any = _first_sheet(opened, name)
        sheet.reset_dimensions()  # some programs write wrong ones
        width = 0
        for number, row in enumerate(_quietly(sheet.iter_rows(values_only=True)), 1):
            cells = [_plain(value) for value in row]
            width = width or len(cells)
            yield number, cells + [None] * (width - len(cells))  # a row ends at its last cell
    except (InputError, OSError):
        raise
    except Exception as error:  # noqa: BLE001 - a damaged file can fail anywhere in the library
        raise InputError(
            f"{name} cannot be read as a workbook ({str(error) or type(error).__name__}): save it as "
            ".xlsx again"
        ) from None


def _first_sheet(opened: Any, name: str) -> Any:
    sheets = [one for one in opened.worksheets if one.sheet_state == "visible"]
    if not sheets:
        raise InputError(f"{name} has no visible sheet: write the items to one")
    return sheets[0]


def _quietly(found: Iterator[Any]) -> Iterator[Any]:
    """Values, without openpyxl's warnings about parts that it leaves out: no cell is one."""
    nothing = object()
    while True:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = next(found, nothing)
        if value is nothing:
            return
        yield value


_ERRORS = frozenset(("#NULL!", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!", "#N/A"))


def _plain(value: Any) -> Any:
    """A cell as JSON holds it; None where it is empty, or its formula has failed."""
    if isinstance(value, float):
        rounded = float(f"{value:.15g}")  # as many digits as a spreadsheet has
        return int(rounded) if rounded.is_integer() else rounded
    if isinstance(value, dt.datetime | dt.date | dt.time):
        return value.isoformat().removesuffix("T00:00:00")
    if isinstance(value, dt.timedelta):
        minutes, seconds = divmod(round(value.total_seconds()), 60)
        return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"
    return None if isinstance(value, str) and value in _ERRORS else value
