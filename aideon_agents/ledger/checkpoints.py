"""Where graphs keep their state: in a SQLite file beside the ledger, or in tables on its server.

Here is how what is kept is named, opened and removed; `savers` says what is kept and why.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from aideon_agents.ledger import checkpointer
from aideon_agents.ledger.checkpointer import Checkpoints
from aideon_agents.ledger.store import Ledger

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable, Iterable
    from pathlib import Path


_REHEARSED = " (rehearsed)"  # rehearsals and paid runs do not mix


def checkpoints_path(ledger: Ledger) -> Path:
    """The file of the checkpoints that belong to the runs of a ledger in a file."""
    return ledger.database.folder / "checkpoints.db"


def are_there(ledger: Ledger) -> bool:
    """Whether anything can be kept for a ledger's runs; looking makes nothing."""
    if ledger.path is not None:
        return checkpoints_path(ledger).exists()
    return ledger.select("SELECT to_regclass('checkpoints') AS found")[0]["found"] is not None


def questions_name(run_id: str) -> str:
    """The name under which a run's open questions are kept. Its own state is under its id."""
    return f"questions:{run_id}"


def conversation_name(thread: str, *, rehearsed: bool) -> str:
    """The name under which is kept what was said on a thread."""
    return f"thread:{thread}{_REHEARSED if rehearsed else ''}"


def graph_name(workflow: str, thread: str, *, rehearsed: bool) -> str:
    """The name under which a graph made elsewhere keeps its state on a thread."""
    return f"graph:{workflow}:{thread}{_REHEARSED if rehearsed else ''}"


@contextlib.asynccontextmanager
async def open_checkpoints(
    ledger: Ledger, types: Iterable[type], *, busy_seconds: float = 5.0
) -> AsyncGenerator[Checkpoints]:
    """Open the checkpoints beside a ledger, making the file or the tables where they are missing."""
    places = _PLACES.setdefault(asyncio.get_running_loop(), {})
    key, opening = _place(ledger, busy_seconds)
    place = places.setdefault(key, _Place())
    async with place.used(opening) as saver:
        yield saver.reading(types)


def _place(
    ledger: Ledger, busy_seconds: float
) -> tuple[Hashable, Callable[[], Awaitable[Checkpoints]]]:
    """What tells a ledger's checkpoints from any others, and what opens them."""
    if ledger.path is not None:
        path = checkpoints_path(ledger).absolute()
        return path, lambda: checkpointer.opened(path, busy_seconds)
    from aideon_agents.ledger.postgres import checkpoints as on_server  # noqa: PLC0415 - an extra, and slow

    address = on_server.address_of(ledger.database)
    return address.key, lambda: on_server.opened(address)


class _Place:
    """One file or database, open while anybody in this event loop uses it.

    Hundreds of runs at the same time would otherwise lock one another out of it.
    """

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._users = 0
        self._saver: Checkpoints | None = None

    @contextlib.asynccontextmanager
    async def used(
        self, opening: Callable[[], Awaitable[Checkpoints]]
    ) -> AsyncGenerator[Checkpoints]:
        """Use it for the length of a block; the last who does closes it."""
        async with self._turn:
            saver = self._saver = self._saver or await opening()
            self._users += 1
        try:
            yield saver
        finally:
            self._users -= 1
            if not self._users:
                self._saver = None
                await saver.let_go()


_PLACES: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Hashable, _Place]] = WeakKeyDictionary()
"""What runs of an event loop use."""


async def remove(ledger: Ledger, names: Iterable[str]) -> int:
    """Remove what is kept under some names."""
    wanted = set(names)
    if not wanted or not are_there(ledger):
        return 0
    async with open_checkpoints(ledger, []) as saver:
        found = wanted & await saver.names()
        try:
            for name in sorted(found):
                await saver.adelete_thread(name)
        except Exception as error:
            raise saver.explained(error) or error from error
    return len(found)
