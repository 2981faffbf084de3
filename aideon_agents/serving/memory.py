"""LangGraph's Store: what clients and workflows remember for a user, beside the ledger."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from langgraph.store.base import InvalidNamespaceError

from aideon_agents.errors import InputError
from aideon_agents.ledger.redaction import one_line

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from langgraph.store.base import BaseStore

    from aideon_agents.ledger.store import Ledger


def own(user: str, namespace: Sequence[str] = ()) -> tuple[str, ...]:
    """A namespace below the user's own; the labels of a namespace have no dots."""
    label = user.replace("%", "%25").replace(".", "%2E")
    return "users", label, *namespace


@contextlib.asynccontextmanager
async def open_store(ledger: Ledger) -> AsyncGenerator[BaseStore]:
    """Open the store beside a ledger, making its file or its tables where they are missing."""
    try:
        if ledger.path is None:
            from langgraph.store.postgres import AsyncPostgresStore  # noqa: PLC0415 - an extra
            from psycopg import DataError  # noqa: PLC0415 - an extra
            from psycopg.conninfo import make_conninfo  # noqa: PLC0415 - an extra

            from aideon_agents.ledger.postgres.checkpoints import address_of  # noqa: PLC0415 - an extra

            address = make_conninfo(**address_of(ledger.database).parameters)
            try:
                async with AsyncPostgresStore.from_conn_string(address) as on_server:
                    await on_server.setup()
                    yield on_server
            except DataError as error:  # such as for a NUL
                raise ValueError(str(error)) from None
            return
        from langgraph.store.sqlite.aio import AsyncSqliteStore  # noqa: PLC0415 - slow to import

        path = ledger.database.folder / "store.db"
        path.touch(mode=0o600)
        async with AsyncSqliteStore.from_conn_string(str(path)) as in_file:
            await in_file.setup()
            yield in_file
    except InvalidNamespaceError as error:
        raise InputError(f"namespace: {error}") from None
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(f"the store cannot take this: {one_line(str(error))}") from None
