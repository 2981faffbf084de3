"""What the commands print: documents, tables, money, one-line complaints."""

from __future__ import annotations

import io
import json
import os
import sys
import traceback
import unicodedata
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from decimal import Decimal

    from rich.table import Table


def document(values: Any) -> None:
    """Print one JSON document on stdout."""
    _write(as_json(values), sys.stdout)


def as_json(values: Any) -> str:
    """One JSON document as text."""
    return json.dumps(values, ensure_ascii=False, indent=2)


def line(text: str) -> None:
    """Print one line on stdout."""
    _write(text, sys.stdout)


def complain(message: str) -> None:
    """Print one line on stderr."""
    _write(f"aideon: {printable(' '.join(message.split()))}", sys.stderr)


def note(message: str) -> None:
    """Print something that is neither result nor error on stderr."""
    _write(message, sys.stderr)


def begin(text: str) -> None:
    """Print the beginning of a line on stderr; `note` ends it."""
    _write(text, sys.stderr, end="")


def trace(error: BaseException) -> None:
    """Print where an error came from on stderr, without the keys that providers quote."""
    from aideon_agents.ledger.redaction import one_line  # noqa: PLC0415 - help must not wait

    for row in "".join(traceback.format_exception(error)).splitlines():
        indent = " " * (len(row) - len(row.lstrip()))
        note(indent + one_line(row))


def printable(text: str) -> str:
    """Without what a terminal would obey: a model's words must not move its cursor."""
    return "".join(
        letter for letter in text if letter in "\n\t" or unicodedata.category(letter) != "Cc"
    )


def money(usd: Decimal | None, *, complete: bool = True) -> str:
    """An amount for people."""
    if usd is None:
        return "?"
    shown = f"${usd:.6f}" if usd < 1 else f"${usd:,.4f}"
    return shown if complete else f">= {shown}"


def duration(milliseconds: int | None) -> str:
    """A time for people: `0.12 s`; `-` when unknown."""
    return "-" if milliseconds is None else f"{milliseconds / 1000:.2f} s"


def counted(number: int, noun: str) -> str:
    """A number of things: `1 run`, `2,000 runs`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    total: Sequence[str] | None = None,
    numbers: int = 0,
    whole: bool = False,
    to_stderr: bool = False,
) -> None:
    """Print a table."""
    stream = sys.stderr if to_stderr else sys.stdout
    text = drawn(columns, rows, total=total, numbers=numbers, whole=whole, stream=stream)
    _write(text, stream)


def drawn(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    total: Sequence[str] | None = None,
    numbers: int = 0,
    whole: bool = False,
    stream: TextIO | None = None,
) -> str:
    """A table as text."""
    from rich.console import Console  # noqa: PLC0415 - help must not wait for it

    made = _table(columns, numbers, whole=whole)
    for row in rows:
        made.add_row(*row)
    if total:
        made.add_section()
        made.add_row(*total, style="bold")
    target = stream or io.StringIO()
    width = None if target.isatty() else 160  # a pipe wraps nothing
    # A node may be called `[red]` or `:100:`, and is shown as it is called.
    console = Console(file=target, width=width, highlight=False, markup=False, emoji=False)
    with console.capture() as captured:  # printing itself, rich exits when nobody reads any more
        console.print(made)
    return captured.get().removesuffix("\n")


def _write(text: str, stream: TextIO, end: str = "\n") -> None:
    """Write a line at once. A reader that has gone, `head` say, wanted no more of it."""
    try:
        stream.write(text + end)
        stream.flush()
    except BrokenPipeError:
        # What is written from here on, and at the interpreter's end, goes nowhere in silence.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _table(columns: Sequence[str], numbers: int, *, whole: bool) -> Table:
    from rich import box  # noqa: PLC0415 - help must not wait for it
    from rich.table import Table  # noqa: PLC0415 - help must not wait for it

    made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    first_number = len(columns) - numbers
    for index, title in enumerate(columns):
        is_number = index >= first_number
        made.add_column(
            title,
            justify="right" if is_number else "left",
            no_wrap=is_number or (whole and index == 0),
            overflow="fold",
        )
    return made
