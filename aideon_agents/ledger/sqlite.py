"""The ledger's tables in one SQLite file that many threads and processes write to.

Callbacks arrive from many threads, so one connection stands behind one lock.
"""

from __future__ import annotations

import contextlib
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


class SqliteDatabase:
    """One file; see `Database`.

    Args:
        path: The file; it, its folder and its tables are made when missing.
        busy_seconds: How long to wait for another process that is writing.

    Raises:
        LedgerError: It cannot be opened.
    """

    def __init__(self, path: Path, busy_seconds: float) -> None:
        self.path = path
        self.name = str(path)
        self.folder = path.parent
        # A transaction's statements take the lock again.
        self._lock = threading.RLock()
        self._connection = open_ledger(path, busy_seconds)
        self._connection.execute(f"PRAGMA busy_timeout = {_LOOK_MS}")
        self._busy_seconds = busy_seconds
        self._file = path.absolute()  # a node may change the working directory
        self._identity = self._seen()

    def select(self, sql: str, values: Mapping[str, object]) -> list[Row]:
        """Read rows."""
        with self._used() as connection:
            found: list[Any] = self._executed(connection, sql, values).fetchall()
            return found

    def write(self, sql: str, values: Mapping[str, object]) -> int:
        """Change rows; returns how many."""
        with self._used() as connection:
            # Rows can be written to a deleted file for as long as it is open, and are lost then.
            if not connection.in_transaction and (gone := self._gone()):
                raise gone
            return self._executed(connection, sql, values).rowcount

    def later(self, sql: str, values: Mapping[str, object]) -> None:
        """Change rows."""
        self.write(sql, values)

    @contextlib.contextmanager
    def transaction(self) -> Generator[Statements]:
        """Hold the write lock for the length of a block, which must not await anything."""
        with self._lock:
            with self._used() as connection:
                if connection.in_transaction:
                    raise RuntimeError("a transaction inside a transaction would end the outer one")
            try:
                self.write("BEGIN IMMEDIATE", {})
                yield self
                self.write("COMMIT", {})
            except BaseException:
                self._undo()
                raise

    def check(self) -> None:
        """Read every page, write one and see that there is room. A million calls take two seconds."""
        if found := obstacle(self._file):
            raise explained(self.path, found)
        with self._used() as connection:
            (found,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
            if found != "ok":
                damage = sqlite3.DatabaseError(found)
                damage.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
                raise damage
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            self.write(f"PRAGMA user_version = {version}", {})

    def close(self) -> None:
        """Close the file. Rows are safe without it."""
        with self._lock:
            self._connection.close()

    @contextlib.contextmanager
    def _used(self) -> Generator[sqlite3.Connection]:
        """The connection, for one thread at a time; what goes wrong is said in one line."""
        try:
            with self._lock:
                yield self._connection
        except (sqlite3.Error, OverflowError, UnicodeError) as error:
            raise (self._gone() or explained(self.path, error)) from error

    def _executed(
        self, connection: sqlite3.Connection, sql: str, values: Mapping[str, object]
    ) -> sqlite3.Cursor:
        """Run a statement, waiting for other processes."""
        deadline = time.monotonic() + self._busy_seconds
        while True:
            try:
                return connection.execute(sql, cast("Any", values))
            except sqlite3.OperationalError as error:
                if not is_busy(error) or time.monotonic() > deadline:
                    raise

    def _undo(self) -> None:
        with contextlib.suppress(sqlite3.Error):  # SQLite has undone it by itself already
            self._connection.execute("ROLLBACK")

    def _seen(self) -> tuple[int, int] | None:
        """What tells the file at this place from any other; None: there is none."""
        try:
            found = self._file.stat()
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
