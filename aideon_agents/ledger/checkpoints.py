"""Where graphs keep their state: in a SQLite file beside the ledger, or in tables on its server.

This module names, opens and removes that state; `checkpointer` explains what is kept and why.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from aideon_agents.ledger.checkpointer import Checkpointer, FileCheckpointer
from aideon_agents.ledger.store import Ledger

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Hashable, Iterable
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
async def open_checkpointer(
    ledger: Ledger, types: Iterable[type], *, busy_seconds: float = 5.0
) -> AsyncGenerator[Checkpointer]:
    """Open the checkpoints beside a ledger, making the file or the tables where they are missing.

    All runs in this event loop share the connection, and the last one closes it. Hundreds of runs
    at the same time would otherwise lock one another out of the file.
    """
    lock, opened = _OPEN.setdefault(asyncio.get_running_loop(), (asyncio.Lock(), {}))
    key = ledger.database.key
    async with lock:
        if key not in opened:
            opened[key] = await _opened(ledger, busy_seconds)
        checkpointer = opened[key]
        checkpointer.users += 1
    try:
        yield checkpointer.reading(types)
    finally:
        checkpointer.users -= 1
        if not checkpointer.users:
            del opened[key]
            await checkpointer.finish()


_OPEN: WeakKeyDictionary[
    asyncio.AbstractEventLoop, tuple[asyncio.Lock, dict[Hashable, Checkpointer]]
] = WeakKeyDictionary()
"""What the runs of each event loop use, by ledger, and the lock under which it is opened."""


async def _opened(ledger: Ledger, busy_seconds: float) -> Checkpointer:
    if ledger.path is not None:
        return FileCheckpointer(checkpoints_path(ledger).absolute(), busy_seconds)
    from aideon_agents.ledger.postgres import checkpoints as on_server  # noqa: PLC0415 - an extra, and slow

    return await on_server.opened(on_server.address_of(ledger.database))


async def remove(ledger: Ledger, names: Iterable[str]) -> int:
    """Remove what is kept under some names."""
    wanted = set(names)
    if not wanted or not are_there(ledger):
        return 0
    async with open_checkpointer(ledger, []) as checkpointer:
        found = wanted & await checkpointer.names()
        try:
            for name in sorted(found):
                await checkpointer.adelete_thread(name)
        except Exception as error:
            raise checkpointer.explained(error) or error from error
    return len(found)
