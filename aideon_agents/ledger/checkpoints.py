"""Where graphs keep their state between runs: a SQLite file beside the ledger.

Its rows are LangGraph's own. They hold what the nodes said, which the ledger does not, so the file
is made for runs that ask for it and for no others.
"""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING

import aiosqlite
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from aideon_agents.ledger.opening import explained

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable
    from pathlib import Path

    from aideon_agents.ledger.store import Ledger


def checkpoints_path(ledger: Ledger) -> Path:
    """The file of the checkpoints that belong to a ledger's runs."""
    return ledger.path.with_name("checkpoints.db")


@contextlib.asynccontextmanager
async def open_checkpoints(
    ledger: Ledger, types: Iterable[type], *, busy_seconds: float = 5.0
) -> AsyncGenerator[AsyncSqliteSaver]:
    """Open the checkpoints beside a ledger, making the file where it is missing.

    Args:
        ledger: The ledger.
        types: The classes whose instances may be read back, besides messages and plain values.
            LangGraph makes nothing else out of a file.
        busy_seconds: How long to wait for another process's lock.

    Yields:
        A checkpointer for one event loop.

    Raises:
        LedgerError: The file cannot be opened; one line that says why and what to do.
    """
    path = checkpoints_path(ledger)
    known = JsonPlusSerializer(allowed_msgpack_modules=list(types))
    async with contextlib.AsyncExitStack() as open_while_used:
        try:
            opened = aiosqlite.connect(path, timeout=busy_seconds)
            connection = await open_while_used.enter_async_context(opened)
            await connection.execute("PRAGMA synchronous = NORMAL")
            saver = AsyncSqliteSaver(connection, serde=known)
            await saver.setup()
        except (OSError, sqlite3.Error) as error:
            raise explained(path, error) from error
        yield saver
