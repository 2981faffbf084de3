"""What the ledger needs of a database, so that SQLite and Postgres keep the same ledger.

Statements name their parameters (`:name`) and use what both dialects have, so each is written once.
Both have `ON CONFLICT`, `FILTER (WHERE ...)`, `COALESCE`, `substr` and `||`. They differ in the
order of NULL, comparing flags with TRUE, `rowid`, a column outside GROUP BY, a column called user
without quotes, and a parameter whose type cannot be inferred (write `CAST(:name AS TEXT)`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Hashable, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

Row: TypeAlias = "Mapping[str, Any]"
"""One row, by column."""


class Statements(Protocol):
    """Where statements can be run."""

    def select(self, sql: str, values: Mapping[str, object]) -> list[Row]:
        """Read rows."""
        ...

    def write(self, sql: str, values: Mapping[str, object]) -> int:
        """Change rows; returns how many."""
        ...

    def later(self, sql: str, values: Mapping[str, object]) -> None:
        """Change rows, at the latest together with the next statement.

        In a transaction on a server it is sent with that statement, which saves a round trip.
        """
        ...


class Database(Statements, Protocol):
    """One ledger's tables. Outside a transaction each statement commits by itself.

    Safe to use from many threads. Every method raises failures as a LedgerError.
    """

    @property
    def name(self) -> str:
        """Its name in messages: a path, or an address without its password."""
        ...

    @property
    def path(self) -> Path | None:
        """Its file; None: it is on a server."""
        ...

    @property
    def folder(self) -> Path:
        """The folder for files beside it: for a server, `.aideon` in the working directory."""
        ...

    @property
    def key(self) -> Hashable:
        """Equal for databases that are the same file, or are on the same server."""
        ...

    def transaction(self) -> AbstractContextManager[Statements]:
        """Run a block whose statements take effect together; an exception inside undoes them.

        No other transaction runs meanwhile. On a server single statements of others may.
        """
        ...

    @property
    def call(self) -> Callable[..., Any] | None:
        """Runs a function of a server by its name, in one round trip; None: a file has none.

        The function takes the lock of a transaction itself. Mappings reach it as JSON.
        """
        ...

    def notices(self, seconds: float) -> Generator[str | None]:
        """Ids of calls that a function names; None whenever some seconds have passed without one."""
        ...

    def check(self) -> None:
        """Check that all of it can be read, and that it can be written."""
        ...

    def close(self) -> None:
        """Release its connections. Rows are safe without it."""
        ...
