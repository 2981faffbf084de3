"""What the commands print: JSON documents, tables, money and one-line errors.

Files for `-o` are written completely or not at all. An error of the ledger is reported once. It is
raised inside a callback: LangChain logs it before it raises it again, and leaves the other handlers
of the same event as coroutines that are never awaited. A broken ledger fails every row.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import secrets
import sys
import traceback
import unicodedata
import warnings
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from aideon_agents.errors import InputError, LedgerError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from decimal import Decimal

    from aideon_agents.ledger.costs import Totals


NO_TERMINAL = 160
"""Characters per line of a table in a file or a pipe."""


def document(values: Any) -> None:
    """Print one JSON document on stdout."""
    _write(as_json(values), sys.stdout)


def as_json(values: Any) -> str:
    """Format one JSON document."""
    return json.dumps(values, ensure_ascii=False, indent=2)


def line(text: str, *, is_ours: bool = False) -> None:
    """Print one line on stdout. One that is ours may have control characters, such as bold."""
    _write(text, sys.stdout, is_ours=is_ours)


def complain(message: str) -> None:
    """Print an error as one line on stderr."""
    _write(f"aideon: {printable(' '.join(message.split()))}", sys.stderr)


def note(message: str) -> None:
    """Print a line on stderr that is neither a result nor an error."""
    _write(message, sys.stderr)


def begin(text: str) -> None:
    """Print the beginning of a line on stderr; `note` ends it."""
    _write(text, sys.stderr, end="")


def trace(error: BaseException) -> None:
    """Print the traceback of an error on stderr, without the keys that providers quote."""
    from aideon_agents.ledger.redaction import one_line

    for row in "".join(traceback.format_exception(error)).splitlines():
        indent = " " * (len(row) - len(row.lstrip()))
        note(indent + one_line(row))


def printable(text: str) -> str:
    """Remove control characters: the text of a model must not control the terminal."""
    return "".join(
        letter for letter in text if letter in "\n\t" or unicodedata.category(letter) != "Cc"
    )


def money(usd: Decimal | None, *, complete: bool = True) -> str:
    """Format an amount: `$0.0012`, `>= $0.0012` for a lower bound, `?` when it is unknown."""
    if usd is None:
        return "?"
    shown = f"${usd:.6f}" if usd < 1 else f"${usd:,.4f}"
    return shown if complete else f">= {shown}"


def duration(milliseconds: int | None) -> str:
    """Format a duration: `0.12 s`; `-` when it is unknown."""
    return "-" if milliseconds is None else f"{milliseconds / 1000:.2f} s"


def counted(number: int, noun: str) -> str:
    """Format a count: `1 run`, `2,000 runs`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def figures(one: Totals) -> tuple[str, str, str, str]:
    """The cells of a table for calls, input tokens, output tokens and cost."""
    failed = f" ({one.failed_calls:,} failed)" if one.failed_calls else ""
    return (
        f"{one.calls:,}{failed}",
        *token_figures(one),
        money(one.usd, complete=one.complete),
    )


def token_figures(one: Totals) -> tuple[str, str]:
    """The cells of a table for input tokens and output tokens."""
    from aideon_agents.ledger.costs import tokens_text

    return (
        tokens_text(one.input_tokens, counted=one.counted),
        tokens_text(one.output_tokens, counted=one.counted),
    )


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    total: Sequence[str] | None = None,
    numbers: int = 0,
    whole: bool = False,
    to_stderr: bool = False,
) -> None:
    """Print a table.

    The last `numbers` columns are right-aligned. `whole` keeps the first column on one line, so
    that a user can copy it. `total` is the last row.
    """
    stream = sys.stderr if to_stderr else sys.stdout
    made = drawn(columns, rows, stream, total=total, numbers=numbers, whole=whole)
    _write(made, stream, is_ours=True)  # bold at a terminal


def drawn(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    stream: TextIO,
    *,
    total: Sequence[str] | None = None,
    numbers: int = 0,
    whole: bool = False,
) -> str:
    """Format a table for a stream. Cells are printed without control characters."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    first_number = len(columns) - numbers
    width = None if stream.isatty() else NO_TERMINAL
    # The name of a node may look like markup: `[red]` or `:100:`.
    console = Console(file=stream, width=width, highlight=False, markup=False, emoji=False)
    lines = [list(map(printable, row)) for row in rows]
    whole_columns = {*range(first_number, len(columns)), *([0] if whole else [])}
    _break_names([list(columns), *lines, list(total or ())], console.width, whole_columns)
    for index, title in enumerate(columns):
        is_number = index >= first_number
        made.add_column(
            title,
            justify="right" if is_number else "left",
            no_wrap=is_number or (whole and index == 0),
            overflow="fold",
        )
    for row in lines:
        made.add_row(*row)
    if total:
        made.add_section()
        made.add_row(*total, style="bold")
    with console.capture() as captured:  # rich exits the process on a closed pipe
        console.print(made)
    return captured.get().removesuffix("\n")


_BETWEEN = 3
"""Spaces between two columns of a table."""
_LEAST = 8
"""A column is made no narrower than this."""
_PART = re.compile(r"[^\s/:_.-]*[\s/:_.-]*")
"""A part of a name that stays on one line."""


def _break_names(rows: Sequence[list[str]], width: int, whole: Collection[int]) -> None:
    """Break the texts of the widest columns until all fit, after a `/`, `:` or `-` of a name."""
    from rich.cells import cell_len

    widths = [max(map(cell_len, column)) for column in zip_longest(*rows, fillvalue="")]
    while sum(widths) + _BETWEEN * (len(widths) - 1) + 2 > width:
        free = [index for index in range(len(widths)) if index not in whole]
        widest = max(free, key=widths.__getitem__, default=None)
        if widest is None or widths[widest] <= _LEAST:
            return
        widths[widest] -= 1
        for row in rows:
            if widest < len(row) and cell_len(row[widest]) > widths[widest]:
                row[widest] = _broken(row[widest].replace("\n", ""), widths[widest])


def _broken(text: str, width: int) -> str:
    from rich.cells import cell_len

    lines = [""]
    for part in _PART.findall(text):
        if lines[-1] and cell_len((lines[-1] + part).rstrip()) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def _write(text: str, stream: TextIO, end: str = "\n", *, is_ours: bool = False) -> None:
    """Write and flush. A closed pipe (`| head`) is not an error.

    A terminal gets no control characters, unless all of them are ours.
    """
    try:
        stream.write((text if is_ours or not stream.isatty() else printable(text)) + end)
        stream.flush()
    except BrokenPipeError:
        # Discard later writes too, including the flush when the interpreter exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def write(path: Path, content: bytes) -> None:
    """Replace a file atomically: a reader sees the old content or the new one, never a part.

    The content is written to a temporary file, which then replaces the target. A target that is not
    a regular file (`/dev/stdout`) is written to directly. A link keeps its target.
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
        with place.open("ab"):  # do not replace a file that is not writable
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


def report_ledger_errors_once() -> None:
    """Filter repeated reports of a ledger error, which ends the run anyway."""
    logging.getLogger("langchain_core.callbacks.manager").addFilter(_is_not_ours)
    warnings.filterwarnings("ignore", "coroutine 'ahandle_event' was never awaited", RuntimeWarning)
    _reported.clear()
    (logging.lastResort or logging.NullHandler()).addFilter(_is_first)


_reported: set[str] = set()
"""The ledger errors that were reported in this run."""


def _is_not_ours(record: logging.LogRecord) -> bool:
    return "CostHandler" not in record.getMessage()


def _is_first(record: logging.LogRecord) -> bool:
    arguments = record.args if isinstance(record.args, tuple) else ()
    faults = {str(one) for one in arguments if isinstance(one, LedgerError)}
    is_first = not faults or not faults <= _reported
    _reported.update(faults)
    return is_first
