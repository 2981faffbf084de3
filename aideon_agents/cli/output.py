"""What the commands print: documents, tables, money, one-line complaints.

Writing what `-o` asks for: whole or not at all.

An error of the ledger is told once, by us.

It is raised inside a callback, which LangChain logs before it raises it on; and whatever else was
to hear of the same event is left as a coroutine that nobody awaits. What is wrong with a ledger
keeps every row from being written, and need not be told of each.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import secrets
import sys
import traceback
import unicodedata
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from aideon_agents.errors import InputError, LedgerError

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


def write(path: Path, content: bytes) -> None:
    """Write a file at once: whoever reads it finds the old one or the new one, never a part.

    It is written beside its place and put there when it is whole. What is no file, `/dev/stdout`
    say, is written to directly; a link keeps pointing where it points.
    """
    try:
        place = Path(os.path.realpath(path))
        if place.exists() and not place.is_file():
            place.write_bytes(content)
        else:
            _replace(place, content)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from None


def _replace(place: Path, content: bytes) -> None:
    known = place.stat().st_mode if place.exists() else None
    if known is not None:
        with place.open("ab"):  # a file that may not be written is not replaced either
            pass
    beside = place.with_name(f".{secrets.token_hex(4)}.part")
    try:
        with beside.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if known is not None:
            beside.chmod(known & 0o7777)
        beside.replace(place)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise


def tell_ledger_errors_once() -> None:
    """Leave out what LangChain says of an error that ends the run anyway, in this process."""
    logging.getLogger("langchain_core.callbacks.manager").addFilter(_is_news)
    warnings.filterwarnings("ignore", "coroutine 'ahandle_event' was never awaited", RuntimeWarning)
    _told.clear()
    (logging.lastResort or logging.NullHandler()).addFilter(_is_first)


_told: set[str] = set()
"""What was said to be wrong with a ledger, in this run."""


def _is_news(record: logging.LogRecord) -> bool:
    return "CostHandler" not in record.getMessage()


def _is_first(record: logging.LogRecord) -> bool:
    said = record.args if isinstance(record.args, tuple) else ()
    faults = {str(one) for one in said if isinstance(one, LedgerError)}
    is_first = not faults or not faults <= _told
    _told.update(faults)
    return is_first
