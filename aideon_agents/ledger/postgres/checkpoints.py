"""Keeps the state of graphs in tables beside the ledger's, on one connection for each event loop.

LangGraph writes there what has changed since the checkpoint before. So when one could not be
written, none after it is complete: the run is resumed from its last complete one. But first a lost
connection is replaced and the write is repeated, which is safe: it has the same effect twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any, TypeVar, cast

import psycopg
from psycopg.rows import DictRow, dict_row

from aideon_agents.errors import LedgerError
from aideon_agents.ledger.checkpointer import Checkpointer, WriteLock, readable, refuse_damaged
from aideon_agents.ledger.postgres.address import MISSING
from aideon_agents.ledger.postgres.database import without_nul
from aideon_agents.ledger.postgres.functions import KEY
from aideon_agents.ledger.postgres.pool import (
    BUSY,
    LIMITS,
    RETRY,
    Away,
    explained,
    is_dead,
    tell_away,
    unreachable,
)
from aideon_agents.ledger.states.serializer import StateSerializer

try:
    from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
except ImportError:
    raise LedgerError(MISSING) from None

from aideon_agents.ledger.database import Database
from aideon_agents.ledger.postgres.address import Address
from aideon_agents.ledger.postgres.database import PostgresDatabase

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
    from typing import LiteralString, Self

    from langchain_core.runnables import RunnableConfig
    from langgraph.checkpoint.base import (
        ChannelVersions,
        Checkpoint,
        CheckpointMetadata,
        CheckpointTuple,
    )


_MAKING = KEY + 1
"""The lock for making the tables. Not the ledger's: this one is held across awaits, while a
transaction on the ledger blocks the event loop until it has its lock, so one loop could wait for
itself."""

_T = TypeVar("_T")
_TABLES = ("checkpoints", "checkpoint_blobs", "checkpoint_writes")


class ServerCheckpointer(Checkpointer, AsyncPostgresSaver):
    """A checkpointer in one database."""

    def __init__(self, connecting: _Reconnecting) -> None:
        serde = StateSerializer(allowed_msgpack_modules=[])
        AsyncPostgresSaver.__init__(self, connecting.connection, serde=serde)
        self._connecting = connecting
        self._writing = WriteLock()
        self._failures = []
        self._incomplete: set[str] = set()
        """Threads of which a checkpoint could not be written."""

    def reading(self, types: Iterable[type]) -> Self:
        """The same database, for one run; see `Checkpointer`."""
        view = super().reading(types)
        view._incomplete = set()  # noqa: SLF001 - it is one of these itself
        return view

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Save a checkpoint, or log that it is not kept."""
        given = config.get("configurable", {})
        if given["thread_id"] in self._incomplete:
            return {"configurable": {**given, "checkpoint_id": checkpoint["id"]}}
        # Text that is a channel's whole value goes into JSON, where Postgres takes no NUL.
        values = {name: without_nul(one) for name, one in checkpoint["channel_values"].items()}
        storable: Checkpoint = {**checkpoint, "channel_values": values}
        return await super().aput(config, storable, metadata, new_versions)

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Read a checkpoint, the newest unless one is named."""
        with readable(config.get("configurable", {})["thread_id"]):
            async with self._writing:
                found = await self._with_retry(super().aget_tuple, config)
            return found and refuse_damaged(found)

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 - LangGraph's name
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """Read checkpoints, the newest first."""
        listed = super().alist

        async def read() -> list[CheckpointTuple]:
            return [one async for one in listed(config, filter=filter, before=before, limit=limit)]

        async with self._writing:
            found = await self._with_retry(read)
        for one in found:
            yield one

    async def adelete_thread(self, thread_id: str) -> None:
        """Remove what is kept under a name."""
        async with self._writing:
            await self._with_retry(super().adelete_thread, thread_id)

    async def names(self) -> set[str]:
        """Every name of a thread under which something is kept."""

        async def read() -> set[str]:
            cursor = await self._connecting.connection.execute(
                "SELECT DISTINCT thread_id FROM checkpoints"
            )
            return {row["thread_id"] for row in await cursor.fetchall()}

        async with self._writing:
            return await self._with_retry(read)

    async def close(self) -> None:
        """End the connection."""
        await self._connecting.connection.close()

    def explained(self, error: Exception) -> LedgerError | None:
        """A failure of the database as a LedgerError; None: the error is about a value."""
        return error if isinstance(error, LedgerError) else None

    def _missed(self, name: str) -> None:
        self._incomplete.add(name)

    async def _with_retry(self, do: Callable[..., Awaitable[_T]], *given: object) -> _T:
        """Do one thing, a second time where the connection was lost during the first."""
        for is_last in (False, True):
            self.conn = await self._connecting.living()
            try:
                return await do(*given)
            except psycopg.Error as error:
                if is_last or not self._connecting.connection.broken:
                    raise explained(self._connecting.address.shown, error) from error
        raise AssertionError  # the last attempt either returned or raised


class _Reconnecting:
    """A connection that is replaced when it was lost."""

    connection: psycopg.AsyncConnection[DictRow]

    def __init__(self, address: Address) -> None:
        self.address = address

    async def connect(self) -> None:
        """Make a connection; a server that restarts is waited for as the ledger waits."""
        give_up = time.monotonic() + BUSY
        while True:
            try:
                await self._connect()
            except Away as away:
                if time.monotonic() > give_up:
                    raise LedgerError(str(away)) from away
                tell_away(self.address, away)
                await asyncio.sleep(RETRY)
            else:
                return

    async def _connect(self) -> None:
        parameters: dict[str, Any] = {**self.address.parameters, "client_encoding": "UTF8"}
        try:
            self.connection = await psycopg.AsyncConnection[DictRow].connect(
                **parameters, autocommit=True, prepare_threshold=0, row_factory=dict_row
            )
            await self.connection.execute(LIMITS)
        except psycopg.Error as error:
            raise unreachable(self.address, error) from error

    async def living(self) -> psycopg.AsyncConnection[DictRow]:
        """A connection that was not lost, as far as can be seen without asking the server."""
        # A cancelled task may have left it in the middle of a query.
        is_busy = self.connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE
        if is_busy or is_dead(self.connection):
            await self.connection.close()
            await self.connect()
        return self.connection


async def opened(address: Address) -> ServerCheckpointer:
    """Open the checkpoints in a database, making their tables where they are missing."""
    connecting = _Reconnecting(address)
    await connecting.connect()
    async with contextlib.AsyncExitStack() as on_failure:
        on_failure.push_async_callback(connecting.connection.close)
        try:
            await _make_tables(connecting.connection)
            # A missing permission to write is found now, before anything is paid.
            for table in _TABLES:
                none = f"INSERT INTO {table} SELECT * FROM {table} WHERE 1 = 0"  # noqa: S608 - LangGraph's names
                await connecting.connection.execute(_ours(none))
        except psycopg.Error as error:
            raise explained(address.shown, error) from error
        on_failure.pop_all()
    return ServerCheckpointer(connecting)


async def _make_tables(connection: psycopg.AsyncConnection[DictRow]) -> None:
    """Take LangGraph's steps that are missing.

    Its own `setup` does that too, but two at once fail, and one that is killed leaves half.
    """
    steps = AsyncPostgresSaver.MIGRATIONS
    if await _steps_taken(connection) >= len(steps):
        return
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", [_MAKING])
        await connection.execute(_ours(steps[0]))
        for number in range(await _steps_taken(connection), len(steps)):
            # CONCURRENTLY is not allowed in a transaction, and no process uses the tables yet.
            await connection.execute(_ours(steps[number].replace(" CONCURRENTLY", "")))
            await connection.execute("INSERT INTO checkpoint_migrations VALUES (%s)", [number])


def _ours(sql: str) -> LiteralString:
    """SQL that holds no text of a user."""
    return cast("LiteralString", sql)


async def _steps_taken(connection: psycopg.AsyncConnection[DictRow]) -> int:
    made = await connection.execute("SELECT to_regclass('checkpoint_migrations') AS found")
    row = await made.fetchone()
    if row is None or row["found"] is None:
        return 0
    newest = await connection.execute("SELECT MAX(v) AS v FROM checkpoint_migrations")
    row = await newest.fetchone()
    return 0 if row is None or row["v"] is None else row["v"] + 1


def address_of(database: Database) -> Address:
    """Where a ledger's database is; it has no file, so it is on a server."""
    return cast("PostgresDatabase", database).address
