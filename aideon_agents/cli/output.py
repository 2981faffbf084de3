"""What the commands print: JSON documents, tables, money and one-line errors.

All that they print passes `_write`. Names and texts come from files, models and providers: control
characters in them reach no terminal. JSON has them as escapes, and only a run's result goes into a
file or a pipe as it is.

Files for `-o` are written completely or not at all. An error of the ledger is reported once. It is
raised inside a callback: LangChain logs it before it raises it again, and leaves the other handlers
of the same event as coroutines that are never awaited. A broken ledger fails every row.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import json
import logging
import os
import re
import secrets
import stat
import sys
import traceback
import warnings
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from aideon_agents.errors import InputError, LedgerError
from aideon_agents.ledger.redaction import printable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from decimal import Decimal

    from aideon_agents.ledger.costs import Totals


NO_TERMINAL = 160
"""Characters per line of a table in a file or a pipe."""

_UNSAFE_IN_JSON = re.compile("[\\x7f-\\x9f\\u202a-\\u202e\\u2066-\\u2069\\ud800-\\udfff]")
"""What JSON may hold as it is, and a terminal or an encoding may not."""
_lost: list[OSError] = []
"""Why stdout does not take the results of this command; empty: it does."""


def prepare() -> None:
    """Let stdin, stdout and stderr be used where one is closed or takes 8-bit text.

    A write to a stdout that was closed fails, so that a result is shown elsewhere.
    """
    _lost.clear()
    codecs.register_error(_ESCAPES, _escaped)
    modes = {"stdin": os.O_RDONLY, "stdout": os.O_RDONLY, "stderr": os.O_WRONLY}
    for name, mode in modes.items():
        if getattr(sys, name) is None:
            kind = "r" if name == "stdin" else "w"
            setattr(sys, name, os.fdopen(os.open(os.devnull, mode), kind, encoding="utf-8"))
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors=_ESCAPES)
    (logging.lastResort or logging.NullHandler()).setFormatter(_Printable())


_ESCAPES = "aideon-escapes"


def _escaped(error: UnicodeError) -> tuple[str, int]:
    """Characters that an encoding lacks, as JSON writes them: as escapes."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end


class _Printable(logging.Formatter):
    """Log messages name users and nodes."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def document(values: Any) -> None:
    """Print one JSON document on stdout."""
    _write(as_json(values), sys.stdout)


def as_json(values: Any) -> str:
    """Format one JSON document."""
    made = json.dumps(values, ensure_ascii=False, indent=2)
    return _UNSAFE_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", made)


def encoded(text: str) -> bytes:
    """A text as the content of a file, which ends in a newline."""
    return (text.rstrip("\n") + "\n").encode("utf-8", _ESCAPES)


def finish() -> bool:
    """Flush stdout and stderr; returns whether stdout did not take what this command wrote."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError as error:
            _discard(stream, error, "nothing of it was shown")
    return bool(_lost)


def line(text: str, *, is_ours: bool = False) -> None:
    """Print one line on stdout. One that is ours may have control characters, such as bold."""
    _write(text, sys.stdout, is_ours=is_ours)


def result(text: str) -> None:
    """Print the result of a run on stdout: a file or a pipe gets it as it is."""
    _write(text, sys.stdout, is_ours=not sys.stdout.isatty())


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


def money(usd: Decimal | None, *, complete: bool = True) -> str:
    """Format an amount: `$0.0012`, `>= $0.0012` for a lower bound, `?` when it is unknown."""
    if usd is None or not (usd or complete):  # "at least 0" would say nothing
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
    return (f"{one.calls:,}{failed}", *token_figures(one), money(one.usd, complete=one.complete))


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

    first_number = len(columns) - numbers
    width = None if stream.isatty() else NO_TERMINAL
    # The name of a node may look like markup: `[red]` or `:100:`.
    plain: dict[str, Any] = {"highlight": False, "markup": False, "emoji": False}
    sketch = _Sketch(stream.encoding)
    # There are no colors in a file, whatever FORCE_COLOR says.
    console = Console(file=sketch, width=width, force_terminal=stream.isatty(), **plain)
    lines = [list(map(printable, row)) for row in rows]
    whole_columns = {*range(first_number, len(columns)), *([0] if whole else [])}
    texts = [list(columns), *lines, list(total or ())]
    left = 0 if _break_names(texts, console.width, whole_columns) else 1
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, left))
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
        made.add_row(*map(printable, total), style="bold")
    console.print(made)
    return sketch.getvalue().removesuffix("\n")


class _Sketch(io.StringIO):
    """Takes a table: rich exits the process on a closed pipe, and lets other errors pass."""

    encoding: str = "utf-8"
    """Of the stream that is to show it, which may lack the characters of lines."""

    def __init__(self, encoding: str | None) -> None:
        super().__init__()
        self.encoding = encoding or self.encoding


_BETWEEN, _TIGHT = 3, 2
"""Spaces between two columns of a table, and between those of one that is too wide."""
_LEAST = 8
"""A column is made no narrower than this."""
_PART = re.compile(r"[^\s/:_.-]*[\s/:_.-]*")
"""A part of a name that stays on one line."""


def _break_names(rows: Sequence[list[str]], width: int, whole: Collection[int]) -> bool:
    """Break texts after a `/`, `:` or `-` until all fit; returns whether columns are close together."""
    from rich.cells import cell_len

    columns = [*zip_longest(*rows, fillvalue="")]
    widths = [max(map(cell_len, column)) for column in columns]
    parts = [[part.rstrip() for text in one for part in _PART.findall(text)] for one in columns]
    words = [max(map(cell_len, one)) for one in parts]
    is_tight = sum(widths) + _BETWEEN * (len(widths) - 1) + 2 > width
    for least in (words, [_LEAST] * len(widths)):  # words are broken where nothing else is left
        while is_tight and sum(widths) + _TIGHT * (len(widths) - 1) + 2 > width:
            free = [at for at in range(len(widths)) if at not in whole and widths[at] > least[at]]
            if not free:
                break
            widest = max(free, key=widths.__getitem__)
            widths[widest] -= 1
            for row in rows:
                if widest < len(row) and cell_len(row[widest]) > widths[widest]:
                    row[widest] = _broken(row[widest].replace("\n", ""), widths[widest])
    return is_tight


def _broken(text: str, width: int) -> str:
    from rich.cells import cell_len

    lines = [""]
    for part in _PART.findall(text):
        if lines[-1] and cell_len((lines[-1] + part).rstrip()) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def _write(text: str, stream: TextIO, end: str = "\n", *, is_ours: bool = False) -> None:
    """Write and flush, without control characters unless all of them are ours.

    A closed pipe (`| head`) is not an error. What stdout cannot take, such as a paid answer for a
    full disk, goes to stderr.
    """
    try:
        stream.write((text if is_ours else printable(text)) + end)
        stream.flush()
    except OSError as error:
        _discard(stream, error, "its text follows here")
    if stream is sys.stdout and _lost:
        _write(text, sys.stderr, end, is_ours=is_ours)


def _discard(stream: TextIO, error: OSError, what_now: str) -> None:
    """Discard later writes to a stream, also the flush when the interpreter exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    if stream is sys.stdout and not isinstance(error, BrokenPipeError):
        complain(f"stdout cannot be written ({error.strerror}): {what_now}")
        _lost.append(error)


def leave_terminal() -> None:
    """Write no more to a terminal that is closed: each write would fail."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            place = stream.fileno()
            if stat.S_ISCHR(os.fstat(place).st_mode) and not os.isatty(place):
                os.dup2(os.open(os.devnull, os.O_WRONLY), place)


def binary(content: bytes) -> None:
    """Print bytes on stdout."""
    try:
        sys.stdout.buffer.write(content)
        sys.stdout.flush()
    except OSError as error:
        _discard(sys.stdout, error, "use -o FILE")


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
