"""The ledger's tables in one database on a server that many machines write to.

Single statements commit by themselves and run side by side. A transaction takes a lock that all
transactions on the ledger share, so that what is read in it stays true until it ends, as in a file.
The server ends the transaction of a process that stalls in one, because all others wait for it.
"""

from __future__ import annotations

import contextlib
import functools
import json
import re
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import psycopg
from psycopg.pq import TransactionStatus

from aideon_agents.errors import LedgerError
from aideon_agents.ledger.database import Row, Statements
from aideon_agents.ledger.identity import now, utc_text
from aideon_agents.ledger.postgres.address import Address
from aideon_agents.ledger.postgres.functions import CHANNEL, KEY, OF_STEP
from aideon_agents.ledger.postgres.pool import (
    BUSY,
    LIMITS,
    STALLED,
    Connection,
    Connections,
    explained,
    is_lost,
)
from aideon_agents.ledger.schema import Step, for_postgres, table_names
from aideon_agents.ledger.upgrade import bring_up_to_date

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import LiteralString

    Cursor: TypeAlias = psycopg.Cursor[dict[str, Any]]


Statement: TypeAlias = "tuple[LiteralString, Mapping[str, object]]"
"""As psycopg takes it."""

Done: TypeAlias = "tuple[list[Row], int]"
"""The rows of a statement, and how many it changed or found."""

COMMIT: Statement = ("COMMIT", {})

FOLDER = Path(".aideon")
"""Where files beside such a ledger are: on this machine, not on the server."""

_LIMIT = "SELECT set_config(:name, :value, true)"
_LOCK = "SELECT pg_advisory_xact_lock(:key)"

# After a crash the id of a transaction that left no trace is given again.
_STATUS = (
    "SELECT CASE WHEN CAST(:id AS xid8) < pg_current_xact_id()"
    " THEN pg_xact_status(CAST(:id AS xid8)) END AS status"
)

# Not to_regclass: in a transaction that has waited it still says what was before.
_HAS_STEPS = (
    "SELECT relname FROM pg_catalog.pg_class"
    " WHERE relname = 'aideon_steps' AND pg_catalog.pg_table_is_visible(oid)"
)
_MAKE_STEPS = (
    'CREATE TABLE aideon_steps (name TEXT COLLATE "C" PRIMARY KEY, taken_at TEXT NOT NULL)'
)
_STEPS_TAKEN = "SELECT name FROM aideon_steps ORDER BY taken_at, name"
_RECORD_STEP = "INSERT INTO aideon_steps (name, taken_at) VALUES (:name, :at)"


class PostgresDatabase:
    """One database; see `Database`."""

    def __init__(
        self, address: Address, *, busy_seconds: float = BUSY, stalled_seconds: float = STALLED
    ) -> None:
        self.address = address
        self.name = address.shown
        self.key = address.key
        self.path = None
        self.folder = FOLDER
        limits = {
            "lock_timeout": f"{round(busy_seconds * 1000)}",
            "idle_in_transaction_session_timeout": f"{round(stalled_seconds * 1000)}",
        }
        self._begin: tuple[Statement, ...] = (
            # In any other mode a transaction sees only what was there when it asked for the lock.
            ("BEGIN ISOLATION LEVEL READ COMMITTED", {}),
            *((translated(_LIMIT), {"name": n, "value": v}) for n, v in limits.items()),
            (translated(_LOCK), {"key": KEY}),
            ("SELECT CAST(pg_current_xact_id() AS TEXT) AS begun_id", {}),
        )
        self._patience = limits["lock_timeout"]
        self._own = threading.local()
        self._is_closed = False
        self._connections = Connections.to(address)
        with contextlib.ExitStack() as on_failure:
            on_failure.callback(self.close)
            bring_up_to_date(self)
            on_failure.pop_all()

    def select(self, sql: str, values: Mapping[str, object]) -> list[Row]:
        """Read rows."""
        return self._done(sql, values)[0]

    def write(self, sql: str, values: Mapping[str, object]) -> int:
        """Change rows; returns how many."""
        return self._done(sql, values)[1]

    def later(self, sql: str, values: Mapping[str, object]) -> None:
        """Change rows, in a transaction together with what comes next."""
        if own := self._inside():
            own.waiting.append((translated(sql), _storable(values)))
        else:
            self.write(sql, values)

    @contextlib.contextmanager
    def transaction(self) -> Generator[Statements]:
        """Hold the ledger's lock for the length of a block, which must not await anything."""
        if self._inside() is not None:
            raise RuntimeError("a transaction inside a transaction would end the outer one")
        self._check_open()
        with self._connections.turn, contextlib.ExitStack() as lent:

            def connect() -> Connection:
                lent.close()  # what was lost
                return lent.enter_context(self._connected())

            # The lock is asked for together with the first statement.
            own = self._own.transaction = _Transaction(connect, self._begin)
            try:
                yield self
                if own.is_begun or own.waiting:
                    self._commit(own)
            except BaseException:
                self._undo(own.connection)
                raise
            finally:
                self._own.transaction = None

    def call(self, function: str, *given: object) -> Any:
        """What a function of the ledger answers."""
        sent = [_json(one) if isinstance(one, Mapping) else one for one in given]
        # All of them wait for the same lock, so only one connection is used.
        with self._connections.turn:
            found, _ = self._alone(_call_of(function, len(sent) + 1), [*sent, self._patience])
        return found[0]["answer"]

    def notices(self, seconds: float) -> Generator[str | None]:
        """Ids of calls that a function names, received on a connection of its own.

        Without a connection, or behind a pooler that passes no notices on, there are none.
        """
        address = cast("Any", self.address.parameters)
        while True:
            try:
                with psycopg.connect(**address, autocommit=True) as listener:
                    listener.execute(LIMITS)
                    listener.execute(f"LISTEN {CHANNEL}")
                    while True:
                        yield None  # what was named before is not received
                        for notice in listener.notifies(timeout=seconds):
                            yield notice.payload
            except psycopg.Error:
                time.sleep(seconds)
                yield None

    def steps_taken(self) -> list[str]:
        """Names of the steps that the ledger has taken, in their order."""
        if not self.select(_HAS_STEPS, {}):
            return []
        return [row["name"] for row in self.select(_STEPS_TAKEN, {})]

    def take_step(self, step: Step) -> None:
        """Run a step in the open transaction, and record it."""
        if not self.select(_HAS_STEPS, {}):
            self.write(_MAKE_STEPS, {})
        step(self)
        for function in OF_STEP.get(step.__name__, ()):
            self.write(function, {})
        self.write(_RECORD_STEP, {"name": step.__name__, "at": utc_text(now())})

    def execute(self, sql: str, /) -> None:
        """Run a statement of a step, which is written for SQLite."""
        self.write(for_postgres(sql), {})

    def check(self) -> None:
        """Read every row, and write one that does not stay."""
        for table in table_names():
            self.select(f"SELECT COUNT({table}.*) FROM {table}", {})  # noqa: S608 - our names
        with contextlib.suppress(_Undone), self.transaction() as tx:
            for table in table_names():
                none = f"FROM {table} WHERE 1 = 0"
                tx.write(f"INSERT INTO {table} SELECT * {none}", {})
                tx.write(f"DELETE {none}", {})
                tx.select(f"SELECT 1 {none} FOR UPDATE", {})
            tx.write("INSERT INTO aideon_steps (name, taken_at) VALUES ('check', '')", {})
            raise _Undone

    def close(self) -> None:
        """Release its connections. Rows are safe without it."""
        if not self._is_closed:
            self._is_closed = True
            self._connections.release()

    def _inside(self) -> _Transaction | None:
        """The transaction that this thread is in."""
        return getattr(self._own, "transaction", None)

    def _done(self, sql: str, values: Mapping[str, object]) -> Done:
        """Run a statement in this thread's transaction, or by itself."""
        own = self._inside()
        statement = (translated(sql), _storable(values))
        if own:
            with self._errors_explained():
                return own.run(statement)
        return self._alone(*statement)

    def _alone(self, sql: LiteralString, values: Mapping[str, object] | list[object]) -> Done:
        """Run a statement that has the same effect twice, again if its connection was lost."""
        give_up = 0.0
        while True:
            with self._connected() as connection, self._errors_explained():
                try:
                    return _result(connection.execute(sql, values))
                except psycopg.errors.UniqueViolation:
                    if not give_up:
                        raise
                    return [], 1  # it was written before the connection was lost
                except psycopg.OperationalError as error:
                    give_up = give_up or time.monotonic() + BUSY
                    if not is_lost(error, connection) or time.monotonic() > give_up:
                        raise

    def _commit(self, own: _Transaction) -> None:
        # After a statement that failed, Postgres would answer COMMIT by undoing everything.
        if own.connection and own.connection.info.transaction_status == TransactionStatus.INERROR:
            raise LedgerError(
                f"the ledger {self.name}: a change was undone, for a part of it failed"
            )
        with self._errors_explained():
            own.run(COMMIT)

    def _check_open(self) -> None:
        if self._is_closed:
            raise LedgerError(f"the ledger {self.name} was closed: open it again")

    @contextlib.contextmanager
    def _connected(self) -> Generator[Connection]:
        self._check_open()
        with self._connections.lent() as connection:
            yield connection

    @contextlib.contextmanager
    def _errors_explained(self) -> Generator[None]:
        """Raise what goes wrong with a statement as a LedgerError of one line."""
        try:
            yield
        except (psycopg.Error, OverflowError, UnicodeError) as error:
            raise explained(self.name, error) from error

    def _undo(self, connection: Connection | None) -> None:
        if connection is None:
            return
        is_idle = connection.info.transaction_status == TransactionStatus.IDLE
        if not connection.closed and not is_idle:  # else the server undoes it, or nothing was done
            with contextlib.suppress(psycopg.Error):
                connection.execute("ROLLBACK")


class _Transaction:
    """The transaction of one thread.

    If its connection is lost, the server has undone it. What was done is then done again, and the
    block continues where it is, provided that everything gives the same as before.
    """

    def __init__(self, connect: Callable[[], Connection], begin: tuple[Statement, ...]) -> None:
        self._connect = connect
        self._begin = begin
        self.connection: Connection | None = None
        self.waiting: list[Statement] = []
        """Sent together with the next statement: each round trip to the server takes as long as the
        work that is done there, and all other transactions wait meanwhile."""
        self._sent: list[tuple[list[Statement], Done]] = []
        self._id: str | None = None
        """As the server names it; None: it has not begun there."""

    @property
    def is_begun(self) -> bool:
        """Whether a statement was sent."""
        return bool(self._sent)

    def run(self, statement: Statement) -> Done:
        """Send the waiting statements and this one; returns the result of this one."""
        together, self.waiting = [*self.waiting, statement], []
        give_up, lost = 0.0, None
        while True:
            connection = self.connection = self.connection or self._connect()
            try:
                if self._id is None and not self._repeated(lost if statement is COMMIT else None):
                    return [], 0
                done = self._execute(connection, together)
            except psycopg.OperationalError as error:
                give_up = give_up or time.monotonic() + BUSY
                if not is_lost(error, connection) or time.monotonic() > give_up:
                    raise
                lost, self._id, self.connection = self._id or lost, None, None
            else:
                self._sent.append((together, done))
                return done

    def _repeated(self, committing: str | None) -> bool:
        """Do on a new connection what was done; False: the one that was lost was committed."""
        if not self._sent or self.connection is None:
            return True
        connection = self.connection
        status: object = None
        if committing:
            (row,), _ = self._execute(connection, [(translated(_STATUS), {"id": committing})])
            status = row["status"]
        with contextlib.suppress(psycopg.IntegrityError):  # a row is there already
            if all(self._execute(connection, sent) == done for sent, done in self._sent):
                return True
        connection.execute("ROLLBACK")
        if status != "committed":
            raise psycopg.OperationalError("the server was stopped during a change")
        return False

    def _execute(self, connection: Connection, statements: list[Statement]) -> Done:
        begins = self._id is None
        if begins:
            statements = [*self._begin, *statements]
        if len(statements) == 1:
            return _result(connection.execute(*statements[0]))
        # Not psycopg's pipeline: after one, Postgres no longer ends a transaction that stalls.
        cursor = psycopg.ClientCursor(connection)
        together = "; ".join(cursor.mogrify(*one) for one in statements)
        cursor.execute(cast("LiteralString", together))
        while True:  # to the result of the last one
            if begins and cursor.description and cursor.description[0].name == "begun_id":
                self._id = cursor.fetchall()[0]["begun_id"]
            if not cursor.nextset():
                return _result(cursor)


def _result(cursor: Cursor) -> Done:
    return cast("list[Row]", cursor.fetchall()) if cursor.description else [], cursor.rowcount


class _Undone(Exception):  # noqa: N818 - nothing went wrong
    """Ends a transaction that was only a trial."""


_LITERAL = re.compile(r"('[^']*')")
_PARAMETER = re.compile(r"(?<![:\w]):(\w+)")


@functools.lru_cache(maxsize=256)
def translated(sql: str) -> LiteralString:
    """A statement in psycopg's form: `:name` becomes `%(name)s`, but not in a literal or a cast."""
    parts = _LITERAL.split(sql.replace("%", "%%"))
    parts[::2] = [_PARAMETER.sub(r"%(\1)s", part) for part in parts[::2]]
    return cast("LiteralString", "".join(parts))


@functools.lru_cache(maxsize=16)
def _call_of(function: str, count: int) -> LiteralString:
    places = ", ".join(["%s"] * count)
    return cast("LiteralString", f"SELECT {function}({places}) AS answer")


def _json(values: Mapping[str, object]) -> str:
    return json.dumps(_storable(values))


def _storable(values: Mapping[str, object]) -> dict[str, object]:
    """Values as the columns take them: a flag is a number there."""
    return {
        name: int(value) if isinstance(value, bool) else without_nul(value)
        for name, value in values.items()
    }


def without_nul(value: Any) -> Any:
    """A value that Postgres takes: in its texts there is no NUL."""
    return value.replace("\0", "\ufffd") if isinstance(value, str) else value
