"""Keys of the service: made, used, replaced and revoked, on both databases."""

from __future__ import annotations

import dataclasses
import string
import subprocess
from datetime import timedelta

import pytest
import warm

from aideon_agents.access import api_keys, audit, users
from aideon_agents.access.callers import LOCAL, is_open
from aideon_agents.errors import NotAllowed, NotFound, UserError
from aideon_agents.ledger.identity import now


@pytest.fixture
def calls_of(ledger):
    """Counts the statements that a ledger runs."""

    class Counting:
        def __init__(self):
            self.count = 0

        def select(self, sql, values=None):
            self.count += 1
            return ledger.select(sql, values)

    return Counting()


def test_a_key_names_its_user_with_role_tier_scopes_and_workflows(ledger, with_key):
    key, secret = with_key("ada", tier="premium", scopes=["runs"], workflows=["brief"])
    caller = api_keys.caller_of(ledger, secret)
    assert (caller.user, caller.role, caller.tier) == ("ada", "member", "premium")
    assert (caller.key_id, caller.lineage) == (key.key_id, key.key_id)
    assert caller.scopes == {"runs"}
    assert caller.workflows == {"brief"}
    assert caller.may("runs:write")
    assert not caller.may("models:call")
    assert caller.may_run("brief")
    assert not caller.may_run("article")


def test_a_key_has_the_documented_form_and_a_typo_is_refused_without_the_ledger(with_key, calls_of):
    key, secret = with_key("ada")
    assert api_keys.is_well_formed(secret)
    begins, public, rest = secret.split("_")
    assert (begins, public, len(rest)) == ("aid", key.key_id, 43 + 6)
    letters = string.ascii_letters + string.digits
    for at in range(4, len(secret)):
        for letter in letters[:3]:
            wrong = secret[:at] + letter + secret[at + 1 :]
            assert wrong == secret or api_keys.caller_of(calls_of, wrong) is None
    for wrong in (
        "",
        "aid_",
        secret[:-1],
        secret + "x",
        secret.upper(),
        f" {secret}",
        "sk-" + "a" * 40,
    ):
        assert api_keys.caller_of(calls_of, wrong) is None
    assert calls_of.count == 0


def test_only_the_digest_of_a_key_is_kept(ledger, with_key):
    key, secret = with_key("ada")
    rows = [*ledger.select("SELECT * FROM api_keys"), *ledger.select("SELECT * FROM audit")]
    kept = repr([dict(row) for row in rows]) + repr(key) + repr(api_keys.caller_of(ledger, secret))
    assert secret[15:58] not in kept
    assert secret not in kept


def test_a_revoked_key_is_dead_at_once_in_another_process(ledger, ledger_url, with_key, by):
    key, secret = with_key("ada")
    asks = (
        "import sys\n"
        "from aideon_agents.access.api_keys import caller_of\n"
        "from aideon_agents.ledger.store import Ledger\n"
        "ledger = Ledger.from_url(sys.argv[1])\n"
        "for line in sys.stdin:\n"
        "    print(caller_of(ledger, line.strip()) is not None, flush=True)\n"
    )
    with warm.Process(
        ["-c", asks, ledger_url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:

        def works():
            other.stdin.write(f"{secret}\n")
            other.stdin.flush()
            return other.stdout.readline().strip()

        assert [works(), works()] == ["True", "True"]
        api_keys.revoke(ledger, key.key_id, by)
        assert works() == "False"
        other.stdin.close()
        assert other.wait(60) == 0


@pytest.mark.parametrize(
    "end",
    ["expires_at", "grace_until", "revoked_at"],
)
def test_a_key_that_has_ended_names_no_caller(ledger, with_key, end):
    key, secret = with_key("ada")
    ledger.database.write(
        f"UPDATE api_keys SET {end} = :at WHERE key_id = :key_id",  # noqa: S608 - our names
        {"at": "2026-01-01T00:00:00.000Z", "key_id": key.key_id},
    )
    assert api_keys.caller_of(ledger, secret) is None
    assert api_keys.find(ledger, key.key_id).state == (
        "revoked" if end == "revoked_at" else "ended"
    )


def test_a_blocked_user_has_no_working_key_until_unblocked(ledger, with_key, by):
    _, secret = with_key("ada")
    users.change(ledger, "ada", by, blocked=True)
    assert api_keys.caller_of(ledger, secret) is None
    users.change(ledger, "ada", by, blocked=False)
    assert api_keys.caller_of(ledger, secret) is not None


def test_a_rotated_key_works_beside_the_new_one_until_its_grace_ends(ledger, with_key, by):
    old, old_secret = with_key("ada", scopes=["runs"], workflows=["brief"], name="laptop")
    new, new_secret = api_keys.rotate(ledger, old.key_id, by, grace_s=3600)
    assert new.lineage == old.lineage == old.key_id
    rights = ("user", "name", "scopes", "workflows", "expires_at")
    assert [getattr(new, one) for one in rights] == [getattr(old, one) for one in rights]
    assert api_keys.find(ledger, old.key_id).state == "replaced"
    callers = [api_keys.caller_of(ledger, one) for one in (old_secret, new_secret)]
    assert [caller.lineage for caller in callers] == [old.key_id, old.key_id]
    newest, newest_secret = api_keys.rotate(ledger, new.key_id, by, grace_s=0)
    assert api_keys.caller_of(ledger, new_secret) is None
    assert api_keys.caller_of(ledger, newest_secret).lineage == old.key_id == newest.lineage


def test_a_key_that_does_not_work_cannot_be_rotated_back_to_life(ledger, with_key, by):
    key, _ = with_key("ada")
    api_keys.revoke(ledger, key.key_id, by)
    with pytest.raises(UserError, match="is revoked"):
        api_keys.rotate(ledger, key.key_id, by)
    other, _ = api_keys.make(ledger, "ada", by)
    api_keys.rotate(ledger, other.key_id, by)
    with pytest.raises(UserError, match="was replaced already"):
        api_keys.rotate(ledger, other.key_id, by)


def test_a_key_made_with_a_key_has_no_more_than_that_one(ledger, with_key, by):
    _, secret = with_key(
        "ada",
        scopes=["runs", "keys"],
        workflows=["brief"],
        expires_at=now() + timedelta(days=1),
    )
    maker = api_keys.caller_of(ledger, secret)
    with pytest.raises(NotAllowed, match="scope models"):
        api_keys.make(ledger, "ada", by, scopes=["models"], maker=maker)
    with pytest.raises(NotAllowed, match="article"):
        api_keys.make(ledger, "ada", by, workflows=["article"], maker=maker)
    with pytest.raises(NotAllowed, match="cannot live after"):
        api_keys.make(ledger, "ada", by, expires_at=now() + timedelta(days=2), maker=maker)
    made, _ = api_keys.make(ledger, "ada", by, maker=maker)
    assert (made.scopes, made.workflows) == (("keys", "runs"), ("brief",))
    assert made.expires_at == maker.expires_at
    for wider in ({"scopes": ["runs"]}, {"scopes": ["runs"], "workflows": ["brief"]}, {}):
        wide, _ = api_keys.make(ledger, "ada", by, **wider)
        with pytest.raises(NotAllowed):
            api_keys.rotate(ledger, wide.key_id, by, maker=maker)


@pytest.mark.parametrize(("role", "scope"), [("viewer", "models"), ("member", "admin")])
def test_a_key_has_no_scope_that_its_users_role_lacks(ledger, with_key, by, role, scope):
    with_key("ada", role=role)
    with pytest.raises(NotAllowed, match=f"scope {scope}"):
        api_keys.make(ledger, "ada", by, scopes=[scope])


def test_a_key_loses_what_its_user_loses_at_the_next_request(ledger, with_key, by):
    _, secret = with_key("ada", role="admin", scopes=["admin"])
    assert api_keys.caller_of(ledger, secret).may("users")
    users.change(ledger, "ada", by, role="viewer", tier="enterprise")
    caller = api_keys.caller_of(ledger, secret)
    assert not caller.may("users")
    assert caller.tier == "enterprise"


@pytest.mark.parametrize(
    ("scopes", "says"),
    [
        (["admin", "runs"], "admin is for a key of its own"),
        (["everything"], "is no scope"),
        ([], "needs a scope"),
    ],
)
def test_scopes_that_are_none_are_refused(ledger, with_key, by, scopes, says):
    with_key("ada", role="admin")
    with pytest.raises(UserError, match=says):
        api_keys.make(ledger, "ada", by, scopes=scopes)


def test_a_key_of_another_user_is_not_found(ledger, with_key, by):
    key, secret = with_key("ada")
    users.add(ledger, "bob", by)
    bob = api_keys.caller_of(ledger, api_keys.make(ledger, "bob", by)[1])
    with pytest.raises(NotFound, match="there is no key"):
        api_keys.revoke(ledger, key.key_id, by, owner="bob")
    with pytest.raises(NotFound, match="there is no key"):
        api_keys.rotate(ledger, key.key_id, by, maker=bob)
    assert api_keys.caller_of(ledger, secret) is not None


def test_a_key_is_named_by_a_beginning_or_by_itself_and_the_secret_is_not_repeated(
    ledger, with_key
):
    key, secret = with_key("ada")
    refs = (key.key_id, f"aid_{key.key_id}", key.key_id[:6], secret)
    assert {api_keys.named(ledger, ref) for ref in refs} == {key.key_id}
    for ref in (secret, secret[:20], ""):  # an id must be whole elsewhere
        with pytest.raises(NotFound) as missed:
            api_keys.find(ledger, ref)
        assert secret[15:20] not in str(missed.value)


def test_the_day_of_use_is_written_once_a_day(ledger, with_key):
    key, secret = with_key("ada")
    assert api_keys.find(ledger, key.key_id).used_on is None
    api_keys.caller_of(ledger, secret)
    used_on = api_keys.find(ledger, key.key_id).used_on
    assert len(used_on) == len("2026-11-30")
    writes = []

    class Watched:
        select = staticmethod(ledger.select)

        class database:  # noqa: N801 - as a ledger has it
            write = writes.append

    assert api_keys.caller_of(Watched, secret) is not None
    assert writes == []


def test_revoking_the_last_key_does_not_open_the_service_again(ledger, with_key, by):
    assert is_open(ledger)
    key, _ = with_key("ada")
    assert not is_open(ledger)
    api_keys.revoke(ledger, key.key_id, by)
    assert not is_open(ledger)
    assert LOCAL.may("users")
    assert LOCAL.may("runs:write")


def test_what_is_done_with_a_key_is_in_the_audit_log(ledger, with_key, by):
    key, _ = with_key("ada")
    new, _ = api_keys.rotate(ledger, key.key_id, dataclasses.replace(by, request_id="r-1"))
    api_keys.revoke(ledger, new.key_id, by)
    api_keys.revoke(ledger, new.key_id, by)  # nothing changes
    found = audit.entries(ledger)
    assert [one["action"] for one in found] == [
        "key.revoked",
        "key.rotated",
        "key.made",
        "user.added",
    ]
    assert found[1]["request_id"] == "r-1"
    assert {one["actor"] for one in found} == {"root"}
