"""The connections of this process to one database, whoever opens a ledger there.

A program may run hundreds of graphs at once, each with its ledger open, and a server has a hundred
connections for everybody.
"""

from __future__ import annotations

import math
import threading
import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.adapt import Loader
from psycopg.rows import dict_row
from sqlalchemy import event, exc
from sqlalchemy.pool import QueuePool

from aideon_agents.errors import LedgerError
from aideon_agents.ledger.postgres.refusals import unreachable

if TYPE_CHECKING:
    from sqlalchemy.pool import ConnectionPoolEntry

    from aideon_agents.ledger.postgres.address import Address

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
