"""Signing in to the pages, by a one-time link, an API key or an identity; and the sessions that begin.

Links and sessions are secrets of 256 random bits, and the ledger has their digests alone. A session is
read with its user at each request, so a user who is blocked has none from the next request on. One that
an API key began may do what the key may, as long as the key works. It has no budget of its own.
"""

from __future__ import annotations

import dataclasses
import hashlib
import secrets
import shlex
from datetime import timedelta
from typing import TYPE_CHECKING

from aideon_agents.access import api_keys, audit, users
from aideon_agents.access.callers import Caller
from aideon_agents.errors import AideonError, Conflict, NotAllowed, NotFound, shown
from aideon_agents.ledger.identity import now, utc_text

if TYPE_CHECKING:
    from aideon_agents.access.audit import By
    from aideon_agents.access.roles import Role
    from aideon_agents.ledger.database import Statements
    from aideon_agents.ledger.store import Ledger
    from aideon_agents.state import Tier

COOKIE = "__Host-aideon"
"""A browser takes a cookie of this name over TLS or from this machine alone, and for one host."""
SESSION_S = 12 * 3600
LINK_S = 15 * 60

_ADD_LINK = """
INSERT INTO sign_in_links (digest, user_id, expires_at) VALUES (:digest, :user_id, :expires_at)
"""
_USE_LINK = """
UPDATE sign_in_links SET used_at = :at
WHERE digest = :digest AND used_at IS NULL AND expires_at > :at
"""
_LINK = "SELECT user_id FROM sign_in_links WHERE digest = :digest"
_ADD = """
INSERT INTO sessions (digest, user_id, csrf, created_at, expires_at, key_id)
VALUES (:digest, :user_id, :csrf, :created_at, :expires_at, :key_id)
"""
_ONE = """
SELECT sessions.digest, sessions.csrf, sessions.key_id, users.user_id, users.role, users.tier
FROM sessions JOIN users ON users.user_id = sessions.user_id
WHERE sessions.digest = :digest AND sessions.expires_at > :at AND users.blocked_at IS NULL
"""
_END = "DELETE FROM sessions WHERE digest = :digest"
_TIDY = "DELETE FROM sessions WHERE expires_at <= :at"
_IDENTITY = "SELECT user_id FROM identities WHERE issuer = :issuer AND subject = :subject"
_ADD_IDENTITY = """
INSERT INTO identities (issuer, subject, user_id) VALUES (:issuer, :subject, :user_id)
ON CONFLICT DO NOTHING
"""


class IssuerError(AideonError):
    """A provider of identities cannot be asked, or answers what it must not."""


def make_link(ledger: Ledger, user_id: str, by: By) -> str:
    """Make a link's token for a user, which works once and for 15 minutes."""
    token = secrets.token_urlsafe(32)
    with ledger.database.transaction() as tx:
        user = users.find(tx, user_id)
        if user.blocked_at:
            raise NotAllowed(f"the user {user_id!r} is blocked: unblock the user first")
        ends = utc_text(now() + timedelta(seconds=LINK_S))
        row = {"digest": _digest(token), "user_id": user.user, "expires_at": ends}
        tx.write(_ADD_LINK, row)
        audit.record(tx, by, "link.made", user.user, after={"expires_at": ends})
    return token


def address(public_url: str, token: str) -> str:
    """The link itself."""
    # Browsers send no server what follows a #, so no log, no trace and no Referer has the token.
    return f"{public_url.rstrip('/')}/sign-in#{token}"


def use_link(ledger: Ledger, token: str, by: By) -> str | None:
    """Begin a session by a link; None: it is unknown, was used, or is too old.

    Of several requests with the same link, one begins a session.
    """
    digest = _digest(token)
    with ledger.database.transaction() as tx:
        if not tx.write(_USE_LINK, {"digest": digest, "at": utc_text(now())}):
            return None
        (link,) = tx.select(_LINK, {"digest": digest})
        return _begin(tx, link["user_id"], by, "link")


def begin_with_key(ledger: Ledger, caller: Caller, by: By) -> str | None:
    """Begin a session for a caller who has sent an API key; None: its user is blocked since."""
    with ledger.database.transaction() as tx:
        return _begin(tx, caller.user, by, "key", caller.key_id)


def add_identity(ledger: Ledger, user_id: str, issuer: str, subject: str, by: By) -> None:
    """Let a user sign in with an identity at an issuer."""
    values = {"issuer": issuer, "subject": subject, "user_id": user_id}
    with ledger.database.transaction() as tx:
        users.find(tx, user_id)
        if not tx.write(_ADD_IDENTITY, values):
            raise Conflict(f"{shown(subject)} of {shown(issuer)} is a user already")
        audit.record(tx, by, "identity.added", user_id, after=values)


def sign_in(
    ledger: Ledger,
    issuer: str,
    subject: str,
    name: str | None,
    by: By,
    *,
    new: tuple[Role, Tier] | None = None,
) -> str | None:
    """Begin a session for an identity at an issuer; None: its user is blocked.

    With `new`, an identity that is not known gets a user of its own with this role and tier, whatever
    e-mail address it has.
    """
    which = {"issuer": issuer, "subject": subject}
    with ledger.database.transaction() as tx:
        if found := tx.select(_IDENTITY, which):
            user_id = found[0]["user_id"]
        elif new is None:
            raise NotAllowed(
                f"no user has the identity {subject!r} of {issuer}: ask an administrator to add it with"
                f" `aideon users identity NAME {shlex.quote(subject)}`"
            )
        else:
            user_id = f"oidc-{_digest(f'{issuer} {subject}')[:16]}"
            made = users.User(user_id, *new, utc_text(now()), name=name)
            users.insert(tx, made, by)
            tx.write(_ADD_IDENTITY, {**which, "user_id": user_id})
        return _begin(tx, user_id, by, "oidc")


def session_of(ledger: Ledger, secret: str) -> tuple[Caller, str] | None:
    """The caller whose session a cookie names, and the word that no other site knows.

    None: the session is unknown, has ended, or its user is blocked, or the key that began it.
    """
    for row in ledger.select(_ONE, {"digest": _digest(secret), "at": utc_text(now())}):
        caller: Caller | None = Caller(row["user_id"], row["role"], row["tier"])
        if row["key_id"]:
            caller = api_keys.caller_with(ledger, row["key_id"])
        return caller and (dataclasses.replace(caller, session=row["digest"]), row["csrf"])
    return None


def end(ledger: Ledger, session: str, by: By) -> None:
    """End a session, by the digest that its caller has."""
    with ledger.database.transaction() as tx:
        if tx.write(_END, {"digest": session}):
            audit.record(tx, by, "session.ended", by.actor)


def _begin(tx: Statements, user_id: str, by: By, how: str, key_id: str | None = None) -> str | None:
    try:
        user = users.find(tx, user_id)
    except NotFound:
        return None
    if user.blocked_at:
        return None
    secret, at = secrets.token_urlsafe(32), now()
    tx.write(_TIDY, {"at": utc_text(at)})
    row = {
        "digest": _digest(secret),
        "user_id": user_id,
        "csrf": secrets.token_urlsafe(32),
        "created_at": utc_text(at),
        "expires_at": utc_text(at + timedelta(seconds=SESSION_S)),
        "key_id": key_id,
    }
    tx.write(_ADD, row)
    audit.record(
        tx, dataclasses.replace(by, actor=user_id), "session.begun", user_id, after={"by": how}
    )
    return secret


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
