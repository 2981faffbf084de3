"""The rows of the service's runs: what is to become of each, and which words began them.

`runs` says what a run does. `served` says what the service wants of it, in any process: a run that
is to run and whose process has ended is adopted by another, and one that is to be cancelled is
interrupted by the process that has it.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from aideon_agents.errors import InputError
from aideon_agents.ledger import checkpoints
from aideon_agents.ledger.identity import now, utc_text
from aideon_agents.ledger.selection import first_moment, moment_after

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Mapping

    from aideon_agents.ledger.database import Row, Statements
    from aideon_agents.ledger.store import Ledger

Intent: TypeAlias = Literal["run", "cancel", "done", "deleted"]


class Repeated(Exception):  # noqa: N818 - it is no error of the caller's
    """The request was made before, with the same word."""

    def __init__(self, run_id: str) -> None:
        super().__init__(run_id)
        self.run_id = run_id


def add(
    tx: Statements,
    run_id: str,
    workflow: str,
    metadata: Mapping[str, str] | None = None,
    *,
    intent: Intent = "run",
) -> None:
    """Write the row of a run, or what is to become of one that has a row."""
    text = json.dumps(metadata) if metadata else None
    values = {"run_id": run_id, "workflow": workflow, "intent": intent, "metadata": text}
    tx.write(_ADD, {**values, "at": time.time()})


def delete(tx: Statements, run_id: str, workflow: str) -> None:
    """Delete the events, the results and the contents of a run, which is not found any more."""
    add(tx, run_id, workflow, intent="deleted")
    for sql in (checkpoints.NO_EVENTS, checkpoints.NO_RESULTS, checkpoints.NO_CONTENTS):
        tx.write(sql, {"run_id": run_id})


async def delete_states(ledger: Ledger, run_ids: Iterable[str]) -> None:
    """Delete what runs are resumed from, and what they ask."""
    names = [name for one in run_ids for name in (one, checkpoints.questions_name(one))]
    await checkpoints.remove(ledger, names)


def rate(tx: Statements, run_id: str, feedback: Mapping[str, Any]) -> None:
    """Keep what the user says of a run that has a row."""
    values = {"run_id": run_id, "feedback": json.dumps(feedback, ensure_ascii=False)}
    tx.write("UPDATE served SET feedback = :feedback WHERE run_id = :run_id", values)


def want(tx: Statements, run_id: str, intent: Intent, *, if_is: Intent | None = None) -> bool:
    """Write what is to become of a run; returns whether there was such a row."""
    values = {"run_id": run_id, "intent": intent, "at": time.time()}
    if if_is is None:
        return tx.write(_WANT, values) == 1
    return tx.write(f"{_WANT} AND intent = :if_is", {**values, "if_is": if_is}) == 1


def adopted(tx: Statements, run_id: str) -> None:
    """Count that a run was resumed after its process had crashed."""
    tx.write("UPDATE served SET adopted = adopted + 1 WHERE run_id = :run_id", {"run_id": run_id})


def find(ledger: Ledger | Statements, run_id: str) -> Row | None:
    """The row of a run; None: the service did not start it."""
    found = ledger.select(_ONE, {"run_id": run_id})
    return found[0] if found else None


def metadata_of(row: Row | None) -> dict[str, str]:
    """The texts that a caller gave with a run."""
    return json.loads(row["metadata"]) if row and row["metadata"] else {}


def open_rows(ledger: Ledger) -> list[Row]:
    """The runs that are to run or to be cancelled, with what their own rows say."""
    return ledger.select(_OPEN, {})


def renew(ledger: Ledger, run_ids: list[str]) -> None:
    """Show other machines that the process of some runs is alive."""
    with ledger.database.transaction() as tx:
        for one in run_ids:
            tx.later(_RENEW, {"run_id": one, "at": time.time()})


def free(tx: Statements, row: Row, stop_reason: str) -> bool:
    """End a run whose process is gone, so that it can be resumed; False: it has another by now."""
    values = {name: row[name] for name in ("run_id", "host", "pid", "process_start")}
    return tx.write(_FREE, {**values, "reason": stop_reason, "at": utc_text(now())}) == 1


def unmake(tx: Statements, row: Row) -> bool:
    """Delete the row of a run that never began to work, so that it can begin again."""
    return tx.write(_UNMAKE, {"run_id": row["run_id"], "ended_at": row["ended_at"]}) == 1


def repeat(tx: Statements | Ledger, caller: str, word: str, digest: str) -> None:
    """Raise `Repeated` if the caller has used a word; InputError: for another request."""
    found = tx.select(_WORD, {"caller": caller, "word": word})
    if not found:
        return
    if found[0]["digest"] != digest:
        raise InputError(
            "this Idempotency-Key was used for another request: give each request its own"
        )
    raise Repeated(found[0]["run_id"])


def remember(tx: Statements, caller: str, word: str, digest: str, run_id: str) -> None:
    """Keep the word of a request, once; `repeat` raises if another request has used it meanwhile."""
    values = {"caller": caller, "word": word, "digest": digest, "run_id": run_id}
    if not tx.write(_REMEMBER, {**values, "at": utc_text(now())}):
        repeat(tx, caller, word, digest)


def forget_before(tx: Statements, events: str, words: str) -> None:
    """Delete the events of runs that were over before a time, and words that are older than one."""
    tx.write(_FORGET_EVENTS, {"before": events})
    tx.write("DELETE FROM idempotency WHERE at < :before", {"before": words})


def runs(
    ledger: Ledger,
    before: str | None,
    most: int,
    *,
    since: dt.date | None = None,
    until: dt.date | None = None,
    **only: str | None,
) -> list[str]:
    """The ids of runs, the newest first; `only` are columns that must have these values, None: any.

    `since` and `until` are the first and the last UTC day on which they began; None: no bound.
    """
    known: dict[str, Any] = {name: value for name, value in only.items() if value is not None}
    conditions = "".join(f' AND runs."{name}" = :{name}' for name in known)
    bounds = {
        "runs.run_id < :before": before,
        "runs.started_at >= :since": since and first_moment(since),
        "runs.started_at < :until": until and moment_after(until),
    }
    for condition, value in bounds.items():
        if value is not None:
            conditions += f" AND {condition}"
            known[condition.rpartition(":")[2]] = value
    rows = ledger.select(_RUNS.format(conditions), {**known, "most": most})
    return [row["run_id"] for row in rows]


_ONE = (
    "SELECT run_id, workflow, intent, adopted, renewed_at, metadata, feedback FROM served"
    " WHERE run_id = :run_id"
)
_ADD = (
    "INSERT INTO served (run_id, workflow, intent, adopted, renewed_at, metadata)"
    " VALUES (:run_id, :workflow, :intent, 0, :at, :metadata) ON CONFLICT (run_id) DO UPDATE SET"
    " intent = :intent, renewed_at = :at"
)
_WANT = "UPDATE served SET intent = :intent, renewed_at = :at WHERE run_id = :run_id"
_RENEW = "UPDATE served SET renewed_at = :at WHERE run_id = :run_id"
_OPEN = (
    "SELECT served.run_id, served.workflow, intent, adopted, renewed_at, status, stop_reason,"
    ' ended_at, host, pid, process_start, "user", tier FROM served'
    " JOIN runs ON runs.run_id = served.run_id WHERE intent IN ('run', 'cancel')"
)
_FREE = (
    "UPDATE runs SET status = 'cancelled', stop_reason = :reason, ended_at = :at"
    " WHERE run_id = :run_id AND status = 'running' AND host = :host AND pid = :pid"
    " AND COALESCE(process_start, '') = COALESCE(CAST(:process_start AS TEXT), '')"
)
_UNMAKE = (
    "DELETE FROM runs WHERE run_id = :run_id AND status = 'cancelled' AND ended_at = :ended_at"
)
_WORD = "SELECT digest, run_id FROM idempotency WHERE caller = :caller AND word = :word"
_REMEMBER = (
    "INSERT INTO idempotency (caller, word, digest, run_id, at)"
    " VALUES (:caller, :word, :digest, :run_id, :at) ON CONFLICT DO NOTHING"
)
_FORGET_EVENTS = (
    "DELETE FROM run_events WHERE run_id IN (SELECT run_events.run_id FROM run_events"
    " JOIN runs ON runs.run_id = run_events.run_id WHERE ended_at < :before"
    " AND (status = 'completed' OR stop_reason = 'declined'))"
)
_RUNS = (
    "SELECT runs.run_id FROM runs LEFT JOIN served ON served.run_id = runs.run_id"
    " WHERE COALESCE(intent, '') <> 'deleted'{}"
    " ORDER BY runs.run_id DESC LIMIT :most"
)
