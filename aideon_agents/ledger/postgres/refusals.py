"""Explains failures of a ledger on a server in one line that says what to do.

Postgres gives each failure of a statement a code. It gives none to a failure to connect; then its
message is searched for known words, and shown where it has none of them, for example
because the server writes another language.
"""

from __future__ import annotations

import re

import psycopg

from aideon_agents.errors import LedgerError
from aideon_agents.ledger.redaction import one_line, safe_text

_ANOTHER = "name another database with AIDEON_LEDGER"
_LOGIN = "does not take this user and password: mend them in AIDEON_LEDGER"
_CROWDED = "has no connection left: end some, or raise max_connections on its server"
_LOST = (
    "lost its connection, so it is unknown whether the last change was written: the server was"
    " stopped, or the network is down"
)
_NOT_ALLOWED = (
    "may not be used by this user: GRANT it USAGE and CREATE on the schema, and SELECT, INSERT,"
    " UPDATE and DELETE on the tables"
)
_TAKEN = (
    "has something else by a name of the ledger's: name another database, or another schema"
    " with ?options=-csearch_path%3DSCHEMA at the end of AIDEON_LEDGER"
)

_ADVICE = {
    "08": _LOST,
    "25006": "can only be read here: name the primary server, or a user who may write",
    "25P03": "was left in the middle of a change for too long, and the change was undone",
    "3F000": "has no schema to make its tables in: CREATE SCHEMA, or mend its search_path",
    "42501": _NOT_ALLOWED,
    "42P07": _TAKEN,
    "53100": "cannot grow, the disk of its server is full: free some space there",
    "53300": _CROWDED,
    "55P03": "is locked by another process: wait for it or stop it",
    "57P": _LOST,
    "XX001": f"is damaged: restore it from a backup, or {_ANOTHER}",
    "XX002": f"is damaged: REINDEX it, restore it from a backup, or {_ANOTHER}",
}
"""By SQLSTATE, or by how that begins."""

_QUOTED = ("42501", "42P07")
"""Codes whose message names the object, and is shown as well."""

_WORDS = {
    r"password authentication failed|no password supplied|role .* does not exist": _LOGIN,
    r"authentication failed|no pg_hba.conf entry": _LOGIN,
    r"database .* does not exist": f"is not there: CREATE DATABASE makes it, or {_ANOTHER}",
    r"too many (clients|connections)|connection slots are reserved": _CROWDED,
    r"is (starting up|shutting down)": "is starting or stopping: wait a moment",
    r"permission denied for database": _NOT_ALLOWED,
}
"""By the message of a server that refuses a connection."""


def explained(shown: str, error: Exception) -> LedgerError:
    """A failure of a statement as one line that says what to do."""
    code = getattr(error, "sqlstate", None) or ""
    primary = getattr(getattr(error, "diag", None), "message_primary", None)
    words = one_line(primary or safe_text(error))
    known = [(start, advice) for start, advice in _ADVICE.items() if code.startswith(start)]
    if known:
        ((start, advice),) = known
        details = f" ({words})" if start in _QUOTED else ""
        return LedgerError(f"the ledger {shown} {advice}{details}")
    if isinstance(error, psycopg.OperationalError) and not code:
        return LedgerError(f"the ledger {shown} {_LOST}")
    if isinstance(error, psycopg.Error) and not isinstance(error, psycopg.DataError):
        return LedgerError(f"the ledger {shown} cannot be used ({words}): {_ANOTHER}")
    return LedgerError(f"the ledger {shown} cannot hold a value: {words}")


def unreachable(shown: str, error: Exception) -> LedgerError:
    """A failure to connect as one line that says what to do."""
    words = one_line(safe_text(error))
    for pattern, advice in _WORDS.items():
        if re.search(pattern, words):
            return LedgerError(f"the ledger {shown} {advice}")
    return LedgerError(
        f"the ledger {shown} cannot be reached: start its server, or mend its address in"
        f" AIDEON_LEDGER ({words})"
    )
