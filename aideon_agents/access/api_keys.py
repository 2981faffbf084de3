"""API keys: `aid_`, ten public characters, `_`, the secret, and a checksum of all that.

The ledger has the digest of a key alone, so a key is shown once, when it is made. The digest needs no
slow hash, because the secret is 256 random bits. A key is read from the ledger at each request and
never kept, so a revoked key does not work from the next request on, in any process. The checksum
refuses a mistyped key without the ledger, and lets programs that look for leaked keys be exact.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import json
import re
import secrets
import string
import zlib
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal, TypeAlias

from aideon_agents.access import audit, users
from aideon_agents.access.callers import Caller
from aideon_agents.access.roles import Scope, checked_scopes, scopes_of
from aideon_agents.errors import Conflict, NotAllowed, NotFound, UserError, shown
from aideon_agents.ledger.identity import now, utc_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aideon_agents.access.audit import By
    from aideon_agents.access.users import User
    from aideon_agents.ledger.database import Row, Statements
    from aideon_agents.ledger.store import Ledger

_PUBLIC = string.digits + string.ascii_lowercase
_LETTERS = string.digits + string.ascii_letters
_FORM = re.compile(
    r"(?P<begins>aid_(?P<key_id>[0-9a-z]{10})_[0-9A-Za-z]{43})(?P<sum>[0-9A-Za-z]{6})"
)
GRACE_S = 3600
"""Seconds that a key works after it was replaced, unless the caller says otherwise."""
LONGEST_GRACE_S = 30 * 24 * 3600
_LONGEST_NAME = 200

_ADD = """
INSERT INTO api_keys (key_id, lineage, user_id, name, digest, scopes, workflows, created_at, expires_at)
VALUES (:key_id, :lineage, :user_id, :name, :digest, :scopes, :workflows, :created_at, :expires_at)
"""
_COLUMNS = (
    "key_id, lineage, user_id, api_keys.name, scopes, workflows, api_keys.created_at, expires_at,"
    " grace_until, revoked_at, used_on"
)
_WITH_USER = f"""
SELECT {_COLUMNS}, digest, users.role, users.tier, users.blocked_at
FROM api_keys JOIN users USING (user_id) WHERE api_keys.
"""  # noqa: S608 - our names
_BY_DIGEST = f"{_WITH_USER.rstrip()}digest = :digest"
_WITH_ID = f"{_WITH_USER.rstrip()}key_id = :key_id"
_BY_ID = f"SELECT {_COLUMNS} FROM api_keys WHERE key_id = :key_id"  # noqa: S608 - our names
_BEGINNING = (
    f"SELECT {_COLUMNS} FROM api_keys WHERE key_id BETWEEN :start AND :last ORDER BY key_id LIMIT 2"  # noqa: S608 - our names
)
_LISTED = f"""
SELECT {_COLUMNS} FROM api_keys
WHERE (CAST(:user_id AS TEXT) IS NULL OR user_id = :user_id)
    AND (CAST(:before AS TEXT) IS NULL OR created_at || key_id < :before)
ORDER BY created_at || key_id DESC LIMIT :most
"""  # noqa: S608 - our names
_USED = "UPDATE api_keys SET used_on = :today WHERE key_id = :key_id"
_REPLACE = "UPDATE api_keys SET grace_until = :until WHERE key_id = :key_id"
_REVOKE = "UPDATE api_keys SET revoked_at = :at WHERE key_id = :key_id"


@dataclasses.dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key, without what it is made of."""

    key_id: str
    lineage: str
    """The first of the keys that replaced one another."""
    user: str
    name: str | None
    scopes: tuple[Scope, ...]
    workflows: tuple[str, ...] | None
    """The workflows that it may run; None: all."""
    created_at: str
    expires_at: str | None
    grace_until: str | None = None
    """When a replaced key stops to work; None: it was not replaced."""
    revoked_at: str | None = None
    used_on: str | None = None
    """The UTC day of the newest request; None: there was none."""
    state: Literal["active", "replaced", "ended", "revoked"] = "active"
    """A replaced one works until `grace_until`."""


def make(
    ledger: Ledger,
    user: str,
    by: By,
    *,
    name: str | None = None,
    scopes: Iterable[str] | None = None,
    workflows: Iterable[str] | None = None,
    expires_at: datetime | None = None,
    maker: Caller | None = None,
) -> tuple[ApiKey, str]:
    """Make a key for a user; returns its row and the key itself, which cannot be read again.

    Without scopes it has all of the user's role but `admin`, and but `models` where it is for some
    workflows. With a `maker`, who asks with a key, it
    has no more than that key: no further scope or workflow, and no later end.
    """
    ends = None if expires_at is None else utc_text(expires_at)
    if ends and ends <= utc_text(now()):
        raise UserError(f"a key cannot expire in the past: {ends}")
    if name is not None and (not name.isprintable() or len(name) > _LONGEST_NAME):
        raise UserError(f"the name of a key is one line of at most {_LONGEST_NAME} characters")
    with ledger.database.transaction() as tx:
        owner = users.find(tx, user)
        only = None if workflows is None else tuple(sorted(set(workflows)))
        given, only, ends = _rights(owner, scopes, only, ends, maker)
        secret = _new_secret()
        key_id = key_id_in(secret)
        made = ApiKey(key_id, key_id, user, name or None, given, only, utc_text(now()), ends)
        _insert(tx, made, secret)
        names = ("user", "name", "scopes", "workflows", "expires_at")
        after = {one: getattr(made, one) for one in names}
        audit.record(tx, by, "key.made", made.key_id, after=after)
    return made, secret


def caller_of(ledger: Ledger, secret: str) -> Caller | None:
    """Who asks with a key; None: it is unknown, mistyped, expired, replaced, revoked, or its user is blocked."""
    if not is_well_formed(secret):
        return None
    digest = _digest(secret)
    found = ledger.select(_BY_DIGEST, {"digest": digest})
    if not found or not hmac.compare_digest(found[0]["digest"], digest):
        return None
    return _caller_in(ledger, found[0])


def caller_with(ledger: Ledger, key_id: str) -> Caller | None:
    """Who asks with a session that a key began; None: as `caller_of`."""
    found = ledger.select(_WITH_ID, {"key_id": key_id})
    return _caller_in(ledger, found[0]) if found else None


def _caller_in(ledger: Ledger, row: Row) -> Caller | None:
    at = utc_text(now())
    ends = (row["expires_at"], row["grace_until"])
    if row["revoked_at"] or row["blocked_at"] or any(end and end <= at for end in ends):
        return None
    key, today = key_in(row), at[: len("2026-11-30")]
    if key.used_on != today:
        ledger.database.write(_USED, {"today": today, "key_id": key.key_id})
    return Caller(
        user=key.user,
        role=row["role"],
        tier=row["tier"],
        key_id=key.key_id,
        scopes=frozenset(key.scopes),
        workflows=None if key.workflows is None else frozenset(key.workflows),
        lineage=key.lineage,
        expires_at=min(filter(None, ends), default=None),
    )


def rotate(
    ledger: Ledger, key_id: str, by: By, *, grace_s: float = GRACE_S, maker: Caller | None = None
) -> tuple[ApiKey, str]:
    """Replace a key by a new one with the same rights and lineage; returns its row and the key.

    The old one works for `grace_s` more seconds. With a `maker`, it must be a key of that user, which
    may do no more than the one in use.
    """
    if not 0 <= grace_s <= LONGEST_GRACE_S:
        raise UserError(f"the grace of a key is from 0 to {LONGEST_GRACE_S} seconds (30 days)")
    with ledger.database.transaction() as tx:
        old = find(tx, key_id, maker.user if maker else None)
        if old.state != "active":
            what = "was replaced already" if old.state == "replaced" else f"is {old.state}"
            raise Conflict(f"the key {old.key_id} {what}: rotate one that is active")
        same = (old.scopes, old.workflows, old.expires_at)
        if _rights(users.find(tx, old.user), *same, maker) != same:
            raise NotAllowed(f"the key {old.key_id} may do more than the key in use: use that one")
        until = utc_text(now() + timedelta(seconds=grace_s))
        tx.write(_REPLACE, {"until": until, "key_id": old.key_id})
        secret = _new_secret()
        made = dataclasses.replace(
            old, key_id=key_id_in(secret), created_at=utc_text(now()), used_on=None
        )
        _insert(tx, made, secret)
        after = {"key_id": made.key_id, "grace_until": until}
        audit.record(tx, by, "key.rotated", old.key_id, after=after)
    return made, secret


def revoke(ledger: Ledger, key_id: str, by: By, *, owner: str | None = None) -> ApiKey:
    """End a key at once. With an `owner`, the key of another user is not found."""
    with ledger.database.transaction() as tx:
        key = find(tx, key_id, owner)
        if key.revoked_at:
            return key
        at = utc_text(now())
        tx.write(_REVOKE, {"at": at, "key_id": key.key_id})
        audit.record(tx, by, "key.revoked", key.key_id, before={"state": key.state})
    return dataclasses.replace(key, revoked_at=at, state="revoked")


def find(ledger: Ledger | Statements, key_id: str, owner: str | None = None) -> ApiKey:
    """The key with an id. With an `owner`, the key of another user is not found."""
    for row in ledger.select(_BY_ID, {"key_id": key_id.removeprefix("aid_")}):
        if owner in {None, row["user_id"]}:
            return key_in(row)
    raise NotFound(f"there is no key {shown(_public(key_id))}: `aideon keys list` shows them")


def named(ledger: Ledger, ref: str) -> str:
    """The id that a reference names: an id, the unique beginning of one, or a whole key."""
    start = _public(ref)
    found = ledger.select(_BEGINNING, {"start": start, "last": start.ljust(10, "z")})
    if len(found) > 1:
        raise NotFound(f"several keys begin with {shown(start)}: write the whole id")
    return found[0]["key_id"] if found and start else start


def _public(ref: str) -> str:
    """What a message can repeat of a reference, which may be a whole key."""
    return ref.removeprefix("aid_")[:10]


def listed(
    ledger: Ledger, user_id: str | None = None, *, before: str | None = None, most: int = 2**31
) -> list[ApiKey]:
    """Keys of a user, or of all, the newest first, from the one after a place."""
    values = {"user_id": user_id, "before": before, "most": most}
    return [key_in(row) for row in ledger.select(_LISTED, values)]


def place_of(key: ApiKey) -> str:
    """Where a key is in the list."""
    return key.created_at + key.key_id


def is_well_formed(secret: str) -> bool:
    """Whether a text has the form and the checksum of a key."""
    found = _FORM.fullmatch(secret)
    return found is not None and found["sum"] == _checksum(found["begins"])


def key_id_in(secret: str) -> str:
    """The public part of a key."""
    return secret[len("aid_") :][:10]


def key_in(row: Row) -> ApiKey:
    """The key in a row."""
    names = ("key_id", "lineage", "name", "created_at")
    ends = ("expires_at", "grace_until", "revoked_at")
    at = utc_text(now())
    state = "replaced" if row["grace_until"] else "active"
    if row["revoked_at"]:
        state = "revoked"
    elif any(row[one] and row[one] <= at for one in ends):
        state = "ended"
    return ApiKey(
        **{name: row[name] for name in (*names, *ends, "used_on")},
        user=row["user_id"],
        scopes=tuple(json.loads(row["scopes"])),
        workflows=tuple(json.loads(row["workflows"])) if row["workflows"] else None,
        state=state,
    )


_Rights: TypeAlias = "tuple[tuple[Scope, ...], tuple[str, ...] | None, str | None]"


def _rights(
    owner: User,
    scopes: Iterable[str] | None,
    workflows: tuple[str, ...] | None,
    ends: str | None,
    maker: Caller | None,
) -> _Rights:
    """Scopes, workflows and end of a key: as asked, where the owner's role and the maker have them."""
    allowed = [one for one in scopes_of(owner.role) if maker is None or one in maker.scopes]
    not_these = {"admin"} if workflows is None else {"admin", "models"}
    unless = [one for one in allowed if one not in not_these] or allowed
    given = checked_scopes(unless if scopes is None else scopes)
    lacks = f"{owner.user} ({owner.role})" + (" or the key in use" if maker else "")
    for beyond in sorted(given - set(allowed)):
        raise NotAllowed(
            f"this key may not have the scope {beyond}, which {lacks} lacks: choose from"
            f" {', '.join(allowed) or 'none'}"
        )
    if maker is not None and maker.workflows is not None:
        workflows = tuple(sorted(maker.workflows)) if workflows is None else workflows
        for beyond in sorted(set(workflows) - maker.workflows):
            raise NotAllowed(f"this key may not run {shown(beyond)}, as the key in use may not")
    if maker is not None and maker.expires_at:
        ends = ends or maker.expires_at
        if ends > maker.expires_at:
            raise NotAllowed(f"a key made with this one cannot live after {maker.expires_at}")
    return tuple(sorted(given)), workflows, ends


def _new_secret() -> str:
    public = "".join(secrets.choice(_PUBLIC) for _ in range(10))
    begins = f"aid_{public}_" + "".join(secrets.choice(_LETTERS) for _ in range(43))
    return begins + _checksum(begins)


def _checksum(text: str) -> str:
    number, made = zlib.crc32(text.encode()), ""
    for _ in range(6):
        number, rest = divmod(number, len(_LETTERS))
        made = _LETTERS[rest] + made
    return made


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _insert(tx: Statements, key: ApiKey, secret: str) -> None:
    names = ("key_id", "lineage", "name", "created_at", "expires_at")
    row = {name: getattr(key, name) for name in names}
    row |= {"user_id": key.user, "digest": _digest(secret), "scopes": json.dumps(key.scopes)}
    row["workflows"] = None if key.workflows is None else json.dumps(key.workflows)
    tx.write(_ADD, row)
