"""Which paths can be an OUT, and which files belong to it."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from aideon_agents.batch.items import Source
from aideon_agents.errors import InputError

_ENDINGS = ("", ".jsonl", ".ndjson")
"""The endings of an OUT of JSON lines."""
TABLES = (".csv", ".xlsx")
"""The endings of an OUT that is made from the JSON lines beside it."""
SHEET_ROWS = 1_048_575
"""Rows of a sheet below its heading."""


def lines_path(out: Path) -> Path:
    """The file of the JSON lines of an OUT: OUT itself, or the file beside a table."""
    if out.suffix.lower() not in TABLES:
        return out
    table = Path(os.path.realpath(out)) if out.is_symlink() else out
    return table.with_name(f"{table.name}.jsonl")


def out_of(lines: str) -> str:
    """The OUT whose JSON lines are in a file: the table beside it, or that file."""
    table = Path(lines.removesuffix(".jsonl"))
    return str(table) if table.suffix.lower() in TABLES and table.is_file() else lines


def refuse_unusable(path: Path, source: Source) -> None:
    """Refuse a path that cannot be an OUT, before anything is created."""
    if str(path) == "-":
        raise InputError(
            "a batch reads its results again when it continues, so they cannot go to stdout: "
            "name a file, such as -o out.jsonl"
        )
    lines = lines_path(path)
    for one in dict.fromkeys((path, lines)):
        _refuse_unusable_file(one, source)
    ending = path.suffix.lower()
    if ending not in (*_ENDINGS, *TABLES):
        raise InputError(
            f"{path} ends in {path.suffix}, and a batch writes JSON lines, CSV or a workbook: "
            "end the name in .jsonl, .csv or .xlsx"
        )
    if path != lines and path.exists() and path.stat().st_size and not lines.exists():
        raise InputError(
            f"{path} already has other content, or its lines in {lines} were removed: put that "
            f"file back, name another file with -o, or remove {path}"
        )
    if ending == ".xlsx" and source.count > SHEET_ROWS:
        raise InputError(
            f"{source.count:,} items do not fit a sheet, which holds {SHEET_ROWS:,} rows: "
            "name a CSV file"
        )


def _refuse_unusable_file(path: Path, source: Source) -> None:
    try:
        if not path.exists():
            parent = Path(os.path.realpath(path)).parent
            if not parent.is_dir():
                raise InputError(
                    f"{path} cannot be written: there is no folder {parent}: create it"
                )
            return
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise InputError(f"{path} is a folder: name a file for the results, {path}/out.jsonl")
        if not stat.S_ISREG(mode):
            raise InputError(
                f"{path} is not a regular file: a batch that continues reads its results again, so name a file"
            )
        if source.path is not None and source.path.exists() and path.samefile(source.path):
            raise InputError(f"{path} is the file of the items: write the results to another one")
        if any(_is_open_as(path, standard) for standard in range(3)):
            raise InputError(
                f"{path} is the stdin, stdout or stderr of this command: name another file"
            )
        if not os.access(path, os.W_OK):
            raise InputError(f"{path} cannot be written: Permission denied")
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from None


def _is_open_as(path: Path, standard: int) -> bool:
    with contextlib.suppress(OSError):
        return os.path.samestat(path.stat(), os.fstat(standard))
    return False
