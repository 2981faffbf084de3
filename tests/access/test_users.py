"""Users, their roles and tiers, and the key ring."""

from __future__ import annotations

import base64

import pytest
from pydantic import SecretStr

from aideon_agents.access import ring, roles, tiers, users
from aideon_agents.access.callers import Caller
from aideon_agents.errors import Changed, NotFound, UserError

GOOD = base64.b64encode(bytes(range(128, 160))).decode()
NEWER = base64.urlsafe_b64encode(bytes(range(224, 256))).decode()


def test_a_user_is_added_changed_and_listed_by_name(ledger, by):
    users.add(ledger, "zoë 熱", by, role="admin", tier="premium", email="zoe@example.org")
    users.add(ledger, "ada", by)
    assert [(one.user, one.role, one.tier) for one in users.listed(ledger)] == [
        ("ada", "member", "free"),
        ("zoë 熱", "admin", "premium"),
    ]
    users.change(ledger, "ada", by, tier="enterprise", name="Ada")
    assert users.find(ledger, "ada").tier == "enterprise"
    assert [one.user for one in users.listed(ledger, after="ada", most=5)] == ["zoë 熱"]


@pytest.mark.parametrize("name", ["", " ada", "a/b", "user:ada", "a\nb", "x" * 201, "\x1b[31m"])
def test_a_name_that_reports_and_scopes_cannot_hold_is_refused(ledger, by, name):
    with pytest.raises(UserError, match="cannot be the name of a user"):
        users.add(ledger, name, by)


def test_a_second_user_of_the_same_name_or_address_is_refused(ledger, by):
    users.add(ledger, "ada", by, email="ada@example.org")
    with pytest.raises(UserError, match="there is a user 'ada' already"):
        users.add(ledger, "ada", by)
    with pytest.raises(UserError, match="another user has the e-mail address"):
        users.add(ledger, "bob", by, email="ada@example.org")
    with pytest.raises(UserError, match="is no e-mail address"):
        users.change(ledger, "ada", by, email="ada")


def test_a_user_who_is_not_there_is_an_error_that_says_what_to_do(ledger, by):
    users.add(ledger, "alice", by)
    with pytest.raises(NotFound, match="did you mean alice"):
        users.find(ledger, "alcie")
    with pytest.raises(NotFound, match=r"add one with `aideon users add 'zoë x'`"):
        users.find(ledger, "zoë x")


@pytest.mark.parametrize("given", [{"role": "root"}, {"tier": "gold"}])
def test_a_role_or_tier_that_is_none_is_refused(ledger, by, given):
    users.add(ledger, "ada", by)
    with pytest.raises(UserError, match="use "):
        users.change(ledger, "ada", by, **given)
    with pytest.raises(UserError, match="use "):
        users.add(ledger, "bob", by, **given)


def test_what_was_changed_since_it_was_read_is_not_overwritten(ledger, by):
    seen = users.add(ledger, "ada", by)
    users.change(ledger, "ada", by, tier="premium", seen=seen)
    with pytest.raises(Changed, match="read it again"):
        users.change(ledger, "ada", by, role="admin", seen=seen)
    assert users.find(ledger, "ada").role == "member"


def test_the_permissions_of_the_roles_are_those_of_the_documentation():
    viewer = {"usage:own", "runs:own"}
    member = {"runs:write", "models:call", "keys:own", "provider-keys:own", "quota:ask"}
    admin = {"users", "quotas", "flags", "keys:any", "provider-keys:system", "usage:any"}
    assert roles.ROLES["viewer"] == viewer
    assert roles.ROLES["member"] == viewer | member | {"context:own"}
    assert roles.ROLES["admin"] == roles.ROLES["member"] | admin | {"audit", "budgets"}
    with pytest.raises(TypeError):
        roles.ROLES["viewer"] = roles.ROLES["admin"]


def test_a_key_that_manages_the_service_can_spend_nothing():
    caller = Caller("ada", "admin", "premium", scopes=frozenset({"admin"}))
    assert caller.may("users")
    assert not any(caller.may(one) for one in ("runs:write", "models:call", "context:own"))


def test_the_tiers_hold_the_figures_of_the_documents():
    assert tiers.limits("free", "text_generation") == {
        "requests": 50,
        "tokens": 10_000,
        "tokens_per_request": 2_000,
    }
    assert tiers.limits("free", "code_generation") == {
        "requests": 30,
        "tokens": 15_000,
        "tokens_per_request": 3_000,
    }
    assert tiers.limits("free", "image_generation") == {"requests": 10}
    assert tiers.limits("free", "vision_analysis") == {"requests": 20}
    assert tiers.limits("free", "audio_tts") == {"requests": 10, "minutes": 5}
    assert tiers.limits("free", "audio_stt") == {"requests": 10, "minutes": 10}
    assert tiers.limits("premium", "text_generation") == {}
    assert tiers.limits("enterprise", "audio_stt") == {}
    assert [tiers.above(one) for one in ("free", "premium", "enterprise")] == [
        "premium",
        "enterprise",
        None,
    ]


def test_a_ring_is_read_from_its_text_or_from_a_file_in_its_order(tmp_path):
    text = f"id2:{NEWER}, id1:{GOOD}"
    (tmp_path / "ring").write_text(f"id2:{NEWER}\nid1:{GOOD}\n")
    for given in (text, str(tmp_path / "ring")):
        assert list(ring.read(SecretStr(given)).items()) == [
            ("id2", bytes(range(224, 256))),
            ("id1", bytes(range(128, 160))),
        ]
    assert ring.read(None) == {}


@pytest.mark.parametrize(
    "given",
    [
        "id1:correct horse battery staple",
        "id1:" + base64.b64encode(b"change-me-change-me-change-me-32").decode(),
        "id1:" + base64.b64encode(bytes(32)).decode(),
        "id1:" + base64.b64encode(bytes(range(128, 144))).decode(),
        f"id1:{NEWER},id1:{GOOD}",
        f"sha256:{GOOD}",
        GOOD,
    ],
)
def test_a_ring_that_is_short_known_or_misspelt_is_refused_without_repeating_it(given):
    with pytest.raises(UserError, match=r"AIDEON_KEY_RING.*make one with") as refused:
        ring.read(SecretStr(given))
    assert given.rpartition(":")[2] not in str(refused.value)
    assert GOOD not in str(refused.value)


def test_users_are_counted_by_tier_and_those_who_left_the_free_one_are_known(ledger, by):
    for user in ("ada", "bob", "eve", "zoe"):
        users.add(ledger, user, by)
    users.change(ledger, "ada", by, tier="premium", role="viewer", name='"tier": "free"')
    users.change(ledger, "bob", by, name="Bob")
    users.change(ledger, "zoe", by, tier="premium")
    users.change(ledger, "zoe", by, tier="enterprise")
    users.change(ledger, "eve", by, blocked=True)
    found = users.by_tier(ledger, "2026-01-01")
    assert [(row["tier"], row["users"], row["added"]) for row in found] == [
        ("enterprise", 1, 1),
        ("free", 1, 1),
        ("premium", 1, 1),
    ]
    assert [row["added"] for row in users.by_tier(ledger, "9999")] == [0, 0, 0]
    assert users.upgraded(ledger) == {"ada", "zoe"}
