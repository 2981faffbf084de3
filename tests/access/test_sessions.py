"""One-time links, sessions, and identities at an issuer."""

from __future__ import annotations

import concurrent.futures

import pytest

from aideon_agents.access import audit, sessions, users
from aideon_agents.errors import NotAllowed, NotFound

PAST = "2026-01-01T00:00:00.000Z"


@pytest.fixture
def ada(ledger, by):
    return users.add(ledger, "ada", by, role="member", tier="premium")


def test_a_link_begins_one_session_of_its_user(ledger, by, ada):
    token = sessions.make_link(ledger, "ada", by)
    secret = sessions.use_link(ledger, token, by)
    caller, word = sessions.session_of(ledger, secret)
    assert (caller.user, caller.role, caller.tier) == ("ada", "member", "premium")
    assert (caller.key_id, caller.session is None, len(word)) == (None, False, 43)
    assert sessions.use_link(ledger, token, by) is None


def test_of_several_requests_with_one_link_one_begins_a_session(ledger, by, ada):
    token = sessions.make_link(ledger, "ada", by)
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        begun = list(threads.map(lambda _: sessions.use_link(ledger, token, by), range(8)))
    assert len([one for one in begun if one]) == 1


def test_a_link_that_is_unknown_or_too_old_begins_none(ledger, by, ada):
    assert sessions.use_link(ledger, "made-up", by) is None
    token = sessions.make_link(ledger, "ada", by)
    ledger.database.write("UPDATE sign_in_links SET expires_at = :at", {"at": PAST})
    assert sessions.use_link(ledger, token, by) is None


def test_links_and_sessions_are_kept_as_digests_and_shown_nowhere(ledger, by, ada):
    token = sessions.make_link(ledger, "ada", by)
    secret = sessions.use_link(ledger, token, by)
    caller, _ = sessions.session_of(ledger, secret)
    tables = ("sign_in_links", "sessions", "audit")
    rows = [dict(row) for name in tables for row in ledger.select(f"SELECT * FROM {name}")]  # noqa: S608 - our names
    kept = repr(rows) + repr(caller)
    assert token not in kept
    assert secret not in kept


def test_a_session_ends_with_its_time_by_sign_out_or_with_its_user(ledger, by, ada):
    def begun():
        return sessions.use_link(ledger, sessions.make_link(ledger, "ada", by), by)

    expired = begun()
    ledger.database.write("UPDATE sessions SET expires_at = :at", {"at": PAST})
    assert sessions.session_of(ledger, expired) is None
    left, other = begun(), begun()
    sessions.end(ledger, sessions.session_of(ledger, left)[0].session, by)
    assert sessions.session_of(ledger, left) is None
    assert sessions.session_of(ledger, other) is not None
    users.change(ledger, "ada", by, role="viewer")
    assert not sessions.session_of(ledger, other)[0].may("runs:write")
    users.change(ledger, "ada", by, blocked=True)
    assert sessions.session_of(ledger, other) is None
    with pytest.raises(NotAllowed, match="is blocked"):
        sessions.make_link(ledger, "ada", by)


def test_a_link_of_a_user_who_is_blocked_since_begins_no_session(ledger, by, ada):
    token = sessions.make_link(ledger, "ada", by)
    users.change(ledger, "ada", by, blocked=True)
    assert sessions.use_link(ledger, token, by) is None
    with pytest.raises(NotFound):
        sessions.make_link(ledger, "nemo", by)


def test_a_new_identity_is_a_viewer_of_its_own_whatever_its_address_is(ledger, by):
    users.add(ledger, "boss", by, role="admin", email="boss@example.org")
    secret = sessions.sign_in(ledger, "https://id.example", "7", by, name="boss@example.org")
    caller = sessions.session_of(ledger, secret)[0]
    assert caller.user not in {"boss", "boss@example.org"}
    assert (caller.role, caller.tier) == ("viewer", "free")
    again = sessions.session_of(ledger, sessions.sign_in(ledger, "https://id.example", "7", by))
    other = sessions.session_of(ledger, sessions.sign_in(ledger, "https://id.other", "7", by))
    assert again[0].user == caller.user != other[0].user
    users.change(ledger, caller.user, by, blocked=True)
    assert sessions.sign_in(ledger, "https://id.example", "7", by) is None


def test_signing_in_and_out_is_in_the_audit_log(ledger, by, ada):
    secret = sessions.use_link(ledger, sessions.make_link(ledger, "ada", by), by)
    sessions.end(ledger, sessions.session_of(ledger, secret)[0].session, by)
    found = [(one["action"], one["actor"]) for one in audit.entries(ledger, most=3)]
    assert found == [("session.ended", "root"), ("session.begun", "ada"), ("link.made", "root")]
