"""Money that is held for a call before it is made, and what becomes of it.

A hold is taken in one transaction over every limit that applies, and settled once, in the one that
completes the call's row. Its process renews it while the call is under way. A process that dies
may have spent the money, so its hold counts as spent then, at the worst case.

Renews the holds of this process, so that they live as long as their calls.

A thread, because an event loop that is busy must not look like a process that has died.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import logging
import os
import threading
import time
from typing import TYPE_CHECKING, Any

from aideon_agents.errors import LedgerError
from aideon_agents.ledger.budgets import accounts
from aideon_agents.ledger.budgets.accounts import Standing
from aideon_agents.ledger.budgets.alerts import Alert
from aideon_agents.ledger.budgets.limits import Place
from aideon_agents.ledger.database import Database, Row, Statements
from aideon_agents.ledger.identity import Process, is_gone, this_process

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


LEASE = 60.0
"""Seconds that a hold lives without being renewed."""


@dataclasses.dataclass(frozen=True)
class Refusal:
    """A call's worst case does not fit."""

    by: Standing
    """The tightest limit."""
    needed: int | None
    """The worst case in nano-dollars; None: it has no known price."""
    waits: bool
    """It would fit if nothing were held: another call's settlement may make room."""


@dataclasses.dataclass(frozen=True)
class Taken:
    """A hold, as it was taken: who settles it in the same process need not read so much again."""

    place: Place
    amount: int
    accounts: str
    """The accounts that it counts in, as JSON."""
    limits: Sequence[Standing]
    """The limits that held for it, as they stood before it."""


@dataclasses.dataclass(frozen=True)
class Settled:
    """What comes of a call's end."""

    alerts: Sequence[Alert] = ()
    """Those that are due."""
    limits: Sequence[Standing] | None = None
    """The limits that held for the call, as they stand now; None: nobody has looked."""


def take(tx: Statements, call_id: str, place: Place, amount: int | None) -> Refusal | Taken:
    """Hold a call's worst case on every account that it counts in."""
    limits = accounts.standings(tx, place)
    if refused := refusal(limits, amount):
        return refused
    process = _this_process(os.getpid())
    keys = sorted({one.account.key for one in limits})
    taken = Taken(place, amount or 0, json.dumps(keys), limits)
    accounts.add(tx, keys, held=taken.amount)
    tx.later(
        _TAKE,
        {
            "call_id": call_id,
            "run_id": place.run,
            "node_path": place.node,
            "provider": place.provider,
            "taken_at": place.at,
            "amount": taken.amount,
            "accounts": taken.accounts,
            "expires_at": time.time() + LEASE,
            "host": process.host,
            "pid": process.pid,
            "process_start": process.start,
        },
    )
    return taken


@functools.lru_cache(maxsize=1)
def _this_process(_pid: int) -> Process:
    """This process, looked up once in each: a fork is another."""
    return this_process()


def refusal(limits: Iterable[Standing], amount: int | None) -> Refusal | None:
    """Why an amount does not fit some limits; None when it does, as what costs nothing always."""
    if amount == 0:
        return None
    enforced = [one for one in limits if not one.warns]
    if amount is None:
        by = min(enforced, key=lambda one: one.left, default=None)
        return Refusal(by, None, waits=False) if by else None
    never = [one for one in enforced if one.spent + amount > one.limit]
    if never:
        return Refusal(min(never, key=lambda one: one.limit - one.spent), amount, waits=False)
    now = [one for one in enforced if one.left < amount]
    return Refusal(min(now, key=lambda one: one.left), amount, waits=True) if now else None


def settle(tx: Statements, call_id: str, cost: int | None, taken: Taken | None = None) -> Settled:
    """Count a call's end. The first end counts, and corrects a hold that was given up as lost."""
    status = "unknown" if cost is None else "settled"
    if taken and tx.write(
        _END_AS_TAKEN, {"call_id": call_id, "status": status, "accounts": taken.accounts}
    ):
        spent = taken.amount if cost is None else cost
        accounts.add(tx, json.loads(taken.accounts), spent=spent, held=-taken.amount)
        # Its row is the outermost run's, and so are the alerts that it makes due.
        place = dataclasses.replace(taken.place, inner=()) if taken.place.inner else taken.place
        return _looked_at(tx, place)
    for hold in tx.select(_HOLD, {"call_id": call_id}):
        amount, keys = hold["amount_nanousd"], json.loads(hold["accounts"])
        spent = amount if cost is None else cost
        if hold["status"] == "held":
            accounts.add(tx, keys, spent=spent, held=-amount)
        elif hold["status"] == "forfeited":
            accounts.add(tx, keys, spent=spent - amount)
        _end(tx, call_id, status)
        return _looked_at(tx, _place(hold, hold["taken_at"]))
    for call in tx.select(_CALL, {"call_id": call_id}):
        # Nobody held anything for it, and its money counts all the same: in the accounts that are
        # open, because one that is opened from now on finds its row.
        place = _place(call, call["started_at"])
        limits = accounts.standings(tx, place, opens=False)
        accounts.add(tx, {one.account.key for one in limits}, spent=cost or 0)
        return _looked_at(tx, place)
    return Settled()


def release(tx: Statements, call_id: str) -> None:
    """Let go of a hold whose call was never made: there is no row of it."""
    for hold in tx.select(_HOLD, {"call_id": call_id}):
        if hold["status"] in {"held", "forfeited"} and not tx.select(_ROW, {"call_id": call_id}):
            place = "held" if hold["status"] == "held" else "spent"
            accounts.add(tx, json.loads(hold["accounts"]), **{place: -hold["amount_nanousd"]})
            _end(tx, call_id, "released")


def renew(tx: Statements, call_ids: Iterable[str]) -> None:
    """Say that some calls are still under way."""
    for call_id in call_ids:
        tx.later(_RENEW, {"call_id": call_id, "expires_at": time.time() + LEASE})


def forfeit_dead(tx: Statements) -> list[Alert]:
    """Count the holds of processes that are gone, or silent for too long, as spent."""
    now = time.time()
    is_lost = functools.lru_cache(maxsize=None)(is_gone)
    lost = [
        hold
        for hold in tx.select(_ALL_HELD, {})
        if hold["expires_at"] < now
        or is_lost(Process(hold["host"], hold["pid"], hold["process_start"]))
    ]
    for hold in lost:
        amount = hold["amount_nanousd"]
        accounts.add(tx, json.loads(hold["accounts"]), spent=amount, held=-amount)
        _end(tx, hold["call_id"], "forfeited")
    # Only then: it may open accounts, in which what is still held would count as held.
    return [
        alert for hold in lost for alert in _looked_at(tx, _place(hold, hold["taken_at"])).alerts
    ]


def _looked_at(tx: Statements, place: Place) -> Settled:
    """What comes of what was just counted at some place."""
    limits = accounts.standings(tx, place)
    return Settled(accounts.crossed(tx, limits, place.run), limits)


def _end(tx: Statements, call_id: str, status: str) -> None:
    tx.later(_END, {"call_id": call_id, "status": status})


def place_of_run(tx: Statements, run_id: str | None, **of_call: Any) -> Place:
    """What a call is counted by, as far as its run says."""
    for run in tx.select(_RUN, {"run_id": run_id}):
        return Place(run=run_id, **_of_run(run), **of_call)
    return Place(run=run_id, **of_call)


def _place(row: Row, at: str) -> Place:
    of_call: dict[str, Any] = {"at": at, "node": row["node_path"], "provider": row["provider"]}
    return Place(run=row["run_id"], **_of_run(row), **of_call)


def _of_run(row: Row) -> dict[str, Any]:
    return {
        "user": row["user"],
        "tier": row["tier"],
        "batch": row["batch_id"],
        "item": row["item_id"],
    }


_OF_RUN = 'runs."user", runs.tier, runs.batch_id, runs.item_id'
_TAKE = (
    "INSERT INTO holds (call_id, run_id, node_path, provider, taken_at, amount_nanousd, accounts,"
    " status, expires_at, host, pid, process_start) VALUES (:call_id, :run_id, :node_path,"
    " :provider, :taken_at, :amount, :accounts, 'held', :expires_at, :host, :pid, :process_start)"
)
_HELD_BY = f"SELECT holds.*, {_OF_RUN} FROM holds LEFT JOIN runs ON runs.run_id = holds.run_id"  # noqa: S608 - names of ours
_HOLD = f"{_HELD_BY} WHERE call_id = :call_id"
_ALL_HELD = f"{_HELD_BY} WHERE holds.status <> 'settled' AND holds.status = 'held'"
_CALL = (
    f"SELECT calls.*, {_OF_RUN} FROM calls LEFT JOIN runs ON runs.run_id = calls.run_id"  # noqa: S608 - as above
    " WHERE call_id = :call_id AND calls.rehearsed = 0"
)
_ROW = "SELECT call_id FROM calls WHERE call_id = :call_id"
_RUN = f"SELECT {_OF_RUN} FROM runs WHERE run_id = :run_id"  # noqa: S608 - as above
_END_AS_TAKEN = (
    "UPDATE holds SET status = :status"
    " WHERE call_id = :call_id AND status = 'held' AND accounts = :accounts"
)
_END = "UPDATE holds SET status = :status WHERE call_id = :call_id"
_RENEW = "UPDATE holds SET expires_at = :expires_at WHERE call_id = :call_id AND status = 'held'"


_log = logging.getLogger("aideon_agents.budgets")


class Leases:
    """The holds of calls that are under way here."""

    def __init__(self, database: Database, *, seconds: float = LEASE / 3) -> None:
        self._database = database
        self._seconds = seconds
        self._lock = threading.Lock()
        self._live: set[str] = set()
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()

    def add(self, call_id: str) -> None:
        """Renew a hold from now on."""
        with self._lock:
            self._live.add(call_id)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._renew, name="aideon-leases", daemon=True
                )
                self._thread.start()

    def drop(self, call_id: str) -> bool:
        """Renew a hold no more; returns whether it was renewed until now."""
        with self._lock:
            was_live = call_id in self._live
            self._live.discard(call_id)
        return was_live

    def renew(self, tx: Statements) -> None:
        """Renew all of them in a transaction: they live, however far the clock has jumped."""
        with self._lock:
            live = sorted(self._live)
        renew(tx, live)

    def close(self) -> None:
        """Renew nothing more."""
        self._closed.set()

    def _renew(self) -> None:
        while not self._closed.wait(self._seconds):
            with self._lock:
                if not self._live:  # the next hold starts another
                    self._thread = None
                    return
            try:
                with self._database.transaction() as tx:
                    self.renew(tx)
            except LedgerError as refused:
                _log.warning("holds are not renewed: %s", refused)
