"""Money that is held for a call before it is sent, and how it is settled.

A hold is taken in one transaction over every limit that applies, and settled once, in the
transaction that completes the row of the call. Its process renews it while the call is in progress.
A process that dies may have spent the money, so its hold then counts as spent at the worst case.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import threading
import time
from typing import TYPE_CHECKING, TypeAlias

from aideon_agents.errors import LedgerError
from aideon_agents.ledger import rows
from aideon_agents.ledger.budgets import accounts, on_server, units
from aideon_agents.ledger.budgets.alerts import Alert, send
from aideon_agents.ledger.budgets.limits import (
    OF_RUNS,
    CallDimensions,
    LimitState,
    Refusal,
    refusal,
)
from aideon_agents.ledger.budgets.tickets import Tickets
from aideon_agents.ledger.database import Database, Row, Statements
from aideon_agents.ledger.identity import is_gone, now, this_process, utc_text
from aideon_agents.ledger.rows import Call, CallEnd

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path


LEASE = 60.0
"""Seconds that a hold lives without being renewed."""

_SEARCH_DEAD = 1.0
"""Seconds between two searches for processes that died while they held money."""

_REMEMBERED = 1024
"""Runs for which it is remembered whether a budget is nearly spent."""

_log = logging.getLogger("aideon_agents.budgets")


Hold: TypeAlias = tuple[CallDimensions, int, str]
"""A hold of this process: its call, its amount, and the keys of its accounts as JSON. Settling it
from here reads less than settling it from its row."""


class Budgets:
    """The budgets of one ledger: takes, renews and settles the holds of this process."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.folder = folder
        """Where the addresses of the alert channels are."""
        self.ledger = str(database.path.resolve()) if database.path else database.name
        """However its path is written: a run can start inside another one with its own connection to the same ledger."""
        self.settlements = 0
        """How many calls were settled here: a call that waits for room then tries again."""
        self.database = database
        """The ledger's tables, also for what is learnt from a run's calls."""
        self._holds: dict[str, Hold] = {}
        """By call id; renewed until the call ends."""
        self.unsent: dict[str, Call] = {}
        """By call id: the rows that were written together with a hold. The code that sends a call
        removes it, and from then on its row and its hold stay."""
        self.known: dict[str | None, accounts.Remaining] = {}
        """By run id: what its budgets left at the last look. The latest is last."""
        self._lock = threading.Lock()
        self._searched = 0.0
        self._renew_seconds = LEASE / 3
        self._renewer: threading.Thread | None = None
        """A thread, because a busy event loop must not look like a dead process."""
        self._closed = threading.Event()
        self.tickets = Tickets(database, self._woken)

    def take(
        self,
        call_id: str,
        call: CallDimensions,
        amount: int | None,
        *,
        row: Call | None = None,
        queues: bool = False,
    ) -> Refusal | None:
        """Hold the worst case of a call on every account that it counts in.

        `amount` is in nano-dollars; None: it has no known price. `row` is written in the same
        transaction, which saves each call a commit; None: the caller writes it. `queues`: where
        there are tickets, a call that has to wait gets one, until it is served or leaves.
        """
        values: dict[str, object] = {"call_id": call_id, "run_id": call.run, "node_path": call.node}
        values |= {"provider": call.provider, "taken_at": call.at, "amount_nanousd": amount}
        values |= this_process()
        may_search = True
        while True:
            values["expires_at"] = time.time() + LEASE
            limits, refused = self._taken(call, values, row, queues=queues)
            if not refused:
                self.tickets.waiting.discard(call_id)  # deleted with the hold
                break
            if queues and refused.waits:
                self.tickets.taken(call_id)
            if not (refused.waits and may_search and self._is_search_due()):
                return refused
            may_search = False
            self.forfeit_dead()
        keys = json.dumps(sorted({one.account.key for one in limits}))
        if row:
            self.unsent[call_id] = row
        with self._lock:
            self._holds[call_id] = (call, amount or 0, keys)
            if self._renewer is None:
                self._renewer = threading.Thread(
                    target=self._renew, name="aideon-leases", daemon=True
                )
                self._renewer.start()
        self._remember(call, limits)
        return None

    def _taken(
        self, call: CallDimensions, hold: Row, row: Call | None, *, queues: bool
    ) -> tuple[list[LimitState], Refusal | None]:
        """Take a hold unless a limit is in the way; returns the limits, and why it was not taken."""
        if function := self.database.call:
            begun = vars(row) if row else None
            return on_server.take(self.database, function, call, hold, begun, queues=queues)
        with self.database.transaction() as tx:
            limits = accounts.limit_states(tx, call)
            refused = refusal(limits, hold["amount_nanousd"])
            if call.uses and not refused:
                refused = units.lacking(tx, call.uses)
            if not refused:
                keys = sorted({one.account.key for one in limits})
                amount = hold["amount_nanousd"] or 0
                accounts.add(tx, keys, held=amount)
                tx.later(_TAKE, {**hold, "amount_nanousd": amount, "accounts": json.dumps(keys)})
                if row:
                    tx.later(rows.START_CALL, vars(row))
                if call.uses:
                    units.hold(tx, hold["call_id"], call.uses, call.at)
        return limits, refused

    def settle(self, call_id: str, end: CallEnd) -> bool:
        """Complete the row of a call and count its cost, once; returns whether this end is the first.

        Limits that pass a threshold cause alerts.
        """
        is_first, limits, alerts = self._settled(call_id, end)
        with self._lock:
            hold = self._holds.pop(call_id, None)
        if hold and limits is not None:
            self._remember(hold[0], limits)
        self.settlements += 1
        send(alerts, self.folder)
        return is_first

    def _settled(
        self, call_id: str, end: CallEnd
    ) -> tuple[bool, list[LimitState] | None, list[Alert]]:
        """Settle a call; returns whether this end is the first, the limits then, and the alerts."""
        hold = self._holds.get(call_id)
        if hold and (function := self.database.call):
            call = dataclasses.replace(hold[0], inner=()) if hold[0].inner else hold[0]
            values = rows.end_values(call_id, end)
            spent = (rows.tokens_in(end),) if call.uses else ()
            if ended := on_server.settle(function, call_id, values, call, *spent):
                limits, is_due = ended
                if not is_due:
                    return True, limits, []
                with self.database.transaction() as tx:
                    limits = accounts.limit_states(tx, call)
                    return True, limits, accounts.crossed(tx, limits, call.run)
            hold = None  # its row says more
        with self.database.transaction() as tx:
            is_first = rows.end_call(tx, call_id, end)
            if is_first and (call := _count_end(tx, call_id, end, hold)):
                limits = accounts.limit_states(tx, call)
                return True, limits, accounts.crossed(tx, limits, call.run)
        return is_first, None, []

    def _woken(self) -> None:
        self.settlements += 1

    def release(self, call_id: str) -> None:
        """Stop renewing the hold of a call; release it if the call was never sent.

        If the call was sent, its hold stays until its end is reported.
        """
        with self._lock:
            hold = self._holds.pop(call_id, None)
        if hold is None:
            return
        is_unsent = self.unsent.pop(call_id, None)
        with self.database.transaction() as tx:
            if is_unsent:
                tx.later(rows.UNMAKE_CALL, {"call_id": call_id})
            for row in tx.select(_HOLD, {"call_id": call_id}):
                is_open = row["status"] in {"held", "forfeited"}
                if is_open and not tx.select(_ROW, {"call_id": call_id}):
                    part = "held" if row["status"] == "held" else "spent"
                    accounts.add(tx, json.loads(row["accounts"]), **{part: -row["amount_nanousd"]})
                    tx.later(_END, {"call_id": call_id, "status": "released"})
                    if hold[0].uses:
                        units.settle(tx, call_id, 0)
        self.settlements += 1

    def forfeit_dead(self) -> None:
        """Count the holds of processes that ended, or did not renew them in time, as spent."""
        with self.database.transaction() as tx:
            self.tickets.drop_dead(tx)
            self._renew_all(tx)  # after the machine slept, this may run before the thread does
            held = tx.select(_ALL_HELD, {})
            # Each process is looked up once: it may hold money for a thousand calls.
            ended = {one: is_gone(row) for one, row in {_process(row): row for row in held}.items()}
            lost = [row for row in held if row["expires_at"] < time.time() or ended[_process(row)]]
            for row in lost:
                amount = row["amount_nanousd"]
                accounts.add(tx, json.loads(row["accounts"]), spent=amount, held=-amount)
                tx.later(_END, {"call_id": row["call_id"], "status": "forfeited"})
            units.forfeit(tx)
            alerts = list[Alert]()
            # Only then: looking may open accounts, in which what is still held would count as held.
            for row in lost:
                call = _dimensions(row, row["taken_at"])
                alerts += accounts.crossed(tx, accounts.limit_states(tx, call), call.run)
        send(alerts, self.folder)

    def limit_states(self, call: CallDimensions, *, opens: bool = True) -> list[LimitState]:
        """The limits that apply to a call, with what is spent and held.

        Without `opens`, limits whose account is not open yet are left out, and no other process
        has to wait for this one.
        """
        if not opens:
            return accounts.limit_states(self.database, call, opens=False)
        with self.database.transaction() as tx:
            return accounts.limit_states(tx, call)

    def remaining(self, run: CallDimensions) -> accounts.Remaining:
        """What the enforced budgets of a run, the day and the month leave.

        As the last call of the same run in this process found it, if there was one: after another
        process spends, a cheaper model is preferred one call later.
        """
        known = None if run.inner else self.known.get(run.run)
        if known is not None:
            return known
        call = dataclasses.replace(run, at=utc_text(now()))
        limits = accounts.limit_states(self.database, call, opens=False)
        self._remember(call, limits)
        return accounts.remaining(limits)

    def forget_limits(self) -> None:
        """Look budgets up again, after one was changed here."""
        with self._lock:
            self.known.clear()

    def close(self) -> None:
        """Stop renewing holds, and listening."""
        self._closed.set()
        self.tickets.close()

    def _remember(self, call: CallDimensions, limits: Iterable[LimitState]) -> None:
        """Remember what the budgets of a run leave."""
        if call.inner:  # the limits are not only those of its run
            return
        with self._lock:
            self.known.pop(call.run, None)
            self.known[call.run] = accounts.remaining(limits)
            if len(self.known) > _REMEMBERED:
                del self.known[next(iter(self.known))]

    def _is_search_due(self) -> bool:
        with self._lock:
            if is_due := time.monotonic() - self._searched >= _SEARCH_DEAD:
                self._searched = time.monotonic()
            return is_due

    def _renew_all(self, tx: Statements) -> None:
        """Renew every hold of this process, however far the clock has jumped."""
        with self._lock:
            live = sorted(self._holds)
        for call_id in live:
            tx.later(_RENEW, {"call_id": call_id, "expires_at": time.time() + LEASE})

    def _renew(self) -> None:
        while not self._closed.wait(self._renew_seconds):
            with self._lock:
                if not self._holds:  # the next hold starts another thread
                    self._renewer = None
                    return
            try:
                with self.database.transaction() as tx:
                    self._renew_all(tx)
            except LedgerError as refused:
                _log.warning("holds are not renewed: %s", refused)


def _count_end(
    tx: Statements, call_id: str, end: CallEnd, hold: Hold | None
) -> CallDimensions | None:
    """Count the end of a call, and correct a hold that was given up as lost.

    If its cost is unknown, what was held counts as spent. Returns the dimensions whose limits may
    have passed a threshold; None: there are none.
    """
    cost = end.cost_nanousd
    status = "unknown" if cost is None else "settled"
    call, amount, keys = hold or (None, 0, "")
    if call is None or call.uses:
        units.settle(tx, call_id, rows.tokens_in(end))
    is_as_held = call is not None and call.simulated == end.simulated
    if (
        call
        and is_as_held
        and tx.write(_END_OWN, {"call_id": call_id, "status": status, "accounts": keys})
    ):
        spent = amount if cost is None else cost
        accounts.add(tx, json.loads(keys), spent=spent, held=-amount)
        # The row belongs to the outermost run, and so do the alerts.
        return dataclasses.replace(call, inner=()) if call.inner else call
    for row in tx.select(_HOLD, {"call_id": call_id}):
        amount, keys = row["amount_nanousd"], json.loads(row["accounts"])
        call = _dimensions(row, row["taken_at"], simulated=end.simulated)
        if row["status"] in {"held", "forfeited"}:
            part = "held" if row["status"] == "held" else "spent"
            accounts.add(tx, keys, **{part: -amount})
            accounts.add(tx, _counting(tx, call, keys), spent=amount if cost is None else cost)
        tx.later(_END, {"call_id": call_id, "status": status})
        return call
    for row in tx.select(_CALL, {"call_id": call_id}):
        # There was no hold. Its cost counts all the same, in the accounts that are open: an account
        # that is opened later finds its row.
        call = _dimensions(row, row["started_at"], simulated=end.simulated)
        limits = accounts.limit_states(tx, call, opens=False)
        accounts.add(tx, {one.account.key for one in limits}, spent=cost or 0)
        return call
    return None


def _counting(tx: Statements, call: CallDimensions, held: Sequence[str]) -> set[str]:
    """The keys of the accounts that a call counts in, given those that its money was held in.

    They differ where only its answer has shown whether its provider is a simulated one.
    """
    if call.simulated:
        return {key for key in held if key.startswith(OF_RUNS)}
    limits = accounts.limit_states(tx, call, opens=False)
    return {*held, *(one.account.key for one in limits)}


def _process(row: Row) -> tuple[str, int, str | None]:
    return row["host"], row["pid"], row["process_start"]


def _dimensions(row: Row, at: str, *, simulated: bool = False) -> CallDimensions:
    """The dimensions in a row of a hold or a call, joined with its run."""
    return CallDimensions(
        at=at,
        run=row["run_id"],
        batch=row["batch_id"],
        item=row["item_id"],
        user=row["user"],
        tier=row["tier"],
        node=row["node_path"],
        provider=row["provider"],
        simulated=simulated,
        own_key=row["key_source"] == "user",
    )


_OF_RUN = 'runs."user", runs.tier, runs.batch_id, runs.item_id'
_KEY_SOURCE = "(SELECT key_source FROM calls WHERE calls.call_id = holds.call_id) AS key_source"
_TAKE = (
    "INSERT INTO holds (call_id, run_id, node_path, provider, taken_at, amount_nanousd, accounts,"
    " status, expires_at, host, pid, process_start) VALUES (:call_id, :run_id, :node_path,"
    " :provider, :taken_at, :amount_nanousd, :accounts, 'held', :expires_at, :host, :pid, :process_start)"
)
_HELD_BY = f"SELECT {accounts.HOLD_COLUMNS}, {_OF_RUN}, {_KEY_SOURCE} FROM holds LEFT JOIN runs ON runs.run_id = holds.run_id"  # noqa: S608 - as above
_HOLD = f"{_HELD_BY} WHERE call_id = :call_id"
# The money of a job is held until its end is known: it has no lease, and outlives its process.
_OF_JOB = "SELECT 1 FROM calls WHERE calls.call_id = holds.call_id AND provider_job IS NOT NULL"
_ALL_HELD = f"{_HELD_BY} WHERE holds.status <> 'settled' AND holds.status = 'held' AND NOT EXISTS ({_OF_JOB})"
_CALL = (
    f"SELECT calls.run_id, calls.node_path, calls.provider, calls.started_at, calls.key_source, {_OF_RUN} FROM calls LEFT JOIN runs ON runs.run_id = calls.run_id"  # noqa: S608 - as above
    " WHERE call_id = :call_id AND calls.rehearsed = 0"
)
_ROW = "SELECT call_id FROM calls WHERE call_id = :call_id"
_END_OWN = (
    "UPDATE holds SET status = :status"
    " WHERE call_id = :call_id AND status = 'held' AND accounts = :accounts"
)
_END = "UPDATE holds SET status = :status WHERE call_id = :call_id"
_RENEW = "UPDATE holds SET expires_at = :expires_at WHERE call_id = :call_id AND status = 'held'"
