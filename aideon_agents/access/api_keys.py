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
from typing import TYPE_CHECKING, Any

from aideon_agents.access import audit, users
from aideon_agents.access.callers import Caller
from aideon_agents.access.roles import SCOPES, Scope, checked_scopes, scopes_of
from aideon_agents.errors import NotAllowed, NotFound, UserError, shown
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
_LONGEST_GRACE_S = 30 * 24 * 3600

_ADD = """
INSERT INTO api_keys (key_id, lineage, user_id, name, digest, scopes, workflows, created_at, expires_at)
VALUES (:key_id, :lineage, :user_id, :name, :digest, :scopes, :workflows, :created_at, :expires_at)
"""
_COLUMNS = (
    "key_id, lineage, user_id, api_keys.name, scopes, workflows, api_keys.created_at, expires_at,"
    " grace_until, revoked_at, used_on"
)
_BY_DIGEST = f"""
SELECT {_COLUMNS}, digest, users.role, users.tier, users.blocked_at
FROM api_keys JOIN users USING (user_id) WHERE api_keys.digest = :digest
"""  # noqa: S608 - our names
_BY_ID = f"SELECT {_COLUMNS} FROM api_keys WHERE key_id = :key_id"  # noqa: S608 - our names
_BEGINNING = (
    f"SELECT {_COLUMNS} FROM api_keys WHERE key_id BETWEEN :start AND :last ORDER BY key_id LIMIT 2"  # noqa: S608 - our names
)
_LISTED = f"""
SELECT {_COLUMNS} FROM api_keys WHERE (CAST(:user_id AS TEXT) IS NULL OR user_id = :user_id)
ORDER BY created_at DESC, key_id LIMIT :most OFFSET :skipped
"""  # noqa: S608 - our names
_USED = "UPDATE api_keys SET used_on = :today WHERE key_id = :key_id"
_REPLACE = "UPDATE api_keys SET grace_until = :until WHERE key_id = :key_id"
_REVOKE = "UPDATE api_keys SET revoked_at = :at WHERE key_id = :key_id"


@dataclasses.dataclass(frozen=True, slots=True)
class ApiKey:
    """A row of the table of keys, without its digest. The secret is in no row."""

    key_id: str
    lineage: str
    user_id: str
    name: str | None
    scopes: frozenset[Scope]
    workflows: frozenset[str] | None
    """None: all."""
    created_at: str
    expires_at: str | None
    grace_until: str | None
    """When a replaced key stops to work; None: it was not replaced."""
    revoked_at: str | None
    used_on: str | None
    """The UTC day of the newest request; None: there was none."""

    @property
    def state(self) -> str:
        """In a word: active, replaced (works until `grace_until`), ended or revoked."""
        if self.revoked_at:
            return "revoked"
        at = utc_text(now())
        if any(end is not None and end <= at for end in (self.expires_at, self.grace_until)):
            return "ended"
        return "replaced" if self.grace_until else "active"


def make(
    ledger: Ledger,
    user_id: str,
    by: By,
    *,
    name: str | None = None,
    scopes: Iterable[str] | None = None,
    workflows: Iterable[str] | None = None,
    expires_at: datetime | None = None,
    maker: Caller | None = None,
) -> tuple[ApiKey, str]:
    """Make a key for a user; returns its row and the key itself, which cannot be read again.

    Without scopes it has all of the user's role but `admin`. With a `maker`, who asks with a key, it
    has no more than that key: no further scope or workflow, and no later end.
    """
    with ledger.database.transaction() as tx:
        owner = users.find(tx, user_id)
        given = _scopes(owner, scopes, maker)
        ends = None if expires_at is None else _future(expires_at)
        only = None if workflows is None else frozenset(workflows)
        if maker is not None:
            only = _within(only, maker.workflows)
            if maker.expires_at and ends and ends > maker.expires_at:
                raise NotAllowed(f"a key made with this one cannot live after {maker.expires_at}")
            ends = ends or maker.expires_at
        secret = _new_secret()
        row = {
            "key_id": key_id_in(secret),
            "lineage": key_id_in(secret),
            "user_id": owner.user_id,
            "name": _checked_label(name),
            "scopes": given,
            "workflows": only,
            "created_at": utc_text(now()),
            "expires_at": ends,
        }
        made = _insert(tx, row, secret)
        audit.record(tx, by, "key.made", made.key_id, after=_audited(made))
    return made, secret


def caller_of(ledger: Ledger, secret: str) -> Caller | None:
    """Who asks with a key; None: it is unknown, mistyped, expired, replaced, revoked, or its user is blocked."""
    if not is_well_formed(secret):
        return None
    digest = _digest(secret)
    found = ledger.select(_BY_DIGEST, {"digest": digest})
    if not found or not hmac.compare_digest(found[0]["digest"], digest):
        return None
    row, at = found[0], utc_text(now())
    ends = (row["expires_at"], row["grace_until"])
    if row["revoked_at"] or row["blocked_at"] or any(end and end <= at for end in ends):
        return None
    key, today = key_in(row), at[: len("2026-11-30")]
    if key.used_on != today:
        ledger.database.write(_USED, {"today": today, "key_id": key.key_id})
    return Caller(
        user=key.user_id,
        role=row["role"],
        tier=row["tier"],
        key_id=key.key_id,
        scopes=key.scopes,
        workflows=key.workflows,
        lineage=key.lineage,
        expires_at=key.expires_at,
    )


def rotate(
    ledger: Ledger,
    key_id: str,
    by: By,
    *,
    grace_s: float = GRACE_S,
    owner: str | None = None,
    maker: Caller | None = None,
) -> tuple[ApiKey, str]:
    """Replace a key by a new one with the same rights and lineage; returns its row and the key.

    The old one works for `grace_s` more seconds. With an `owner`, the key of another user is not found.
    """
    if not 0 <= grace_s <= _LONGEST_GRACE_S:
        raise UserError(f"the grace of a key is from 0 to {_LONGEST_GRACE_S} seconds (30 days)")
    with ledger.database.transaction() as tx:
        old = find(tx, key_id, owner)
        if old.state != "active":
            what = "was replaced already" if old.state == "replaced" else f"is {old.state}"
            raise UserError(f"the key {old.key_id} {what}: rotate one that is active")
        _scopes(users.find(tx, old.user_id), old.scopes, maker)
        if maker is not None:
            _within(old.workflows, maker.workflows)
            if maker.expires_at and (old.expires_at or "9") > maker.expires_at:
                raise NotAllowed(f"a key made with this one cannot live after {maker.expires_at}")
        until = utc_text(now() + timedelta(seconds=grace_s))
        tx.write(_REPLACE, {"until": until, "key_id": old.key_id})
        secret = _new_secret()
        fields = ("lineage", "user_id", "name", "scopes", "workflows", "expires_at")
        row = {name: getattr(old, name) for name in fields}
        row |= {"key_id": key_id_in(secret), "created_at": utc_text(now())}
        made = _insert(tx, row, secret)
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
    return dataclasses.replace(key, revoked_at=at)


def find(ledger: Ledger | Statements, ref: str, owner: str | None = None) -> ApiKey:
    """The key with an id, or with a unique beginning of one; `aid_` before it does not matter."""
    start = ref.removeprefix("aid_")[:10]  # a whole key is taken as well, and not repeated
    found = ledger.select(_BY_ID, {"key_id": start})
    if not found and start:
        found = ledger.select(_BEGINNING, {"start": start, "last": start.ljust(10, "z")})
    keys = [key for key in map(key_in, found) if owner in {None, key.user_id}]
    if len(keys) > 1:
        raise NotFound(f"several keys begin with {shown(start)}: write the whole id")
    if not keys:
        raise NotFound(f"there is no key {shown(start)}: `aideon keys list` shows them")
    return keys[0]


def listed(
    ledger: Ledger, user_id: str | None = None, *, skipped: int = 0, most: int = 2**31
) -> list[ApiKey]:
    """Keys of a user, or of all, the newest first."""
    values = {"user_id": user_id, "skipped": skipped, "most": most}
    return [key_in(row) for row in ledger.select(_LISTED, values)]


def is_well_formed(secret: str) -> bool:
    """Whether a text has the form and the checksum of a key."""
    found = _FORM.fullmatch(secret)
    return found is not None and found["sum"] == _checksum(found["begins"])


def key_id_in(secret: str) -> str:
    """The public part of a key."""
    return secret[len("aid_") :][:10]


def key_in(row: Row) -> ApiKey:
    """The key in a row."""
    values = {field.name: row[field.name] for field in dataclasses.fields(ApiKey)}
    only = values["workflows"]
    values["scopes"] = frozenset(json.loads(values["scopes"]))
    values["workflows"] = None if only is None else frozenset(json.loads(only))
    return ApiKey(**values)


def document(key: ApiKey) -> dict[str, Any]:
    """A key as commands and the API show it."""
    shown_as: dict[str, Any] = {
        "user": key.user_id,
        "scopes": sorted(key.scopes),
        "state": key.state,
    }
    shown_as["workflows"] = None if key.workflows is None else sorted(key.workflows)
    names = ("key_id", "lineage", "name", "created_at", "expires_at", "grace_until", "revoked_at")
    return {**{name: getattr(key, name) for name in (*names, "used_on")}, **shown_as}


def _scopes(owner: User, asked: Iterable[str] | None, maker: Caller | None) -> frozenset[Scope]:
    """The scopes of a new key: as asked, or all that are allowed; a subset of the owner's and the maker's."""
    allowed = set(scopes_of(owner.role))
    if maker is not None:
        allowed &= maker.scopes
    if asked is None:
        given = checked_scopes(allowed - {"admin"} or allowed)
    else:
        given = checked_scopes(asked)
    if beyond := sorted(given - allowed):
        had = ", ".join(one for one in SCOPES if one in allowed) or "none"
        lacks = f"{owner.user_id} ({owner.role})" + (" or the key in use" if maker else "")
        raise NotAllowed(
            f"this key may not have the scope {beyond[0]}, which {lacks} lacks: choose from {had}"
        )
    return given


def _within(asked: frozenset[str] | None, own: frozenset[str] | None) -> frozenset[str] | None:
    """The workflows of a new key, a subset of its maker's."""
    if own is None:
        return asked
    if asked is not None and (beyond := sorted(asked - own)):
        raise NotAllowed(f"this key may not run {shown(beyond[0])}, which the key in use may not")
    return own if asked is None else asked


def _future(moment: datetime) -> str:
    text = utc_text(moment)
    if text <= utc_text(now()):
        raise UserError(f"a key cannot expire in the past: {text}")
    return text


def _checked_label(name: str | None) -> str | None:
    if name is not None and (not name.isprintable() or len(name) > 200):  # noqa: PLR2004 - as of a user
        raise UserError("the name of a key is one line of at most 200 characters")
    return name or None


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


def _insert(tx: Statements, row: dict[str, Any], secret: str) -> ApiKey:
    only = row["workflows"]
    stored = {
        "scopes": json.dumps(sorted(row["scopes"])),
        "workflows": None if only is None else json.dumps(sorted(only)),
        "digest": _digest(secret),
    }
    tx.write(_ADD, {**row, **stored})
    return ApiKey(**row, grace_until=None, revoked_at=None, used_on=None)


def _audited(key: ApiKey) -> dict[str, Any]:
    known = document(key)
    return {name: known[name] for name in ("user", "name", "scopes", "workflows", "expires_at")}
