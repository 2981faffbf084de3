"""The ledger's tables in one SQLite file that many threads and processes write to.

Callbacks arrive from many threads, so one connection stands behind one lock.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from typing import TYPE_CHECKING, Any, cast

from aideon_agents.errors import LedgerError
from aideon_agents.ledger.opening import explained, is_busy, obstacle, open_ledger

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from pathlib import Path

    from aideon_agents.ledger.database import Row, Statements

_LOOK_MS = 3
"""How long SQLite itself waits for a lock. Its waits grow to 100 ms, so that of many writers those
who wait longest look least often, and some would never have their turn."""

_WRONG = (sqlite3.Error, OverflowError, UnicodeError)
"""What SQLite raises, and Python for a value that does not fit into a column."""


class SqliteDatabase:
    """One file; see `Database`."""

    def __init__(self, path: Path, busy_seconds: float) -> None:
        self.path = path
        self.name = str(path)
        self.folder = path.parent
        # A transaction's statements take the lock again.
        self._lock = threading.RLock()
        self._connection = open_ledger(path, busy_seconds)
        self._connection.execute(f"PRAGMA busy_timeout = {_LOOK_MS}")
        self._busy_seconds = busy_seconds
        self._is_within = False
        """A transaction is under way."""
        self._file = path.absolute()  # a node may change the working directory
        self._place = str(self._file)
        self._identity = self._seen()

    def select(self, sql: str, values: Mapping[str, object]) -> list[Row]:
        """Read rows."""
        with self._lock:
            try:
                found: list[Any] = self._executed(sql, values).fetchall()
            except _WRONG as error:
                raise self._explained(error) from error
            return found

    def write(self, sql: str, values: Mapping[str, object]) -> int:
        """Change rows; returns how many."""
        with self._lock:
            try:
                # Rows can be written to a deleted file for as long as it is open, and are lost then.
                if not self._is_within and (gone := self._gone()):
                    raise gone
                return self._executed(sql, values).rowcount
            except _WRONG as error:
                raise self._explained(error) from error

    def later(self, sql: str, values: Mapping[str, object]) -> None:
        """Change rows."""
        self.write(sql, values)

    @contextlib.contextmanager
    def transaction(self) -> Generator[Statements]:
        """Hold the write lock for the length of a block, which must not await anything."""
        with self._lock:
            if self._is_within:
                raise RuntimeError("a transaction inside a transaction would end the outer one")
            try:
                self.write("BEGIN IMMEDIATE", {})
                self._is_within = True
                yield self
                self.write("COMMIT", {})
            except BaseException:
                self._undo()
                raise
            finally:
                self._is_within = False

    def check(self) -> None:
        """Read every page, write one and see that there is room. A million calls take two seconds."""
        if found := obstacle(self._file):
            raise explained(self.path, found)
        with self._lock:
            (found,) = self.select("PRAGMA integrity_check(1)", {})
            if found["integrity_check"] != "ok":
                damage = sqlite3.DatabaseError(found["integrity_check"])
                damage.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
                raise explained(self.path, damage) from damage
            (version,) = self.select("PRAGMA user_version", {})
            self.write(f"PRAGMA user_version = {version['user_version']}", {})

    def close(self) -> None:
        """Close the file. Rows are safe without it."""
        with self._lock:
            self._connection.close()

    def _executed(self, sql: str, values: Mapping[str, object]) -> sqlite3.Cursor:
        """Run a statement, waiting for other processes."""
        deadline = None
        while True:
            try:
                return self._connection.execute(sql, cast("Any", values))
            except sqlite3.OperationalError as error:
                deadline = deadline or time.monotonic() + self._busy_seconds
                if not is_busy(error) or time.monotonic() > deadline:
                    raise

    def _explained(self, error: Exception) -> LedgerError:
        """What went wrong, in one line."""
        return self._gone() or explained(self.path, error)

    def _undo(self) -> None:
        with contextlib.suppress(sqlite3.Error):  # SQLite has undone it by itself already
            self._connection.execute("ROLLBACK")

    def _seen(self) -> tuple[int, int] | None:
        """What tells the file at this place from any other; None: there is none."""
        try:
            found = os.stat(self._place)  # noqa: PTH116 - before each write: a Path takes thrice as long
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _gone(self) -> LedgerError | None:
        """What is wrong when another file lies in its place, or none; None: it is there."""
        if self._seen() == self._identity:
            return None
        return LedgerError(
            f"the ledger {self.path} was moved, deleted or replaced while it was in use:"
            " put it back, or start again"
        )
