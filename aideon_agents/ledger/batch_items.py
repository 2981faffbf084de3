"""The items of a batch: the status of each one, and the process that has claimed it.

The end of an item, the end of its run and its line for OUT are written in one transaction. So a
process that is killed leaves an item that is done, with its result, or one that is not.

Several workers may run a batch. A worker that was stopped for a while, or cut off from the server,
does not know that its items were given to others. Each start of an item therefore increments
`attempts`: of the workers that read the same number one can start the item, and a worker whose
number is older writes no end. The costs of its calls are kept in their own rows.

The lines of finished items are in `outputs`, until OUT holds them.
"""

from __future__ import annotations

import dataclasses
import json
import re
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from aideon_agents.ledger.budgets import accounts
from aideon_agents.ledger.budgets.limits import Account
from aideon_agents.ledger.costs import Cost, NodeCost, cost
from aideon_agents.ledger.database import Row, Statements
from aideon_agents.ledger.money import usd_text
from aideon_agents.ledger.outputs import keep, listed
from aideon_agents.ledger.redaction import stored_line
from aideon_agents.ledger.store import Ledger

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence


class StaleClaim(Exception):  # noqa: N818 - a signal, not a failure
    """Another process has started the item since its row was read."""


class Halted(Exception):  # noqa: N818 - as above
    """No more items of the batch may start."""


Claim: TypeAlias = tuple[str | None, int]
"""The run that an item was last started with, and its attempts; None: it was never started."""


def _check_claim(tx: Statements, start: ItemStart) -> None:
    """Check that no other process has started the item, and that its batch has not been ended."""
    if start.seen_attempts is None:
        return
    if _claim(tx, start)[1] != start.seen_attempts:
        raise StaleClaim
    if not tx.select(_MAY_START, {"batch_id": start.batch_id}):
        raise Halted


def newer_claim(tx: Statements, start: ItemStart) -> Claim | None:
    """The claim of another process that has started the item since; None: ours is the last."""
    if start.seen_attempts is None:
        return None
    now = _claim(tx, start)
    return None if now == (start.run_id, start.seen_attempts + 1) else now


def _claim(tx: Statements, start: ItemStart) -> Claim:
    for row in tx.select(_CLAIM, {"batch_id": start.batch_id, "position": start.position}):
        return row["run_id"], int(row["attempts"])
    return None, 0


_MAY_START = (
    "SELECT 1 AS one FROM batches"
    " WHERE batch_id = :batch_id AND status = 'running' AND is_cancelled = 0"
)
PARKED = "Parked"
"""The error type of a run that stops until a batch at a provider has ended: it is no attempt."""

_UNCOUNT = (
    "UPDATE items SET attempts = attempts - 1"
    " WHERE batch_id = :batch_id AND item_id = :item_id AND run_id = :run_id"
)
_CLAIM = "SELECT run_id, attempts FROM items WHERE batch_id = :batch_id AND position = :position"


ItemStatus = Literal["pending", "running", "waiting", "completed", "failed", "invalid"]
"""An item without a row is pending too. `running` counts as pending when its process is gone.
`waiting`: a node has asked a question and needs an answer."""

DONE: Sequence[ItemStatus] = ("completed", "failed", "invalid")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ItemRow:
    """The row of one item."""

    position: int
    """Its index among the items, from 0."""
    item_id: str
    status: ItemStatus
    attempts: int
    """How often it was started or continued."""
    run_id: str | None
    """Its last run; None: it had none."""
    error: str | None
    """One line without keys; None: it did not fail."""
    error_type: str | None
    content: str | None = None
    """A digest of its task, inputs and own id; None: it was not kept."""
    is_carried: bool = False
    """It was completed, or failed, in an earlier batch; `run_id` is a run of that one."""


class DuplicateId(Exception):  # noqa: N818 - as above
    """An earlier item of the batch has the same id."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ItemStart:
    """What is written when a run of an item starts or continues."""

    batch_id: str
    position: int
    item_id: str
    run_id: str
    is_new: bool
    """It has had no run before, and so no calls."""
    limit_nanousd: int | None
    """The budget for all of its runs; None: there is none."""
    seen_attempts: int | None = None
    """The `attempts` that were read before this start, where several workers run a batch: of those
    that read the same number, one can start. None: no other process runs this batch."""
    content: str | None = None
    """A digest of its task, inputs and own id; None: its row has it already."""


def begin(tx: Statements, start: ItemStart) -> None:
    """Record the start of an item, in the transaction that starts or resumes its run."""
    _check_claim(tx, start)
    names = {name: getattr(start, name) for name in ("batch_id", "position", "item_id")}
    if tx.select(_SAME_ID, names):
        raise DuplicateId
    tx.write(_BEGIN, {**names, "run_id": start.run_id, "content": start.content})
    account = Account((("item", f"{start.batch_id}/{start.item_id}"),))
    if not start.is_new:
        accounts.set_own_limit(tx, account, start.limit_nanousd)
    elif start.limit_nanousd is not None:
        accounts.open_empty(tx, account, start.limit_nanousd)


def mark_invalid(tx: Statements, batch_id: str, position: int, item_id: str, problem: str) -> None:
    """Record that an item cannot be run, with its line for OUT."""
    names = {"batch_id": batch_id, "position": position}
    line = stored_line(problem)
    tx.write(_MARK_INVALID, {**names, "item_id": item_id, "error": line})
    version = next((row["version"] for row in tx.select(_VERSION, {"batch_id": batch_id})), None)
    document = _document(item_id, "invalid", error=line, version=version)
    keep(tx, batch_id, position, json.dumps(document))


def end(
    tx: Statements,
    run_id: str,
    status: ItemStatus,
    *,
    batch_id: str,
    item_id: str,
    output: str | None,
    results: Mapping[str, Any],
    error: str | None,
    error_type: str | None,
) -> list[NodeCost]:
    """Record the end of an item's run, in the transaction that completes the row of the run.

    Returns what each node has cost the item so far.
    """
    names = {"batch_id": batch_id, "item_id": item_id}
    item = cost(tx, batch_id=batch_id, item_ids=(item_id,))
    nodes = list(item.by_node.values())
    failed = status == "failed"
    ends = {
        "status": status,
        "error": stored_line(error) if error and failed else None,
        "error_type": error_type if failed else None,
    }
    rows = tx.select(_OPEN, {**names, "run_id": run_id})
    for row in rows:
        tx.write(_END, {**names, **ends, "run_id": run_id})
        if error_type == PARKED:
            tx.write(_UNCOUNT, {**names, "run_id": run_id})
        if status in DONE:
            document = _document(
                *(item_id, status, item),
                output=output,
                results=results,
                run_id=run_id,
                error=error if failed else None,
                attempts=row["attempts"],
                version=row["version"],
            )
            keep(tx, batch_id, row["position"], json_line(document))
    return nodes


def spent(tx: Statements, batch_id: str, *item_ids: str) -> list[NodeCost]:
    """What each node has cost some items so far, in all of their runs."""
    return list(cost(tx, batch_id=batch_id, item_ids=item_ids).by_node.values())


def rows(ledger: Ledger, batch_id: str, first: int, end_: int) -> list[ItemRow]:
    """The rows of the items at some positions, in order."""
    between = {"batch_id": batch_id, "first": first, "end": end_}
    return [_row(row) for row in ledger.select(_BETWEEN, between)]


def counts(ledger: Ledger, batch_id: str) -> dict[ItemStatus, int]:
    """The number of items by status, without those that have no row yet."""
    found = ledger.select(_COUNTS, {"batch_id": batch_id})
    return {row["status"]: int(row["items"]) for row in found}


def with_status(ledger: Ledger, batch_id: str, status: ItemStatus, limit: int) -> list[ItemRow]:
    """The first items with a status, in the order of the items."""
    wanted = {"batch_id": batch_id, "status": status, "most": limit}
    return [_row(row) for row in ledger.select(_WITH_STATUS, wanted)]


class Failures(NamedTuple):
    """Items that failed, or are invalid, in the same way."""

    items: int
    """Their number."""
    status: ItemStatus
    error_type: str | None
    error: str
    """The error of the first of them."""
    item_id: str
    """The first of them, in the order of the items."""
    run_id: str | None
    """Its last run; None: it had none."""


def failures(ledger: Ledger, batch_id: str) -> list[Failures]:
    """Failed and invalid items by error, the most frequent first.

    Errors are the same when they differ only in words that hold a digit (ids, line numbers, times),
    in how often the same happened, or in the order of their parts. The status code of a provider is
    no such word.
    """
    kinds: dict[tuple[str, str | None, frozenset[str]], Failures] = {}
    for row in ledger.select(_FAILURES, {"batch_id": batch_id}):
        one = Failures(**row)
        parts = re.split("; |: ", _NUMBERED.sub("#", one.error).replace(" (# times)", ""))
        kind = (one.status, one.error_type, frozenset(parts))
        first = kinds.get(kind, one._replace(items=0))
        kinds[kind] = first._replace(items=first.items + one.items)
    return sorted(kinds.values(), key=lambda one: -one.items)


_NUMBERED = re.compile(r"\b(?![45]\d\d\b)[\w-]*\d[\w-]*")


def reset_failed(ledger: Ledger, batch_id: str, error_type: str | None) -> None:
    """Set failed items to pending; `error_type` None: all of them."""
    wanted = {"batch_id": batch_id, "error_type": error_type}
    with ledger.database.transaction() as tx:
        tx.write(_DROP_FAILED_OUTPUTS, wanted)
        tx.write(_RESET_FAILED, wanted)


def failed(ledger: Ledger, batch_id: str, error_type: str | None) -> set[int]:
    """The positions of failed items; `error_type` None: of all of them."""
    wanted = {"batch_id": batch_id, "error_type": error_type}
    return {int(row["position"]) for row in ledger.select(_FAILED_POSITIONS, wanted)}


def at(ledger: Ledger, batch_id: str, positions: Collection[int]) -> dict[int, ItemRow]:
    """The rows of the items at some positions."""
    found = map(_row, listed(ledger, _AT, batch_id, positions))
    return {row.position: row for row in found}


def by_id(ledger: Ledger, batch_id: str, item_ids: Collection[str]) -> list[ItemRow]:
    """The rows of items by their ids, without the invalid ones, whose ids may not be unique."""
    return [_row(row) for row in listed(ledger, _BY_ID, batch_id, item_ids)]


_NOTHING = Cost(by_node={})


def _document(
    item_id: str, status: ItemStatus, item: Cost = _NOTHING, **known: Any
) -> dict[str, Any]:
    """The line of an item in OUT; `known` are the other fields that have a value."""
    return {
        "id": item_id,
        "status": status,
        "output": None,
        "results": {},
        "models": list(item.models),
        "truncated": any(node.truncated for node in item.by_node.values()),
        "usd": usd_text(item.usd),
        "complete": item.complete,
        "run_id": None,
        "error": None,
        "attempts": 0,
        "version": None,
        **known,
    }


def json_line(document: Mapping[str, Any]) -> str:
    """One line that every JSON parser reads: without NaN, and without half a character."""
    try:
        text = json.dumps(document, ensure_ascii=False, allow_nan=False)
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(document)
    except ValueError:
        return json_line(json.loads(json.dumps(document), parse_constant=lambda _name: None))
    return text


def _row(row: Row) -> ItemRow:
    fields: dict[str, Any] = dict(row)
    fields["is_carried"] = bool(fields["is_carried"])
    return ItemRow(**fields)


_FAILED = (
    "batch_id = :batch_id AND status = 'failed'"
    " AND (CAST(:error_type AS TEXT) IS NULL OR error_type = :error_type)"
)
_SAME_ID = (
    "SELECT position FROM items WHERE batch_id = :batch_id AND item_id = :item_id"
    " AND status <> 'invalid' AND position <> :position"
)
_BEGIN = (
    "INSERT INTO items (batch_id, position, item_id, status, attempts, run_id, content)"
    " VALUES (:batch_id, :position, :item_id, 'running', 1, :run_id, :content)"
    " ON CONFLICT (batch_id, position) DO UPDATE SET status = 'running',"
    " attempts = items.attempts + 1, run_id = :run_id, error = NULL, error_type = NULL,"
    " content = COALESCE(items.content, :content)"
)
_MARK_INVALID = (
    "INSERT INTO items (batch_id, position, item_id, status, attempts, error)"
    " VALUES (:batch_id, :position, :item_id, 'invalid', 0, :error)"
    " ON CONFLICT (batch_id, position) DO UPDATE SET status = 'invalid', error = :error"
)
_OPEN = (
    "SELECT position, attempts,"
    " (SELECT version FROM batches WHERE batches.batch_id = items.batch_id) AS version"
    " FROM items WHERE batch_id = :batch_id AND item_id = :item_id"
    " AND run_id = :run_id AND status IN ('pending', 'running', 'waiting')"
    " AND status <> 'invalid'"  # redundant, but without it the partial index is not used
)
_END = (
    "UPDATE items SET status = :status, error = :error, error_type = :error_type"
    " WHERE batch_id = :batch_id AND item_id = :item_id AND run_id = :run_id"
    " AND status <> 'invalid'"
)
_COLUMNS = "position, item_id, status, attempts, run_id, error, error_type, content, is_carried"
_BETWEEN = (
    f"SELECT {_COLUMNS} FROM items WHERE batch_id = :batch_id AND position >= :first AND position < :end"  # noqa: S608 - our names
    " ORDER BY position"
)
_VERSION = "SELECT version FROM batches WHERE batch_id = :batch_id"
_COUNTS = "SELECT status, COUNT(*) AS items FROM items WHERE batch_id = :batch_id GROUP BY status"
_WITH_STATUS = (
    f"SELECT {_COLUMNS} FROM items WHERE batch_id = :batch_id AND status = :status"  # noqa: S608 - our names
    " ORDER BY position LIMIT :most"
)
_FAILURES = """
    SELECT alike.items, items.status, items.error_type, COALESCE(items.error, '') AS error,
        items.item_id, items.run_id
    FROM (
        SELECT COUNT(*) AS items, MIN(position) AS first FROM items
        WHERE batch_id = :batch_id AND status IN ('failed', 'invalid')
        GROUP BY status, error_type, error
    ) AS alike JOIN items ON items.batch_id = :batch_id AND items.position = alike.first
    ORDER BY alike.first
"""
_DROP_FAILED_OUTPUTS = (
    "DELETE FROM outputs WHERE batch_id = :batch_id"  # noqa: S608 - names of ours, as below
    f" AND position IN (SELECT position FROM items WHERE {_FAILED})"
)
_RESET_FAILED = (
    "UPDATE items SET status = 'pending', error = NULL, error_type = NULL, is_carried = 0,"  # noqa: S608 - ours
    # A run of an earlier batch cannot continue in this one.
    f" run_id = CASE WHEN is_carried = 1 THEN NULL ELSE run_id END WHERE {_FAILED}"
)
_FAILED_POSITIONS = f"SELECT position FROM items WHERE {_FAILED}"  # noqa: S608 - as above
_AT = f"SELECT {_COLUMNS} FROM items WHERE batch_id = :batch_id AND position IN"  # noqa: S608 - our names
_BY_ID = f"SELECT {_COLUMNS} FROM items WHERE batch_id = :batch_id AND status <> 'invalid' AND item_id IN"  # noqa: S608 - our names
