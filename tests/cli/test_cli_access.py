"""`aideon users`, `keys`, `flags` and `audit`: the service managed at the command line."""

from __future__ import annotations

import base64
import io
import os
import re
import sqlite3
import sys

import pytest

from aideon_agents.access import api_keys, increases, sessions
from aideon_agents.access.audit import By
from aideon_agents.access.callers import Caller
from aideon_agents.ledger.store import Ledger
from aideon_agents.testing import SimulatedProvider

LEDGER = ".aideon/ledger.db"


@pytest.fixture
def alice(aideon):
    assert aideon("users", "add", "alice", "--tier", "premium").code == 0


def caller_of(secret):
    with Ledger(LEDGER) as ledger:
        return api_keys.caller_of(ledger, secret)


def test_a_user_is_added_changed_blocked_and_listed(aideon):
    made = aideon("users", "add", "alice", "--tier", "free", "--role", "viewer", "--json").document
    assert (made["user"], made["tier"], made["role"]) == ("alice", "free", "viewer")
    changed = aideon("users", "set", "alice", "--tier", "enterprise", "--email", "a@example.org")
    assert (changed.code, changed.out) == (0, "")
    assert "viewer, tier enterprise" in changed.err
    assert aideon("users", "block", "alice").code == 0
    (listed,) = aideon("users", "list", "--json").document["users"]
    assert (listed["email"], listed["blocked_at"] is not None) == ("a@example.org", True)
    assert "blocked" in aideon("users", "list").out
    assert aideon("users", "unblock", "alice", "--json").document["blocked_at"] is None


def test_an_identity_signs_in_the_user_that_it_is_given_to_and_no_other(aideon, alice, monkeypatch):
    refused = aideon("users", "identity", "alice", "7")
    assert (refused.code, "AIDEON_OIDC_ISSUER" in refused.err) == (2, True)
    monkeypatch.setenv("AIDEON_OIDC_ISSUER", "https://id.example")
    made = aideon("users", "identity", "alice", "7")
    assert (made.code, made.out, "signs in as 7" in made.err) == (0, "", True)
    other = aideon("users", "identity", "alice", "7", "--issuer", "https://other.example", "--json")
    assert other.document["user"] == "alice"
    with Ledger(LEDGER) as ledger:
        for issuer in ("https://id.example", "https://other.example"):
            secret = sessions.sign_in(ledger, issuer, "7", None, By("7"))
            assert sessions.session_of(ledger, secret)[0].user == "alice"
    assert aideon("users", "identity", "alice", "7").code == 2
    assert aideon("users", "identity", "nobody", "8").code == 2
    assert "identity.added" in aideon("audit", "list").out


def test_a_key_is_printed_once_alone_on_stdout_and_works(aideon, alice):
    made = aideon("keys", "make", "alice", "--scopes", "runs,usage", "--workflow", "brief")
    secret = made.out.strip()
    caller = caller_of(secret)
    assert (caller.user, caller.scopes, caller.workflows) == (
        "alice",
        {"runs", "usage"},
        {"brief"},
    )
    assert secret not in made.err
    listed = aideon("keys", "list").out + str(aideon("keys", "list", "--json").document)
    assert caller.key_id in listed
    assert secret.rpartition("_")[2] not in listed


def test_the_json_of_a_key_has_its_documented_fields(aideon, alice):
    made = aideon("keys", "make", "alice", "--expires", "90d", "--json").document
    assert {"key_id", "key", "user", "scopes", "expires_at"} <= set(made)
    assert (made["user"], made["scopes"]) == ("alice", ["keys", "models", "runs", "usage"])
    assert caller_of(made["key"]).expires_at == made["expires_at"]


def test_a_key_is_replaced_and_revoked(aideon, alice):
    old = aideon("keys", "make", "alice", "--json").document
    new = aideon("keys", "rotate", old["key_id"], "--grace", "600", "--json").document
    assert caller_of(old["key"]).lineage == caller_of(new["key"]).lineage == old["key_id"]
    assert aideon("keys", "revoke", old["key_id"][:6]).code == 0
    assert caller_of(old["key"]) is None
    assert caller_of(new["key"]) is not None
    newest = aideon("keys", "rotate", new["key_id"], "--grace", "0").out.strip()
    assert caller_of(new["key"]) is None
    assert caller_of(newest) is not None
    states = [one["state"] for one in aideon("keys", "list", "--json").document["keys"]]
    assert sorted(states) == ["active", "ended", "revoked"]


def test_a_link_signs_its_user_in(aideon, alice, monkeypatch):
    monkeypatch.setenv("AIDEON_PUBLIC_URL", "https://agents.example.org/")
    made = aideon("users", "link", "alice")
    address, _, token = made.out.strip().partition("#")
    assert address == "https://agents.example.org/sign-in"
    with Ledger(LEDGER) as ledger:
        secret = sessions.use_link(ledger, token, By("test"))
        assert sessions.session_of(ledger, secret)[0].user == "alice"


@pytest.mark.parametrize("value", ["off", "on", "10", "10%", "0", "100"])
def test_a_flag_is_set(aideon, value):
    made = aideon("flags", "set", "together_ai_fallback", value, "--json").document
    expected = {"off": (False, None), "on": (True, None), "0": (True, 0), "100": (True, None)}
    assert (made["on"], made["share"]) == expected.get(value, (True, 10))
    (listed,) = (
        one
        for one in aideon("flags", "list", "--json").document["flags"]
        if one["name"] == "together_ai_fallback"
    )
    assert listed == made
    assert "together_ai_ui_indicators" in aideon("flags", "list").out


def test_a_quota_of_a_user_goes_before_that_of_the_tier_until_it_is_removed(aideon, alice):
    listed = aideon("quotas", "list", "tier:free").out.splitlines()
    assert ["tier:free", "text_generation", "tokens", "10,000"] in map(str.split, listed)
    named = ("user:alice", "text_generation", "tokens")
    assert aideon("quotas", "set", *named, "70000").code == 0
    (own,) = aideon("quotas", "list", "user:alice", "--json").document["quotas"]
    assert (own["limit"], own["set_by"]) == (70_000, "ada")
    assert "70,000" in aideon("quotas", "list").out
    assert aideon("quotas", "set", *named, "unlimited").code == 0
    assert "unlimited" in aideon("quotas", "list", "user:alice").out
    assert aideon("quotas", "set", *named, "default").code == 0
    assert "user:alice has no quota of its own" in aideon("quotas", "list", "user:alice").err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("set", "user:bob", "text_generation", "tokens", "7"), "there is no user"),
        (("set", "tier:free", "poems", "tokens", "7"), "poems"),
        (("set", "tier:free", "text_generation", "tokens", "many"), "write a number, unlimited"),
        (("set", "tier:free", "text_generation", "tokens", "1.5"), "write a number from 0"),
        (("set", "tier:free", "text_generation", "tokens", "nan"), "write a number from 0"),
        (("decide", "NONE", "approve"), "there is no request"),
        (("decide", "NONE", "perhaps"), "approve or decline"),
    ],
)
def test_a_wrong_quota_is_one_line(aideon, words, told):
    done = aideon("quotas", *words)
    assert done.code == 2
    assert told in done.complaint


def test_a_request_for_more_is_decided_once(aideon, alice):
    with Ledger(LEDGER) as ledger:
        caller = Caller("alice", "member", "free")
        asked = increases.ask(ledger, caller, "text_generation", "tokens", By("alice"), most=20_000)
    (shown,) = aideon("quotas", "requests", "--json").document["requests"]
    assert (shown["id"], shown["asked"]) == (asked["id"], 20_000)
    assert asked["id"] in aideon("quotas", "requests").out
    assert aideon("quotas", "decide", asked["id"], "approve").code == 0
    assert "no request waits" in aideon("quotas", "requests").err
    assert "approved" in aideon("quotas", "requests", "--all").out
    (own,) = aideon("quotas", "list", "user:alice", "--json").document["quotas"]
    assert own["limit"] == 20_000
    again = aideon("quotas", "decide", asked["id"], "decline")
    assert (again.code, "approved" in again.complaint) == (2, True)


def test_the_audit_log_names_the_person_and_finds_what_was_changed(aideon, alice):
    aideon("flags", "set", "together_ai_fallback", "off")
    (newest, oldest) = aideon("audit", "list", "--json").document["entries"]
    assert (newest["action"], newest["actor"], newest["from"]) == ("flag.changed", "ada", "cli")
    assert oldest["action"] == "user.added"
    assert "flag.changed together_ai_fallback (on: true -> false)" in aideon("audit", "list").out
    whole = aideon("audit", "check")
    assert (whole.code, whole.out) == (0, "2 entries: whole\n")
    assert "without AIDEON_KEY_RING" in whole.err
    kept = aideon("audit", "head").out.strip()
    assert kept == newest["digest"] == aideon("audit", "head", "--json").document["digest"]
    assert aideon("audit", "check", "--known", kept).code == 0
    with sqlite3.connect(LEDGER) as rows:
        rows.execute("UPDATE audit SET body = replace(body, 'premium', 'free') WHERE number = 1")
    rows.close()
    broken = aideon("audit", "check")
    assert broken.code == 1
    assert "broken at entry 1" in broken.complaint
    shown = aideon("audit", "check", "--json")
    assert (shown.code, shown.document["whole"], shown.document["broken_at"]) == (1, False, 1)


def test_empty_lists_say_what_to_do(aideon):
    for words, hint in (
        (("users", "list"), "aideon users add NAME"),
        (("keys", "list"), "aideon keys make USER"),
        (("audit", "list"), "the audit log is empty"),
        (("audit", "head"), "the audit log is empty"),
    ):
        done = aideon(*words)
        assert (done.code, done.out) == (0, "")
        assert hint in done.err
    assert aideon("audit", "check").out == "0 entries: whole\n"
    assert aideon("audit", "head", "--json").document == {"number": 0, "digest": None}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("users", "add", "a/b"), "cannot be the name of a user"),
        (("users", "add", "alice"), "there is a user 'alice' already"),
        (("users", "add", "bob", "--role", "root"), "is no role: use viewer, member, admin"),
        (("users", "add", "bob", "--tier", "gold"), "is no tier: use free"),
        (("users", "set", "alice"), "give what to change"),
        (("users", "set", "alcie", "--tier", "free"), "did you mean alice?"),
        (("users", "block", "nemo"), "aideon users add nemo"),
        (("users", "link", "nemo"), "aideon users add nemo"),
        (("keys", "make", "alcie"), "did you mean alice?"),
        (("keys", "make", "alice", "--scopes", "all"), "'all' is no scope of a key"),
        (("keys", "make", "alice", "--scopes", "admin,runs"), "is for a key of its own"),
        (("keys", "make", "alice", "--scopes", "admin"), "which alice (member) lacks"),
        (("keys", "make", "alice", "--expires", "2020-01-01"), "cannot expire in the past"),
        (("keys", "make", "alice", "--expires", "soon"), "--expires soon: write"),
        (("keys", "list", "--user", "alcie"), "did you mean alice?"),
        (("keys", "revoke", "nokey"), "there is no key 'nokey'"),
        (("keys", "rotate", "nokey"), "there is no key 'nokey'"),
        (("flags", "set", "together_ai_falback", "on"), "did you mean together_ai_fallback?"),
        (("flags", "set", "together_ai_fallback", "101"), "on, off or a percentage"),
        (("flags", "set", "together_ai_fallback", "maybe"), "on, off or a percentage"),
    ],
)
def test_a_mistake_is_one_line_that_says_what_to_write(aideon, alice, words, says):
    done = aideon(*words)
    assert done.code == 2
    assert says in done.complaint


def test_a_grace_that_is_none_is_refused(aideon, alice):
    key = aideon("keys", "make", "alice", "--json").document["key_id"]
    assert "from 0 to 2592000" in aideon("keys", "rotate", key, "--grace", "-1").complaint


def test_a_ring_that_is_wrong_is_one_line_and_is_not_repeated(aideon, monkeypatch):
    monkeypatch.setenv("AIDEON_KEY_RING", "id1:hunter2hunter2")
    done = aideon("users", "list")
    assert done.code == 2
    assert "hunter2" not in done.complaint


@pytest.mark.parametrize("noun", ["users", "keys", "flags", "audit"])
def test_tables_fit_80_columns(aideon, alice, terminal, noun):
    aideon("keys", "make", "alice")
    aideon("flags", "set", "together_ai_fallback", "10")
    shown = terminal(noun, "list")
    assert shown.ends() == 0
    plain = re.sub("\x1b\\[[0-9;]*m", "", shown.shown)
    assert max(len(line) for line in plain.splitlines()) <= 80


KEY, NEWER = "tgp_v1_9f3kQ2mZ7xLw", "tgp_v1_Zq8wN5vB1cRt"


def ring_of(*names):
    made = (base64.b64encode(os.urandom(24) + bytes(range(200, 208))).decode() for _ in names)
    return ",".join(f"{name}:{key}" for name, key in zip(names, made, strict=True))


@pytest.fixture
def giving(aideon, monkeypatch):
    """Calls the command line with a text in stdin."""

    def call(text, *words):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        return aideon(*words)

    return call


@pytest.fixture
def provider(aideon, monkeypatch):
    """A provider that takes two keys, and a ring that seals them."""
    monkeypatch.setenv("AIDEON_KEY_RING", ring_of("a"))
    with SimulatedProvider(keys={KEY, NEWER}) as running:
        monkeypatch.setenv("TOGETHER_BASE_URL", running.base_url)
        monkeypatch.delenv("TOGETHER_API_KEY", raising=False)
        monkeypatch.delenv("AIDEON_OFFLINE", raising=False)
        yield running


def test_a_providers_key_is_read_from_stdin_proven_rotated_and_removed(aideon, giving, provider):
    assert "no key is stored" in aideon("keys", "provider", "list").err
    stored = giving(f"{KEY}\n", "keys", "provider", "set", "together")
    assert (stored.code, stored.out, "7xLw" in stored.err) == (0, "", True)
    assert "is proven" in aideon("keys", "provider", "prove", "together").err
    begun = giving(NEWER, "keys", "provider", "rotate", "together", "--json").document
    assert (begun["share"], begun["next"]) == (10, 50)
    shown = aideon("keys", "provider", "rotate", "together", "--next")
    assert re.findall(r"(\w{4}) +(\d+) %", shown.out) == [("1cRt", "50"), ("7xLw", "50")]
    assert "next: 100 %" in shown.err
    assert aideon("keys", "provider", "rotate", "together", "--back").code == 0
    again = aideon("keys", "provider", "rotate", "together", "--back")
    assert (again.code, len(again.err.splitlines())) == (2, 1)
    texts = str(aideon("keys", "provider", "list", "--json").document) + shown.out
    assert KEY not in texts
    assert NEWER not in texts
    assert aideon("keys", "provider", "remove", "together").code == 0
    assert aideon("keys", "provider", "remove", "together").code == 2


def test_a_users_key_that_the_provider_rejects_is_refused_with_the_exit_code_1(
    aideon, giving, alice, provider
):
    words = ("together", "--user", "alice")
    given = ("tgp_v1_bad4Rr6uH8jK", "keys", "provider", "set", *words, "--may-fall-back")
    assert giving(*given).code == 0
    proof = aideon("keys", "provider", "prove", *words, "--json")
    assert (proof.code, proof.document["state"]) == (1, "refused")
    listed = aideon("keys", "provider", "list", "--user", "alice").out
    assert ("alice" in listed, "rejected" in listed) == (True, True)


@pytest.mark.parametrize(
    ("words", "given", "why"),
    [
        (("set", "nobody"), KEY, "write one of together"),
        (("set", "together"), "changeme-changeme", "a placeholder"),
        (("set", "together"), "", "no key of together was given"),
        (("set", "together", KEY), KEY, "unexpected extra argument"),
        (("set", "together", "--user", "bob"), KEY, "there is no user"),
        (("set", "together", "--may-fall-back"), KEY, "--user NAME"),
        (("prove", "together"), "", "store one first"),
        (("prove", "nobody"), "", "store one first"),
        (("rotate", "nobody"), KEY, "write one of together"),
        (("rotate", "together"), "tgp_v1_bad4Rr6uH8jK", "rejects this key"),
        (("rotate", "together", "--next", "--back"), "", "exclude each other"),
        (("rotate", "together", "--show"), "", "has no stored key"),
        (("list", "--user", "bob"), "", "there is no user"),
    ],
)
def test_a_wrong_word_about_a_providers_key_is_one_line(giving, provider, words, given, why):
    refused = giving(given, "keys", "provider", *words)
    assert (refused.code, refused.out) == (2, "")
    assert why in refused.err.lower().replace("--user name", "--user NAME")
    assert len(refused.err.splitlines()) == 1


def test_sealing_again_moves_to_the_new_key_of_the_ring_and_says_what_is_not_needed(
    aideon, giving, provider, monkeypatch
):
    assert giving(KEY, "keys", "provider", "set", "together").code == 0
    old = os.environ["AIDEON_KEY_RING"]
    monkeypatch.setenv("AIDEON_KEY_RING", f"{ring_of('b')},{old}")
    done = aideon("keys", "reseal")
    assert (done.code, "1 row sealed again" in done.err, "a any more" in done.err) == (
        0,
        True,
        True,
    )
    monkeypatch.setenv("AIDEON_KEY_RING", os.environ["AIDEON_KEY_RING"].partition(",")[0])
    assert aideon("keys", "provider", "prove", "together").code == 0
    assert "`aideon audit check`" in done.err
    checked = aideon("audit", "check")
    assert (checked.code, " of " in checked.out, "checked: whole" in checked.out) == (0, True, True)
    assert "AIDEON_KEY_RING lacks: not checked" in checked.err
    monkeypatch.setenv("AIDEON_KEY_RING", ring_of("c"))
    lost = aideon("keys", "reseal")
    assert (lost.code, "enter" in lost.err) == (1, True)
    monkeypatch.delenv("AIDEON_KEY_RING")
    assert "AIDEON_KEY_RING" in aideon("keys", "reseal").err
