"""The state of graphs in a SQLite file.

Every write is done where it is asked for, as the ledger's are: a thread of its own would make it
wait for Python's one lock at each turn, longer than it takes, while the answer that it is to keep
may be lost.
"""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING, Any

from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite import SqliteSaver

from aideon_agents.ledger.opening import explained
from aideon_agents.ledger.savers import Checkpoints, Turn

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Sequence
    from pathlib import Path

    from langchain_core.runnables import RunnableConfig
    from langgraph.checkpoint.base import (
        ChannelVersions,
        Checkpoint,
        CheckpointMetadata,
        CheckpointTuple,
    )

    from aideon_agents.errors import LedgerError


class _AtOnce(SqliteSaver):
    """LangGraph's saver, whose asynchronous methods do what they are asked to do before they return."""

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Read one."""
        return self.get_tuple(config)

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 - LangGraph's name
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """Read several, one at a time."""
        for one in self.list(config, filter=filter, before=before, limit=limit):
            yield one

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Write one."""
        return self.put(config, checkpoint, metadata, new_versions)

    async def aput_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """Write what a task gave."""
        self.put_writes(config, writes, task_id, task_path)

    async def adelete_thread(self, thread_id: str) -> None:
        """Remove what is kept under a name."""
        self.delete_thread(thread_id)

    @contextlib.contextmanager
    def cursor(self, transaction: bool = True) -> Generator[sqlite3.Cursor]:  # noqa: FBT001, FBT002 - as above
        """All of a write or nothing; theirs keeps what was written before an error."""
        with self.lock, contextlib.closing(self.conn.cursor()) as cursor:
            try:
                yield cursor
                if transaction:
                    self.conn.commit()
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self.conn.rollback()
                raise


class FileCheckpoints(Checkpoints, _AtOnce):
    """Checkpoints in one file."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        _AtOnce.__init__(self, connection, serde=JsonPlusSerializer(allowed_msgpack_modules=None))
        self._path = path
        self._turn = Turn()
        self._told = []

    async def names(self) -> set[str]:
        """Every name of a thread under which something is kept."""
        with self.cursor(transaction=False) as cursor:
            return {row[0] for row in cursor.execute("SELECT DISTINCT thread_id FROM checkpoints")}

    async def close(self) -> None:
        """Close the file."""
        self.conn.close()

    def explained(self, error: Exception) -> LedgerError | None:
        """What went wrong with the file; None: the error is about a value."""
        return explained(self._path, error) if isinstance(error, sqlite3.Error) else None

    async def _saved(self, save: Callable[[], Awaitable[object]]) -> None:
        await save()


async def opened(path: Path, busy_seconds: float) -> FileCheckpoints:
    """Open a file, making it where it is missing."""
    with contextlib.ExitStack() as on_failure:
        try:
            connection = sqlite3.connect(path, timeout=busy_seconds, check_same_thread=False)
            on_failure.callback(connection.close)
            connection.execute("PRAGMA synchronous = NORMAL")
            # What is removed was said by somebody: it is not to be found in the file either.
            connection.execute("PRAGMA secure_delete = ON")
            saver = FileCheckpoints(connection, path)
            saver.setup()
            # A file that can only be read is found now, before anything is paid.
            connection.execute("BEGIN IMMEDIATE")
            connection.rollback()
        except (OSError, sqlite3.Error) as error:
            raise explained(path, error) from error
        on_failure.pop_all()
    return saver
