"""The state of graphs in tables beside the ledger's, on one connection for each event loop.

LangGraph writes there what has changed since the checkpoint before. So when one could not be
written, none after it is whole: that run's last whole one stays, and is gone on from. But first a
connection that was lost is made again, and the write is done again: it does the same twice.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, TypeVar, cast

import psycopg
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from psycopg.rows import DictRow, dict_row

from aideon_agents.errors import LedgerError
from aideon_agents.ledger.checkpointer import Checkpoints, Turn
from aideon_agents.ledger.postgres.address import MISSING
from aideon_agents.ledger.postgres.database import KEY, is_dead, without_nul
from aideon_agents.ledger.postgres.refusals import explained, unreachable

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
"""The lock of whoever makes the tables. Not the ledger's own: it is held while others in the same
event loop go on, and one that waited there for the ledger's would hold up the loop, and so itself."""

_T = TypeVar("_T")
_TABLES = ("checkpoints", "checkpoint_blobs", "checkpoint_writes")


class ServerCheckpoints(Checkpoints, AsyncPostgresSaver):
    """Checkpoints in one database."""

    def __init__(self, line: _Line) -> None:
        serde = JsonPlusSerializer(allowed_msgpack_modules=None)
        AsyncPostgresSaver.__init__(self, line.connection, serde=serde)
        self._line = line
        self._turn = Turn()
        self._told = []
        self._cut_off: set[str] = set()

    def reading(self, types: Iterable[type]) -> Self:
        """The same database, for one run; see `Checkpoints`."""
        view = super().reading(types)
        view._cut_off = set()  # noqa: SLF001 - it is one of these itself
        return view

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Save a checkpoint, or say that it is not kept."""
        place = config.get("configurable", {})
        if place["thread_id"] in self._cut_off:
            return {"configurable": {**place, "checkpoint_id": checkpoint["id"]}}
        # Text that is a channel's whole value goes into JSON, where Postgres takes no NUL.
        values = {name: without_nul(one) for name, one in checkpoint["channel_values"].items()}
        storable: Checkpoint = {**checkpoint, "channel_values": values}
        return await super().aput(config, storable, metadata, new_versions)

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Read a checkpoint, the newest unless one is named."""
        read = super().aget_tuple
        async with self._turn:
            return await self._done(lambda: read(config))

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

        async with self._turn:
            found = await self._done(read)
        for one in found:
            yield one

    async def adelete_thread(self, thread_id: str) -> None:
        """Remove what is kept under a name."""
        remove = super().adelete_thread
        async with self._turn:
            await self._done(lambda: remove(thread_id))

    async def names(self) -> set[str]:
        """Every name of a thread under which something is kept."""

        async def read() -> set[str]:
            cursor = await self._line.connection.execute(
                "SELECT DISTINCT thread_id FROM checkpoints"
            )
            return {row["thread_id"] for row in await cursor.fetchall()}

        async with self._turn:
            return await self._done(read)

    async def close(self) -> None:
        """End the connection."""
        await self._line.connection.close()

    def explained(self, error: Exception) -> LedgerError | None:
        """What went wrong with the database; None: the error is about a value."""
        return error if isinstance(error, LedgerError) else None

    def _missed(self, name: str) -> None:
        self._cut_off.add(name)

    async def _saved(self, save: Callable[[], Awaitable[object]]) -> None:
        await self._done(save)

    async def _done(self, do: Callable[[], Awaitable[_T]]) -> _T:
        """Do something, once more where the connection was lost on the way."""
        for is_last in (False, True):
            self.conn = await self._line.living()
            try:
                return await do()
            except psycopg.Error as error:
                if is_last or not self._line.connection.broken:
                    raise explained(self._line.address.shown, error) from error
        raise AssertionError  # the last time round either returned or raised


class _Line:
    """The connection, made again when it was lost."""

    connection: psycopg.AsyncConnection[DictRow]

    def __init__(self, address: Address) -> None:
        self.address = address

    async def connect(self) -> None:
        """Make a connection."""
        parameters: dict[str, Any] = {**self.address.parameters, "client_encoding": "UTF8"}
        try:
            self.connection = await psycopg.AsyncConnection[DictRow].connect(
                **parameters, autocommit=True, prepare_threshold=0, row_factory=dict_row
            )
        except psycopg.Error as error:
            raise unreachable(self.address.shown, error) from error

    async def living(self) -> psycopg.AsyncConnection[DictRow]:
        """A connection that was not lost, as far as can be seen without asking."""
        # Somebody who was cancelled may have left it in the middle of something.
        is_busy = self.connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE
        if is_busy or is_dead(self.connection):
            await self.connection.close()
            await self.connect()
        return self.connection


async def opened(address: Address) -> ServerCheckpoints:
    """Open the checkpoints in a database, making their tables where they are missing."""
    line = _Line(address)
    await line.connect()
    async with contextlib.AsyncExitStack() as on_failure:
        on_failure.push_async_callback(line.connection.close)
        try:
            await _make_tables(line.connection)
            # What may not be written is found now, before anything is paid.
            for table in _TABLES:
                none = f"INSERT INTO {table} SELECT * FROM {table} WHERE 1 = 0"  # noqa: S608 - LangGraph's names
                await line.connection.execute(_ours(none))
        except psycopg.Error as error:
            raise explained(address.shown, error) from error
        on_failure.pop_all()
    return ServerCheckpoints(line)


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
            # Nobody uses the tables yet, and with this word it may stand in no transaction.
            await connection.execute(_ours(steps[number].replace(" CONCURRENTLY", "")))
            await connection.execute("INSERT INTO checkpoint_migrations VALUES (%s)", [number])


def _ours(sql: str) -> LiteralString:
    """SQL in which nothing comes from anybody else."""
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
