"""The audit log: who changed what, as a chain in which each digest covers the one before.

A changed or removed entry is found by `check`. An entry that is cut off at the end is not: keep the
digest of the newest entry (`head`) elsewhere, as the log of the process does, to find that as well.
With a key ring the digests are HMACs, so that a person who can write to the ledger but does not have
the ring cannot make a chain that passes. Entries never hold prompts, answers or secrets.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import json
import logging
from typing import TYPE_CHECKING, Any, cast

from aideon_agents.ledger.identity import now, utc_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from aideon_agents.ledger.database import Row, Statements
    from aideon_agents.ledger.store import Ledger

_log = logging.getLogger("aideon_agents.audit")

_NEWEST = "SELECT number, digest FROM audit ORDER BY number DESC LIMIT 1"
_APPEND = "INSERT INTO audit (number, body, digest) VALUES (:number, :body, :digest)"
_PAGE = "SELECT number, body, digest FROM audit WHERE number > :after ORDER BY number LIMIT :most"
_PAGE_BACK = (
    "SELECT number, body, digest FROM audit WHERE number < :before ORDER BY number DESC LIMIT :most"
)
_OF_ACTION = "SELECT body FROM audit WHERE body LIKE :like ORDER BY number"
_BEYOND = 2**62
"""More than any number of an entry."""
_AT_ONCE = 1000
_PLAIN = "sha256"
"""Begins the digests that were made without a ring; others begin with the id of a key in it."""


@dataclasses.dataclass(frozen=True, slots=True)
class By:
    """Who does something, and how it came."""

    actor: str
    """A user, or the login name of a person at the command line."""
    key_id: str | None = None
    request_id: str | None = None
    address: str | None = None
    """The address that a request came from, or `cli`."""
    ring: Mapping[str, bytes] = dataclasses.field(default_factory=dict[str, bytes], repr=False)
    """The keys of the ring by id, the one in use first; empty: there is no ring."""


@dataclasses.dataclass(frozen=True, slots=True)
class Checked:
    """What a check of the chain found."""

    entries: int
    head: str | None
    """The digest of the newest entry; None: there is none."""
    broken_at: int | None = None
    """The first entry that was changed, or that follows a removed one; None: the chain is whole."""
    reason: str | None = None
    without_ring: int = 0
    """Entries whose digest any writer could have made, because no ring was set."""
    not_checked: int = 0
    """Entries made with a key that is not in the ring."""


def record(
    tx: Statements,
    by: By,
    action: str,
    target: str | None = None,
    *,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> str:
    """Append an entry in the transaction of the change that it is about; returns its digest.

    `action` is a noun and a verb, such as `key.revoked`. Of `before` and `after`, what differs is kept.
    """
    if before and after:
        differs = [name for name in before if before[name] != after[name]]
        before, after = ({name: one[name] for name in differs} for one in (before, after))
    body = json.dumps(
        {
            "at": utc_text(now()),
            "actor": by.actor,
            "key_id": by.key_id,
            "action": action,
            "target": target,
            "before": before,
            "after": after,
            "request_id": by.request_id,
            "from": by.address,
        },
        ensure_ascii=False,
        sort_keys=True,
    )
    newest = tx.select(_NEWEST, {})
    number, last = (newest[0]["number"] + 1, newest[0]["digest"]) if newest else (1, "")
    ring_id = next(iter(by.ring), None)
    made = _digest(ring_id, by.ring, last, number, body)
    tx.write(_APPEND, {"number": number, "body": body, "digest": made})
    _log.info("audit %d %s %s", number, action, made)
    return made


def head(ledger: Ledger) -> tuple[int, str | None]:
    """The number and the digest of the newest entry; 0 and None: there is none."""
    found = ledger.select(_NEWEST)
    return (found[0]["number"], found[0]["digest"]) if found else (0, None)


def entries(ledger: Ledger, *, before: int | None = None, most: int = 100) -> list[dict[str, Any]]:
    """Entries as documents, the newest first, from the one before a number."""
    values = {"before": before or _BEYOND, "most": most}
    return [
        {"number": row["number"], **json.loads(row["body"]), "digest": row["digest"]}
        for row in ledger.select(_PAGE_BACK, values)
    ]


def of_action(ledger: Ledger, action: str) -> list[dict[str, Any]]:
    """The entries of one action as documents, the oldest first."""
    found = ledger.select(_OF_ACTION, {"like": f'%"action": "{action}"%'})
    bodies = [json.loads(row["body"]) for row in found]
    return [one for one in bodies if one["action"] == action]


def change(entry: Mapping[str, Any]) -> str:
    """What an entry changed, for people: each value that is new, and the one before."""
    before, after = entry["before"] or {}, entry["after"] or {}
    return "; ".join(
        f"{name}: {_shown(before[name])} -> {_shown(after.get(name))}"
        if name in before and name in after
        else f"{name}: {_shown(after.get(name, before.get(name)))}"
        for name in {**before, **after}
        if (after.get(name), before.get(name)) != (None, None)
    )


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(_shown, cast("list[object]", value)))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def check(ledger: Ledger, ring: Mapping[str, bytes], known: str | None = None) -> Checked:
    """Check each entry against the one before; `known` is a digest that was kept elsewhere."""
    last, number, plain, unchecked, is_known = "", 0, 0, 0, known is None
    for row in _all(ledger):
        number += 1
        made_with = str(row["digest"]).partition(":")[0]
        wrong = None
        if row["number"] != number:
            wrong = f"entry {number} is missing"
        elif made_with != _PLAIN and made_with not in ring:
            unchecked += 1
        else:
            ring_id = None if made_with == _PLAIN else made_with
            plain += ring_id is None
            expected = _digest(ring_id, ring, last, number, row["body"])
            if not hmac.compare_digest(expected, row["digest"]):
                wrong = f"entry {number} was changed, or the one before it"
        if wrong:
            return Checked(number, row["digest"], number, wrong, plain, unchecked)
        last = row["digest"]
        is_known = is_known or last == known
    if not is_known:
        wrong = "the digest that was kept is in no entry: entries at the end were removed"
        return Checked(number, last or None, number + 1, wrong, plain, unchecked)
    return Checked(number, last or None, None, None, plain, unchecked)


def _all(ledger: Ledger) -> Iterator[Row]:
    """All entries in their order, some at a time."""
    after = 0
    while page := ledger.select(_PAGE, {"after": after, "most": _AT_ONCE}):
        yield from page
        after = page[-1]["number"]


def _digest(
    ring_id: str | None, ring: Mapping[str, bytes], last: str, number: int, body: str
) -> str:
    covered = f"{last}\n{number}\n{body}".encode()
    if ring_id is None:
        return f"{_PLAIN}:{hashlib.sha256(covered).hexdigest()}"
    # Not the ring's key itself: that one seals, and a key has one use.
    own = hmac.digest(ring[ring_id], b"aideon audit", "sha256")
    return f"{ring_id}:{hmac.new(own, covered, 'sha256').hexdigest()}"
