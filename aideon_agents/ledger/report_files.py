"""Costs reports as files: CSV, and a workbook with a sheet per dimension.

The workbook writes texts as texts, so that the name of a node never becomes a formula. Amounts are
numbers that show nine places. A spreadsheet keeps about 15 digits, which is exact to the nano-dollar
below a million dollars; JSON and CSV are always exact.
"""

from __future__ import annotations

import csv
import io
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import xlsxwriter

from aideon_agents.errors import InputError
from aideon_agents.ledger.documents import figures_document, guarded, report_document
from aideon_agents.ledger.redaction import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xlsxwriter.format import Format
    from xlsxwriter.worksheet import Worksheet

    from aideon_agents.ledger.reports import Report


def csv_text(made: Report) -> str:
    """The rows as in RFC 4180, without the total, which a spreadsheet would add to their sum.

    An apostrophe marks a key that a spreadsheet might read as a formula. Amounts are exact, and a
    missing measure is an empty cell.
    """
    document = report_document(made)
    columns = ["key", *(name for name in document["total"] if name not in _TOTAL_ALONE)]
    if made.total.against:
        columns += ["against_model", "against_usd", "against_complete"]
    written = io.StringIO()
    lines = csv.DictWriter(written, columns, lineterminator="\r\n")
    lines.writeheader()
    lines.writerows(_csv_row(row) for row in document["rows"])
    return written.getvalue()


_TOTAL_ALONE = ("economized_calls", "shortened_calls", "against")


def _csv_row(row: dict[str, Any]) -> dict[str, Any]:
    cells = _flat(row)
    cells["key"] = guarded(printable(row["key"]))
    return {
        name: str(cell).lower() if isinstance(cell, bool) else cell for name, cell in cells.items()
    }


def _flat(figures: dict[str, Any]) -> dict[str, Any]:
    """The figures with those of a comparison beside the rest."""
    against = {f"against_{name}": value for name, value in figures.get("against", {}).items()}
    return {**{name: one for name, one in figures.items() if name != "against"}, **against}


ROWS_AT_MOST = 1_048_575
"""Rows of a sheet below its heading."""

_MONEY = "$#,##0.000000000"
_FORMATS = {
    "usd": _MONEY,
    "against_usd": _MONEY,
    "failed_share": "0.0000%",
    "success_rate": "0.0000%",
    "run_success_rate": "0.0000%",
    "tokens_per_second": "#,##0.000",
    "": "#,##0",
}
"""How numbers are shown, by the name of their figure; the empty name is for all others."""
_WIDTHS = (10, 60)
"""Characters of the narrowest and the widest column."""


def workbook(made: Sequence[Report]) -> bytes:
    """An XLSX file with a sheet for each report of a period."""
    for report in made:
        if len(report.rows) > ROWS_AT_MOST:
            raise InputError(
                f"{len(report.rows):,} rows by {report.by} do not fit a sheet, which holds "
                f"{ROWS_AT_MOST:,}: limit them with --top or --since"
            )
    content = io.BytesIO()
    with xlsxwriter.Workbook(content, {"in_memory": True}) as file:
        formats = {name: file.add_format({"num_format": form}) for name, form in _FORMATS.items()}
        bold = file.add_format({"bold": True})
        _summary(file.add_worksheet("summary"), made[0], formats, bold)
        for report in made:
            _sheet(file.add_worksheet(report.by), report, formats, bold)
    return content.getvalue()


def _summary(sheet: Worksheet, report: Report, formats: dict[str, Format], bold: Format) -> None:
    document = report_document(report)
    lines: dict[str, Any] = {
        "since": document["since"] or "the first call",
        "until": document["until"] or "now",
        **_numbers(document["total"]),
    }
    sheet.write_string(0, 0, "what was spent", bold)
    sheet.write_string(0, 1, "total", bold)
    for row, (name, value) in enumerate(lines.items(), start=1):
        sheet.write_string(row, 0, name)
        _cell(sheet, (row, 1), name, value, formats)
    _frame(sheet, [max(map(len, lines)), max(_length(value) for value in lines.values())])


def _sheet(sheet: Worksheet, report: Report, formats: dict[str, Format], bold: Format) -> None:
    columns = list(_numbers(figures_document(report.total)))
    for column, title in enumerate([report.by, *columns]):
        sheet.write_string(0, column, title, bold)
    widths = [len(title) for title in [report.by, *columns]]
    for number, row in enumerate(report.rows, start=1):
        cells = {"key": row.key, **_numbers(figures_document(row))}
        for column, (name, value) in enumerate(cells.items()):
            _cell(sheet, (number, column), name, value, formats)
            widths[column] = max(widths[column], _length(value))
    _frame(sheet, widths)


def _numbers(figures: dict[str, Any]) -> dict[str, Any]:
    """Figures as the cells of a sheet: amounts are numbers."""
    return {
        name: Decimal(value) if name.endswith("usd") else value
        for name, value in _flat(figures).items()
    }


def _cell(
    sheet: Worksheet, place: tuple[int, int], name: str, value: Any, formats: dict[str, Format]
) -> None:
    """Write one cell; an unknown value is an empty cell."""
    row, column = place
    if isinstance(value, bool):
        sheet.write_boolean(row, column, value)
    elif isinstance(value, str):
        sheet.write_string(row, column, value)
    elif value is not None:
        sheet.write_number(row, column, value, formats.get(name, formats[""]))


def _length(value: Any) -> int:
    """Characters of a cell; an amount has nine places."""
    return len(f"${value:,.9f}" if isinstance(value, Decimal) else str(value))


def _frame(sheet: Worksheet, widths: list[int]) -> None:
    """Freeze the heading and fit the widths of the columns."""
    sheet.freeze_panes(1, 1)
    least, most = _WIDTHS
    for column, width in enumerate(widths):
        sheet.set_column(column, column, min(max(width + 2, least), most))
