"""A costs report as a workbook: a summary, and a sheet for every dimension.

Texts are written as texts, whatever they begin with, so that no node's name becomes a formula.
Amounts are numbers with all nine places shown. A spreadsheet's numbers have about 15 digits: to the
nano-dollar that is enough for sums below a million dollars, and JSON and CSV are exact beyond.
"""

from __future__ import annotations

import io
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import xlsxwriter

from aideon_agents.errors import InputError
from aideon_agents.ledger.documents import figures_document, report_document

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xlsxwriter.format import Format
    from xlsxwriter.worksheet import Worksheet

    from aideon_agents.ledger.reports import Report

ROWS_AT_MOST = 1_048_575
"""What a sheet holds below its heading."""

_MONEY = "$#,##0.000000000"
_FORMATS = {
    "usd": _MONEY,
    "against_usd": _MONEY,
    "failed_share": "0.0000%",
    "success_rate": "0.0000%",
    "run_success_rate": "0.0000%",
    "tokens_per_second": "#,##0.000",
}
_COUNT = "#,##0"
_WIDTHS = (10, 60)
"""Characters of the narrowest and of the widest column."""
_BOLD = {"bold": True}


def workbook(made: Sequence[Report]) -> bytes:
    """The workbook of a period."""
    for report in made:
        if len(report.rows) > ROWS_AT_MOST:
            raise InputError(
                f"{len(report.rows):,} rows by {report.by} do not fit a sheet, which holds "
                f"{ROWS_AT_MOST:,}: ask for --top, or for less with --since"
            )
    content = io.BytesIO()
    with xlsxwriter.Workbook(content, {"in_memory": True}) as book:
        formats = {
            name: book.add_format({"num_format": form})
            for name, form in {**_FORMATS, "": _COUNT}.items()
        }
        bold = book.add_format(_BOLD)
        _summary(book.add_worksheet("summary"), made[0], formats, bold)
        for report in made:
            _sheet(book.add_worksheet(report.by), report, formats, bold)
    return content.getvalue()


def _summary(sheet: Worksheet, report: Report, formats: dict[str, Format], bold: Format) -> None:
    document = report_document(report)
    lines: dict[str, Any] = {
        "since": document["since"] or "the first call",
        "until": document["until"] or "now",
        **_flat(document["total"]),
    }
    sheet.write_string(0, 0, "what was spent", bold)
    sheet.write_string(0, 1, "total", bold)
    for row, (name, value) in enumerate(lines.items(), start=1):
        sheet.write_string(row, 0, name)
        _cell(sheet, row, 1, name, value, formats)
    _frame(sheet, [max(map(len, lines)), max(_length(value) for value in lines.values())])


def _sheet(sheet: Worksheet, report: Report, formats: dict[str, Format], bold: Format) -> None:
    columns = list(_flat(figures_document(report.total)))
    for column, title in enumerate([report.by, *columns]):
        sheet.write_string(0, column, title, bold)
    widths = [len(title) for title in [report.by, *columns]]
    for number, row in enumerate(report.rows, start=1):
        cells = {"key": row.key, **_flat(figures_document(row))}
        for column, (name, value) in enumerate(cells.items()):
            _cell(sheet, number, column, name, value, formats)
            widths[column] = max(widths[column], _length(value))
    _frame(sheet, widths)


def _flat(figures: dict[str, Any]) -> dict[str, Any]:
    """Figures as cells: amounts as numbers, a comparison beside the rest."""
    against = {f"against_{name}": value for name, value in figures.get("against", {}).items()}
    cells = {**{name: one for name, one in figures.items() if name != "against"}, **against}
    return {
        name: Decimal(value) if name.endswith("usd") else value for name, value in cells.items()
    }


def _cell(
    sheet: Worksheet, row: int, column: int, name: str, value: Any, formats: dict[str, Format]
) -> None:
    """Write one cell; what nobody knows stays empty."""
    if isinstance(value, bool):
        sheet.write_boolean(row, column, value)
    elif isinstance(value, str):
        sheet.write_string(row, column, value)
    elif value is not None:
        sheet.write_number(row, column, value, formats.get(name, formats[""]))


def _length(value: Any) -> int:
    """How wide a cell is, amounts with their nine places."""
    return len(f"${value:,.9f}" if isinstance(value, Decimal) else str(value))


def _frame(sheet: Worksheet, widths: list[int]) -> None:
    """Let the heading stay in sight, and every column show what it holds."""
    sheet.freeze_panes(1, 1)
    least, most = _WIDTHS
    for column, width in enumerate(widths):
        sheet.set_column(column, column, min(max(width + 2, least), most))
