"""One-time links, sessions, and identities at an issuer."""

from __future__ import annotations

import concurrent.futures

import pytest

from aideon_agents.access import api_keys, audit, sessions, users
from aideon_agents.errors import Conflict, NotAllowed, NotFound

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


def test_a_new_identity_is_a_user_of_its_own_whatever_its_address_is(ledger, by):
    def begun(issuer="https://id.example"):
        new = ("viewer", "free")
        return sessions.sign_in(ledger, issuer, "7", "boss@example.org", by, new=new)

    users.add(ledger, "boss", by, role="admin", email="boss@example.org")
    caller = sessions.session_of(ledger, begun())[0]
    assert caller.user not in {"boss", "boss@example.org"}
    assert (caller.role, caller.tier) == ("viewer", "free")
    other = sessions.session_of(ledger, begun("https://id.other"))[0]
    assert sessions.session_of(ledger, begun())[0].user == caller.user != other.user
    users.change(ledger, caller.user, by, blocked=True)
    assert begun() is None


def test_an_identity_signs_in_the_user_that_it_was_added_to_and_no_other(ledger, by, ada):
    users.add(ledger, "bob", by)
    which = ("https://id.example", "7")
    with pytest.raises(NotAllowed, match="aideon users identity NAME 7"):
        sessions.sign_in(ledger, *which, None, by)
    sessions.add_identity(ledger, "ada", *which, by)
    secret = sessions.sign_in(ledger, *which, None, by, new=("member", "free"))
    assert sessions.session_of(ledger, secret)[0].user == "ada"
    with pytest.raises(Conflict):
        sessions.add_identity(ledger, "bob", *which, by)
    with pytest.raises(NotFound):
        sessions.add_identity(ledger, "nemo", "https://id.example", "8", by)


def test_a_session_of_a_key_ends_with_the_key(ledger, by, ada):
    key, secret = api_keys.make(ledger, "ada", by, scopes=["usage"])
    begun = sessions.begin_with_key(ledger, api_keys.caller_of(ledger, secret), by)
    caller = sessions.session_of(ledger, begun)[0]
    assert (caller.scopes, caller.key_id) == ({"usage"}, key.key_id)
    api_keys.rotate(ledger, key.key_id, by, grace_s=600)
    assert sessions.session_of(ledger, begun) is not None
    api_keys.revoke(ledger, key.key_id, by)
    assert sessions.session_of(ledger, begun) is None


def test_signing_in_and_out_is_in_the_audit_log(ledger, by, ada):
    secret = sessions.use_link(ledger, sessions.make_link(ledger, "ada", by), by)
    sessions.end(ledger, sessions.session_of(ledger, secret)[0].session, by)
    found = [(one["action"], one["actor"]) for one in audit.entries(ledger, most=3)]
    assert found == [("session.ended", "root"), ("session.begun", "ada"), ("link.made", "root")]
