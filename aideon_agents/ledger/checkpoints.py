"""Where graphs keep their state: in a SQLite file beside the ledger, or in tables on its server.

This module names, opens, removes and prunes that state; `checkpointer` explains what is kept and why.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from aideon_agents.ledger.checkpointer import Checkpointer, FileCheckpointer
from aideon_agents.ledger.database import Row
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

    All runs in this event loop share the connection: hundreds of runs at the same time would
    otherwise lock one another out of the file. It is closed when no run has used it for a while, or
    with the loop. Closing takes as long as several calls, and it removes deleted state from the disk.
    """
    lock, opened = _OPEN.setdefault(asyncio.get_running_loop(), (asyncio.Lock(), {}))
    key = ledger.database.key
    async with lock:
        use = opened.get(key)
        if use is None or use.file != _file_of(ledger):  # it may be another one meanwhile
            checkpointer = await _opened(ledger, busy_seconds)
            use = opened[key] = _Use(checkpointer, _file_of(ledger))
            await anext(use.closing)
        use.users += 1
    view = use.checkpointer.reading(types)
    try:
        view.check(busy_seconds)
        yield view
    finally:
        use.users -= 1
        if not use.users:
            asyncio.get_running_loop().call_later(_IDLE, use.close_if_unused, opened, key)
        await view.end()


def _file_of(ledger: Ledger) -> tuple[int, int] | None:
    """Device and number of the file of a ledger's checkpoints; None: there is none."""
    if ledger.path is None:
        return None
    try:
        found = checkpoints_path(ledger).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


_IDLE = 1.0
"""Seconds after its last run until a connection is closed."""


class _Use:
    """A connection, and how many runs use it."""

    def __init__(self, checkpointer: Checkpointer, file: tuple[int, int] | None) -> None:
        self.checkpointer = checkpointer
        self.file = file
        self.users = 0
        self.closing = self._close_at_the_end()
        self._task: asyncio.Task[None] | None = None

    async def _close_at_the_end(self) -> AsyncGenerator[None]:
        """Wait in a generator, because `asyncio.run` closes generators before it closes the loop."""
        try:
            yield
        finally:
            await self.checkpointer.finish()

    def close_if_unused(self, opened: dict[Hashable, _Use], key: Hashable) -> None:
        """Close the connection if no run has taken it meanwhile."""
        if self.users or self._task is not None:
            return
        if opened.get(key) is self:
            del opened[key]
        self._task = asyncio.get_running_loop().create_task(self.closing.aclose())


_OPEN: WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[asyncio.Lock, dict[Hashable, _Use]]] = (
    WeakKeyDictionary()
)
"""What the runs of each event loop use, by ledger, and the lock under which it is opened."""


async def _opened(ledger: Ledger, busy_seconds: float) -> Checkpointer:
    if ledger.path is not None:
        return FileCheckpointer(checkpoints_path(ledger).absolute(), busy_seconds)
    from aideon_agents.ledger.postgres import checkpoints as on_server  # noqa: PLC0415 - an extra, and slow

    return await on_server.opened(on_server.address_of(ledger.database))


async def remove(ledger: Ledger, names: Iterable[str], *, dry_run: bool = False) -> int:
    """Remove what is kept under some names; returns under how many there is something."""
    wanted = set(names)
    if not wanted or not are_there(ledger):
        return 0
    async with open_checkpointer(ledger, []) as checkpointer:
        found = wanted & await checkpointer.names()
        try:
            for name in () if dry_run else sorted(found):
                await checkpointer.adelete_thread(name)
        except Exception as error:
            raise checkpointer.explained(error) or error from error
    return len(found)


async def prune(
    ledger: Ledger,
    before: str,
    *,
    contents: bool = True,
    checkpoints: bool = True,
    dry_run: bool = False,
) -> dict[str, int]:
    """Remove the state and content of runs that ended before a time; returns how much was removed.

    `runs` had ended by then, whether anything was left of them or not. `checkpoints` are those of
    them whose state was kept, `conversations` threads without a later run, `contents` recorded
    prompts with their answers, and `results` runs whose recorded results are gone. Rows and costs
    stay: they hold no content, and reports need them. A dry run removes nothing.
    """
    rows = ledger.select(_RUNS)
    ended = [row for row in rows if (row["ended_at"] or row["started_at"]) < before]
    ended = [row for row in ended if _is_over(ledger, row)]
    ids = [row["run_id"] for row in ended]
    done = dict.fromkeys(("checkpoints", "conversations", "contents", "results"), 0)
    if contents:
        with contextlib.suppress(_OnlyCounted), ledger.database.transaction() as tx:
            done["contents"] = sum(tx.write(NO_CONTENTS, {"run_id": one}) for one in ids)
            done["results"] = sum(tx.write(NO_RESULTS, {"run_id": one}) for one in ids)
            for one in ids:
                tx.write(NO_EVENTS, {"run_id": one})
            if dry_run:
                raise _OnlyCounted
    if checkpoints:
        gone = set(ids)
        unused = _threads(ended) - _threads(row for row in rows if row["run_id"] not in gone)
        await remove(ledger, [questions_name(one) for one in ids], dry_run=dry_run)
        done["checkpoints"] = await remove(ledger, ids, dry_run=dry_run)
        done["conversations"] = await remove(ledger, unused, dry_run=dry_run)
    return {"runs": len(ids), **done}


class _OnlyCounted(Exception):  # noqa: N818 - no error
    """Undoes what a dry run has deleted to count it."""


def _is_over(ledger: Ledger, row: Row) -> bool:
    """Whether a run is over; if its row holds `running`, its process may be gone."""
    return row["status"] != "running" or ledger.find_run(row["run_id"]).status == "crashed"


def _threads(rows: Iterable[Row]) -> set[str]:
    """The names under which the threads of some runs keep something."""
    names: set[str] = set()
    for row in rows:
        if row["thread"] is not None:
            rehearsed = bool(row["rehearsed"])
            names.add(conversation_name(row["thread"], rehearsed=rehearsed))
            names.add(graph_name(row["workflow"], row["thread"], rehearsed=rehearsed))
    return names


_RUNS = "SELECT run_id, workflow, status, thread, rehearsed, started_at, ended_at FROM runs"
NO_EVENTS = "DELETE FROM run_events WHERE run_id = :run_id"
NO_CONTENTS = (
    "DELETE FROM contents WHERE call_id IN (SELECT call_id FROM calls WHERE run_id = :run_id"
    " UNION ALL SELECT tool_call_id FROM tool_calls WHERE run_id = :run_id)"
)
NO_RESULTS = (
    "UPDATE runs SET output = NULL, results = NULL"
    " WHERE run_id = :run_id AND (output IS NOT NULL OR results IS NOT NULL)"
)
