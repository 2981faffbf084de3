"""Keys of providers: sealed for their place, the user's own apart from the system's, rotated by shares."""

from __future__ import annotations

import os
from decimal import Decimal

import pytest

from aideon_agents import Settings
from aideon_agents.access import charges, flags, provider_keys, users
from aideon_agents.access.callers import Caller
from aideon_agents.access.provider_keys import ProviderKeys, rotation
from aideon_agents.errors import InputError, NotFound, UserError
from aideon_agents.ledger.identity import new_run_id, now, utc_text
from aideon_agents.ledger.rows import Call, CallEnd, Run

ALICE = Caller("alice", "member", "free")
SECRET, OTHER = "tgp_v1_9f3kQ2mZ7xLw", "tgp_v1_Zq8wN5vB1cRt"


@pytest.fixture
def ring():
    return {"a": os.urandom(32)}


@pytest.fixture
def keys(ledger, ring, by):
    users.add(ledger, "alice", by)
    flags.change(ledger, "user_provider_keys", by, is_on=True)
    return ProviderKeys(ledger, Settings(together_api_key="env-key", openai_api_key="env-2"), ring)


def together_in(settings):
    key = settings.together_api_key
    return key.get_secret_value() if key else None


def called(ledger, key_id, source="system", error=None, cost=10**9):
    run_id = ledger.start_run(Run(workflow="w", user="alice"))
    call = Call(
        call_id=new_run_id(),
        run_id=run_id,
        node_path="",
        role="",
        provider="together",
        requested_model="m",
        started_at=utc_text(now()),
        provider_key_id=key_id,
        key_source=source,
    )
    ledger.start_call(call)
    status = "error" if error else "ok"
    end = CallEnd(status=status, duration_ms=1, error_type=error, cost_nanousd=cost)
    ledger.finish_call(call.call_id, end)


def test_no_secret_is_in_the_ledger_and_a_row_opens_only_where_it_belongs(ledger, keys, by):
    users.add(ledger, "bob", by)
    document = keys.store("alice", "together", SECRET, by)
    assert (document["last4"], document["state"], document["user"]) == ("7xLw", "active", "alice")
    rows = ledger.select("SELECT * FROM provider_keys") + ledger.select("SELECT * FROM audit")
    assert SECRET not in repr([dict(row) for row in rows])
    assert SECRET not in repr(document)
    ledger.database.write("UPDATE provider_keys SET owner = 'user:bob'", {})
    assert [one["state"] for one in keys.listed("bob")] == [provider_keys.ENTER_AGAIN]
    with pytest.raises(UserError, match="needs to be entered again"):
        keys.secret_of("bob", "together")
    with pytest.raises(UserError, match="needs to be entered again"):
        keys.settings_for(Caller("bob", "member", "free"), "run")


def test_a_run_with_the_users_own_key_asks_no_provider_with_the_systems(ledger, keys, by):
    keys.store(None, "openai", OTHER, by)
    document = keys.store("alice", "together", SECRET, by)
    settings, used = keys.settings_for(ALICE, "run")
    assert together_in(settings) == SECRET
    assert settings.openai_api_key is None
    assert used == {"together": (document["key_id"], "user")}
    keys.store("alice", "together", SECRET, by, may_fall_back=True)
    settings, used = keys.settings_for(ALICE, "run")
    assert settings.openai_api_key.get_secret_value() == OTHER
    assert {source for _, source in used.values()} == {"user", "system"}
    flags.change(ledger, "user_provider_keys", by, is_on=False)
    assert together_in(keys.settings_for(ALICE, "run")[0]) == "env-key"
    assert not provider_keys.has_own_key(ledger, "alice", "together")
    assert together_in(keys.settings_for(Caller("bob", "member", "free"), "run")[0]) == "env-key"
    keys.remove("alice", "together", by)
    with pytest.raises(NotFound):
        keys.remove("alice", "together", by)


@pytest.mark.parametrize(
    "secret",
    ["", "short", "your-together-key", "xxxxxxxxxxxxxxxx", "a b c d e f g h i j", "ключключключ"],
)
def test_a_placeholder_is_no_key(keys, by, secret):
    with pytest.raises(InputError) as caught:
        keys.store(None, "together", secret, by)
    assert not secret or secret not in str(caught.value)


@pytest.mark.parametrize("provider", ["nobody", "local"])
def test_a_provider_that_takes_no_key_is_refused(keys, by, provider):
    with pytest.raises(InputError, match="takes a key: write one of together"):
        keys.store(None, provider, SECRET, by)


def test_without_a_ring_the_environments_keys_work_and_stored_ones_are_refused(ledger, keys, by):
    keys.store(None, "together", SECRET, by)
    bare = ProviderKeys(ledger, keys.settings, {})
    bare.check_ring()
    assert together_in(bare.settings_for(ALICE, "run")[0]) == "env-key"
    with pytest.raises(UserError, match="set AIDEON_KEY_RING"):
        bare.store(None, "together", SECRET, by)
    keys.store("alice", "together", SECRET, by)
    with pytest.raises(UserError, match="set AIDEON_KEY_RING"):
        bare.settings_for(ALICE, "run")
    assert {one["state"] for one in bare.listed()} == {"needs AIDEON_KEY_RING"}


def test_a_ring_of_another_ledger_is_refused_at_the_start(ledger, keys, ring):
    keys.check_ring()
    keys.check_ring()
    with pytest.raises(UserError, match=r"was sealed with \(the key a\): add that key"):
        ProviderKeys(ledger, keys.settings, {"a": os.urandom(32)}).check_ring()
    ProviderKeys(ledger, keys.settings, {"b": os.urandom(32), **ring}).check_ring()


def test_resealing_continues_where_it_stopped_and_names_what_cannot_be_opened(
    ledger, keys, ring, by
):
    keys.check_ring()
    keys.store(None, "together", SECRET, by)
    lost = keys.store("alice", "together", OTHER, by)
    where = {"row_id": lost["key_id"]}
    ledger.database.write("UPDATE provider_keys SET sealed = 'AAAA' WHERE row_id = :row_id", where)
    newer = ProviderKeys(ledger, keys.settings, {"b": os.urandom(32), **ring})
    done = newer.reseal(by)
    assert (done["resealed"], done["unreadable"]) == (2, [lost["key_id"]])
    assert newer.reseal(by)["resealed"] == 0
    ledger.database.write("DELETE FROM provider_keys WHERE row_id = :row_id", where)
    assert newer.reseal(by)["unneeded"] == ["a"]
    only = ProviderKeys(ledger, keys.settings, {"b": newer.ring["b"]})
    only.check_ring()
    assert only.secret_of(None, "together")[1] == SECRET


def rotating(ledger, keys, by):
    old = keys.store(None, "together", OTHER, by)["key_id"]
    new = keys.rotate("together", SECRET, by)["key_id"]
    return old, new


def shares(keys):
    return {one["key_id"]: one["share"] for one in keys.listed(None)}


def step(ledger, by):
    rows = provider_keys.active(ledger, "system", "together")
    return rotation.step(ledger, rows, by)


def test_a_new_key_is_used_for_a_tenth_of_the_runs_and_a_run_keeps_its_key(ledger, keys, by):
    old, new = rotating(ledger, keys, by)
    assert shares(keys) == {new: 10, old: 90}
    with pytest.raises(UserError, match="is under way"):
        keys.rotate("together", SECRET, by)
    runs = [f"run-{number}" for number in range(60)]
    expected = {run: SECRET if provider_keys.place_of(run) < 10 else OTHER for run in runs}
    assert set(expected.values()) == {SECRET, OTHER}
    for _ in range(2):
        assert {run: together_in(keys.settings_for(ALICE, run)[0]) for run in runs} == expected


def test_a_new_key_beside_the_environments_begins_with_a_tenth_as_well(ledger, keys, by):
    keys.rotate("together", SECRET, by)
    found = {together_in(keys.settings_for(ALICE, f"run-{n}")[0]) for n in range(60)}
    assert found == {SECRET, "env-key"}


def test_a_new_key_takes_its_steps_after_enough_calls_and_the_old_one_is_erased(
    ledger, keys, by, monkeypatch
):
    monkeypatch.setattr(rotation, "_CALLS", 2)
    old, new = rotating(ledger, keys, by)
    step(ledger, by)
    assert shares(keys) == {new: 10, old: 90}
    for expected in ({new: 50, old: 50}, {new: 100, old: 0}, {new: 100}):
        for _ in range(2):
            called(ledger, new)
            called(ledger, old, error="KeyRejected")
        step(ledger, by)
        assert shares(keys) == expected
        ledger.database.write("UPDATE calls SET started_at = '2020'", {})
    (row,) = ledger.select("SELECT wrapped, sealed FROM provider_keys WHERE retired_at IS NOT NULL")
    assert (row["wrapped"], row["sealed"]) == ("", "")


@pytest.mark.parametrize("error", ["KeyRejected", "OutOfCredit"])
def test_a_new_key_that_is_rejected_more_often_is_taken_back_by_itself(ledger, keys, by, error):
    old, new = rotating(ledger, keys, by)
    for _ in range(9):
        called(ledger, old)
    called(ledger, new, error=error)
    step(ledger, by)
    assert shares(keys) == {new: 0, old: 100}
    assert {one["state"] for one in keys.listed(None) if one["key_id"] == new} == {"rejected"}
    bodies = [row["body"] for row in ledger.select("SELECT body FROM audit ORDER BY number")]
    assert "provider_key.taken_back" in bodies[-1]
    assert {together_in(keys.settings_for(ALICE, f"r{n}")[0]) for n in range(60)} == {OTHER}
    again = keys.rotate("together", SECRET, by)["key_id"]
    assert shares(keys) == {again: 10, old: 90}


def test_a_proven_key_of_ones_own_takes_a_tenth_off_the_charge_and_its_calls_use_no_credit(
    ledger, keys, by
):
    own = keys.store("alice", "together", SECRET, by)["key_id"]
    called(ledger, None, cost=2 * 10**9)
    called(ledger, own, "user", cost=10**9)
    (alice,) = charges.charges(ledger)["users"]
    assert (alice["spent_usd"], alice["charge_usd"]) == ("3.000000", "2.000000")
    keys.proven(own, by, works=True)
    (alice,) = charges.charges(ledger, user="alice")["users"]
    assert (alice["credit_usd"], alice["discount_usd"]) == ("2.000000", "0.200000")
    assert Decimal(alice["charge_usd"]) == Decimal("1.8")
    assert charges.charges(ledger, "2020-01")["users"] == []
    with pytest.raises(InputError):
        charges.charges(ledger, "2020-13")
