"""Batches that workers run: which there are, how one is ended, and which workers cannot run one.

Any worker may end a batch, where a budget or a number of failures is reached: the process that
started it may be gone.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from aideon_agents.ledger import batches
from aideon_agents.ledger.clock import now, utc_text
from aideon_agents.ledger.processes import this_process
from aideon_agents.ledger.redaction import stored_line

if TYPE_CHECKING:
    from aideon_agents.ledger.batches import Batch
    from aideon_agents.ledger.store import Ledger


@dataclasses.dataclass(frozen=True, kw_only=True)
class Refusal:
    """That a worker does not run a batch."""

    host: str
    pid: int
    reason: str
    """One line."""


def running(ledger: Ledger) -> list[Batch]:
    """The batches that workers are to run, the oldest first."""
    return [batches.read(row) for row in ledger.select(_RUNNING)]


def halt(ledger: Ledger, batch_id: str, reason: str, *, cut_off: bool = False) -> None:
    """Have nothing of a batch start any more, on any worker."""
    level = batches.CUT_OFF if cut_off else 1
    told = {"batch_id": batch_id, "reason": reason, "level": level}
    ledger.database.write(_HALT, told)


def end_abandoned(ledger: Ledger, seen: Batch) -> None:
    """Write down that a batch has been cancelled that nobody follows."""
    names = {"batch_id": seen.batch_id, "seen_at": seen.seen_at, "at": utc_text(now())}
    ledger.database.write(_END_ABANDONED, names)


def refuse(ledger: Ledger, batch_id: str, reason: str) -> None:
    """Write down that this process does not run a batch."""
    process = this_process()
    who = {"host": process.host, "pid": process.pid, "at": utc_text(now())}
    line = stored_line(reason)
    ledger.database.write(_REFUSE, {"batch_id": batch_id, "reason": line, **who})


def refusals(ledger: Ledger, batch_id: str) -> list[Refusal]:
    """The workers that do not run a batch, since it was last started."""
    found = ledger.select(_REFUSALS, {"batch_id": batch_id})
    return [Refusal(host=row["host"], pid=row["pid"], reason=row["reason"]) for row in found]


_RUNNING = f"{batches.ROWS} WHERE status = 'running' AND engine = 'distributed' ORDER BY started_at"
_HALT = (
    "UPDATE batches SET stop_reason = COALESCE(stop_reason, :reason),"
    " is_cancelled = CASE WHEN is_cancelled > :level THEN is_cancelled ELSE :level END"
    " WHERE batch_id = :batch_id AND status = 'running'"
)
_END_ABANDONED = (
    "UPDATE batches SET status = 'stopped', stop_reason = COALESCE(stop_reason, 'cancelled'),"
    " ended_at = :at WHERE batch_id = :batch_id AND status = 'running' AND seen_at = :seen_at"
)
_REFUSE = (
    "INSERT INTO refusals (batch_id, host, pid, reason, refused_at)"
    " VALUES (:batch_id, :host, :pid, :reason, :at)"
    " ON CONFLICT (batch_id, host, pid) DO UPDATE SET reason = :reason, refused_at = :at"
)
_REFUSALS = "SELECT host, pid, reason FROM refusals WHERE batch_id = :batch_id ORDER BY refused_at, host, pid"
