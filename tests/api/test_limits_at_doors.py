"""Limits over HTTP: quotas and budgets that admins set, what binds a caller, and the heads of answers."""

from __future__ import annotations

import time

import pytest

from aideon_agents.access import audit, quotas
from aideon_agents.access.audit import By
from aideon_agents.api.app import create_app
from aideon_agents.api.asking import Rates
from aideon_agents.testing import SimulatedProvider

BY = By("root", address="cli")
RUN = {"workflow": "one", "task": "Describe heat pumps"}
WAIT = {"Prefer": "wait=60"}
HEADS = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")


@pytest.fixture
def admin(key_of, as_key):
    return as_key(key_of("root", role="admin", scopes=["admin"]))


def changed(ledger):
    return [(one["action"], one["target"]) for one in audit.entries(ledger) if one["key_id"]]


@pytest.mark.parametrize("place", ["quotas/free", "users/alice/quotas"])
async def test_an_admin_sets_quotas_unless_they_were_changed_since_they_were_read(
    admin, key_of, as_key, ledger, place
):
    alice, path = as_key(key_of("alice", tier="free")), f"/api/v1/{place}"
    read = await admin.get(path)
    wanted = {"feature": "text_generation", "unit": "requests", "limit": 7}
    unlimited = {"feature": "audio_tts", "unit": "minutes", "limit": None}
    body = {"quotas": [wanted, unlimited]}
    assert (await admin.put(path, json=body)).status_code == 428
    heads = {"If-Match": read.headers["ETag"]}
    done = await admin.put(path, json=body, headers=heads)
    assert done.status_code == 200, done.text
    set_ = [one for one in done.json()["quotas"] if one["set_by"]]
    assert [{**one, "set_by": "root"} for one in (unlimited, wanted)] == sorted(
        set_, key=lambda one: one["feature"]
    )
    assert (await admin.put(path, json=body, headers=heads)).status_code == 412
    features = (await alice.get("/api/v1/me/quota")).json()["features"]
    assert features["text_generation"]["requests_limit"] == 7
    assert features["audio_tts"]["minutes_limit"] is None
    heads = {"If-Match": done.headers["ETag"]}
    assert (await admin.put(path, json={"quotas": []}, headers=heads)).status_code == 200
    features = (await alice.get("/api/v1/me/quota")).json()["features"]
    assert features["text_generation"]["requests_limit"] == 50
    actions = [action for action, _ in changed(ledger)]
    assert actions.count("quota.set") == actions.count("quota.removed") == 2


@pytest.mark.parametrize(
    ("place", "quota", "status"),
    [
        ("quotas/gold", {}, 422),
        ("users/nobody/quotas", {}, 404),
        ("quotas/free", {"limit": -1}, 422),
        ("quotas/free", {"limit": 1.5}, 422),
        ("quotas/free", {"unit": "minutes"}, 422),
        ("quotas/free", {"unit": "poems"}, 422),
    ],
)
async def test_a_quota_that_cannot_be_is_refused_and_nothing_is_set(
    admin, ledger, place, quota, status
):
    given = {"feature": "text_generation", "unit": "requests", "limit": 1, **quota}
    body, heads = {"quotas": [given]}, {"If-Match": "*"}
    assert (await admin.put(f"/api/v1/{place}", json=body, headers=heads)).status_code == status
    assert ledger.select("SELECT * FROM quotas") == []


async def test_an_admin_sets_lists_and_removes_budgets_with_what_is_left(admin, ledger):
    path = "/api/v1/budgets/day:user:alice"
    made = await admin.put(path, json={"usd": "0.50"})
    assert made.status_code == 200, made.text
    day = made.json().pop("window")
    assert made.json() == {
        "scope": "day:user:alice",
        "usd": "0.500000",
        "enforced": True,
        "window": day,
        "spent_usd": "0.000000",
        "held_usd": "0.000000",
        "left_usd": "0.500000",
    }
    assert (await admin.put("/api/v1/budgets/node:refine/draft", json={"usd": "1"})).json()[
        "scope"
    ] == "node:refine/draft"
    each = (await admin.put("/api/v1/budgets/run", json={"usd": "2", "enforced": False})).json()
    assert (each["left_usd"], each["enforced"]) == (None, False)
    scopes = {one["scope"] for one in (await admin.get("/api/v1/budgets")).json()["items"]}
    assert scopes >= {"day:user:alice", "node:refine/draft", "run"}
    assert (await admin.delete(path)).status_code == 204
    assert (await admin.delete(path)).status_code == 404
    for wrong in ("poem", "tier:gold", "day:user:"):
        answer = await admin.put(f"/api/v1/budgets/{wrong}", json={"usd": "1"})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
    assert (await admin.put(path, json={"usd": "-1"})).status_code == 422
    assert changed(ledger)[0] == ("budget.removed", "day:user:alice")
    assert ("budget.set", "run") in changed(ledger)


async def test_a_user_sees_the_tightest_limit_first_its_rate_and_its_models(
    admin, key_of, as_key, ledger
):
    alice = as_key(key_of("alice", tier="free"))
    first = (await alice.get("/api/v1/me/limits")).json()
    assert (first["tier"], first["rate"]["limit"]) == ("free", 6000)
    assert first["rate"]["remaining"] < 6000
    assert {one["unit"] for one in first["limits"]} == {"requests", "tokens", "minutes"}
    await admin.put("/api/v1/budgets/month:user:alice", json={"usd": "0"})
    await admin.put("/api/v1/budgets/day:user:bob", json={"usd": "0"})
    found = (await alice.get("/api/v1/me/limits")).json()
    assert found["tightest"] == {
        "name": "month:user:alice",
        "unit": "usd",
        "limit": "0.000000",
        "used": "0.000000",
        "left": "0.000000",
        "reset_at": None,
    }
    assert "bob" not in str(found)
    viewer = as_key(key_of("eve", role="viewer"))
    assert (await viewer.get("/api/v1/me/limits")).json()["models"] == []


async def test_answers_say_what_is_left_of_the_quota_or_of_the_rate_of_the_key(
    make_service, client_of, key_of, ledger, monkeypatch
):
    with SimulatedProvider() as provider:
        monkeypatch.setenv("TOGETHER_API_KEY", "sim-key")
        monkeypatch.setenv("TOGETHER_BASE_URL", provider.base_url)
        service = make_service(rehearse=False)
        await service.open()
        app = create_app(service)
        quotas.set_quota(ledger, "tier:premium", "text_generation", "requests", BY, most=2)
        async with client_of(app, Authorization=f"Bearer {key_of('alice')}") as alice:
            me = await alice.get("/api/v1/me")
            assert me.headers["X-RateLimit-Limit"] == "6000"
            text = {"prompt": "Describe heat pumps", "max_tokens": 40}
            path = "/api/v1/together/text/completions"
            answers = [
                await alice.post("/api/v1/runs", json=RUN, headers=WAIT),
                await alice.post(path, json={**text, "stream": True}),
                await alice.post(path, json=text),
            ]
            assert [one.status_code for one in answers] == [200, 200, 429]
            shown = [[int(one.headers[name]) for name in HEADS] for one in answers]
            assert [one[:2] for one in shown] == [[2, 1], [2, 0], [2, 0]]
            assert all(time.time() < one[2] < time.time() + 86_401 for one in shown)
            assert int(answers[-1].headers["Retry-After"]) > 0
        app.state.rates = Rates(requests=1)
        async with client_of(app, Authorization=f"Bearer {key_of('bob')}") as bob:
            heads = [(await bob.get("/api/v1/me")).headers for _ in range(2)]
            assert [[one[name] for name in HEADS[:2]] for one in heads] == [["1", "0"]] * 2
            assert int(heads[1]["Retry-After"]) > 0
        await service.drain()
