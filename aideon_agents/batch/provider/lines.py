"""The lines of a batch and the provider's batches that they are in, as rows of the ledger."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

from aideon_agents.errors import UserError
from aideon_agents.ledger.identity import now, utc_text
from aideon_agents.ledger.rows import CALL_COLUMNS, Call, call_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from aideon_agents.ledger.database import Database, Row

MOST_LINES = 50_000
"""Lines of one batch: OpenAI and Together take no more."""
MOST_BYTES = 95 * 10**6
"""Bytes of one batch: Together takes 100 MB, OpenAI 200."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Line:
    """One attempt at a model."""

    call_id: str
    tries: int
    """Attempts of this call so far, without those that its provider did not come to."""
    state: str
    job_id: str | None
    answer: Any
    """What the provider sent; None: there is no answer yet."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """A batch at a provider."""

    job_id: str
    """Ours."""
    batch_id: str
    model: str
    """`provider:model`."""
    status: str
    """made, running, settled or failed."""
    lines: int
    file_id: str | None
    provider_job: str | None
    """The provider's id; None: it was not begun, as far as is known."""
    error: str | None
    made_at: str


class Lines:
    """The lines of one batch."""

    def __init__(self, database: Database, batch_id: str) -> None:
        self.database = database
        self.batch_id = batch_id

    def find(self, run_id: str, node_path: str, number: int) -> Line | None:
        """The last attempt of a call; None: there is none, or its row was not written."""
        key = {"run_id": run_id, "node_path": node_path, "number": number}
        for row in self.database.select(_FIND, key):
            answer = None if row["answer"] is None else json.loads(row["answer"])
            fields: dict[str, Any] = {**row, "answer": answer}
            return Line(**fields)
        return None

    def park(self, key: Row, call_id: str, model: str, body: str) -> None:
        """Write a line, before the row of its call."""
        values = {**key, "batch_id": self.batch_id, "call_id": call_id, "model": model}
        self.database.write(_PARK, {**values, "body": body})

    def amend(self, call_id: str, body: str) -> None:
        """Replace the request of a line."""
        self.database.write(_AMEND, {"call_id": call_id, "body": body})

    def drop(self, call_id: str) -> None:
        """Delete the line of a call that is not made."""
        self.database.write(_DROP, {"call_id": call_id})

    def keep_hold(self, call_id: str) -> None:
        """Let the money that is held for a call outlive this process."""
        with self.database.transaction() as tx:
            tx.later(_KEEP_HOLD, {"call_id": call_id})
            tx.later(_IS_BATCH, {"call_id": call_id})

    def refuse_live(self, what: str) -> None:
        """Refuse what would ask models again whose answers are on their way."""
        if self.blocked():
            raise UserError(
                f"a provider's batch answers calls of batch {self.batch_id}: {what}, or cancel it "
                f"with `aideon batches cancel {self.batch_id}`"
            )

    def blocked(self) -> set[str]:
        """The runs that wait for an answer."""
        rows = self.database.select(_BLOCKED, {"batch_id": self.batch_id})
        return {str(row["run_id"]) for row in rows}

    def make_jobs(self, job_ids: Iterator[str]) -> None:
        """Put all lines that are in no batch into new ones, each of one model and within the limits."""
        group: list[str] = []
        model, size = "", 0
        for row in [*self.parked(), None]:
            is_next = row is not None and row["model"] == model
            fits = len(group) < MOST_LINES and size + (row["size"] if row else 0) <= MOST_BYTES
            if group and not (is_next and fits):
                self._make_job(next(job_ids), model, group)
                group, size = [], 0
            if row is not None:
                group.append(str(row["call_id"]))
                model, size = str(row["model"]), size + int(row["size"])

    def _make_job(self, job_id: str, model: str, call_ids: Sequence[str]) -> None:
        made = {"job_id": job_id, "batch_id": self.batch_id, "model": model}
        with self.database.transaction() as tx:
            tx.write(_MAKE_JOB, {**made, "lines": len(call_ids), "at": utc_text(now())})
            for call_id in call_ids:
                tx.later(_SEND, {"job_id": job_id, "call_id": call_id})

    def parked(self) -> list[Row]:
        """The call ids and models of the lines that are in no batch, with their sizes."""
        return self.database.select(_PARKED, {"batch_id": self.batch_id})

    def jobs(self, *statuses: str) -> list[Job]:
        """The provider's batches in some states, the oldest first."""
        rows = self.database.select(_JOBS, {"batch_id": self.batch_id})
        return [Job(**row) for row in rows if row["status"] in statuses]

    def content(self, job_id: str) -> bytes:
        """What is uploaded for a batch: its lines."""
        rows = self.database.select(_BODIES, {"job_id": job_id})
        return b"".join(str(row["body"]).encode() + b"\n" for row in rows)

    def note_file(self, job_id: str, file_id: str) -> None:
        """Write the provider's id of the file that is uploaded."""
        self.database.write(_NOTE_FILE, {"job_id": job_id, "file_id": file_id})

    def note_job(self, job_id: str, provider_job: str) -> None:
        """Write the provider's id of a batch, there and in the rows of its calls."""
        with self.database.transaction() as tx:
            tx.later(_NOTE_JOB, {"job_id": job_id, "provider_job": provider_job})
            tx.later(_NOTE_CALLS, {"job_id": job_id, "provider_job": provider_job})

    def end_job(self, job_id: str, status: str, error: str | None) -> None:
        """Write that a batch has ended, and its lines are settled."""
        values = {"job_id": job_id, "status": status, "error": error}
        self.database.write(_END_JOB, values)

    def answered(self, call_id: str, answer: Any, state: str) -> None:
        """Keep what the provider sent for a line."""
        text = None if answer is None else json.dumps(answer)
        self.database.write(_ANSWER, {"call_id": call_id, "answer": text, "state": state})

    def of_job(self, job_id: str) -> dict[str, str]:
        """The state of each line of a batch, by call id."""
        rows = self.database.select(_OF_JOB, {"job_id": job_id})
        return {str(row["call_id"]): str(row["state"]) for row in rows}

    def call(self, call_id: str) -> Call | None:
        """The row of a call. Its end may be written already, by a process that was killed then."""
        rows = self.database.select(_CALL, {"call_id": call_id})
        return call_in(rows[0]) if rows else None

    def forget_ended(self) -> None:
        """Delete the lines of runs that are over: their text is kept nowhere else."""
        self.database.write(_FORGET, {"batch_id": self.batch_id})

    def saved(self) -> int:
        """Nano-dollars by which the paid prices were below the list prices."""
        (row,) = self.database.select(_SAVED, {"batch_id": self.batch_id})
        return int(row["saved"])


_FIND = (
    "SELECT provider_lines.call_id, tries, state, job_id, answer FROM provider_lines"
    " JOIN calls ON calls.call_id = provider_lines.call_id"
    " WHERE provider_lines.run_id = :run_id AND provider_lines.node_path = :node_path AND number = :number"
)
_PARK = (
    "INSERT INTO provider_lines (run_id, node_path, number, batch_id, call_id, model, job_id, tries,"
    " state, body, answer) VALUES (:run_id, :node_path, :number, :batch_id, :call_id, :model, NULL,"
    " :tries, 'parked', :body, NULL) ON CONFLICT (run_id, node_path, number) DO UPDATE SET"
    " call_id = :call_id, model = :model, job_id = NULL, tries = :tries, state = 'parked',"
    " body = :body, answer = NULL"
)
_AMEND = "UPDATE provider_lines SET body = :body WHERE call_id = :call_id"
_DROP = "DELETE FROM provider_lines WHERE call_id = :call_id"
_KEEP_HOLD = (
    "UPDATE holds SET expires_at = 1e15, host = '', pid = 0, process_start = NULL"
    " WHERE call_id = :call_id"
)
_IS_BATCH = "UPDATE calls SET processing = 'batch' WHERE call_id = :call_id"
_BLOCKED = (
    "SELECT run_id FROM provider_lines WHERE batch_id = :batch_id AND state IN ('parked', 'sent')"
)
_PARKED = (
    "SELECT provider_lines.call_id, model, LENGTH(body) AS size FROM provider_lines"
    " JOIN calls ON calls.call_id = provider_lines.call_id"
    " WHERE batch_id = :batch_id AND state = 'parked' ORDER BY model, provider_lines.call_id"
)
_MAKE_JOB = (
    "INSERT INTO provider_jobs (job_id, batch_id, model, status, lines, made_at)"
    " VALUES (:job_id, :batch_id, :model, 'made', :lines, :at)"
)
_SEND = "UPDATE provider_lines SET job_id = :job_id, state = 'sent' WHERE call_id = :call_id"
_JOBS = (
    "SELECT job_id, batch_id, model, status, lines, file_id, provider_job, error, made_at"
    " FROM provider_jobs WHERE batch_id = :batch_id ORDER BY made_at, job_id"
)
_BODIES = "SELECT body FROM provider_lines WHERE job_id = :job_id ORDER BY call_id"
_NOTE_FILE = "UPDATE provider_jobs SET file_id = :file_id WHERE job_id = :job_id"
_NOTE_JOB = (
    "UPDATE provider_jobs SET provider_job = :provider_job, status = 'running'"
    " WHERE job_id = :job_id"
)
_NOTE_CALLS = (
    "UPDATE calls SET provider_job = :provider_job WHERE call_id IN"
    " (SELECT call_id FROM provider_lines WHERE job_id = :job_id)"
)
_END_JOB = "UPDATE provider_jobs SET status = :status, error = :error WHERE job_id = :job_id"
_ANSWER = (
    "UPDATE provider_lines SET answer = :answer, state = :state, body = NULL"
    " WHERE call_id = :call_id"
)
_OF_JOB = "SELECT call_id, state FROM provider_lines WHERE job_id = :job_id"
_CALL = f"SELECT {CALL_COLUMNS} FROM calls WHERE call_id = :call_id"  # noqa: S608 - our words
_FORGET = (
    "DELETE FROM provider_lines WHERE batch_id = :batch_id AND state NOT IN ('parked', 'sent')"
    " AND run_id IN (SELECT run_id FROM runs WHERE batch_id = :batch_id"
    " AND status IN ('completed', 'failed'))"
)
_SAVED = (
    "SELECT COALESCE(SUM(saved_nanousd), 0) AS saved FROM calls"
    " JOIN runs ON runs.run_id = calls.run_id"
    " WHERE runs.batch_id = :batch_id AND calls.processing = 'batch'"
)
