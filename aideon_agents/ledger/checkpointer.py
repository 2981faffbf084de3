"""Keeps the state of graphs in a SQLite file, with LangGraph's checkpointer and what we add to it.

The rows are LangGraph's own. They hold the nodes' answers, which the ledger does not, so a run's
rows are removed once it has ended. The state is kept only so that an interrupted run can be
resumed: a state that cannot be written is logged, and the run, which is paid for, keeps its result.

Every write is done in the thread that asks for it, as the ledger's are. A worker thread would wait
for Python's global lock at each step, longer than the write takes, and meanwhile the answer that it
writes may be lost.
"""

from __future__ import annotations

import abc
import asyncio
import contextlib
import copy
import logging
import sqlite3
import threading
from typing import TYPE_CHECKING, Any, TypeVar, cast

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.serde.types import ERROR
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.constants import START
from langgraph.pregel import _checkpoint as langgraph_checkpoint

from aideon_agents.errors import LedgerError, UnreadableState
from aideon_agents.ledger.forks import waited_for
from aideon_agents.ledger.redaction import one_line, safe_text, stored_line
from aideon_agents.ledger.sqlite.database import make_private
from aideon_agents.ledger.sqlite.faults import explained
from aideon_agents.ledger.states.serializer import StateSerializer

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


_T = TypeVar("_T")

_log = logging.getLogger("aideon_agents.ledger.checkpoints")


_PARTS = {
    "v": int,
    "id": str,
    "channel_values": dict,
    "channel_versions": dict,
    "versions_seen": dict,
}
"""What LangGraph reads of a checkpoint."""


_DAMAGE = (
    *(ArithmeticError, AttributeError, ImportError, LookupError, NotImplementedError),
    *(RecursionError, TypeError, ValueError),
)
"""What reading something damaged raises."""


@contextlib.contextmanager
def readable(name: str) -> Generator[None]:
    """Read what is kept under a name within a block; UnreadableState: it cannot be read."""
    try:
        yield
    except _DAMAGE as error:
        raise unreadable(name, error) from error
    except sqlite3.OperationalError as error:  # SQLite itself reads metadata
        if "JSON" not in str(error):
            raise
        raise unreadable(name, error) from error


def unreadable(name: str, error: Exception) -> UnreadableState:
    """The error for something damaged."""
    what, _, which = name.partition(":")
    cure = "start the run again" if what in {name, "questions"} else "use another thread"
    which = f"run {which or name}" if what in {name, "questions"} else f"{what} {which!r}"
    why = stored_line(one_line(f"{type(error).__name__}: {safe_text(error)}"))
    return UnreadableState(
        f"the state that is kept of {which} cannot be read; it is damaged, or another version "
        f"wrote it ({why}): {cure}"
    )


def refuse_damaged(one: CheckpointTuple) -> CheckpointTuple:
    """Refuse a checkpoint that LangGraph could not go on from."""
    kept = cast("dict[str, Any]", one.checkpoint)
    for key, kind in _PARTS.items():
        if not isinstance(kept[key], kind):
            raise TypeError(f"{key} is a {type(kept[key]).__name__}")
    if not 1 <= kept["v"] <= langgraph_checkpoint.LATEST_VERSION:
        raise ValueError(f"version {kept['v']}")
    if not all(isinstance(seen, dict) for seen in (one.metadata, *kept["versions_seen"].values())):
        raise TypeError("versions_seen or metadata holds no keys")
    return one


class WriteLock(asyncio.Lock):
    """Allows one write at a time, because a connection does one thing, and none after the end."""

    is_finished = False
    """Whether the connection is no longer used."""


class Checkpointer(BaseCheckpointSaver[str], abc.ABC):
    """A checkpointer for one event loop. A class inherits from this and from one of LangGraph's."""

    is_over = False
    """Whether the run that uses it has ended."""
    unkept: str | None = None
    """What in the state has no bytes, and where; None: nothing. The run cannot resume then."""
    _writing: WriteLock
    _failures: list[str]
    """Why the state is no longer kept; empty while it is."""

    def reading(self, types: Iterable[type]) -> Self:
        """The same connection, for one run whose state may hold these types."""
        view = copy.copy(self)
        view.serde = StateSerializer(allowed_msgpack_modules=list(types))
        view.serde.types = types
        view.unkept = None
        view._failures = []  # noqa: SLF001 - it is one of these itself
        return view

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 - LangGraph's name
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """Read checkpoints, the newest first."""
        with readable((config or {}).get("configurable", {}).get("thread_id", "")):
            listed = super().alist(config, filter=filter, before=before, limit=limit)
            async for one in listed:
                yield refuse_damaged(one)

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Save a checkpoint, or log that it is not kept."""
        given = config.get("configurable", {})
        values = checkpoint["channel_values"].items()
        given_to = (config, checkpoint, metadata, new_versions)
        if not await self._try_save(super().aput, *given_to, values=values):
            self._missed(given["thread_id"])
        return {"configurable": {**given, "checkpoint_id": checkpoint["id"]}}

    async def aput_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """Save what a task returned, or log that it is not kept."""
        # Of an error only the text is kept, and providers quote keys and answers in it.
        kept = [
            (channel, stored_line(safe_text(value)) if channel == ERROR else value)
            for channel, value in writes
        ]
        await self._try_save(
            super().aput_writes, config, kept, task_id, task_path, values=kept, path=task_path
        )

    @abc.abstractmethod
    async def names(self) -> set[str]:
        """Every name of a thread under which something is kept."""

    def check(self, busy_seconds: float) -> None:
        """Raise LedgerError if nothing can be written, before anything is paid."""

    async def end(self) -> None:
        """End its use by one run, as soon as no write is in progress.

        LangGraph does not wait for the writes of graphs in a cancelled run. Those that come later
        are dropped; they belong to tasks that are run again.
        """
        async with self._writing:
            self.is_over = True

    async def finish(self) -> None:
        """Close the connection, as soon as no write is in progress; later ones are dropped."""
        async with self._writing:
            self._writing.is_finished = True
            await self.close()

    @abc.abstractmethod
    async def close(self) -> None:
        """End the connection."""

    @abc.abstractmethod
    def explained(self, error: Exception) -> LedgerError | None:
        """A failure of the file or the server as a LedgerError; None: the error is about a value."""

    def _missed(self, name: str) -> None:
        """Note that a checkpoint under this name was not saved."""

    async def _with_retry(self, do: Callable[..., Awaitable[_T]], *given: object) -> _T:
        """Do one thing, again where the connection was lost meanwhile: a file has none to lose."""
        return await do(*given)

    async def _try_save(
        self,
        save: Callable[..., Awaitable[object]],
        *given: object,
        values: Iterable[tuple[str, Any]],
        path: str = "",
    ) -> bool:
        """Do one write, and return whether it was done; the first failure is logged.

        It writes `values` of the state, which come from the task at `path`, empty: from several.
        """
        async with self._writing:
            if self.is_over or self._writing.is_finished:
                return False
            try:
                await self._with_retry(save, *given)
            except Exception as error:  # noqa: BLE001 - a full disk, or a value that has no bytes
                known = self.explained(error)
                if known is None and self.unkept is None:
                    self.unkept = self._unkept_in(values, path)
                if not self._failures:
                    why = str(known or self.unkept or one_line(safe_text(error)))
                    self._failures.append(why.removeprefix("the ledger "))  # which it is beside
                    _log.warning("the run's state is not kept from here on: %s", self._failures[0])
                return False
        return True

    def _unkept_in(self, values: Iterable[tuple[str, Any]], path: str) -> str | None:
        """Which value cannot be kept, with its node or its key; None: each can be."""
        serde = cast("StateSerializer", self.serde)
        writer = path.rpartition(", ")[2]
        for key, value in values:
            if (kind := serde.unkept(value)) is None:
                continue
            inside = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
            if key == START and inside:
                return self._unkept_in(inside.items(), "")
            where = f"{key!r} in the state" + (f", written by {writer}," if writer else "")
            named = next((one for one, within in inside.items() if serde.unkept(within)), None)
            if named and key in {"inputs", "results"}:
                where = f"the result of {named}" if key == "results" else f"the input {named!r}"
            return f"{where} holds a {kind}"
        return None


class _InlineSqlite(SqliteSaver):
    """LangGraph's checkpointer for SQLite, with asynchronous methods that do not switch threads."""

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Read one. A context manager would be a further function of ours in each run."""
        try:
            found = self.get_tuple(config)
            return found and refuse_damaged(found)
        except _DAMAGE as error:
            raise unreadable(config.get("configurable", {})["thread_id"], error) from error

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
        """Write what a task returned."""
        self.put_writes(config, writes, task_id, task_path)

    async def adelete_thread(self, thread_id: str) -> None:
        """Remove what is kept under a name."""
        self.delete_thread(thread_id)

    @contextlib.contextmanager
    def cursor(self, transaction: bool = True) -> Generator[sqlite3.Cursor]:  # noqa: FBT001, FBT002 - as above
        """All of a write or nothing; LangGraph's own keeps what was written before an error."""
        with self.lock, contextlib.closing(self.conn.cursor()) as cursor:
            try:
                yield cursor
                if transaction:
                    self.conn.commit()
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self.conn.rollback()
                raise


_opening = threading.Lock()
waited_for.add(_opening)


class FileCheckpointer(Checkpointer, _InlineSqlite):
    """A checkpointer in one file, which it makes where it is missing."""

    def __init__(self, path: Path, busy_seconds: float) -> None:
        self._path = path
        self._writing = WriteLock()
        self._failures = []
        with _opening, contextlib.ExitStack() as on_failure:
            try:
                is_new = not path.exists()
                connection = sqlite3.connect(path, timeout=busy_seconds, check_same_thread=False)
                on_failure.callback(connection.close)
                connection.execute("PRAGMA synchronous = NORMAL")
                make_private(path, is_new=is_new)
                # Removed state is content: it must not remain in free pages of the file.
                connection.execute("PRAGMA secure_delete = ON")
                serde = StateSerializer(allowed_msgpack_modules=[])
                _InlineSqlite.__init__(self, connection, serde=serde)
                waited_for.add(self.lock)
                self.setup()
            except (OSError, sqlite3.Error) as error:
                raise explained(path, error) from error
            on_failure.pop_all()

    async def names(self) -> set[str]:
        """Every name of a thread under which something is kept."""
        with self.cursor(transaction=False) as cursor:
            return {row[0] for row in cursor.execute("SELECT DISTINCT thread_id FROM checkpoints")}

    def check(self, busy_seconds: float) -> None:
        """Raise LedgerError if the file is read-only, or locked for so long."""
        try:
            with self.lock:
                self.conn.execute(f"PRAGMA busy_timeout = {int(busy_seconds * 1000)}")
                self.conn.execute("BEGIN IMMEDIATE")
                self.conn.rollback()
        except sqlite3.Error as error:
            raise explained(self._path, error) from error

    async def close(self) -> None:
        """Close the file."""
        with self.lock:
            self.conn.close()

    def explained(self, error: Exception) -> LedgerError | None:
        """A failure of the file as a LedgerError; None: the error is about a value."""
        return explained(self._path, error) if isinstance(error, sqlite3.Error) else None
