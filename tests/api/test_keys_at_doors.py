"""Keys of providers over HTTP: sealed, proven by the provider, rotated over real calls, never shown."""

from __future__ import annotations

import asyncio
import base64
import json
import os

import pytest

from aideon_agents.access import api_keys, flags, users
from aideon_agents.access.audit import By
from aideon_agents.access.provider_keys import rotation
from aideon_agents.api.app import create_app
from aideon_agents.models import catalog
from aideon_agents.testing import Fault, SimulatedProvider

BY = By("root", address="cli")
OLD, NEW, OWN = "tgp_v1_old9f3kQ2mZ7", "tgp_v1_newZq8wN5vB1", "tgp_v1_own7Yt2pL0sD"
BAD = "tgp_v1_bad4Rr6uH8jK"
ME, SYSTEM = "/api/v1/me/provider-keys", "/api/v1/provider-keys"
TEXT = {"prompt": "Describe heat pumps", "max_tokens": 40}


@pytest.fixture
def accepted():
    """The keys that the provider takes, and those whose accounts are not empty."""
    return {OLD, NEW, OWN}, {OLD, NEW, OWN}


@pytest.fixture
def provider(accepted):
    known, paid = accepted

    def fault(request):
        return None if request.key in paid else Fault(402)

    with SimulatedProvider(keys=known, faults=fault) as running:
        yield running


@pytest.fixture
async def as_user(make_service, client_of, ledger, provider, monkeypatch):
    """Makes a client with a key of a user of a service that calls the provider."""
    monkeypatch.setenv("TOGETHER_API_KEY", OLD)
    monkeypatch.setattr(rotation, "_LOOK", 0.0)
    monkeypatch.setenv("TOGETHER_BASE_URL", provider.base_url)
    ring = base64.b64encode(os.urandom(24) + bytes(range(200, 208))).decode()
    monkeypatch.setenv("AIDEON_KEY_RING", f"a:{ring}")
    service = make_service(rehearse=False)
    await service.open()
    app = create_app(service)
    flags.change(ledger, "user_provider_keys", BY, is_on=True)

    def make(user, role="member", tier="free", **given):
        users.add(ledger, user, BY, role=role, tier=tier)
        key = api_keys.make(ledger, user, BY, **given)[1]
        return client_of(app, Authorization=f"Bearer {key}")

    yield make
    await service.drain()


@pytest.fixture
def manager(as_user):
    return as_user("root", "admin", "premium", scopes=["admin"])


def actions(ledger):
    return [row["body"] for row in ledger.select("SELECT body FROM audit ORDER BY number")]


async def test_a_key_of_ones_own_is_stored_proven_and_removed_and_never_shown(as_user, ledger):
    alice, bob = as_user("alice"), as_user("bob")
    stored = await alice.put(f"{ME}/together", json={"key": OWN, "may_fall_back": True})
    assert stored.status_code == 200, stored.text
    shown = stored.json()
    assert (shown["user"], shown["last4"], shown["state"]) == ("alice", OWN[-4:], "active")
    assert (shown["may_fall_back"], shown["proven_at"]) == (True, None)
    proof = await alice.post(f"{ME}/together/proof")
    assert (proof.status_code, proof.json()["state"]) == (200, "proven")
    (listed,) = (await alice.get(ME)).json()["items"]
    assert listed["proven_at"] is not None
    assert (await bob.get(ME)).json()["items"] == []
    for answer in (await bob.delete(f"{ME}/together"), await bob.post(f"{ME}/together/proof")):
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    rows = repr([dict(row) for row in ledger.select("SELECT * FROM provider_keys")])
    assert OWN not in rows + stored.text + str(actions(ledger))
    assert (await alice.delete(f"{ME}/together")).status_code == 204
    assert (await alice.delete(f"{ME}/together")).status_code == 404
    said = [json.loads(body)["action"] for body in actions(ledger)]
    done = ("set", "proven", "removed")
    assert [one for one in said if "provider_key" in one] == [f"provider_key.{one}" for one in done]


async def test_a_key_that_the_provider_rejects_is_refused_by_the_proof(as_user, provider):
    alice = as_user("alice")
    await alice.put(f"{ME}/together", json={"key": BAD})
    assert (await alice.post(f"{ME}/together/proof")).json()["state"] == "refused"
    assert (await alice.get(ME)).json()["items"][0]["state"] == "rejected"
    await alice.put(f"{ME}/together", json={"key": OWN})
    assert (await alice.post(f"{ME}/together/proof")).json()["state"] == "proven"
    provider.close()
    answer = await alice.post(f"{ME}/together/proof")
    assert (answer.status_code, answer.json()["code"]) == (502, "provider_unreachable")
    assert OWN not in answer.text
    assert (await alice.get(ME)).json()["items"][0]["state"] == "active"


@pytest.mark.parametrize(
    ("name", "body", "status"),
    [
        ("together", {"key": "changeme-changeme"}, 422),
        ("together", {"key": OWN, "user": "bob"}, 422),
        ("together", {}, 422),
        ("local", {"key": OWN}, 422),
        ("nobody", {"key": OWN}, 422),
        ("together", {"key": OWN + "\nX-Head: 1"}, 422),
    ],
)
async def test_what_is_no_key_or_not_ones_own_is_refused(as_user, ledger, name, body, status):
    answer = await as_user("alice").put(f"{ME}/{name}", json=body)
    assert answer.status_code == status
    assert OWN not in answer.text
    assert ledger.select("SELECT 1 FROM provider_keys WHERE owner = 'user:alice'") == []


async def test_users_store_keys_only_where_an_admin_has_switched_it_on(as_user, ledger):
    alice = as_user("alice")
    flags.change(ledger, "user_provider_keys", BY, is_on=False)
    answer = await alice.put(f"{ME}/together", json={"key": OWN})
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


async def test_without_a_ring_storing_a_key_is_refused_and_says_what_to_set(
    make_service, client_of, ledger, monkeypatch
):
    users.add(ledger, "root", BY, role="admin")
    key = api_keys.make(ledger, "root", BY, scopes=["admin"])[1]
    async with client_of(create_app(make_service()), Authorization=f"Bearer {key}") as client:
        answer = await client.put(f"{SYSTEM}/together", json={"key": OWN})
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
        assert "AIDEON_KEY_RING" in answer.json()["detail"]


async def test_an_admin_stores_proves_rotates_and_removes_the_systems_key(manager, ledger):
    assert (await manager.get(f"{SYSTEM}/together/rotation")).status_code == 404
    assert (await manager.put(f"{SYSTEM}/together", json={"key": OLD})).json()["share"] == 100
    assert (await manager.post(f"{SYSTEM}/together/proof")).json()["state"] == "proven"
    place = f"{SYSTEM}/together/rotation"
    refused = await manager.post(place, json={"key": BAD})
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid")
    assert "rejects this key" in refused.json()["detail"]
    assert (await manager.get(place)).json()["under_way"] is False
    for wrong in ({}, {"key": NEW, "step": "next"}, {"step": "sideways"}):
        assert (await manager.post(place, json=wrong)).status_code == 422
    assert (await manager.post(place, json={"step": "next"})).status_code == 409
    begun = (await manager.post(place, json={"key": NEW})).json()
    assert (begun["share"], begun["next"], begun["under_way"]) == (10, 50, True)
    assert [(one["last4"], one["share"]) for one in begun["keys"]] == [
        (NEW[-4:], 10),
        (OLD[-4:], 90),
    ]
    assert begun["keys"][0]["proven_at"] is not None
    assert (await manager.post(place, json={"key": OWN})).status_code == 409
    steps = [(await manager.post(place, json={"step": "next"})).json() for _ in range(3)]
    assert [(one["share"], one["under_way"]) for one in steps] == [
        (50, True),
        (100, True),
        (100, False),
    ]
    assert [one["last4"] for one in (await manager.get(SYSTEM)).json()["items"]] == [NEW[-4:]]
    await manager.post(place, json={"key": OLD})
    back = (await manager.post(place, json={"step": "back"})).json()
    assert [(one["last4"], one["share"]) for one in back["keys"]] == [
        (OLD[-4:], 0),
        (NEW[-4:], 100),
    ]
    assert back["keys"][0]["state"] == "active", "a person took it back, not the provider"
    assert (await manager.delete(f"{SYSTEM}/together")).status_code == 204
    assert (await manager.get(SYSTEM)).json()["items"] == []
    assert all(secret not in str(actions(ledger)) for secret in (OLD, NEW, BAD))


@pytest.mark.parametrize("place", [0, 1], ids=["rejected", "out of credit"])
async def test_a_new_system_key_that_fails_is_taken_back_by_itself_over_real_calls(
    as_user, manager, ledger, accepted, place
):
    alice = as_user("alice", tier="premium")
    await manager.put(f"{SYSTEM}/together", json={"key": OLD})
    await manager.post(f"{SYSTEM}/together/rotation", json={"key": NEW})
    accepted[place].discard(NEW)
    path, state = "/api/v1/together/text/completions", {"under_way": True}
    tries = 0
    while state["under_way"] and (tries := tries + 1) < 300:
        await alice.post(path, json=TEXT)
        state = (await manager.get(f"{SYSTEM}/together/rotation")).json()
    assert [(one["last4"], one["share"]) for one in state["keys"]] == [
        (NEW[-4:], 0),
        (OLD[-4:], 100),
    ]
    assert state["keys"][0]["state"] == "rejected"
    assert "provider_key.taken_back" in actions(ledger)[-1]
    kind = ("KeyRejected", "OutOfCredit")[place]
    sql = "SELECT DISTINCT error_type FROM calls WHERE status = 'error'"
    assert [row["error_type"] for row in ledger.select(sql)] == [kind]
    answers = [await alice.post(path, json=TEXT) for _ in range(20)]
    assert {one.status_code for one in answers} == {200}


def large():
    """The large model that is asked first, which the tier free does not have."""
    return str(catalog.load(None, "current").rungs["large"][0])


async def listed_by(client):
    together = (await client.get("/api/v1/together/models")).json()["models"]
    openai = (await client.get("/v1/models")).json()["data"]
    return {one["id"] for one in together}, {one["id"] for one in openai}


async def test_a_key_of_ones_own_opens_every_model_of_its_provider_whatever_the_tier(
    as_user, ledger, provider
):
    alice, name = as_user("alice"), large()
    body = {"messages": [{"role": "user", "content": "Describe heat pumps"}]}
    run = {"workflow": "one", "task": "Describe heat pumps", "model": {"creative": name}}
    wait = {"Prefer": "wait=60"}

    async def asked():
        answers = (
            await alice.post("/v1/chat/completions", json={**body, "model": name}),
            await alice.post("/v1/chat/completions", json={**body, "model": "together:a/b"}),
            await alice.post("/api/v1/runs", json=run, headers=wait),
            await alice.post("/api/v1/together/text/completions", json=TEXT),
        )
        return [one.status_code for one in answers], answers[-1].json()["model_id"]

    models, names = await listed_by(alice)
    assert name not in names
    statuses, small = await asked()
    assert statuses == [404, 404, 422, 200]
    assert (await alice.put(f"{ME}/together", json={"key": OWN})).status_code == 200
    more, more_names = await listed_by(alice)
    assert models < more
    assert name in more_names
    assert {one.partition(":")[0] for one in more_names if ":" in one} == {"workflow", "together"}
    statuses, chosen = await asked()
    assert statuses == [200] * 4
    assert (small in models, f"together:{chosen}") == (True, name)
    calls = [one for run in ledger.runs()[:4] for one in ledger.calls(run.run_id)]
    assert {(one.key_source, one.status) for one in calls} == {("user", "ok")}
    assert {one.key_tail for one in provider.bill.calls[-4:]} == {OWN[-4:]}
    flags.change(ledger, "user_provider_keys", BY, is_on=False)
    assert (await listed_by(alice)) == (models, names)
    assert (await asked())[0] == [404, 404, 422, 200]


async def test_an_own_key_that_fails_never_uses_the_systems_unless_the_user_said_so(
    as_user, accepted, provider
):
    alice = as_user("alice")
    await alice.put(f"{ME}/together", json={"key": OWN})
    accepted[0].discard(OWN)
    before = len(provider.bill.calls)
    assert (await alice.post("/api/v1/together/text/completions", json=TEXT)).status_code == 502
    assert len(provider.bill.calls) == before


async def test_an_own_key_uses_no_quota_and_takes_a_tenth_off_the_months_charge(
    as_user, ledger, monkeypatch
):
    alice = as_user("alice")
    path = "/api/v1/together/text/completions"
    assert (await alice.post(path, json=TEXT)).status_code == 200
    used = (await alice.get("/api/v1/me/quota")).json()["features"]["text_generation"]
    assert used["requests_used"] == 1
    await alice.put(f"{ME}/together", json={"key": OWN})
    await alice.post(f"{ME}/together/proof")
    assert (await alice.post(path, json=TEXT)).status_code == 200
    assert (await alice.get("/api/v1/me/quota")).json()["features"]["text_generation"] == used
    ledger.database.write("UPDATE calls SET simulated = 0, cost_nanousd = 2000000000", {})
    report = (await alice.get("/api/v1/me/usage")).json()
    month = ledger.runs()[0].started_at[:7]
    assert report["charge"] == {
        "month": month,
        "spent_usd": "4.000000",
        "credit_usd": "2.000000",
        "discount_usd": "0.200000",
        "charge_usd": "1.800000",
        "own_key_calls": 1,
        "complete": True,
    }
    bob = (await as_user("bob").get("/api/v1/me/usage", params={"since": "2026-01-05"})).json()
    assert (bob["charge"]["month"], bob["charge"]["charge_usd"]) == ("2026-01", "0.000000")


async def test_a_batch_and_its_approval_use_the_callers_own_key(as_user, ledger, provider):
    alice = as_user("alice")
    await alice.put(f"{ME}/together", json={"key": OWN})
    given = {"workflow": "asks", "items": [{"task": "Describe heat pumps"}]}
    refused = await alice.post("/api/v1/batches", json={**given, "model": {"creative": "openai:x"}})
    assert refused.status_code == 422
    made = await alice.post("/api/v1/batches", json=given)
    assert made.status_code == 202, made.text
    place = f"/api/v1/batches/{made.json()['batch_id']}"

    async def until(word):
        async with asyncio.timeout(60):
            while (shown := (await alice.get(place)).json())["status"] == "running" or not (
                word == "completed" or shown["waiting_items"]
            ):
                await asyncio.sleep(0.05)
        return shown

    await until("waiting")
    answered = await alice.post(f"{place}/approve", json={"answer": {"approved": True}})
    assert answered.status_code in (200, 202), answered.text
    assert (await until("completed"))["completed"] == 1
    assert len(provider.bill.calls) == 2
    assert {one.key_tail for one in provider.bill.calls} == {OWN[-4:]}
    sql = "SELECT key_source, COUNT(*) AS calls FROM calls GROUP BY key_source"
    assert [tuple(row.values()) for row in map(dict, ledger.select(sql))] == [("user", 2)]
