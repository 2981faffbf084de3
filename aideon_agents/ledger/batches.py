"""Batches: what is known of each, who runs it, and what all of its items have cost.

A batch is found again by its identity, so that the same command goes on where it stopped. One
process runs it at a time, and says every few seconds that it still does. Where workers run it
(`batch_workers`), that process follows it, and the batch goes on when it is gone.

Batches that workers run: which there are, how one is ended, and which workers cannot run one.

Any worker may end a batch, where a budget or a number of failures is reached: the process that
started it may be gone.
"""

from __future__ import annotations

import dataclasses
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from aideon_agents.errors import BatchNotFound, RunError, UserError
from aideon_agents.ledger.budgets import accounts
from aideon_agents.ledger.budgets.limits import Account
from aideon_agents.ledger.database import Row
from aideon_agents.ledger.identity import Process, is_gone, now, this_process, those_from, utc_text
from aideon_agents.ledger.pricing import usd
from aideon_agents.ledger.redaction import stored_line
from aideon_agents.ledger.reports import Totals
from aideon_agents.ledger.store import Ledger

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


BatchStatus = Literal["running", "completed", "stopped", "crashed"]
"""`crashed` is worked out on reading, as for a run. A batch that waits for answers is stopped, and
one that workers run is running without the process that started it."""

DISTRIBUTED = "distributed"
"""The engine of batches that workers run."""

CUT_OFF = 2
"""What `is_cancelled` says when items in flight are not waited for."""

SILENT = 60.0
"""Seconds without a word after which another machine's process counts as gone."""

_NAMED_AT_MOST = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchStart:
    """What is known of a batch when it starts, or goes on."""

    batch_id: str
    identity: str | None
    """A digest of what makes it the same batch; None: it was forgotten."""
    workflow: str
    target: str | None
    """The address of its workflow; None: a graph that was at hand."""
    rehearsed: bool
    engine: str
    items: int
    """How many ITEMS holds."""
    item_limit_nanousd: int | None
    """What each item may cost; None: nothing of its own limits it."""
    out_path: str
    """The file that its results go to."""
    work: Mapping[str, Any] | None = None
    """What workers need to know to run its items, as JSON values; None: no worker does."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Batch(BatchStart):
    """A batch as read back."""

    status: BatchStatus
    stop_reason: str | None
    """Why it ended before its end; None: it did not, or its process is gone."""
    is_cancelled: bool
    """Somebody asked for its end."""
    is_cut_off: bool
    """And what is in flight is not waited for."""
    owner: Process
    """Who runs it, or follows it, or did last."""
    is_abandoned: bool
    """Its row says that it is running, and that process is gone."""
    started_at: str
    seen_at: str
    """When its process last said that it runs it."""
    ended_at: str | None
    """None while it runs, and when it crashed."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class NodeTotals(Totals):
    """What one node's calls add up to, over some items."""

    node_path: str


def find_same(ledger: Ledger, identity: str) -> Batch | None:
    """The batch that a command goes on with."""
    for row in ledger.select(_SAME, {"identity": identity}):
        return read(row)
    return None


def find_batch(ledger: Ledger, ref: str) -> Batch:
    """The batch that a reference means."""
    if ref == "last":
        if newest := batches(ledger, limit=1):
            return newest[0]
        raise BatchNotFound(f"no batch in {ledger.path} yet: start one with `aideon batch`")
    start = ref.strip().upper()
    between = ledger.select(_FROM, those_from(start)) if start else []
    found = [row for row in between if row["batch_id"].startswith(start)]
    rows = [row for row in found if row["batch_id"] == start] or found
    if len(rows) == 1:
        return read(rows[0])
    if not rows:
        raise BatchNotFound(f"no batch {ref!r} in {ledger.path}: `aideon batches list` shows them")
    named = ", ".join(row["batch_id"] for row in rows[:_NAMED_AT_MOST])
    more = ", ..." if len(rows) > _NAMED_AT_MOST else ""
    raise BatchNotFound(f"several batches begin with {ref!r}, write more of one: {named}{more}")


def batches(ledger: Ledger, limit: int) -> list[Batch]:
    """Batches, the newest first."""
    return [read(row) for row in ledger.select(_NEWEST, {"most": limit})]


def take(
    ledger: Ledger, start: BatchStart, limit: int | None, graph: Mapping[str, Any] | None = None
) -> None:
    """Start a batch in this process, or go on with it, under the limits of this time."""
    texts = {"work": _json(start.work), "graph": _json(graph), "at": utc_text(now())}
    values = {**vars(start), "rehearsed": int(start.rehearsed), **owner(), **texts}
    with ledger.database.transaction() as tx:
        for row in tx.select(_ONE, {"batch_id": start.batch_id}):
            refuse_if_running(read(row))
            tx.write(_GO_ON, values)
            break
        else:
            tx.write(_START, values)
        tx.write(_NO_REFUSALS, {"batch_id": start.batch_id})
        accounts.set_own_limit(tx, _account(start.batch_id), limit)


def refuse_if_running(seen: Batch) -> None:
    """Refuse to touch a batch that some process runs."""
    if seen.status == "running" and not seen.is_abandoned:
        raise UserError(
            f"batch {seen.batch_id} is running in process {seen.owner.pid} on {seen.owner.host}: "
            f"wait for it, or end it with `aideon batches cancel {seen.batch_id}`"
        )


def refuse_if_with_workers(seen: Batch) -> None:
    """Refuse to run a batch here, or forget it, while workers run it."""
    if seen.status == "running" and seen.engine == DISTRIBUTED:
        raise UserError(
            f"batch {seen.batch_id} is run by workers: go on with --engine distributed, or end it "
            f"with `aideon batches cancel {seen.batch_id}`"
        )


def is_to_end(ledger: Ledger, batch_id: str) -> bool:
    """Say that this process still runs a batch, and find out whether it is to end."""
    owned = {"batch_id": batch_id, **owner(), "at": utc_text(now())}
    with ledger.database.transaction() as tx:
        is_ours = tx.write(_SEEN, owned) == 1
        (row,) = tx.select(_ONE, {"batch_id": batch_id})
    if not is_ours and row["status"] == "running":
        raise RunError(
            f"batch {batch_id} is that of process {row['pid']} on {row['host']} by now: this one "
            "gave no sign of life for too long; what it had not written to its OUT is kept"
        )
    return not is_ours or bool(row["is_cancelled"])


def finish(ledger: Ledger, batch_id: str, status: BatchStatus, stop_reason: str | None) -> None:
    """Write down that this process runs a batch no longer, unless another has taken it over."""
    at = utc_text(now())
    ends = {"batch_id": batch_id, "status": status, "stop_reason": stop_reason, "at": at}
    ledger.database.write(_FINISH, {**ends, **owner()})


def cancel(ledger: Ledger, batch_id: str) -> None:
    """Ask for a batch's end; the process that runs it sees it within seconds."""
    ledger.database.write(_CANCEL, {"batch_id": batch_id})


def forget(ledger: Ledger, batch_id: str) -> None:
    """Have the same command begin another batch. What this one has spent stays."""
    with ledger.database.transaction() as tx:
        tx.write("UPDATE batches SET identity = NULL WHERE batch_id = :batch", {"batch": batch_id})
        tx.write("DELETE FROM outputs WHERE batch_id = :batch", {"batch": batch_id})


def money(ledger: Ledger, batch_id: str) -> Totals:
    """What all calls of a batch have cost so far, those of runs that were lost included."""
    (row,) = ledger.select(_MONEY.format(keys="'' AS node_path"), {"batch_id": batch_id})
    return _totals(row)


def node_money(ledger: Ledger, batch_id: str) -> list[NodeTotals]:
    """What each node has cost over a whole batch."""
    by_node = _MONEY.format(keys="calls.node_path AS node_path") + " GROUP BY calls.node_path"
    nodes = [
        NodeTotals(node_path=row["node_path"], **vars(_totals(row)))
        for row in ledger.select(by_node, {"batch_id": batch_id})
    ]
    return sorted(nodes, key=lambda node: (-node.usd, node.node_path))


def graph_of(ledger: Ledger, batch_id: str) -> Mapping[str, Any] | None:
    """The plain model of what a batch's items run; None: nobody kept it."""
    rows = ledger.select("SELECT graph FROM batches WHERE batch_id = :batch", {"batch": batch_id})
    return next((json.loads(row["graph"]) for row in rows if row["graph"]), None)


def spent_nanousd(ledger: Ledger, batch_id: str) -> int:
    """What counts against a batch's budget: what is spent, and what may have been."""
    key = _account(batch_id).key
    rows = ledger.select("SELECT spent_nanousd FROM accounts WHERE account = :key", {"key": key})
    return sum(int(row["spent_nanousd"]) for row in rows)


def _account(batch_id: str) -> Account:
    return Account((("batch", batch_id),))


def _totals(row: Row) -> Totals:
    # A sum is a Decimal on a server, and NULL where there is nothing to add.
    counts = {name: int(row[name] or 0) for name in _COUNTS}
    nanousd, known = counts.pop("nanousd"), counts.pop("known")
    return Totals(**counts, usd=usd(nanousd), complete=known == counts["calls"])


def read(row: Row) -> Batch:
    """A batch from its row."""
    fields: dict[str, Any] = dict(row)
    fields["owner"] = Process(fields.pop("host"), fields.pop("pid"), fields.pop("process_start"))
    is_running = fields["status"] == "running"
    fields["is_abandoned"] = is_running and _is_abandoned(fields["owner"], fields["seen_at"])
    if fields["is_abandoned"] and fields["engine"] != DISTRIBUTED:
        fields["status"] = "crashed"
    fields["is_cut_off"] = fields["is_cancelled"] == CUT_OFF
    fields["work"] = None if fields["work"] is None else json.loads(fields["work"])
    for flag in ("rehearsed", "is_cancelled"):
        fields[flag] = bool(fields[flag])
    return Batch(**fields)


def _json(values: Mapping[str, Any] | None) -> str | None:
    return None if values is None else json.dumps(values)


def _is_abandoned(owner: Process, seen_at: str) -> bool:
    """Whether nobody runs it: of another machine's processes only their silence tells."""
    if owner.host == this_process().host:
        return is_gone(owner)
    return seen_at < utc_text(now() - timedelta(seconds=SILENT))


def owner() -> dict[str, Any]:
    """This process, as `OURS` asks for it."""
    process = this_process()
    return {"host": process.host, "pid": process.pid, "process_start": process.start}


_COUNTS: Sequence[str] = (
    "calls",
    "failed_calls",
    "input_tokens",
    "output_tokens",
    "nanousd",
    "known",
)
ROWS = (
    "SELECT batch_id, identity, workflow, target, rehearsed, engine, items, item_limit_nanousd,"
    " out_path, status, stop_reason, is_cancelled, host, pid, process_start, started_at, seen_at,"
    " ended_at, work FROM batches"
)
"""What `read` takes: everything but the graph, which is long and read only to be drawn."""
_SAME = f"{ROWS} WHERE identity = :identity"
_ONE = f"{ROWS} WHERE batch_id = :batch_id"
_FROM = f"{ROWS} WHERE batch_id >= :first AND batch_id <= :last ORDER BY batch_id"
_NEWEST = f"{ROWS} ORDER BY started_at DESC, batch_id DESC LIMIT :most"
_START = (
    "INSERT INTO batches (batch_id, identity, workflow, target, rehearsed, engine, items,"
    " item_limit_nanousd, out_path, status, is_cancelled, host, pid, process_start, started_at,"
    " seen_at, work, graph) VALUES (:batch_id, :identity, :workflow, :target, :rehearsed, :engine, :items,"
    " :item_limit_nanousd, :out_path, 'running', 0, :host, :pid, :process_start, :at, :at, :work,"
    " :graph)"
)
_GO_ON = (
    "UPDATE batches SET target = :target, engine = :engine, out_path = :out_path,"
    " item_limit_nanousd = :item_limit_nanousd, status = 'running', stop_reason = NULL,"
    " is_cancelled = 0, host = :host, pid = :pid, process_start = :process_start, work = :work,"
    " graph = :graph, seen_at = :at, ended_at = NULL WHERE batch_id = :batch_id"
)
_CANCEL = "UPDATE batches SET is_cancelled = 1 WHERE batch_id = :batch_id AND is_cancelled = 0"
OURS = (
    "batch_id = :batch_id AND host = :host AND pid = :pid"
    " AND COALESCE(process_start, '') = COALESCE(:process_start, '') AND status = 'running'"
)
_SEEN = f"UPDATE batches SET seen_at = :at WHERE {OURS}"  # noqa: S608 - ours, as below
_NO_REFUSALS = "DELETE FROM refusals WHERE batch_id = :batch_id"
_FINISH = (
    "UPDATE batches SET status = :status, stop_reason = :stop_reason, ended_at = :at,"  # noqa: S608
    f" seen_at = :at WHERE {OURS}"
)
_MONEY = """
    SELECT {keys}, COUNT(*) AS calls,
        COUNT(*) FILTER (WHERE calls.status IN ('error', 'truncated')) AS failed_calls,
        SUM(calls.input_tokens) AS input_tokens, SUM(calls.output_tokens) AS output_tokens,
        SUM(calls.cost_nanousd) AS nanousd, COUNT(calls.cost_nanousd) AS known
    FROM runs JOIN calls ON calls.run_id = runs.run_id
    WHERE runs.batch_id = :batch_id AND (calls.rehearsed = 0 OR runs.rehearsed = 1)
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Refusal:
    """That a worker does not run a batch."""

    host: str
    pid: int
    reason: str
    """One line."""


def running(ledger: Ledger) -> list[Batch]:
    """The batches that workers are to run, the oldest first."""
    return [read(row) for row in ledger.select(_RUNNING)]


def halt(ledger: Ledger, batch_id: str, reason: str, *, cut_off: bool = False) -> None:
    """Have nothing of a batch start any more, on any worker."""
    level = CUT_OFF if cut_off else 1
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
