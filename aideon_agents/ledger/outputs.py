"""The lines of finished items that OUT does not hold yet, and lines that an earlier batch has.

They contain answers of models, and are deleted as soon as OUT holds them. A batch that takes over
lines of an earlier one is prepared without an identity of its own, so that no command finds it half.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import TYPE_CHECKING, Any

from aideon_agents.ledger import batches
from aideon_agents.ledger.batches import Batch
from aideon_agents.ledger.database import Row, Statements
from aideon_agents.ledger.identity import now, this_process, utc_text
from aideon_agents.ledger.store import Ledger

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence


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


def positions(ledger: Ledger, batch_id: str) -> list[int]:
    """The positions of all lines that are kept."""
    rows = ledger.select(f"{_POSITIONS} ORDER BY position", {"batch_id": batch_id})
    return [int(row["position"]) for row in rows]


def at(ledger: Ledger, batch_id: str, positions: Collection[int]) -> dict[int, str]:
    """The lines at some positions."""
    rows = listed(ledger, _AT, batch_id, positions)
    return {int(row["position"]): row["document"] for row in rows}


def listed(ledger: Ledger, sql: str, batch_id: str, among: Collection[object]) -> Sequence[Row]:
    """The rows of a batch that a statement which ends in `IN` finds among some values."""
    wanted = {f"n{number}": one for number, one in enumerate(among)}
    places = ", ".join(f":{name}" for name in wanted)
    return ledger.select(f"{sql} ({places})", {"batch_id": batch_id, **wanted}) if wanted else []


def written(ledger: Ledger, batch_id: str, lines: int) -> None:
    """Delete the lines of the first positions, which OUT holds.

    Nothing is deleted if another process has taken the batch over with its own OUT.
    """
    ledger.database.write(_WRITTEN, {"batch_id": batch_id, "lines": lines, **this_process()})


def delete(ledger: Ledger, batch_id: str, positions: Iterable[int]) -> int:
    """Delete the lines of some positions, as `written` does; returns how many there were."""
    owned = {"batch_id": batch_id, **this_process()}
    return sum(ledger.database.write(_DELETE, owned | some) for some in _named(positions))


def _named(positions: Iterable[int]) -> Iterator[dict[str, int]]:
    """Some positions at a time, as values of one statement for any number of them."""
    left = iter(positions)
    while some := list(itertools.islice(left, len(_NAMES))):
        some += some[-1:] * (len(_NAMES) - len(some))
        yield dict(zip(_NAMES, some, strict=True))


def put_back(ledger: Ledger, batch_id: str, documents: Iterable[tuple[int, str]]) -> None:
    """Keep lines again that are to be written anew, some in each transaction."""
    left = iter(documents)
    while some := list(itertools.islice(left, len(_NAMES))):
        with ledger.database.transaction() as tx:
            for position, document in some:
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
_POSITIONS = "SELECT position FROM outputs WHERE batch_id = :batch_id"
_AT = "SELECT position, document FROM outputs WHERE batch_id = :batch_id AND position IN"
_ANY = (
    "SELECT position, document FROM outputs WHERE batch_id = :batch_id"
    " ORDER BY position LIMIT :most"
)
_OURS = f" AND EXISTS (SELECT 1 FROM batches WHERE {batches.OURS})"  # noqa: S608 - ours, as below
_WRITTEN = f"DELETE FROM outputs WHERE batch_id = :batch_id AND position < :lines{_OURS}"  # noqa: S608
_DROP = (
    "DELETE FROM outputs WHERE batch_id = :batch_id"  # noqa: S608
    f" AND position IN ({', '.join(f':{name}' for name in _NAMES)})"
)
_DELETE = f"{_DROP}{_OURS}"
_WITHOUT = (
    "SELECT items.position FROM items LEFT JOIN outputs"
    " ON outputs.batch_id = items.batch_id AND outputs.position = items.position"
    " WHERE items.batch_id = :batch_id AND items.position >= :first AND items.position < :end"
    " AND items.status IN ('completed', 'failed', 'invalid') AND outputs.position IS NULL"
    " ORDER BY items.position"
)


def written_to(ledger: Ledger, out_path: str) -> Batch | None:
    """The newest batch that writes to a file and was not forgotten."""
    found = {"out_path": out_path, "preparing": f"{_PREPARING}%"}
    for row in ledger.select(_WRITTEN_TO, found):
        return batches.read(row)
    return None


def with_run(ledger: Ledger, run_id: str) -> Batch | None:
    """The newest batch that has a run, its own or one that it has taken over."""
    for row in ledger.select(_WITH_RUN, {"run_id": run_id, "preparing": f"{_PREPARING}%"}):
        return batches.read(row)
    return None


def prepare(ledger: Ledger, start: Batch) -> list[str]:
    """Write the row of a batch that takes over items; no command finds it before `replace`.

    Returns the batches that a killed process has left so.
    """
    identity = f"{_PREPARING}{start.out_path}"
    at = {"at": utc_text(now()), **this_process()}
    row = dataclasses.replace(start, identity=identity, engine="local", work=None)
    values = {**vars(row), "rehearsed": int(row.rehearsed), "graph": None, **at}
    with ledger.database.transaction() as tx:
        left = [row["batch_id"] for row in tx.select(batches.SAME, {"identity": identity})]
        for batch_id in left:
            _remove(tx, batch_id)
        tx.write(batches.START, values)
    return left


def discard(ledger: Ledger, batch_id: str) -> None:
    """Remove a batch that took over nothing."""
    with ledger.database.transaction() as tx:
        _remove(tx, batch_id)


def replace(
    ledger: Ledger, start: Batch, *, earlier: str | None, kept: str | None, taken: Sequence[int]
) -> None:
    """Let a batch that has taken over items be found by its identity.

    `earlier` is the batch whose OUT it replaces, and `kept` the copy of that OUT; None: there is none.
    Its lines at the positions that were taken are deleted.
    """
    with ledger.database.transaction() as tx:
        tx.write(_REPLACE, {"batch_id": start.batch_id, "identity": start.identity})
        if earlier is not None:
            tx.write(_REPLACED, {"batch_id": earlier, "by": start.batch_id, "kept": kept})
            for some in _named(taken):
                tx.write(_DROP, {"batch_id": earlier, **some})


def _remove(tx: Statements, batch_id: str) -> None:
    for table in ("outputs", "items", "batches"):
        tx.write(f"DELETE FROM {table} WHERE batch_id = :batch", {"batch": batch_id})  # noqa: S608 - ours


def carry(tx: Statements, batch_id: str, row: Mapping[str, Any]) -> bool:
    """Take an item over from an earlier batch; returns False if there is one with its id already."""
    return tx.write(_CARRY, {**row, "batch_id": batch_id}) == 1


def carried(ledger: Ledger, batch_id: str) -> int:
    """How many items were taken over from an earlier batch."""
    return int(ledger.select(_CARRIED, {"batch_id": batch_id})[0]["items"])


_PREPARING = "preparing for "
"""The beginning of the identity of a batch that still takes over items."""
_WRITTEN_TO = (
    f"{batches.ROWS} WHERE out_path = :out_path AND identity NOT LIKE :preparing"
    " ORDER BY started_at DESC, batch_id DESC LIMIT 1"
)
_WITH_RUN = (
    f"{batches.ROWS} WHERE batch_id IN (SELECT batch_id FROM items WHERE run_id = :run_id)"  # noqa: S608 - ours
    " AND identity NOT LIKE :preparing ORDER BY started_at DESC, batch_id DESC LIMIT 1"
)
_REPLACE = (
    "UPDATE batches SET identity = :identity, status = 'stopped', stop_reason = 'interrupted'"
    " WHERE batch_id = :batch_id"
)
_REPLACED = (
    "UPDATE batches SET identity = identity || ' until ' || :by,"
    " out_path = COALESCE(:kept, out_path) WHERE batch_id = :batch_id"
)
_CARRY = (
    "INSERT INTO items (batch_id, position, item_id, status, attempts, run_id, error, error_type,"
    " content, is_carried) VALUES (:batch_id, :position, :item_id, :status, :attempts, :run_id, :error,"
    " :error_type, :content, 1) ON CONFLICT DO NOTHING"
)
_CARRIED = "SELECT COUNT(*) AS items FROM items WHERE batch_id = :batch_id AND is_carried = 1"
