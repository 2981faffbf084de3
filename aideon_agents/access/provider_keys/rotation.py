"""The rotation of a system key: the new one is used for 10, 50 and then 100 of 100 runs, or for none.

It takes its next step after a day, or after enough calls, that the provider did not reject more often than
those with the old key. A key that is rejected more often is not used any more, and the old one is used for
all again. Each step is looked at when a run begins, so no job has to run, and is an entry in the audit log.
"""

from __future__ import annotations

import logging
import threading
import time
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from aideon_agents.access import audit
from aideon_agents.access.provider_keys.stored import document
from aideon_agents.errors import Conflict
from aideon_agents.ledger.identity import now, utc_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aideon_agents.access.audit import By
    from aideon_agents.ledger.database import Row
    from aideon_agents.ledger.store import Ledger

STEPS = (10, 50, 100)
"""The percentages of runs that use a new key."""
_AFTER = timedelta(hours=24)
_CALLS = 200
"""Calls with a new key after which it takes its next step before the day is over."""
_LOOK = 5.0
"""Seconds between two looks at a key in one process."""

_log = logging.getLogger("aideon_agents.access")
_looked: dict[str, float] = {}
_lock = threading.Lock()


def chosen(rows: Sequence[Row], place: int) -> Row | None:
    """The key of a run at a place among 100; None: that of the environment."""
    for row in rows:
        if place < row["share"]:
            return row
        place -= row["share"]
    return None


def is_under_way(rows: Sequence[Row]) -> bool:
    """Whether the newest of the system's keys of a provider replaces another one step by step."""
    return bool(rows) and rows[0]["share"] > 0 and (len(rows) > 1 or rows[0]["share"] < STEPS[-1])


def state(ledger: Ledger, rows: Sequence[Row], ring: Mapping[str, bytes]) -> dict[str, Any]:
    """How far the rotation of a provider's key is, with the calls of each key since its last step."""
    new, goes_on = rows[0], is_under_way(rows)
    since = {"since": new["share_since"], "provider": new["provider"]}
    return {
        "provider": new["provider"],
        "under_way": goes_on,
        "share": new["share"],
        "next": _next(new["share"]) if goes_on else None,
        "keys": [
            document(row, ring) | _figures(ledger, {**since, "row_id": row["row_id"]})
            for row in rows
        ],
    }


def turned(ledger: Ledger, rows: Sequence[Row], to: Literal["next", "back"], by: By) -> None:
    """Let a person take the next step of a rotation, or take it back."""
    if not is_under_way(rows):
        raise Conflict("no rotation of this key is under way: begin one with a new key")
    moved(ledger, rows, _next(rows[0]["share"]) if to == "next" else 0, by)


def _next(share: int) -> int:
    """The step after one; the last one again ends the rotation."""
    return next((step for step in STEPS if step > share), STEPS[-1])


def judged(ledger: Ledger, rows: Sequence[Row], by: By) -> Sequence[Row]:
    """The system's keys of one provider, the newest first, after the step that is due, if one is."""
    if not is_under_way(rows):
        return rows
    new = rows[0]
    with _lock:
        if _looked.get(new["row_id"], 0.0) > time.monotonic():
            return rows
        _looked[new["row_id"]] = time.monotonic() + _LOOK
    return step(ledger, rows, by)


def step(ledger: Ledger, rows: Sequence[Row], by: By) -> Sequence[Row]:
    """Take the step of a rotation that is due, if one is; returns the keys then."""
    new, old = rows[0], (rows[1] if len(rows) > 1 else None)
    since = {"since": new["share_since"], "provider": new["provider"]}
    with_new = _figures(ledger, {**since, "row_id": new["row_id"]})
    with_old = _figures(ledger, {**since, "row_id": old["row_id"] if old else None})
    is_worse = with_new["rejected"] * with_old["calls"] > with_old["rejected"] * with_new["calls"]
    if with_new["rejected"] and (is_worse or not with_old["calls"]):
        words = "the new key of %s (ends with %s) was rejected: the old one is used again"
        _log.warning(words, new["provider"], new["last4"])
        return moved(ledger, rows, 0, by, with_new)
    is_old = utc_text(now() - _AFTER) >= new["share_since"]
    if not (with_new["calls"] and is_old) and with_new["calls"] < _CALLS:
        return rows
    return moved(ledger, rows, _next(new["share"]), by, with_new)


def moved(
    ledger: Ledger,
    rows: Sequence[Row],
    share: int,
    by: By,
    figures: Mapping[str, int] = MappingProxyType({}),
) -> Sequence[Row]:
    """Give the newest key a share, the one before it the rest, and retire what is not needed.

    A share of 0 takes the rotation back. `figures` are those that decided it; empty: a person did.
    """
    new, at = rows[0], utc_text(now())
    refused = at if not share and figures else new["refused_at"]
    values = {"row_id": new["row_id"], "share": share, "was": new["share"], "at": at}
    is_over = share == new["share"] == STEPS[-1]
    with ledger.database.transaction() as tx:
        if is_over:
            changed = sum(tx.write(RETIRE, {"row_id": one["row_id"], "at": at}) for one in rows[1:])
        else:
            changed = tx.write(_SHARE, {**values, "refused": refused})
            for one in rows[1:2] if changed else ():
                rest = {"row_id": one["row_id"], "share": 100 - share, "was": one["share"]}
                tx.write(_SHARE, {**rest, "at": at, "refused": one["refused_at"]})
        if changed:
            action = "taken_back" if not share else "ended" if is_over else "moved"
            after: dict[str, Any] = {"share": share, "key_id": new["row_id"], **figures}
            target = f"system:{new['provider']}"
            before = {"share": new["share"]}
            audit.record(tx, by, f"provider_key.{action}", target, before=before, after=after)
    others = [{**row, "share": 100 - share} for row in rows[1:2]]
    return [{**new, "share": share}, *(() if is_over else others), *rows[2:]]


def _figures(ledger: Ledger, values: Mapping[str, object]) -> dict[str, int]:
    """How many calls there were with a key since its last step, and how many of them were rejected."""
    with_key = "provider_key_id = :row_id" if values["row_id"] else "provider_key_id IS NULL"
    sql = f"{_FIGURES} AND {with_key}"
    given = {name: value for name, value in values.items() if value is not None}
    (row,) = ledger.select(sql, given)
    return {"calls": row["calls"], "rejected": row["rejected"]}


_FIGURES = (
    "SELECT COUNT(*) AS calls, COUNT(*) FILTER (WHERE error_type IN ('KeyRejected', 'OutOfCredit'))"
    " AS rejected FROM calls WHERE started_at >= :since AND provider = :provider"
    " AND key_source = 'system' AND status <> 'started'"
)
_SHARE = (
    "UPDATE provider_keys SET share = :share, share_since = :at, refused_at = :refused"
    " WHERE row_id = :row_id AND share = :was AND retired_at IS NULL"
)
RETIRE = (
    "UPDATE provider_keys SET retired_at = :at, wrapped = '', sealed = '', share = 0"
    " WHERE row_id = :row_id AND retired_at IS NULL"
)
