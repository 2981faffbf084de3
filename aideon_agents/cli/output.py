"""What the commands print: documents, tables, money, one-line complaints."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from decimal import Decimal

    from rich.table import Table


def document(values: Any) -> None:
    """Print one JSON document on stdout."""
    sys.stdout.write(json.dumps(values, ensure_ascii=False, indent=2) + "\n")


def line(text: str) -> None:
    """Print one line on stdout."""
    sys.stdout.write(text + "\n")


def complain(message: str) -> None:
    """Print one line on stderr."""
    sys.stderr.write(f"aideon: {' '.join(message.split())}\n")


def note(message: str) -> None:
    """Print something that is neither result nor error on stderr."""
    sys.stderr.write(message + "\n")


def money(usd: Decimal | None, *, complete: bool = True) -> str:
    """An amount for people.

    Args:
        usd: Dollars; None: unknown.
        complete: Whether it is all there is; if not, it is a lower bound.

    Returns:
        `$0.0012`, `>= $0.0012`, or `?`.
    """
    if usd is None:
        return "?"
    shown = f"${usd:.6f}" if usd < 1 else f"${usd:,.4f}"
    return shown if complete else f">= {shown}"


def duration(milliseconds: int | None) -> str:
    """A time for people: `0.12 s`; `-` when unknown."""
    return "-" if milliseconds is None else f"{milliseconds / 1000:.2f} s"


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    total: Sequence[str] | None = None,
    numbers: int = 0,
    to_stderr: bool = False,
) -> None:
    """Print a table.

    Args:
        columns: Titles.
        rows: Cells.
        total: A last row, set off from the others.
        numbers: How many columns, from the right, are figures.
        to_stderr: Print it beside the result instead of as the result.
    """
    from rich.console import Console  # noqa: PLC0415 - help must not wait for it

    drawn = _table(columns, numbers)
    for row in rows:
        drawn.add_row(*row)
    if total:
        drawn.add_section()
        drawn.add_row(*total, style="bold")
    stream = sys.stderr if to_stderr else sys.stdout
    width = None if stream.isatty() else 160  # a pipe wraps nothing
    Console(file=stream, width=width, highlight=False).print(drawn)


def _table(columns: Sequence[str], numbers: int) -> Table:
    from rich import box  # noqa: PLC0415 - help must not wait for it
    from rich.table import Table  # noqa: PLC0415 - help must not wait for it

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    first_number = len(columns) - numbers
    for index, title in enumerate(columns):
        is_number = index >= first_number
        drawn.add_column(
            title,
            justify="right" if is_number else "left",
            no_wrap=is_number,
            overflow="fold",
        )
    return drawn
