"""The ledger's tables in one database on a server that many machines write to.

Single statements commit by themselves and run side by side. A transaction takes a lock that all
transactions on the ledger share, so that what is read in it stays true until it ends, as in a file.
A process that stops in the middle of one loses it after some seconds: all others wait for it.

The connections of this process to one database, whoever opens a ledger there.

A program may run hundreds of graphs at once, each with its ledger open, and a server has a hundred
connections for everybody.
"""

from __future__ import annotations

import contextlib
import functools
import math
import re
import threading
import time
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import psycopg
import sqlalchemy
from psycopg.adapt import Loader
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row
from sqlalchemy import event, exc
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.pool import QueuePool

from aideon_agents.errors import LedgerError
from aideon_agents.ledger.database import Row, Statements
from aideon_agents.ledger.postgres.address import Address
from aideon_agents.ledger.postgres.refusals import explained, unreachable
from aideon_agents.ledger.schema import bring_up_to_date, table_names

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from typing import LiteralString

    from sqlalchemy import Dialect
    from sqlalchemy.pool import ConnectionPoolEntry

    Connection: TypeAlias = psycopg.Connection[dict[str, Any]]
    Cursor: TypeAlias = psycopg.Cursor[dict[str, Any]]


_OLDEST = 14
"""The oldest version of Postgres that is still maintained."""

_MOST = 4
"""One for transactions, the others for single statements."""

_WAITS = 60.0
"""Seconds that a thread waits until one of them is free."""

_UNHEARD = 10.0
"""Seconds without use after which a connection is tried first: a failover, or a router on the way,
ends it without a word to this side."""

_ENCODING = {"client_encoding": "UTF8"}


class Connections:
    """The connections to one database, as long as somebody uses them."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._users = 0
        self.turn = threading.Lock()
        """Held by the thread that is in a transaction: the others would wait for it on the server,
        each with a connection."""
        self.pool = QueuePool(
            self._made,
            pool_size=_MOST,
            max_overflow=0,
            timeout=_WAITS,
            use_lifo=True,
            reset_on_return=None,  # no transaction outlives its block
        )
        event.listen(self.pool, "checkin", _note_use)
        event.listen(self.pool, "checkout", _refuse_dead)

    @staticmethod
    def to(address: Address) -> Connections:
        """The connections to a database, to be let go of later."""
        with _LOCK:
            shared = _OPEN.get(address.key) or Connections(address)
            _OPEN[address.key] = shared
            shared._users += 1  # noqa: SLF001 - it is one of these
        return shared

    def let_go(self) -> None:
        """Use them no more; the last who does ends them."""
        with _LOCK:
            self._users -= 1
            if self._users:
                return
            del _OPEN[self._address.key]
        self.pool.dispose()

    def _made(self) -> Any:
        shown = self._address.shown
        parameters: dict[str, Any] = {**self._address.parameters, **_ENCODING}
        try:
            connection = psycopg.Connection[dict[str, Any]].connect(
                **parameters, autocommit=True, row_factory=dict_row
            )
        except psycopg.Error as error:
            raise unreachable(shown, error) from error
        info = connection.info
        encoding = info.parameter_status("server_encoding")
        problem = None
        if info.server_version < _OLDEST * 10_000:
            problem = f"is on Postgres {info.server_version // 10_000}: it needs {_OLDEST} or newer"
        elif encoding != "UTF8":
            problem = f"is in {encoding}: make its database again with ENCODING 'UTF8'"
        if problem:
            connection.close()
            raise LedgerError(f"the ledger {shown} {problem}")
        connection.adapters.register_loader("numeric", _Number)
        return connection


_OPEN: dict[object, Connections] = {}
_LOCK = threading.Lock()


class _Number(Loader):
    """Reads what adds up: a sum over BIGINT is a NUMERIC, and it is a whole number in a file."""

    def load(self, data: bytes | bytearray | memoryview) -> int | Decimal:
        number = Decimal(bytes(data).decode())
        whole = int(number)
        return whole if whole == number else number


def _note_use(_: object, record: ConnectionPoolEntry) -> None:
    record.info["used"] = time.monotonic()


def _refuse_dead(
    connection: psycopg.Connection[Any], record: ConnectionPoolEntry, _: object
) -> None:
    """Have another connection made in place of one that was ended."""
    unheard = time.monotonic() - record.info.get("used", math.inf)
    if is_dead(connection) or (unheard > _UNHEARD and not _answers(connection)):
        raise exc.DisconnectionError


def _answers(connection: psycopg.Connection[Any]) -> bool:
    try:
        connection.execute("SELECT 1")
    except psycopg.OperationalError:
        return False
    return True


def is_dead(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> bool:
    """Whether a connection that nobody uses now was ended, as far as can be seen from here.

    Looking costs next to nothing, where asking the server takes as long as a statement.
    """
    try:
        for _look in range(2):  # the first may find only the server's farewell
            connection.pgconn.consume_input()
    except psycopg.OperationalError:
        return True
    return False


Statement: TypeAlias = "tuple[LiteralString, Mapping[str, object]]"
"""As psycopg takes it."""

FOLDER = Path(".aideon")
"""Where files beside such a ledger are: those of the people who work here, not the server's."""

KEY = int.from_bytes(b"aideon")
"""The lock that transactions share; other programs in the database use other numbers."""

_DIALECT = cast("Callable[[], Dialect]", PGDialect_psycopg)()
_LITERAL = re.compile(r"'[^']*'")


class PostgresDatabase:
    """One database; see `Database`."""

    def __init__(
        self, address: Address, *, busy_seconds: float = 15.0, stalled_seconds: float = 5.0
    ) -> None:
        self.address = address
        self.name = address.shown
        self.path = None
        self.folder = FOLDER
        limits = {
            "lock_timeout": f"{round(busy_seconds * 1000)}",
            "idle_in_transaction_session_timeout": f"{round(stalled_seconds * 1000)}",
        }
        self._begin: tuple[Statement, ...] = (
            # In any other mode a transaction sees only what was there when it asked for the lock.
            ("BEGIN ISOLATION LEVEL READ COMMITTED", {}),
            *(
                ("SELECT set_config(%(name)s, %(value)s, true)", {"name": n, "value": v})
                for n, v in limits.items()
            ),
            ("SELECT pg_advisory_xact_lock(%(key)s)", {"key": KEY}),
        )
        self._own = threading.local()
        self._is_closed = False
        self._connections = Connections.to(address)
        with contextlib.ExitStack() as on_failure:
            on_failure.callback(self.close)
            bring_up_to_date(self)
            on_failure.pop_all()

    def select(self, sql: str, values: Mapping[str, object]) -> list[Row]:
        """Read rows."""
        return cast("list[Row]", self._done(sql, values).fetchall())

    def write(self, sql: str, values: Mapping[str, object]) -> int:
        """Change rows; returns how many."""
        return self._done(sql, values).rowcount

    def later(self, sql: str, values: Mapping[str, object]) -> None:
        """Change rows, in a transaction together with what comes next."""
        if own := self._inside():
            own.waiting.append((_statement(sql), _storable(values)))
        else:
            self.write(sql, values)

    @contextlib.contextmanager
    def transaction(self) -> Generator[Statements]:
        """Hold the ledger's lock for the length of a block, which must not await anything."""
        if self._inside() is not None:
            raise RuntimeError("a transaction inside a transaction would end the outer one")
        with self._connections.turn, self._connected() as connection:
            # The lock is asked for together with the first statement.
            own = self._own.transaction = _Transaction(connection, list(self._begin))
            try:
                yield self
                if own.is_begun or len(own.waiting) > len(self._begin):
                    self._commit(own)
            except BaseException:
                self._undo(connection)
                raise
            finally:
                self._own.transaction = None

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
        """Let go of its connections. Rows are safe without it."""
        if not self._is_closed:
            self._is_closed = True
            self._connections.let_go()

    def _inside(self) -> _Transaction | None:
        """The transaction that this thread is in."""
        return getattr(self._own, "transaction", None)

    def _done(self, sql: str, values: Mapping[str, object]) -> Cursor:
        """Run a statement in this thread's transaction, or by itself."""
        own = self._inside()
        statement = (_statement(sql), _storable(values))
        if own:
            with self._told():
                return own.run(statement)
        with self._connected() as connection, self._told():
            return connection.execute(*statement)

    def _commit(self, own: _Transaction) -> None:
        # After a statement that failed, Postgres would answer COMMIT by undoing everything.
        if own.connection.info.transaction_status == TransactionStatus.INERROR:
            raise LedgerError(
                f"the ledger {self.name}: a change was undone, for a part of it failed"
            )
        with self._told():
            own.run(("COMMIT", {}))

    @contextlib.contextmanager
    def _connected(self) -> Generator[Connection]:
        if self._is_closed:
            raise LedgerError(f"the ledger {self.name} was closed: open it again")
        with self._told():
            lent = self._connections.pool.connect()
        try:
            yield cast("Connection", lent.driver_connection)
        finally:
            if cast("Connection", lent.driver_connection).closed:
                lent.invalidate()
            lent.close()

    @contextlib.contextmanager
    def _told(self) -> Generator[None]:
        """What goes wrong with a statement is said in one line."""
        try:
            yield
        except exc.TimeoutError as error:
            raise LedgerError(f"the ledger {self.name} is too busy: do less at once") from error
        except (psycopg.Error, OverflowError, UnicodeError) as error:
            raise explained(self.name, error) from error

    def _undo(self, connection: Connection) -> None:
        is_idle = connection.info.transaction_status == TransactionStatus.IDLE
        if not connection.closed and not is_idle:  # else the server undoes it, or nothing was done
            with contextlib.suppress(psycopg.Error):
                connection.execute("ROLLBACK")


class _Transaction:
    """What a thread is in the middle of."""

    def __init__(self, connection: Connection, begin: list[Statement]) -> None:
        self.connection = connection
        self.waiting = begin
        """Sent together with whatever comes next: each way to the server and back takes as long
        as the work that is done there, and everybody else waits meanwhile."""
        self.is_begun = False

    def run(self, statement: Statement) -> Cursor:
        """Send what waits and a statement; gives what the statement gave."""
        self.is_begun = True
        if not self.waiting:
            return self.connection.execute(*statement)
        # Not psycopg's pipeline: after one, Postgres no longer ends a transaction that stalls.
        cursor = psycopg.ClientCursor(self.connection)
        together = "; ".join(cursor.mogrify(*one) for one in (*self.waiting, statement))
        self.waiting = []
        cursor.execute(cast("LiteralString", together))
        while cursor.nextset():
            pass  # the last one's result is asked for
        return cursor


class _Undone(Exception):  # noqa: N818 - nothing went wrong
    """Ends a transaction that was only tried."""


@functools.lru_cache(maxsize=256)
def _statement(sql: str) -> LiteralString:
    """A statement in psycopg's form; its parameters are the names outside its literals."""
    literal = _LITERAL.sub(lambda found: found[0].replace(":", r"\:"), sql)
    compiled = sqlalchemy.text(literal).compile(dialect=_DIALECT)
    return cast("LiteralString", str(compiled))


def _storable(values: Mapping[str, object]) -> dict[str, object]:
    """Values as the columns take them: a flag is a number there."""
    return {
        name: int(value) if isinstance(value, bool) else without_nul(value)
        for name, value in values.items()
    }


def without_nul(value: Any) -> Any:
    """A value that Postgres takes: in its texts there is no NUL."""
    return value.replace("\0", "\ufffd") if isinstance(value, str) else value
