"""What keeps the state of graphs, wherever that is: LangGraph's savers, and what we add to them.

Their rows are LangGraph's own. They hold what the nodes said, which the ledger does not, so a run's
are removed once it has come to its end. A run is paid for, and its state is kept only in case it
does not come to its end: what cannot be written down is told of and costs no result.

The state of graphs in a SQLite file.

Every write is done where it is asked for, as the ledger's are: a thread of its own would make it
wait for Python's one lock at each turn, longer than it takes, while the answer that it is to keep
may be lost.
"""

from __future__ import annotations

import abc
import asyncio
import contextlib
import copy
import logging
import sqlite3
from typing import TYPE_CHECKING, Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.serde.types import ERROR
from langgraph.checkpoint.sqlite import SqliteSaver

from aideon_agents.errors import LedgerError
from aideon_agents.ledger.redaction import one_line, safe_text, stored_line
from aideon_agents.ledger.sqlite import explained

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable, Sequence
    from pathlib import Path
    from typing import Self

    from langchain_core.runnables import RunnableConfig
    from langgraph.checkpoint.base import (
        ChannelVersions,
        Checkpoint,
        CheckpointMetadata,
        CheckpointTuple,
    )


_log = logging.getLogger("aideon_agents.ledger.checkpoints")


class Turn(asyncio.Lock):
    """One write at a time, as a connection does one thing; and none once it is let go of."""

    is_over = False
    """Whether nobody uses the connection any more."""


class Checkpoints(BaseCheckpointSaver[str], abc.ABC):
    """Checkpoints for one event loop. One of LangGraph's savers comes behind this in a class."""

    _turn: Turn
    _told: list[str]
    """Why nothing is kept any more; empty while everything is."""

    def reading(self, types: Iterable[type]) -> Self:
        """The same, for one run."""
        view = copy.copy(self)
        view.serde = JsonPlusSerializer(allowed_msgpack_modules=list(types))
        view._told = []  # noqa: SLF001 - it is one of these itself
        return view

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Save a checkpoint, or say that it is not kept."""
        save = super().aput
        place = config.get("configurable", {})
        if not await self._or_told(lambda: save(config, checkpoint, metadata, new_versions)):
            self._missed(place["thread_id"])
        return {"configurable": {**place, "checkpoint_id": checkpoint["id"]}}

    async def aput_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """Save what a task gave, or say that it is not kept."""
        # Of an error only its text is kept, and providers quote keys and answers in theirs.
        kept = [
            (channel, stored_line(safe_text(value)) if channel == ERROR else value)
            for channel, value in writes
        ]
        save = super().aput_writes
        await self._or_told(lambda: save(config, kept, task_id, task_path))

    @abc.abstractmethod
    async def names(self) -> set[str]:
        """Every name of a thread under which something is kept."""

    async def let_go(self) -> None:
        """Close it, as soon as no write is under way.

        LangGraph does not wait for what the graphs in a cancelled run want to save; it comes too
        late then, and is of tasks that are done again.
        """
        async with self._turn:
            self._turn.is_over = True
            await self.close()

    @abc.abstractmethod
    async def close(self) -> None:
        """End the connection."""

    @abc.abstractmethod
    def explained(self, error: Exception) -> LedgerError | None:
        """What went wrong with the place where it is kept; None: the error is about a value."""

    def _missed(self, name: str) -> None:
        """Note that a checkpoint under this name was not saved."""

    @abc.abstractmethod
    async def _saved(self, save: Callable[[], Awaitable[object]]) -> None:
        """Do one write, all of it or nothing."""

    async def _or_told(self, save: Callable[[], Awaitable[object]]) -> bool:
        """Do one write, and say whether it was done; one that fails is told of, the first time."""
        async with self._turn:
            if self._turn.is_over:
                return False
            try:
                await self._saved(save)
            except Exception as error:  # noqa: BLE001 - a full disk, or a value that has no bytes
                if not self._told:
                    why = str(self.explained(error) or one_line(safe_text(error)))
                    self._told.append(why.removeprefix("the ledger "))  # which it lies beside
                    _log.warning("the run's state is not kept from here on: %s", self._told[0])
                return False
        return True


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
