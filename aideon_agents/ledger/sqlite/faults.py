"""What can be wrong with a ledger's file, as one line that says what to do."""

from __future__ import annotations

import errno
import os
import sqlite3
import tempfile
from typing import TYPE_CHECKING

from aideon_agents.errors import LedgerError

if TYPE_CHECKING:
    from pathlib import Path

ANOTHER = "name another file with AIDEON_LEDGER"
"""What to do about most faults."""
_MOVE = f"move the file away, or {ANOTHER}"
_BUSY = f"is locked by another process: wait for it or stop it, or {ANOTHER}"
_FULL = f"cannot grow, its disk is full: free some space, or {ANOTHER}"
_READ_ONLY = f"is read-only: make it and its folder writable, or {ANOTHER}"
_IN_THE_WAY = f"cannot be made, there is a file where its folder should be: {ANOTHER}"
_ADVICE = {
    sqlite3.SQLITE_BUSY: _BUSY,
    sqlite3.SQLITE_LOCKED: _BUSY,
    sqlite3.SQLITE_PROTOCOL: _BUSY,
    sqlite3.SQLITE_NOTADB: f"is not a ledger: {_MOVE}",
    sqlite3.SQLITE_CORRUPT: f"is damaged (`sqlite3 FILE .recover` may save its rows): {_MOVE}",
    sqlite3.SQLITE_READONLY: _READ_ONLY,
    sqlite3.SQLITE_PERM: _READ_ONLY,
    sqlite3.SQLITE_CANTOPEN: f"cannot be opened: make it and its folder writable, or {ANOTHER}",
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_IOERR: f"cannot be written, its disk fails: check the disk, or {ANOTHER}",
}
_ADVICE_BY_ERRNO = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: f"cannot grow, files may not be so large: raise that limit, or {ANOTHER}",
    errno.EACCES: _READ_ONLY,
    errno.EPERM: _READ_ONLY,
    errno.EROFS: _READ_ONLY,
    errno.EEXIST: _IN_THE_WAY,
    errno.ENOTDIR: _IN_THE_WAY,
}
_UNCLEAR = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR)
"""Codes that SQLite gives for a full disk, missing permissions and broken hardware alike."""

PRIMARY = 0xFF
"""SQLite's extended error codes hold the primary code in their low byte."""

_ROOM = 64 * 1024
"""Bytes: more than SQLite needs beside a file to open it."""


def explained(path: Path, error: Exception) -> LedgerError:
    """A failure of a ledger's file as one line that says what to do."""
    if isinstance(error, sqlite3.ProgrammingError) and "closed" in str(error):
        return LedgerError(f"the ledger {path} was closed: open it again")
    if isinstance(error, OverflowError | UnicodeError):
        return LedgerError(f"the ledger {path} cannot hold a value: {error}")
    code = getattr(error, "sqlite_errorcode", 0) & PRIMARY
    cause = (obstacle(path) if code in _UNCLEAR else None) or error
    reason = " ".join(str(getattr(cause, "strerror", None) or cause).split())
    advice = (
        _ADVICE_BY_ERRNO.get(getattr(cause, "errno", 0))
        or _ADVICE.get(code)
        or f"cannot be used ({reason}): {_MOVE if isinstance(cause, sqlite3.Error) else ANOTHER}"
    )
    return LedgerError(f"the ledger {path} {advice}")


def is_busy(error: sqlite3.Error) -> bool:
    """Whether a statement failed because another process has the file locked."""
    return error.sqlite_errorcode & PRIMARY == sqlite3.SQLITE_BUSY


def obstacle(path: Path) -> OSError | None:
    """The operating system's reason why a ledger cannot be written, which SQLite does not report.

    The file itself is not opened: closing it would drop the locks that this process holds on it.
    """
    parts = (path, path.with_name(f"{path.name}-wal"))
    try:
        sizes = [part.stat().st_size for part in parts if part.exists()]
        if not all(os.access(part, os.R_OK | os.W_OK) for part in parts if part.exists()):
            return PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        with tempfile.TemporaryFile(dir=path.parent) as trial:
            trial.seek(max(sizes, default=0))  # a limit on the size of files counts from there
            trial.write(bytes(_ROOM))
            trial.flush()
    except OSError as found:
        return found
    return None
