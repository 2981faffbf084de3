"""Where graphs keep their state: in a SQLite file beside the ledger, or in tables on its server.

This module names, opens and removes that state; `checkpointer` explains what is kept and why.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from aideon_agents.ledger import checkpointer as in_file
from aideon_agents.ledger.checkpointer import Checkpoints
from aideon_agents.ledger.store import Ledger

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable, Iterable
    from pathlib import Path


_REHEARSED = " (rehearsed)"  # rehearsals and paid runs share no state


def checkpoints_path(ledger: Ledger) -> Path:
    """The file of the checkpoints that belong to the runs of a ledger in a file."""
    return ledger.database.folder / "checkpoints.db"


def are_there(ledger: Ledger) -> bool:
    """Whether a ledger has a place for state; this creates none."""
    if ledger.path is not None:
        return checkpoints_path(ledger).exists()
    return ledger.select("SELECT to_regclass('checkpoints') AS found")[0]["found"] is not None


def questions_name(run_id: str) -> str:
    """The name under which a run's open questions are kept. Its own state is under its id."""
    return f"questions:{run_id}"


def conversation_name(thread: str, *, rehearsed: bool) -> str:
    """The name under which the messages of a thread are kept."""
    return f"thread:{thread}{_REHEARSED if rehearsed else ''}"


def graph_name(workflow: str, thread: str, *, rehearsed: bool) -> str:
    """The name under which a graph that is not ours keeps its state on a thread."""
    return f"graph:{workflow}:{thread}{_REHEARSED if rehearsed else ''}"


@contextlib.asynccontextmanager
async def open_checkpoints(
    ledger: Ledger, types: Iterable[type], *, busy_seconds: float = 5.0
) -> AsyncGenerator[Checkpoints]:
    """Open the checkpoints beside a ledger, making the file or the tables where they are missing."""
    in_loop = _OPEN.setdefault(asyncio.get_running_loop(), {})
    key, opening = _location(ledger, busy_seconds)
    shared = in_loop.setdefault(key, _Shared())
    async with shared.used(opening) as checkpointer:
        yield checkpointer.reading(types)


def _location(
    ledger: Ledger, busy_seconds: float
) -> tuple[Hashable, Callable[[], Awaitable[Checkpoints]]]:
    """A key for the place of a ledger's checkpoints, and the function that opens it."""
    if ledger.path is not None:
        path = checkpoints_path(ledger).absolute()
        return path, lambda: in_file.opened(path, busy_seconds)
    from aideon_agents.ledger.postgres import checkpoints as on_server  # noqa: PLC0415 - an extra, and slow

    address = on_server.address_of(ledger.database)
    return address.key, lambda: on_server.opened(address)


class _Shared:
    """One file or database, open while any run in this event loop uses it.

    Hundreds of runs at the same time would otherwise lock one another out of it.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._users = 0
        self._checkpointer: Checkpoints | None = None

    @contextlib.asynccontextmanager
    async def used(
        self, opening: Callable[[], Awaitable[Checkpoints]]
    ) -> AsyncGenerator[Checkpoints]:
        """Use it for the length of a block; the last user closes it."""
        async with self._lock:
            checkpointer = self._checkpointer = self._checkpointer or await opening()
            self._users += 1
        try:
            yield checkpointer
        finally:
            self._users -= 1
            if not self._users:
                self._checkpointer = None
                await checkpointer.finish()


_OPEN: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Hashable, _Shared]] = WeakKeyDictionary()
"""The files and databases that the runs of each event loop use."""


async def remove(ledger: Ledger, names: Iterable[str]) -> int:
    """Remove what is kept under some names."""
    wanted = set(names)
    if not wanted or not are_there(ledger):
        return 0
    async with open_checkpoints(ledger, []) as checkpointer:
        found = wanted & await checkpointer.names()
        try:
            for name in sorted(found):
                await checkpointer.adelete_thread(name)
        except Exception as error:
            raise checkpointer.explained(error) or error from error
    return len(found)
