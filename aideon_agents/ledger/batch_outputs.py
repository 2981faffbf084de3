"""The lines of finished items that OUT does not hold yet.

They contain answers of models, and are deleted as soon as OUT holds them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aideon_agents.ledger import batches
from aideon_agents.ledger.database import Statements
from aideon_agents.ledger.store import Ledger

if TYPE_CHECKING:
    from collections.abc import Iterable


def keep(tx: Statements, batch_id: str, position: int, document: str) -> None:
    """Keep the line of an item until the lines before it are written."""
    tx.write(_KEEP, {"batch_id": batch_id, "position": position, "document": document})


def outputs(ledger: Ledger, batch_id: str, first: int, most: int) -> list[str]:
    """The lines from a position on, up to the first that is missing."""
    if not ledger.select(_HAS_OUTPUT, {"batch_id": batch_id, "position": first}):
        return []  # the usual case while one item is slow: read none of the lines after it
    wanted = {"batch_id": batch_id, "first": first, "end": first + most}
    found: list[str] = []
    for row in ledger.select(_OUTPUTS, wanted):
        if row["position"] != first + len(found):
            break
        found.append(row["document"])
    return found


def written(ledger: Ledger, batch_id: str, lines: int) -> None:
    """Delete the lines that OUT holds, unless another process has taken the batch over with its own OUT."""
    ours = {"batch_id": batch_id, **batches.owner()}
    ledger.database.write(_WRITTEN, {**ours, "lines": lines})


def put_back(ledger: Ledger, batch_id: str, documents: Iterable[tuple[int, str]]) -> None:
    """Keep lines again that are cut from OUT because an item before them is run again."""
    with ledger.database.transaction() as tx:
        for position, document in documents:
            keep(tx, batch_id, position, document)


def first_lost(ledger: Ledger, batch_id: str, lines: int) -> int | None:
    """The first finished item whose line is neither in OUT nor in the ledger; None: there is none."""
    (row,) = ledger.select(_FIRST_LOST, {"batch_id": batch_id, "lines": lines})
    return None if row["first"] is None else int(row["first"])


_KEEP = (
    "INSERT INTO outputs (batch_id, position, document) VALUES (:batch_id, :position, :document)"
    " ON CONFLICT (batch_id, position) DO UPDATE SET document = :document"
)
_HAS_OUTPUT = "SELECT position FROM outputs WHERE batch_id = :batch_id AND position = :position"
_OUTPUTS = (
    "SELECT position, document FROM outputs WHERE batch_id = :batch_id"
    " AND position >= :first AND position < :end ORDER BY position"
)
_WRITTEN = (
    "DELETE FROM outputs WHERE batch_id = :batch_id AND position < :lines"  # noqa: S608 - ours
    f" AND EXISTS (SELECT 1 FROM batches WHERE {batches.OURS})"
)
_FIRST_LOST = (
    "SELECT MIN(items.position) AS first FROM items LEFT JOIN outputs"
    " ON outputs.batch_id = items.batch_id AND outputs.position = items.position"
    " WHERE items.batch_id = :batch_id AND items.position >= :lines"
    " AND items.status IN ('completed', 'failed', 'invalid') AND outputs.position IS NULL"
)
