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


_QUOTAS = (
    "CREATE TABLE additive_steps (name TEXT PRIMARY KEY)",
    """
CREATE TABLE quotas (
    subject TEXT NOT NULL,
    feature TEXT NOT NULL,
    unit TEXT NOT NULL,
    per TEXT NOT NULL,
    most INTEGER,
    set_by TEXT NOT NULL,
    set_at TEXT NOT NULL,
    PRIMARY KEY (subject, feature, unit, per)
)
""",
    """
CREATE TABLE counters (
    account TEXT PRIMARY KEY, used INTEGER NOT NULL, held INTEGER NOT NULL
)
""",
    """
CREATE TABLE uses (
    use_id TEXT PRIMARY KEY, amounts TEXT NOT NULL, status TEXT NOT NULL,
    taken_at TEXT NOT NULL
)
""",
    "CREATE INDEX uses_held ON uses (use_id) WHERE status = 'held'",
    """
CREATE TABLE quota_requests (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL,
    feature TEXT NOT NULL,
    unit TEXT NOT NULL,
    asked INTEGER NOT NULL,
    reason TEXT,
    status TEXT NOT NULL,
    asked_at TEXT NOT NULL,
    decided_by TEXT,
    decided_at TEXT
)
""",
    """
CREATE TABLE provider_keys (
    row_id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    provider TEXT NOT NULL,
    share INTEGER NOT NULL,
    ring_id TEXT NOT NULL,
    wrapped TEXT NOT NULL,
    sealed TEXT NOT NULL,
    last4 TEXT NOT NULL,
    may_fall_back INTEGER NOT NULL DEFAULT 0,
    created_by TEXT NOT NULL,
    created_at TEXT NOT NULL,
    share_since TEXT NOT NULL,
    proven_at TEXT,
    refused_at TEXT,
    retired_at TEXT
)
""",
    "CREATE INDEX provider_keys_owner ON provider_keys (owner, provider)",
    (
        "CREATE INDEX calls_provider_key ON calls (provider_key_id, started_at)"
        " WHERE provider_key_id IS NOT NULL"
    ),
)


def m021_quotas(db: Executor) -> None:
    """What users of the service may have per day, whose keys pay for it, and which steps are additive.

    `additive_steps` names the steps that a version may go on beside that does not know them (see
    `BREAKING`). `quotas` replace those of the tiers: `subject` is `tier:free` or `user:alice`, `per`
    is `day` or `request`; `most` NULL: unlimited. Amounts are whole: minutes are counted in tenths.
    `counters` add up a window that their name begins with, so nothing is ever reset. `uses` are the
    holds of these units, by the id of a call or a request: `amounts` is JSON by counter; `status` is
    held, settled or forfeited. The lease of a call's is its row in `holds`. A request's is settled
    at once, and its amount is changed when more is known.
    `provider_keys` are sealed; texts in them are Base64. `owner` is `system` or a user. Several rows
    of one owner and provider are a rotation: `share` is a percentage. `key_source` is `system` or
    `user`; NULL, as the other new columns, in what no service has run.
    """
    for column in ("key_id", "request_id", "key_source"):
        db.execute(f"ALTER TABLE runs ADD COLUMN {column} TEXT")
    for column in ("provider_key_id", "key_source"):
        db.execute(f"ALTER TABLE calls ADD COLUMN {column} TEXT")
    for sql in _QUOTAS:
        db.execute(sql)


def m023_sessions_of_keys(db: Executor) -> None:
    """The API key that began a session, which may do what the key may; NULL: a link or an identity."""
    db.execute("ALTER TABLE sessions ADD COLUMN key_id TEXT")


SERVICE_STEPS = (m020_access, m021_quotas)
