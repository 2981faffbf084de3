"""The answer cache: answers that are kept for questions that are asked again.

A key is a digest of the model and of everything in a question that its answer depends on. Prompts
are not kept. An answer is content, so it is kept only where the caller asks for the cache.

Of several processes that ask the same question at once, one asks the model: it has a lease, which it
renews. The others wait until there is an answer, or until that process gives its lease up or is gone.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

from aideon_agents.errors import InputError
from aideon_agents.ledger.identity import is_gone, this_process

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aideon_agents.ledger.database import Database, Row

LEASE = 15.0
"""Seconds after which a lease that is not renewed ends, where its process cannot be looked up."""
MOST_BYTES = 256 * 1024 * 1024
"""Bytes of all answers together; beyond it, those that were used longest ago are deleted."""
_AT_ONCE = 100
"""Answers that are looked at in one step when some have to be deleted."""

_COLUMNS = "key, prompt, model, answer, bytes, simulated, stored_at, used_at"
_FIND = f"SELECT {_COLUMNS} FROM answers WHERE key = :key AND stored_at >= :since"  # noqa: S608 - our names
_NEWEST = f"SELECT {_COLUMNS} FROM answers WHERE prompt = :prompt ORDER BY stored_at DESC, key"  # noqa: S608 - our names
_USE = "UPDATE answers SET used_at = :now WHERE key = :key"
_LEASED = "SELECT key, owner, expires_at, host, pid, process_start FROM leases WHERE key = :key"
_LEASE = (
    "INSERT INTO leases (key, owner, expires_at, host, pid, process_start)"
    " VALUES (:key, :owner, :expires_at, :host, :pid, :process_start)"
)
_RENEW = "UPDATE leases SET expires_at = :expires_at WHERE key = :key AND owner = :owner"
_GIVE_UP = "DELETE FROM leases WHERE key = :key AND owner = :owner"
_KEEP = (
    "INSERT INTO answers (key, prompt, model, answer, bytes, simulated, stored_at, used_at)"
    " VALUES (:key, :prompt, :model, :answer, :bytes, :simulated, :now, :now)"
)
_DELETE = "DELETE FROM answers WHERE key = :key"
_USED_LONGEST_AGO = "SELECT key, bytes FROM answers ORDER BY used_at, key LIMIT :most"
_SIZE = "SELECT COUNT(*) AS entries, COALESCE(SUM(bytes), 0) AS bytes FROM answers"
_SAVED = (
    "SELECT COUNT(*) AS hits, COALESCE(SUM(saved_nanousd), 0) AS saved,"
    " COUNT(*) - COUNT(saved_nanousd) AS unknown FROM calls WHERE status = 'cached'"
)


def find(database: Database, key: str, since: float) -> Row | None:
    """The answer that is kept under a key since some time, in Unix seconds; None: there is none."""
    found = database.select(_FIND, {"key": key, "since": since})
    if not found:
        return None
    database.write(_USE, {"key": key, "now": time.time()})
    return found[0]


def newest(database: Database, prompt: str, models: Sequence[str]) -> Row | None:
    """The newest answer of one of some models to a prompt, however old; None: there is none."""
    known = database.select(_NEWEST, {"prompt": prompt})
    return next((row for row in known if row["model"] in models), None)


def lease(database: Database, key: str, owner: str, since: float) -> bool:
    """Take the lease of a key, unless another caller has it or the answer has come meanwhile."""
    with database.transaction() as tx:
        if tx.select(_FIND, {"key": key, "since": since}):
            return False
        for known in tx.select(_LEASED, {"key": key}):
            if known["expires_at"] >= time.time() and not is_gone(known):
                return False
            tx.write(_GIVE_UP, {"key": key, "owner": known["owner"]})
        expires_at = time.time() + LEASE
        tx.write(_LEASE, {"key": key, "owner": owner, "expires_at": expires_at, **this_process()})
    return True


def renew(database: Database, key: str, owner: str) -> None:
    """Keep a lease for another while."""
    database.write(_RENEW, {"key": key, "owner": owner, "expires_at": time.time() + LEASE})


def give_up(database: Database, key: str, owner: str) -> None:
    """End a lease."""
    database.write(_GIVE_UP, {"key": key, "owner": owner})


def keep(
    database: Database, key: str, *, prompt: str, model: str, answer: str, simulated: bool
) -> None:
    """Keep an answer in place of an older one, and delete those used longest ago for which no room is left."""
    size = len(answer.encode())
    if size > MOST_BYTES:
        return
    row: dict[str, Any] = {"key": key, "prompt": prompt, "model": model, "answer": answer}
    row |= {"bytes": size, "simulated": int(simulated), "now": time.time()}
    with database.transaction() as tx:
        tx.write(_DELETE, {"key": key})
        left = MOST_BYTES - size - int(tx.select(_SIZE, {})[0]["bytes"])
        while left < 0:
            for old in tx.select(_USED_LONGEST_AGO, {"most": _AT_ONCE}):
                if left < 0:
                    tx.write(_DELETE, {"key": old["key"]})
                    left += old["bytes"]
        tx.write(_KEEP, row)


def delete(database: Database, key: str) -> None:
    """Delete an answer."""
    database.write(_DELETE, {"key": key})


def figures(database: Database) -> dict[str, int]:
    """`entries`, `bytes`, `hits`, what these `saved` in nano-dollars, and for how many it is `unknown`."""
    kept, used = database.select(_SIZE, {})[0], database.select(_SAVED, {})[0]
    return {name: int(kept[name]) for name in ("entries", "bytes")} | {
        name: int(used[name]) for name in ("hits", "saved", "unknown")
    }


def clear(
    database: Database, *, until: float | None = None, model: str | None = None
) -> dict[str, int]:
    """Delete all answers, or those kept until some time, in Unix seconds, and those of one model.

    Returns how many there were, and their bytes.
    """
    values: dict[str, Any] = {"until": until, "model": model}
    conditions = {"until": "stored_at <= :until", "model": "model = :model"}
    given = {name: value for name, value in values.items() if value is not None}
    where = " AND ".join(["1 = 1", *(conditions[name] for name in given)])
    with database.transaction() as tx:
        sizes = tx.select(f"{_SIZE} WHERE {where}", given)[0]
        tx.write(f"DELETE FROM answers WHERE {where}", given)  # noqa: S608 - our conditions
    return {name: int(sizes[name]) for name in ("entries", "bytes")}


_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_AGE = re.compile(r"([0-9]{1,9})([smhdw])")
"""Ages as people write them: `90s`, `30m`, `12h`, `1d`, `1w`."""


def age_seconds(text: object, named: str) -> float:
    """The seconds of an age; InputError, which says what `named` takes: it is none."""
    found = _AGE.fullmatch(text) if isinstance(text, str) else None
    seconds = int(found[1]) * _SECONDS[found[2]] if found else 0
    if not seconds:
        raise InputError(f"{named} takes an age such as 90s, 30m, 12h, 1d or 1w, not {text!r}")
    return float(seconds)
