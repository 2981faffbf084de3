"""What the ledger asks of a database: one seam, so that SQLite and a server keep the same ledger.

Statements name their parameters (`:name`) and use what both dialects have, so each is written once.
What they have alike: `ON CONFLICT`, `FILTER (WHERE ...)`, `COALESCE`, `substr`, `||`. What they do
not: how they order NULL and compare flags with TRUE, `rowid`, a column outside GROUP BY, a column
called user without quotes, a parameter whose type nothing tells (write `CAST(:name AS TEXT)`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping
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
        """Change rows, when nobody asks how many: not later than whatever comes next.

        In a transaction on a server it travels with that, and nobody waits for it by itself.
        """
        ...


class Database(Statements, Protocol):
    """One ledger's tables. Outside a transaction each statement commits by itself.

    Safe to use from many threads. Every method raises a LedgerError: one line that says why and
    what to do.
    """

    @property
    def name(self) -> str:
        """What messages call it: a path, or an address without its password."""
        ...

    @property
    def path(self) -> Path | None:
        """Its file; None: it is on a server."""
        ...

    @property
    def folder(self) -> Path:
        """Where the files beside it are: for a server's, `.aideon` in the working directory."""
        ...

    def transaction(self) -> AbstractContextManager[Statements]:
        """Statements that count together or not at all, and that no other transaction comes between.

        On a server single statements of others may; in a file nothing does.

        An exception inside undoes them.
        """
        ...

    def check(self) -> None:
        """Find out whether all of it can be read, and whether it can be written."""
        ...

    def close(self) -> None:
        """Let go of it. Rows are safe without it."""
        ...
