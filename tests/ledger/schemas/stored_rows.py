"""The rows of a stored ledger, read without the package."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


def rows_of(path: Path) -> dict[str, list[dict[str, Any]]]:
    """The rows by table, as they were when the file was made."""
    uri = f"file:{path}?mode=ro&immutable=1"
    with contextlib.closing(sqlite3.connect(uri, uri=True)) as stored:
        stored.row_factory = sqlite3.Row
        names = stored.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        return {
            name: [dict(row) for row in stored.execute(f"SELECT * FROM {name} ORDER BY 1")]  # noqa: S608 - our names
            for (name,) in names
        }
