"""The states of circuit breakers: each process writes those of its own, and commands read all of them.

A breaker changes within a call. So a thread writes the change: the call waits for no disk and no lock,
and a ledger that cannot be written costs the call nothing. Changes are rare.
"""

from __future__ import annotations

import logging
import threading
import weakref
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from aideon_agents.errors import LedgerError
from aideon_agents.ledger.identity import is_gone, now, this_process, utc_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aideon_agents.ledger.database import Database, Statements

_log = logging.getLogger(__name__)

CLOSED, HALF_OPEN, OPEN = "closed", "half_open", "open"
WORST_FIRST = (OPEN, HALF_OPEN, CLOSED)

_KEPT = timedelta(days=1)
"""Older states are deleted: no breaker rests as long."""

_COLUMNS = (
    "breaker, provider, model, key_name, state, reason, rests_until, changed_at, number, simulated,"
    " host, pid, process_start"
)
_WRITE = """
    INSERT INTO model_states (
        breaker, provider, model, key_name, state, reason, rests_until, changed_at, number, simulated,
        host, pid, process_start
    ) VALUES (
        :breaker, :provider, :model, :key_name, :state, :reason, :rests_until, :changed_at, :number,
        :simulated, :host, :pid, :process_start
    )
    ON CONFLICT (breaker, host, pid) DO UPDATE SET
        state = excluded.state, reason = excluded.reason, rests_until = excluded.rests_until,
        changed_at = excluded.changed_at, number = excluded.number, simulated = excluded.simulated,
        process_start = excluded.process_start
    WHERE excluded.number > model_states.number
"""
_writing: weakref.WeakSet[threading.Thread] = weakref.WeakSet()


def record(ledgers: Iterable[Database], change: Mapping[str, Any]) -> None:
    """Write a change of a breaker's state into some ledgers, in a thread; the newest change stays."""
    thread = threading.Thread(
        target=_write,
        args=(list(ledgers), {**change, **this_process()}),
        name="aideon-model-states",
    )
    try:
        thread.start()
    except RuntimeError as refused:  # no thread is left, or the interpreter ends
        _log.info("the state of %s is not recorded: %s", change["provider"], refused)
    else:
        _writing.add(thread)


def _write(ledgers: Iterable[Database], row: Mapping[str, Any]) -> None:
    for ledger in ledgers:
        try:
            ledger.write(_WRITE, row)
            oldest = {"oldest": utc_text(now() - _KEPT)}
            ledger.write("DELETE FROM model_states WHERE changed_at < :oldest", oldest)
        except LedgerError as refused:
            _log.info("the state of %s is not recorded: %s", row["provider"], refused)


def wait_until_written() -> None:
    """Wait for the changes that are being written, before a ledger is closed."""
    for thread in list(_writing):
        thread.join()


def states(tx: Statements, *, simulated: bool = False) -> list[dict[str, Any]]:
    """The state of each breaker in each process that lives, as it is now, the worst first.

    An open breaker is half open when its rest is over. Of a process that has ended, only breakers
    that still rest are left: what they rest after may last.
    """
    at = utc_text(now())
    which = "" if simulated else " WHERE simulated = 0"
    found: list[dict[str, Any]] = []
    for row in tx.select(f"SELECT {_COLUMNS} FROM model_states{which}", {}):  # noqa: S608 - our words
        one: dict[str, Any] = {**row, "is_gone": is_gone(row)}
        is_resting = one["state"] == OPEN and one["rests_until"] > at
        if one["state"] == OPEN and not is_resting:
            one["state"] = HALF_OPEN
        if is_resting or not one["is_gone"]:
            found.append(one)
    order = {state: place for place, state in enumerate(WORST_FIRST)}
    found.sort(key=lambda one: one["changed_at"], reverse=True)
    return sorted(found, key=lambda one: order[one["state"]])
