"""The connections of this process to a server, and what its errors mean.

All ledgers that this process opens in one database share its connections: a program may run
hundreds of graphs at once, each with its ledger open, and a server has a hundred connections in
all.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import re
import threading
import time
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, cast

import psycopg
from psycopg.adapt import Loader
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool, PoolTimeout

from aideon_agents.errors import LedgerError
from aideon_agents.ledger.postgres.address import Address
from aideon_agents.ledger.redaction import one_line, safe_text

if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import LiteralString

    Cursor: TypeAlias = psycopg.Cursor[dict[str, Any]]


_OLDEST = 14
"""The oldest version of Postgres that is still maintained."""

_MOST = 4
"""Connections: one for transactions, the others for single statements."""

_WAITS = 60.0
"""Seconds that a thread waits until one of them is free."""

_UNUSED = 10.0
"""Seconds without use after which a connection is tried first: a failover, or a router in between,
ends it without notice to this side."""

_POOL_NAME = "aideon-agents"

RETRY = 0.1
"""Seconds between two attempts to reach a server that is away."""

_log = logging.getLogger("aideon_agents.ledger")

BUSY = 15.0
"""Seconds that a statement waits for a lock which others hold."""

STALLED = 5.0
"""Seconds after which the server ends a transaction in which its client does nothing."""

LIMITS = cast(
    "LiteralString",
    f"SELECT set_config('lock_timeout', '{round(BUSY)}s', false),"
    f" set_config('idle_in_transaction_session_timeout', '{round(STALLED)}s', false)",
)
"""Sets both for a session. As a parameter of the connection, a pooler would refuse them."""


class Connection(psycopg.Connection[dict[str, Any]]):
    """One connection of the pool."""

    used: float = math.inf
    """When it was returned to the pool last, on the monotonic clock; infinite: never."""

    def is_usable(self) -> bool:
        """Whether it can be lent: it was not ended, as far as can be found out quickly."""
        if is_dead(self):
            return False
        if time.monotonic() - self.used <= _UNUSED:
            return True
        try:
            self.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True


class _Pool(ConnectionPool[Connection]):
    """A pool that reports at once when it cannot connect.

    psycopg_pool connects in a worker thread: it logs the failure, tries again, and lets the callers
    wait until their timeout.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._shown = address.shown
        super().__init__(
            connection_class=Connection,
            kwargs={
                **address.parameters,
                "client_encoding": "UTF8",
                "autocommit": True,
                "row_factory": dict_row,
            },
            configure=self._check_server,
            min_size=0,
            max_size=_MOST,
            timeout=_WAITS,
            reconnect_timeout=0,
            num_workers=1,
            open=False,
            name=_POOL_NAME,
        )

    def _connect(self, timeout: float | None = None) -> Connection:
        try:
            return super()._connect(timeout)
        except (psycopg.Error, LedgerError) as error:
            is_known = isinstance(error, LedgerError)
            reason = error if is_known else unreachable(self._address, error)
            with self._lock:
                waiting = list(self._waiting)
                self._waiting.clear()
            for client in waiting:
                client.fail(reason)
            raise reason from error

    def _check_server(self, connection: Connection) -> None:
        info = connection.info
        encoding = info.parameter_status("server_encoding")
        problem = None
        if info.server_version < _OLDEST * 10_000:
            problem = f"is on Postgres {info.server_version // 10_000}: it needs {_OLDEST} or newer"
        elif encoding != "UTF8":
            problem = f"is in {encoding}: make its database again with ENCODING 'UTF8'"
        if problem:
            connection.close()
            raise LedgerError(f"the ledger {self._shown} {problem}")
        connection.execute(LIMITS)
        connection.adapters.register_loader("numeric", _Number)


def _is_of_another_pool(record: logging.LogRecord) -> bool:
    """Filter out the warnings of our pools: failures are raised, lost connections replaced."""
    args = record.args if isinstance(record.args, tuple) else ()
    return not any(isinstance(one, Connection) or one == _POOL_NAME for one in args)


logging.getLogger("psycopg.pool").addFilter(_is_of_another_pool)


class Connections:
    """The connections to one database, shared by the ledgers that are open in it."""

    _open: ClassVar[dict[object, Connections]] = {}
    _lock: ClassVar[threading.Lock] = threading.Lock()
    _inherited: ClassVar[list[_Pool]] = []
    """Pools of the process that this one was forked from, which uses their connections: they are
    kept so that they are never closed here."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._users = 0
        self.make_pool()

    def make_pool(self) -> None:
        """Make the pool, not open yet, and the lock that goes with it."""
        self.turn = threading.Lock()
        """Held by the thread that is in a transaction: the others would wait for it on the server,
        each with a connection."""
        self.pool = _Pool(self._address)

    @classmethod
    def to(cls, address: Address) -> Connections:
        """The connections to a database; `release` them once."""
        with cls._lock:
            shared = cls._open.get(address.key) or cls(address)
            cls._open[address.key] = shared
            shared._users += 1  # noqa: SLF001 - it is one of these
        return shared

    def release(self) -> None:
        """Use them no more; the last user closes them."""
        with self._lock:
            self._users -= 1
            if self._users:
                return
            del self._open[self._address.key]
        self.pool.close()

    @contextlib.contextmanager
    def lent(self) -> Generator[Connection]:
        """One of them, for the length of a block."""
        connection = self._patiently()
        try:
            yield connection
        finally:
            connection.used = time.monotonic()
            self.pool.putconn(connection)

    def _patiently(self) -> Connection:
        """A connection; a server that restarts is waited for as long as a lock is."""
        give_up = time.monotonic() + BUSY
        while True:
            try:
                connection = self._living()
            except Away as away:
                if time.monotonic() > give_up:
                    raise LedgerError(str(away)) from away
                tell_away(self._address, away)
                time.sleep(RETRY)
            else:
                _AWAY.discard(self._address.shown)
                return connection

    def _living(self) -> Connection:
        self.pool.open()  # which does nothing when it is open
        try:
            connection = self.pool.getconn()
            while not connection.is_usable():
                connection.close()
                self.pool.putconn(connection)  # which replaces it
                connection = self.pool.getconn()
        except PoolTimeout as error:
            raise LedgerError(
                f"the ledger {self._address.shown} is too busy: do less at once"
            ) from error
        return connection

    @classmethod
    def reopen_after_fork(cls) -> None:
        """Replace pools and locks in a forked process: it inherits no threads, and held locks."""
        cls._lock = threading.Lock()
        for shared in cls._open.values():
            cls._inherited.append(shared.pool)
            shared.make_pool()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=Connections.reopen_after_fork)


class _Number(Loader):
    """Reads what adds up: a sum over BIGINT is a NUMERIC, and it is a whole number in a file."""

    def load(self, data: bytes | bytearray | memoryview) -> int | Decimal:
        number = Decimal(bytes(data).decode())
        whole = int(number)
        return whole if whole == number else number


def is_dead(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> bool:
    """Whether an idle connection was ended, as far as can be seen from here.

    Looking costs next to nothing, where asking the server takes as long as a statement.
    """
    try:
        for _look in range(2):  # the first may find only the server's farewell
            connection.pgconn.consume_input()
    except psycopg.OperationalError:
        return True
    return False


class Away(LedgerError):  # noqa: N818 - a reason to wait
    """The server is not there, and may be again in a moment."""


_COMES_BACK = re.compile(
    r"[Cc]onnection refused|No such file or directory|is (starting up|shutting down)"
    r"|not (yet|currently) accepting connections|recovery mode|closed the connection|reset by peer|terminating connection"
)
"""The words in which a connection is refused while a server restarts."""


_AWAY: set[str] = set()
"""Servers that are waited for."""


def tell_away(address: Address, away: Away) -> None:
    """Log once that a server is waited for."""
    if address.shown not in _AWAY:
        _AWAY.add(address.shown)
        _log.warning("%s; waiting up to %d seconds for it", away, BUSY)


def is_lost(error: psycopg.Error, connection: Connection) -> bool:
    """Whether a statement failed because its connection ended."""
    code = error.sqlstate or "08"
    return connection.closed and code.startswith(("08", "57P"))


_ANOTHER = "name another database with AIDEON_LEDGER"
_LOGIN = "does not take this user and password: mend them in AIDEON_LEDGER"
_CROWDED = "has no connection left: end some, or raise max_connections on its server"
_LOST = (
    "lost its connection, so it is unknown whether the last change was written: the server was"
    " stopped, or the network is down"
)
_NOT_ALLOWED = (
    "may not be used by this user: GRANT it USAGE and CREATE on the schema, and SELECT, INSERT,"
    " UPDATE and DELETE on the tables"
)
_TAKEN = (
    "has something else by a name of the ledger's: name another database, or another schema"
    " with ?options=-csearch_path%3DSCHEMA at the end of AIDEON_LEDGER"
)

_ADVICE = {
    "08": _LOST,
    "25006": "can only be read here: name the primary server, or a user who may write",
    "25P03": "was left in the middle of a change for too long, and the change was undone",
    "3F000": "has no schema to make its tables in: CREATE SCHEMA, or mend its search_path",
    "42501": _NOT_ALLOWED,
    "42P07": _TAKEN,
    "53100": "cannot grow, the disk of its server is full: free some space there",
    "53300": _CROWDED,
    "55P03": "is locked by another process: wait for it or stop it",
    "57P": _LOST,
    "XX001": f"is damaged: restore it from a backup, or {_ANOTHER}",
    "XX002": f"is damaged: REINDEX it, restore it from a backup, or {_ANOTHER}",
}
"""By SQLSTATE, or by how that begins."""

_QUOTED = ("42501", "42P07")
"""Codes whose message names the object, and is shown as well."""

_WORDS = {
    r"password authentication failed|no password supplied|role .* does not exist": _LOGIN,
    r"authentication failed|no pg_hba.conf entry": _LOGIN,
    r"database .* does not exist": f"is not there: CREATE DATABASE makes it, or {_ANOTHER}",
    r"too many (clients|connections)|connection slots are reserved": _CROWDED,
    r"is (starting up|shutting down)|not yet accepting": "is starting or stopping: wait a moment",
    r"permission denied for database": _NOT_ALLOWED,
}
"""By the message of a server that refuses a connection."""


def explained(shown: str, error: Exception) -> LedgerError:
    """A failure of a statement as one line that says what to do."""
    code = getattr(error, "sqlstate", None) or ""
    primary = getattr(getattr(error, "diag", None), "message_primary", None)
    words = one_line(primary or safe_text(error))
    known = [(start, advice) for start, advice in _ADVICE.items() if code.startswith(start)]
    if known:
        ((start, advice),) = known
        details = f" ({words})" if start in _QUOTED else ""
        return LedgerError(f"the ledger {shown} {advice}{details}")
    if isinstance(error, psycopg.OperationalError) and not code:
        return LedgerError(f"the ledger {shown} {_LOST}")
    if isinstance(error, psycopg.Error) and not isinstance(error, psycopg.DataError):
        return LedgerError(f"the ledger {shown} cannot be used ({words}): {_ANOTHER}")
    return LedgerError(f"the ledger {shown} cannot hold a value: {words}")


def unreachable(address: Address, error: Exception) -> LedgerError:
    """A failure to connect as one line that says what to do; Away: the server may be restarting."""
    words, shown = one_line(safe_text(error)), address.shown
    is_server = Path(address.parameters.get("host", "/")).is_dir() or "No such file" not in words
    kind = Away if is_server and _COMES_BACK.search(words) else LedgerError
    for pattern, advice in _WORDS.items():
        if re.search(pattern, words):
            return kind(f"the ledger {shown} {advice}")
    return kind(
        f"the ledger {shown} cannot be reached: start its server, or mend its address in"
        f" AIDEON_LEDGER ({words})"
    )
