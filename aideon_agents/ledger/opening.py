"""How a ledger's file is found, opened and brought up to date, and what is said when it is not.

WAL lets readers and several processes work beside one writer; with synchronous=NORMAL each row is
safe from a killed process at a tenth of the time (only a power cut can lose the last ones).
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from pathlib import Path

from sqlite_utils import Database

from aideon_agents.errors import LedgerError
from aideon_agents.ledger.migrations import MIGRATIONS, from_newer_version

_ANOTHER = "name another file with AIDEON_LEDGER"
_BUSY = "is locked by another process: wait for it or stop it"
_ADVICE = {
    sqlite3.SQLITE_BUSY: _BUSY,
    sqlite3.SQLITE_LOCKED: _BUSY,
    sqlite3.SQLITE_NOTADB: f"is not a ledger: move the file away, or {_ANOTHER}",
    sqlite3.SQLITE_CORRUPT: f"is damaged: move the file away, or {_ANOTHER}",
    sqlite3.SQLITE_READONLY: f"is read-only: make it and its folder writable, or {_ANOTHER}",
    sqlite3.SQLITE_PERM: f"may not be written: change its permissions, or {_ANOTHER}",
    sqlite3.SQLITE_CANTOPEN: f"cannot be opened: make its folder writable, or {_ANOTHER}",
    sqlite3.SQLITE_FULL: f"cannot grow, its disk is full: free some space, or {_ANOTHER}",
    sqlite3.SQLITE_IOERR: f"cannot be written, its disk fails: check the disk, or {_ANOTHER}",
}
_PRIMARY = 0xFF
"""SQLite's extended error codes carry the plain one in their low byte."""

_RETRY_SECONDS = 0.01


def ledger_path(url: str) -> Path:
    """The file that a ledger's address names.

    Args:
        url: `sqlite:///relative/path`, `sqlite:////absolute/path`, or a bare path.

    Returns:
        The path as given.

    Raises:
        LedgerError: The address is of another kind.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        rest, scheme = f"/{url}", "sqlite"
    path = rest.removeprefix("/")
    if scheme != "sqlite" or not rest.startswith("/") or not path:
        raise LedgerError(f"the ledger cannot be at {scheme}://: write sqlite:///path/to/ledger.db")
    return Path(path)


def open_ledger(path: Path, busy_seconds: float) -> sqlite3.Connection:
    """Open a ledger, making its folder, its file and its tables where they are missing.

    Args:
        path: The file.
        busy_seconds: How long to wait for another process's lock.

    Returns:
        A connection that commits each statement and may be used from every thread, one at a time.

    Raises:
        LedgerError: One line that says why not and what to do.
    """
    if path.is_dir():
        raise LedgerError(f"the ledger {path} is a folder: name a file in it, {path / 'ledger.db'}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return _connected(path, busy_seconds)
    except (OSError, sqlite3.Error) as error:
        raise explained(path, error) from error


def explained(path: Path, error: Exception) -> LedgerError:
    """What went wrong with a ledger, in one line that says what to do."""
    if isinstance(error, sqlite3.ProgrammingError) and "closed" in str(error):
        return LedgerError(f"the ledger {path} was closed: open it again")
    code = getattr(error, "sqlite_errorcode", 0) & _PRIMARY
    reason = " ".join(str(getattr(error, "strerror", None) or error).split())
    advice = _ADVICE.get(code, f"cannot be used ({reason}): {_ANOTHER}")
    return LedgerError(f"the ledger {path} {advice}")


def _connected(path: Path, busy_seconds: float) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=busy_seconds, isolation_level=None, check_same_thread=False
    )
    with contextlib.ExitStack() as on_failure:
        on_failure.callback(connection.close)
        connection.row_factory = sqlite3.Row
        _switch_to_wal(connection, busy_seconds)
        connection.execute("PRAGMA synchronous = NORMAL")
        _bring_up_to_date(path, connection)
        on_failure.pop_all()
    return connection


def _switch_to_wal(connection: sqlite3.Connection, busy_seconds: float) -> None:
    """Switch on the write-ahead log, once in a file's life.

    SQLite does not wait for a lock here, so two processes that make the same file would fail.
    """
    deadline = time.monotonic() + busy_seconds
    while connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:
            mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            if mode != "wal":  # in memory, or on a file system without shared memory
                raise sqlite3.NotSupportedError(f"no write-ahead log here, only {mode!r}")
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorcode & _PRIMARY == sqlite3.SQLITE_BUSY
            if not busy or time.monotonic() > deadline:
                raise
            time.sleep(_RETRY_SECONDS)


def _bring_up_to_date(path: Path, connection: sqlite3.Connection) -> None:
    db = Database(connection, recursive_triggers=False, execute_plugins=False)
    if unknown := from_newer_version(db):
        raise LedgerError(
            f"the ledger {path} was made by a newer version ({unknown[-1]}):"
            f" upgrade aideon-agents, or {_ANOTHER}"
        )
    if MIGRATIONS.pending(db):
        # The write lock first: of two processes that find steps pending, one takes them.
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            MIGRATIONS.apply(db)
