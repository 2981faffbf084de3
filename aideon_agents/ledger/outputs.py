"""The lines of finished items that OUT does not hold yet.

They contain answers of models, and are deleted as soon as OUT holds them.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from aideon_agents.ledger import batches
from aideon_agents.ledger.database import Statements
from aideon_agents.ledger.identity import this_process
from aideon_agents.ledger.store import Ledger

if TYPE_CHECKING:
    from collections.abc import Iterable


def keep(tx: Statements, batch_id: str, position: int, document: str) -> None:
    """Keep the line of an item until OUT holds it."""
    tx.write(_KEEP, {"batch_id": batch_id, "position": position, "document": document})


def in_order(ledger: Ledger, batch_id: str, first: int, most: int) -> list[str]:
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


def kept(ledger: Ledger, batch_id: str, most: int) -> list[tuple[int, str]]:
    """Some lines with their positions, whatever is missing before them."""
    rows = ledger.select(_ANY, {"batch_id": batch_id, "most": most})
    return [(int(row["position"]), row["document"]) for row in rows]


def written(ledger: Ledger, batch_id: str, lines: int) -> None:
    """Delete the lines of the first positions, which OUT holds.

    Nothing is deleted if another process has taken the batch over with its own OUT.
    """
    ledger.database.write(_WRITTEN, {"batch_id": batch_id, "lines": lines, **this_process()})


def delete(ledger: Ledger, batch_id: str, positions: Iterable[int]) -> int:
    """Delete the lines of some positions, as `written` does; returns how many there were."""
    deleted, left = 0, iter(positions)
    while some := list(itertools.islice(left, len(_NAMES))):
        some += some[-1:] * (len(_NAMES) - len(some))  # one statement for any number
        names = dict(zip(_NAMES, some, strict=True))
        deleted += ledger.database.write(_DELETE, {"batch_id": batch_id, **names, **this_process()})
    return deleted


def put_back(ledger: Ledger, batch_id: str, documents: Iterable[tuple[int, str]]) -> None:
    """Keep lines again that are cut from OUT because one before them is written anew."""
    with ledger.database.transaction() as tx:
        for position, document in documents:
            keep(tx, batch_id, position, document)


def without_output(ledger: Ledger, batch_id: str, first: int, end: int) -> list[int]:
    """The positions of finished items, between two positions, whose lines are not kept."""
    wanted = {"batch_id": batch_id, "first": first, "end": end}
    return [int(row["position"]) for row in ledger.select(_WITHOUT, wanted)]


_NAMES = tuple(f"p{number}" for number in range(200))
_KEEP = (
    "INSERT INTO outputs (batch_id, position, document) VALUES (:batch_id, :position, :document)"
    " ON CONFLICT (batch_id, position) DO UPDATE SET document = :document"
)
_HAS_OUTPUT = "SELECT position FROM outputs WHERE batch_id = :batch_id AND position = :position"
_OUTPUTS = (
    "SELECT position, document FROM outputs WHERE batch_id = :batch_id"
    " AND position >= :first AND position < :end ORDER BY position"
)
_ANY = (
    "SELECT position, document FROM outputs WHERE batch_id = :batch_id"
    " ORDER BY position LIMIT :most"
)
_OURS = f" AND EXISTS (SELECT 1 FROM batches WHERE {batches.OURS})"  # noqa: S608 - ours, as below
_WRITTEN = f"DELETE FROM outputs WHERE batch_id = :batch_id AND position < :lines{_OURS}"  # noqa: S608
_DELETE = (
    "DELETE FROM outputs WHERE batch_id = :batch_id"  # noqa: S608
    f" AND position IN ({', '.join(f':{name}' for name in _NAMES)}){_OURS}"
)
_WITHOUT = (
    "SELECT items.position FROM items LEFT JOIN outputs"
    " ON outputs.batch_id = items.batch_id AND outputs.position = items.position"
    " WHERE items.batch_id = :batch_id AND items.position >= :first AND items.position < :end"
    " AND items.status IN ('completed', 'failed', 'invalid') AND outputs.position IS NULL"
    " ORDER BY items.position"
)
