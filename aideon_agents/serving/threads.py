"""Threads: conversations of a user, each continued by one run at a time.

A thread has no state of its own. Whether it is busy is read from its runs.
"""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

from aideon_agents.errors import Conflict, InputError, NotFound
from aideon_agents.ledger import checkpoints
from aideon_agents.ledger.identity import is_gone, now, utc_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aideon_agents.ledger.database import Row, Statements
    from aideon_agents.ledger.store import Ledger


def make(
    ledger: Ledger,
    user: str,
    metadata: Mapping[str, Any] | None = None,
    thread_id: str | None = None,
) -> dict[str, Any]:
    """Make a thread; `thread_id` must be a UUID, so that no caller can guess that of another."""
    try:
        made = str(uuid.uuid4() if thread_id is None else uuid.UUID(thread_id))
    except ValueError:
        raise InputError(f"the id of a thread must be a UUID, not {thread_id!r}") from None
    at = utc_text(now())
    values = {"thread_id": made, "user_id": user, "metadata": json.dumps(metadata or {}), "at": at}
    if not ledger.database.write(_MAKE, values):
        raise Conflict(f"there is a thread {made} already: give another id, or none")
    return find(ledger, user, made)


def find(ledger: Ledger | Statements, user: str, thread_id: str) -> dict[str, Any]:
    """A thread of a user's as a document."""
    found = ledger.select(_FIND, {"thread_id": thread_id, "user_id": user})
    if not found:
        raise NotFound(f"there is no thread {thread_id}: GET /api/v1/threads lists them")
    return _document(ledger, found[0])


def listed(ledger: Ledger, user: str, before: str | None, most: int) -> list[dict[str, Any]]:
    """Threads of a user, those that were used last first; `before` is the cursor of one."""
    at, _, thread_id = (before or "~").partition(" ")
    values = {"user_id": user, "at": at, "thread_id": thread_id, "most": most}
    return [_document(ledger, row) for row in ledger.select(_LIST, values)]


def cursor(thread: Mapping[str, Any]) -> str:
    """What `listed` takes to continue behind a thread."""
    return f"{thread['updated_at']} {thread['thread_id']}"


def merge_metadata(ledger: Ledger, user: str, thread_id: str, more: Mapping[str, Any]) -> None:
    """Add to what is kept with a thread."""
    metadata = {**find(ledger, user, thread_id)["metadata"], **more}
    values = {"thread_id": thread_id, "metadata": json.dumps(metadata)}
    ledger.database.write(
        "UPDATE threads SET metadata = :metadata WHERE thread_id = :thread_id", values
    )


def use(tx: Statements, user: str, thread_id: str, workflow: str) -> None:
    """Note that a run continues a thread; Conflict: another run is not over."""
    thread = find(tx, user, thread_id)
    if thread["status"] != "idle":
        run = thread["run_id"]
        do = "answer its question" if thread["status"] == "waiting" else "wait for its end"
        raise Conflict(f"the thread is {thread['status']}: run {run} is not over; {do} first")
    values = {"thread_id": thread_id, "workflow": workflow, "at": utc_text(now())}
    tx.write(_USE, values)


async def delete(ledger: Ledger, user: str, thread_id: str) -> None:
    """Delete a thread and what was said in it. Its runs stay."""
    thread = find(ledger, user, thread_id)
    if thread["status"] == "busy":
        raise Conflict(f"the thread is busy: cancel run {thread['run_id']} first")
    rows = ledger.select(_WORKFLOWS, {"thread_id": thread_id})
    which = [(row["workflow"], bool(row["rehearsed"])) for row in rows]
    names = {checkpoints.conversation_name(thread_id, rehearsed=one) for _, one in which}
    names |= {checkpoints.graph_name(word, thread_id, rehearsed=one) for word, one in which}
    await checkpoints.remove(ledger, names)
    delete_row = "DELETE FROM threads WHERE thread_id = :thread_id"
    ledger.database.write(delete_row, {"thread_id": thread_id})


def _document(ledger: Ledger | Statements, row: Row) -> dict[str, Any]:
    thread_id = row["thread_id"]
    newest = ledger.select(_NEWEST, {"thread_id": thread_id})
    return {
        "thread_id": thread_id,
        "status": _status(newest[0]) if newest else "idle",
        "run_id": newest[0]["run_id"] if newest else None,
        "workflow": row["workflow"],
        "metadata": json.loads(row["metadata"] or "{}"),
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
    }


def _status(run: Row) -> str:
    if run["intent"] in ("run", "cancel"):
        return "busy"
    if run["status"] == "running":
        return "idle" if is_gone(run) else "busy"
    return "waiting" if run["status"] == "waiting" else "idle"


_MAKE = (
    "INSERT INTO threads (thread_id, user_id, metadata, created_at, updated_at)"
    " VALUES (:thread_id, :user_id, :metadata, :at, :at) ON CONFLICT DO NOTHING"
)
_COLUMNS = "thread_id, user_id, workflow, metadata, created_at, updated_at"
_FIND = f"SELECT {_COLUMNS} FROM threads WHERE thread_id = :thread_id AND user_id = :user_id"  # noqa: S608 - our names
_LIST = (
    f"SELECT {_COLUMNS} FROM threads WHERE user_id = :user_id AND"  # noqa: S608 - our names
    " (updated_at < :at OR (updated_at = :at AND thread_id < :thread_id))"
    " ORDER BY updated_at DESC, thread_id DESC LIMIT :most"
)
_USE = "UPDATE threads SET workflow = :workflow, updated_at = :at WHERE thread_id = :thread_id"
_NEWEST = (
    "SELECT runs.run_id, status, intent, host, pid, process_start FROM runs"
    " LEFT JOIN served ON served.run_id = runs.run_id WHERE thread = :thread_id"
    " ORDER BY runs.run_id DESC LIMIT 1"
)
_WORKFLOWS = "SELECT DISTINCT workflow, rehearsed FROM runs WHERE thread = :thread_id"
