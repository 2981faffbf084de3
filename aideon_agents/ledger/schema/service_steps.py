"""The steps of the schema that the service added: its users, and what they may do."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aideon_agents.ledger.schema.first_steps import Executor


_ACCESS = (
    """
CREATE TABLE users (
    user_id TEXT PRIMARY KEY,
    name TEXT,
    email TEXT UNIQUE,
    role TEXT NOT NULL,
    tier TEXT NOT NULL,
    created_at TEXT NOT NULL,
    blocked_at TEXT
)
""",
    """
CREATE TABLE identities (
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    user_id TEXT NOT NULL,
    PRIMARY KEY (issuer, subject)
)
""",
    """
CREATE TABLE api_keys (
    key_id TEXT PRIMARY KEY,
    lineage TEXT NOT NULL,
    user_id TEXT NOT NULL,
    name TEXT,
    digest TEXT NOT NULL UNIQUE,
    scopes TEXT NOT NULL,
    workflows TEXT,
    created_at TEXT NOT NULL,
    expires_at TEXT,
    grace_until TEXT,
    revoked_at TEXT,
    used_on TEXT
)
""",
    "CREATE INDEX api_keys_user ON api_keys (user_id, created_at)",
    """
CREATE TABLE sessions (
    digest TEXT PRIMARY KEY,
    user_id TEXT NOT NULL,
    csrf TEXT NOT NULL,
    created_at TEXT NOT NULL,
    expires_at TEXT NOT NULL
)
""",
    """
CREATE TABLE sign_in_links (
    digest TEXT PRIMARY KEY,
    user_id TEXT NOT NULL,
    expires_at TEXT NOT NULL,
    used_at TEXT
)
""",
    """
CREATE TABLE flags (
    name TEXT PRIMARY KEY,
    is_on INTEGER NOT NULL,
    share INTEGER,
    changed_by TEXT NOT NULL,
    changed_at TEXT NOT NULL
)
""",
    """
CREATE TABLE audit (
    number INTEGER PRIMARY KEY,
    body TEXT NOT NULL,
    digest TEXT NOT NULL
)
""",
)


def m020_access(db: Executor) -> None:
    """Users of the service, how they prove who they are, its flags, and a chain of what was changed.

    `user_id` is what `runs.user` holds. There is no password: a user has keys, one-time links, or an
    identity at an issuer, which an e-mail address is not. `digest` is that of a secret, which is in no
    table. Keys with the same `lineage` replaced one another. `scopes` and `workflows` are JSON arrays;
    NULL in `workflows` allows all. `used_on` is a UTC day. `share` is a percentage of the users; NULL:
    all of them. `body` is JSON, and the digest of an entry covers that of the one before.
    """
    for table in _ACCESS:
        db.execute(table)


SERVICE_STEPS = (m020_access,)
