"""The ledger's tables in one SQLite file that many threads and processes write to.

Callbacks arrive from many threads, so one connection is used under one lock. WAL allows readers and
several processes beside one writer; with synchronous=NORMAL each row is safe from a killed process
at a tenth of the time (only a power cut can lose the last ones). Nothing is written to a file
before it is known to be a ledger, or empty.

sqlite-utils makes and moves the schema. It is imported only then, because it takes longer to import
than all the rest of the store.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from aideon_agents.errors import LedgerError
from aideon_agents.ledger.database import Row, Statements
from aideon_agents.ledger.forks import renewed, waited_for
from aideon_agents.ledger.identity import now
from aideon_agents.ledger.schema import Step
from aideon_agents.ledger.sqlite.faults import ANOTHER, PRIMARY, explained, is_busy, obstacle
from aideon_agents.ledger.upgrade import bring_up_to_date

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping


OUR_FOLDER = ".aideon"

_RETRY_SECONDS = 0.01

_STEP_SET = "aideon_agents"
_HAS_STEPS = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = '_sqlite_migrations'"
_STEPS_TAKEN = "SELECT name FROM _sqlite_migrations WHERE migration_set = :set ORDER BY rowid"
_RECORD_STEP = (
    "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES (:set, :name, :at)"
)


_NO_FILE = re.compile(
    r"(?:^|\s)(?:host(?:addr)?|port|dbname|user|password|service)\s*=|\w:[^@/\\]*@\w"
)
"""Parameters of a server, or a user and a password, without `postgresql://`."""


def ledger_path(url: str) -> Path:
    """The file that a ledger's address names."""
    if "://" not in url and _NO_FILE.search(url):  # it is not repeated: it may hold a password
        raise LedgerError(
            "the ledger's address is neither a file nor a server's: write sqlite:///path/to/ledger.db,"
            " or postgresql://user:password@host:5432/database"
        )
    scheme, separator, rest = url.partition("://")
    if not separator:
        rest, scheme = f"/{url}", "sqlite"
    path = rest.removeprefix("/")
    if scheme != "sqlite" or not rest.startswith("/") or not path:
        raise LedgerError(
            f"the ledger cannot be at {scheme}://: write sqlite:///path/to/ledger.db, or"
            " postgresql://user:password@host:5432/database"
        )
    return Path(path)


def make_private(path: Path, *, is_new: bool) -> None:
    """Let no other user read a file of ours: it holds prompts and answers.

    SQLite gives the files beside it the same mode. In `.aideon` this is done for the files of older
    versions as well; elsewhere a file that exists keeps the mode that it was given.
    """
    with contextlib.suppress(OSError):  # another user's file, which this one may use
        places = [path] if is_new else []
        if path.parent.name == OUR_FOLDER:
            places = [path.parent, *(one for one in path.parent.iterdir() if one.is_file())]
        for place in places:
            mode = place.stat().st_mode & 0o777
            if mode & 0o077:
                place.chmod(mode & 0o700)


def _can_only_be_read(path: Path, error: sqlite3.Error) -> bool:
    """Whether all of a ledger is in its file, and SQLite cannot make the files that it needs beside."""
    code = error.sqlite_errorcode & PRIMARY
    if code not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY) or not path.is_file():
        return False
    log = path.with_name(f"{path.name}-wal")
    return os.access(path, os.R_OK) and not (log.exists() and log.stat().st_size)


def _switch_to_wal(path: Path, connection: sqlite3.Connection, busy_seconds: float) -> None:
    """Switch on the write-ahead log, once in a file's life.

    SQLite does not wait for a lock here, so two processes that make the same file would fail.
    """
    deadline = time.monotonic() + busy_seconds
    while connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:
            mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            if mode != "wal":  # in memory, or on a file system without shared memory
                raise LedgerError(
                    f"the ledger {path} cannot be shared by processes where it is, as in memory"
                    " and on some network drives: name a file on a local disk with AIDEON_LEDGER"
                )
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() > deadline:
                raise
            time.sleep(_RETRY_SECONDS)


_LOOK_MS = 3
"""How long SQLite itself waits for a lock. Its waits grow to 100 ms, so that of many writers those
that wait longest try least often, and some would never get the lock."""

_WRONG = (sqlite3.Error, OverflowError, UnicodeError)
"""Errors of SQLite, and of Python for a value that does not fit into a column."""


_PARENTS: list[sqlite3.Connection] = []
"""Connections of the parent process, which this one must neither use nor close."""


class SqliteDatabase:
    """One file; see `Database`."""

    call = None

    def __init__(self, path: Path, busy_seconds: float) -> None:
        self.path = path
        self.name = str(path)
        self.folder = path.parent
        # A transaction's statements take the lock again.
        self._lock = threading.RLock()
        waited_for.add(self._lock)
        self._busy_seconds = busy_seconds
        self._is_within = False
        """A transaction is open."""
        self.key = str(path.absolute())  # a node may change the working directory
        with self._lock, contextlib.ExitStack() as on_failure:
            try:
                if path.is_dir():
                    inside = path / "ledger.db"
                    raise LedgerError(f"the ledger {path} is a folder: name a file in it, {inside}")
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._place = str(path)
                self._is_read_only = False
                is_new = not path.exists()
                try:
                    self._connect(on_failure)
                except sqlite3.OperationalError as error:
                    if not _can_only_be_read(path, error):
                        raise
                    self._is_read_only = True
                    self._connect(on_failure)
                if is_new or self.folder.name == OUR_FOLDER:
                    make_private(path, is_new=is_new)
                self._identity = self._seen()
                bring_up_to_date(self)
            except (OSError, sqlite3.Error) as error:
                raise explained(path, error) from error
            on_failure.pop_all()
        renewed.add(self)

    def after_fork(self) -> None:
        """Open the file again: SQLite lets no connection be used in two processes."""
        _PARENTS.append(self._connection)  # closing it would end what the parent does with it
        self._lock = threading.RLock()
        waited_for.add(self._lock)
        self._is_within = False
        self._place = self.key  # the working directory may be another one by now
        try:
            if gone := self._gone():
                raise gone
            self._connect()
        except (LedgerError, sqlite3.Error):  # its first use says why
            self._connection = sqlite3.connect(":memory:")
            self._connection.close()

    def _connect(self, on_failure: contextlib.ExitStack | None = None) -> None:
        """Connect to a file that is a ledger or empty: another is not changed."""
        self._connection = sqlite3.connect(
            f"{self.path.absolute().as_uri()}?immutable=1" if self._is_read_only else self._place,
            timeout=self._busy_seconds,
            isolation_level=None,
            check_same_thread=False,
            uri=self._is_read_only,
        )
        if on_failure:
            on_failure.callback(self._connection.close)
        path, connection = self.path, self._connection
        connection.row_factory = sqlite3.Row
        found = connection.execute("SELECT type, name FROM sqlite_master ORDER BY name").fetchone()
        if found and not self.steps_taken():
            kind, name = found
            raise LedgerError(
                f"the ledger {path} is the database of something else (it has a {kind} {name}):"
                f" {ANOTHER}"
            )
        mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
        if mode != "wal" and not self._is_read_only:
            _switch_to_wal(path, connection, self._busy_seconds)
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA busy_timeout = {_LOOK_MS}")

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

    def notices(self, seconds: float) -> Generator[str | None]:  # noqa: ARG002 - see `Database`
        """There are none: a file has no functions."""
        yield from ()

    def steps_taken(self) -> list[str]:
        """Names of the steps that the ledger has taken, in the table where sqlite-utils has them."""
        if not self._connection.execute(_HAS_STEPS).fetchone():
            return []
        return [name for (name,) in self._connection.execute(_STEPS_TAKEN, {"set": _STEP_SET})]

    def take_step(self, step: Step) -> None:
        """Run a step in the open transaction, and record it as sqlite-utils does."""
        import sqlite_utils  # noqa: PLC0415 - slow, and a ledger is seldom made or moved

        db = sqlite_utils.Database(
            self._connection, recursive_triggers=False, execute_plugins=False
        )
        sqlite_utils.Migrations(_STEP_SET).ensure_migrations_table(db)
        step(db)
        applied_at = str(now())
        self.write(_RECORD_STEP, {"set": _STEP_SET, "name": step.__name__, "at": applied_at})

    def check(self) -> None:
        """Read every page, write one and see that there is room. A million calls take two seconds."""
        if found := obstacle(Path(self.key)):
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
        """A failure as one line."""
        return self._gone() or explained(self.path, error)

    def _undo(self) -> None:
        with contextlib.suppress(sqlite3.Error):  # SQLite has undone it by itself already
            self._connection.execute("ROLLBACK")

    def _seen(self) -> tuple[int, int] | None:
        """The identity of the file at the ledger's path; None: there is none."""
        try:
            found = os.stat(self.key)  # noqa: PTH116 - before each write: a Path takes thrice as long
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _gone(self) -> LedgerError | None:
        """An error if the file is missing or replaced; None: it is there."""
        if self._seen() == self._identity:
            return None
        return LedgerError(
            f"the ledger {self.path} was moved, deleted or replaced while it was in use:"
            " put it back, or start again"
        )
