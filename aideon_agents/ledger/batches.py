"""Batches: the row of each one, the process that runs it, and the costs of its items.

A batch is found by its identity, so the same command continues where it stopped. One process runs it
at a time, and updates `seen_at` every second. A batch of the distributed engine is run by workers;
that process only follows it, and the workers continue without it. Any worker may end the batch when
a budget or a number of failures is reached.
"""

from __future__ import annotations

import dataclasses
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from aideon_agents.errors import BatchNotFound, RunError, UserError
from aideon_agents.ledger.budgets import accounts
from aideon_agents.ledger.budgets.limits import Account
from aideon_agents.ledger.costs import Cost, NodeCost, cost
from aideon_agents.ledger.database import Row
from aideon_agents.ledger.identity import is_gone, now, this_process, utc_text
from aideon_agents.ledger.money import usd
from aideon_agents.ledger.redaction import stored_line
from aideon_agents.ledger.store import Ledger, write_more

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal


BatchStatus = Literal["running", "completed", "stopped", "crashed"]
"""`crashed` is derived on reading, as for a run. A batch that waits for answers is stopped. A batch
that workers run stays running when the process that started it is gone."""

DISTRIBUTED = "distributed"
"""The engine of batches that workers run."""

CUT_OFF = 2
"""The value of `is_cancelled` when items in flight are cut off."""

SILENT = 60.0
"""Seconds without an update of `seen_at` after which a process on another machine counts as gone."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Batch:
    """A batch, as it starts or continues and as read back. One that starts has only the first fields."""

    batch_id: str
    identity: str | None
    """A digest of its workflow, items and options; None: the batch was forgotten."""
    workflow: str
    target: str | None
    """The address of its workflow; None: a graph object was passed."""
    rehearsed: bool
    engine: str
    items: int
    """The number of items."""
    item_limit_nanousd: int | None
    """The budget of each item; None: there is none."""
    out_path: str
    """The file that results are written to."""
    work: Mapping[str, Any] | None = None
    """The options that workers need, as JSON values; None: no worker runs it."""
    status: BatchStatus = "running"
    stop_reason: str | None = None
    """Why it ended early; None: it did not, or its process is gone."""
    is_cancelled: bool = False
    """Its end was requested."""
    is_cut_off: bool = False
    """Its end was requested, and items in flight are cut off."""
    host: str = ""
    pid: int = 0
    """The process that runs or follows it, or the last one that did."""
    is_abandoned: bool = False
    """Its row says `running`, but that process is gone."""
    version: str | None = None
    """Names the content of its workflow; None, as the next, in batches older than the column."""
    options: str | None = None
    """A digest of the options that every item has."""
    carried_from: str | None = None
    """The earlier batch whose items it has taken over; None: there is none."""
    started_at: str = ""
    seen_at: str = ""
    """The last update of its process."""
    ended_at: str | None = None
    """None: it is running, or it crashed."""


def find_same(ledger: Ledger, identity: str) -> Batch | None:
    """The batch with an identity, which the same command continues."""
    for row in ledger.select(SAME, {"identity": identity}):
        return read(row)
    return None


def find_batch(ledger: Ledger, ref: str) -> Batch:
    """Find a batch by its id, the unique beginning of an id, or `last`."""
    if ref == "last":
        if newest := batches(ledger, limit=1):
            return newest[0]
        raise BatchNotFound(f"no batch in {ledger.path} yet: start one with `aideon batch`")
    rows = ledger.beginning_with(ref, "batch_id", _FROM)
    if len(rows) > 1:
        raise BatchNotFound(f"several batches begin with {ref!r}, {write_more(rows, 'batch_id')}")
    if not rows:
        raise BatchNotFound(f"no batch {ref!r} in {ledger.path}: `aideon batches list` shows them")
    return read(rows[0])


def batches(ledger: Ledger, limit: int) -> list[Batch]:
    """Batches, the newest first."""
    newest = _NEWEST_IN_FILE if ledger.path else _NEWEST
    return [read(row) for row in ledger.select(newest, {"most": limit})]


def take(
    ledger: Ledger, start: Batch, limit: int | None, graph: Mapping[str, Any] | None = None
) -> None:
    """Start or continue a batch in this process, with the budget of this call in nano-dollars."""
    texts = {"work": _json(start.work), "graph": _json(graph), "at": utc_text(now())}
    values = {**vars(start), "rehearsed": int(start.rehearsed), **this_process(), **texts}
    with ledger.database.transaction() as tx:
        for row in tx.select(_ONE, {"batch_id": start.batch_id}):
            refuse_if_running(read(row))
            tx.write(_CONTINUE, values)
            break
        else:
            tx.write(START, values)
        tx.write(_NO_REFUSALS, {"batch_id": start.batch_id})
        accounts.set_own_limit(tx, _account(start.batch_id), limit)


def refuse_if_running(seen: Batch) -> None:
    """Refuse a batch that another process runs."""
    if seen.status == "running" and not seen.is_abandoned:
        raise UserError(
            f"batch {seen.batch_id} is running in process {seen.pid} on {seen.host}: "
            f"wait for it, or end it with `aideon batches cancel {seen.batch_id}`"
        )


def refuse_if_with_workers(seen: Batch) -> None:
    """Refuse a batch that workers run."""
    if seen.status == "running" and seen.engine == DISTRIBUTED:
        raise UserError(
            f"batch {seen.batch_id} is run by workers: continue it with --engine distributed, or end it "
            f"with `aideon batches cancel {seen.batch_id}`"
        )


def heartbeat(ledger: Ledger, batch_id: str) -> bool:
    """Record that this process still runs a batch; returns whether its end was requested."""
    owned = {"batch_id": batch_id, **this_process(), "at": utc_text(now())}
    with ledger.database.transaction() as tx:
        is_ours = tx.write(_HEARTBEAT, owned) == 1
        (row,) = tx.select(_ONE, {"batch_id": batch_id})
    if not is_ours and row["status"] == "running":
        raise RunError(
            f"batch {batch_id} was taken over by process {row['pid']} on {row['host']}: this "
            "process sent no heartbeat for too long; results that it had not written to OUT are kept"
        )
    return not is_ours or bool(row["is_cancelled"])


def finish(ledger: Ledger, batch_id: str, status: BatchStatus, stop_reason: str | None) -> None:
    """Record that this process has ended a batch, unless another one has taken it over."""
    at = utc_text(now())
    ends = {"batch_id": batch_id, "status": status, "stop_reason": stop_reason, "at": at}
    ledger.database.write(_FINISH, {**ends, **this_process()})


def cancel(ledger: Ledger, batch_id: str) -> None:
    """Request the end of a batch; the process that runs it sees the request within seconds."""
    ledger.database.write(_CANCEL, {"batch_id": batch_id})


def forget(ledger: Ledger, batch_id: str) -> None:
    """Remove the identity of a batch, so the same command starts a new one. Its costs are kept."""
    with ledger.database.transaction() as tx:
        tx.write("UPDATE batches SET identity = NULL WHERE batch_id = :batch", {"batch": batch_id})
        tx.write("DELETE FROM outputs WHERE batch_id = :batch", {"batch": batch_id})


def money(ledger: Ledger, batch_id: str) -> Cost:
    """What all calls of a batch have cost so far, those of runs that were lost included."""
    return cost(ledger.database, batch_id=batch_id)


def is_simulated(ledger: Ledger, batch_id: str) -> bool:
    """Whether a simulated provider answered a call of a batch."""
    return bool(ledger.select(_SIMULATED, {"batch_id": batch_id}))


def node_money(ledger: Ledger, batch_id: str) -> list[NodeCost]:
    """What each node has cost over a whole batch, the most expensive first."""
    nodes = money(ledger, batch_id).by_node.values()
    return sorted(nodes, key=lambda node: (-node.usd, node.node_path))


def graph_of(ledger: Ledger, batch_id: str) -> Mapping[str, Any] | None:
    """The drawing model of the graph that the items run; None: it was not kept."""
    rows = ledger.select("SELECT graph FROM batches WHERE batch_id = :batch", {"batch": batch_id})
    return next((json.loads(row["graph"]) for row in rows if row["graph"]), None)


def held_usd(ledger: Ledger, batch_id: str) -> Decimal:
    """The worst cases of its calls whose cost is not known: in progress, lost, or never reported.

    With what is known to be spent, it is what counts against the budget of the batch.
    """
    (row,) = ledger.select(_HELD, {"batch_id": batch_id})
    return usd(int(row["held"]))


def _account(batch_id: str) -> Account:
    return Account((("batch", batch_id),))


def read(row: Row) -> Batch:
    """A batch from its row."""
    fields: dict[str, Any] = dict(row)
    fields["is_abandoned"] = fields["status"] == "running" and _is_abandoned(row)
    del fields["process_start"]
    if fields["is_abandoned"] and fields["engine"] != DISTRIBUTED:
        fields["status"] = "crashed"
    fields["is_cut_off"] = fields["is_cancelled"] == CUT_OFF
    fields["work"] = None if fields["work"] is None else json.loads(fields["work"])
    for flag in ("rehearsed", "is_cancelled"):
        fields[flag] = bool(fields[flag])
    return Batch(**fields)


def _json(values: Mapping[str, Any] | None) -> str | None:
    return None if values is None else json.dumps(values)


def _is_abandoned(row: Row) -> bool:
    """Whether its process is gone. On another machine, only a missing heartbeat shows it."""
    if row["host"] == this_process()["host"]:
        return is_gone(row)
    return row["seen_at"] < utc_text(now() - timedelta(seconds=SILENT))


ROWS = (
    "SELECT batch_id, identity, workflow, target, rehearsed, engine, items, item_limit_nanousd,"
    " out_path, status, stop_reason, is_cancelled, host, pid, process_start, started_at, seen_at,"
    " ended_at, work, version, options, carried_from FROM batches"
)
"""The columns for `read`: all but the graph, which is long and only read for drawings."""
SAME = f"{ROWS} WHERE identity = :identity"
_ONE = f"{ROWS} WHERE batch_id = :batch_id"
_FROM = f"{ROWS} WHERE batch_id >= :first AND batch_id <= :last ORDER BY batch_id"
_NEWEST = f"{ROWS} ORDER BY begun DESC LIMIT :most"
_NEWEST_IN_FILE = f"{ROWS} ORDER BY batches.rowid DESC LIMIT :most"
_SIMULATED = (
    "SELECT call_id FROM calls JOIN runs ON runs.run_id = calls.run_id"
    " WHERE calls.simulated = 1 AND runs.batch_id = :batch_id LIMIT 1"
)
_HELD = (
    "SELECT COALESCE(SUM(holds.amount_nanousd), 0) AS held FROM holds"
    " JOIN runs ON runs.run_id = holds.run_id WHERE runs.batch_id = :batch_id"
    " AND holds.status <> 'settled' AND holds.status IN ('held', 'forfeited', 'unknown')"
)
START = (
    "INSERT INTO batches (batch_id, identity, workflow, target, rehearsed, engine, items,"
    " item_limit_nanousd, out_path, status, is_cancelled, host, pid, process_start, started_at,"
    " seen_at, work, graph, version, options, carried_from) VALUES (:batch_id, :identity, :workflow, :target, :rehearsed, :engine, :items,"
    " :item_limit_nanousd, :out_path, 'running', 0, :host, :pid, :process_start, :at, :at, :work,"
    " :graph, :version, :options, :carried_from)"
)
_CONTINUE = (
    "UPDATE batches SET target = :target, engine = :engine, out_path = :out_path,"
    " item_limit_nanousd = :item_limit_nanousd, status = 'running', stop_reason = NULL,"
    " is_cancelled = 0, host = :host, pid = :pid, process_start = :process_start, work = :work,"
    " graph = :graph, version = :version, options = :options, seen_at = :at, ended_at = NULL WHERE batch_id = :batch_id"
)
_CANCEL = "UPDATE batches SET is_cancelled = 1 WHERE batch_id = :batch_id AND is_cancelled = 0"
OURS = (
    "batch_id = :batch_id AND host = :host AND pid = :pid"
    " AND COALESCE(process_start, '') = COALESCE(:process_start, '') AND status = 'running'"
)
_HEARTBEAT = f"UPDATE batches SET seen_at = :at WHERE {OURS}"  # noqa: S608 - ours, as below
_NO_REFUSALS = "DELETE FROM refusals WHERE batch_id = :batch_id"
_FINISH = (
    "UPDATE batches SET status = :status, stop_reason = :stop_reason, ended_at = :at,"  # noqa: S608
    f" seen_at = :at WHERE {OURS}"
)


def running(ledger: Ledger) -> list[Batch]:
    """The running batches of the distributed engine, the oldest first."""
    return [read(row) for row in ledger.select(_RUNNING)]


def halt(ledger: Ledger, batch_id: str, reason: str, *, cut_off: bool = False) -> None:
    """Start no more items of a batch, on any worker; the first reason and the hardest end win."""
    level = CUT_OFF if cut_off else 1
    ledger.database.write(_HALT, {"batch_id": batch_id, "reason": reason, "level": level})


def end_abandoned(ledger: Ledger, seen: Batch) -> None:
    """Mark a cancelled batch as stopped whose process is gone."""
    names = {"batch_id": seen.batch_id, "seen_at": seen.seen_at, "at": utc_text(now())}
    ledger.database.write(_END_ABANDONED, names)


def refuse(ledger: Ledger, batch_id: str, reason: str) -> None:
    """Record that this process cannot run a batch."""
    names = {"batch_id": batch_id, "reason": stored_line(reason), "at": utc_text(now())}
    ledger.database.write(_REFUSE, {**names, **this_process()})


def refusals(ledger: Ledger, batch_id: str) -> list[Row]:
    """The host, pid and reason of each worker that cannot run a batch since it was last started."""
    return ledger.select(_REFUSALS, {"batch_id": batch_id})


_RUNNING = f"{ROWS} WHERE status = 'running' AND engine = 'distributed' ORDER BY started_at"
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
