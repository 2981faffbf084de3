"""Who may ask what: every route with every role, other users' rows, keys, sessions, and what is managed."""

from __future__ import annotations

import logging
import re
from datetime import timedelta

import pytest
from fastapi.routing import iter_route_contexts

from aideon_agents.access import api_keys, flags, sessions, users
from aideon_agents.access.audit import By
from aideon_agents.access.roles import ROLES, SCOPES
from aideon_agents.api.app import create_app
from aideon_agents.api.asking import Rates
from aideon_agents.ledger.identity import now

BY = By("root", address="cli")
PUBLIC = {"/healthz", "/readyz", "/ok"}
"""Routes that need no caller."""


def at(path, **rows):
    """A path with ids of rows; one that is not given names no row."""
    return re.sub(r"{(\w+)}", lambda found: rows.get(found[1], "0" * 26), path)


FALLBACK = "/api/v1/flags/together_ai_fallback"


@pytest.fixture
def app(service):
    return create_app(service)


@pytest.fixture
def key_of(ledger):
    """A key of a user, who is added when there is none."""

    def make(user, role="member", **given):
        if not ledger.select("SELECT role FROM users WHERE user_id = :user", {"user": user}):
            users.add(ledger, user, BY, role=role, tier=given.pop("tier", "premium"))
        return api_keys.make(ledger, user, BY, **given)[1]

    return make


@pytest.fixture
def as_key(app, client_of):
    """A client that sends a key."""
    return lambda key: client_of(app, Authorization=f"Bearer {key}")


@pytest.fixture
def signed_in(app, client_of, ledger):
    """A client with the session of a user, and what it repeats."""

    def sign_in(user, *, with_csrf=True):
        secret = sessions.use_link(ledger, sessions.make_link(ledger, user, BY), BY)
        heads = {"Cookie": f"{sessions.COOKIE}={secret}"}
        if with_csrf:
            heads["X-CSRF-Token"] = sessions.session_of(ledger, secret)[1]
        return client_of(app, **heads)

    return sign_in


def routes_of(app):
    """Method, path and permissions of each route: of each set, one is enough."""
    for route in iter_route_contexts(app.routes):
        dependant = getattr(route, "dependant", None)
        asked = [
            {one.call.permission, *getattr(one.call, "others", ())}
            for one in flat(dependant)
            if hasattr(one.call, "permission")
        ]
        for method in sorted((route.methods or {"GET"}) - {"HEAD"}):
            yield method, route.path, asked


def flat(dependant):
    if dependant:
        yield dependant
        for one in dependant.dependencies:
            yield from flat(one)


def test_every_route_has_a_permission_but_those_that_need_no_caller(app):
    found = list(routes_of(app))
    assert len(found) > 25
    without = {path for _, path, asked in found if not asked}
    assert without == PUBLIC
    known = set().union(*ROLES.values()) | {None}
    assert set().union(*(one for _, _, asked in found for one in asked)) <= known


async def test_no_route_answers_without_a_key_and_each_only_the_roles_that_may(
    app, key_of, as_key, client_of
):
    roles = {role: as_key(key_of(role, role)) for role in ROLES}
    manager = as_key(key_of("admin", scopes=["admin"]))
    async with client_of(app) as stranger:
        for method, path, asked in routes_of(app):
            if path in PUBLIC:
                continue
            place = at(path)
            answer = await stranger.request(method, place)
            assert answer.status_code == 401, (method, place)
            for role, client in roles.items():
                # Its key has every scope but admin, which a key has alone.
                may = ROLES[role] - SCOPES["admin"] | {None}
                answer = await client.request(method, place)
                # A row that is not there is not found, before a permission to change it is asked.
                is_refused = answer.status_code in ({403, 404} if "{" in path else {403})
                if not all(one & may for one in asked):
                    assert is_refused, (role, method, place)
                else:
                    assert answer.status_code != 403, (role, method, place)
                assert answer.status_code != 401, (role, method, place)
                assert answer.status_code != 500 or path == "/mcp", (
                    "its door is not open in this test"
                )
            answer = await manager.request(method, place)
            may = SCOPES["admin"] | {None}
            refused = {403, 404} if "{" in path else {403}
            may_it = all(one & may for one in asked)
            assert may_it or answer.status_code in refused, (method, place)
            assert not may_it or answer.status_code != 403, (method, place)


async def test_a_row_of_another_user_is_not_found_and_stays_as_it_is(app, key_of, as_key, ledger):
    bob, alice = as_key(key_of("bob")), as_key(key_of("alice", "admin"))
    heads = {"Prefer": "wait=60"}
    body = {"workflow": "asks", "task": "heat pumps"}
    run = (await bob.post("/api/v1/runs", json=body, headers=heads)).json()
    bobs = api_keys.listed(ledger, "bob")[0]
    own = {"run_id": run["run_id"], "key_id": bobs.key_id}
    bodies = {"answer": {"answer": "yes"}, "feedback": {"score": 1}}
    tried = 0
    for method, path, _ in routes_of(app):
        named = re.findall(r"{(\w+)}", path)
        if not set(named) & own.keys() or path == "/api/v1/keys/{key_id}":
            continue
        body = bodies.get(path.rpartition("/")[2])
        answer = await alice.request(method, at(path, **own), json=body)
        assert answer.status_code == 404, (method, path, answer.text)
        missing = await alice.request(method, at(path), json=body)
        same = ("status", "code", "title", "type")
        assert [answer.json()[one] for one in same] == [missing.json()[one] for one in same]
        tried += 1
    assert tried >= 5
    assert (await bob.get(f"/api/v1/runs/{run['run_id']}")).json()["status"] == "waiting"
    assert run["run_id"] not in (await alice.get("/api/v1/runs")).text


async def test_a_key_is_given_as_bearer_or_x_api_key(app, key_of, as_key, client_of):
    key = key_of("alice")
    for client in (as_key(key), client_of(app, **{"x-api-key": key})):
        found = (await client.get("/api/v1/me")).json()
        assert (found["user"], found["role"], found["tier"]) == ("alice", "member", "premium")
        assert key not in str(found)


async def test_keys_that_do_not_work_all_get_the_same_answer(app, key_of, ledger, as_key):
    expired = key_of("alice", expires_at=now() + timedelta(days=1))
    revoked, blocked = key_of("alice"), key_of("bob")
    at = {"at": "2026-01-01T00:00:00.000Z"}
    ledger.database.write("UPDATE api_keys SET expires_at = :at WHERE expires_at > ''", at)
    api_keys.revoke(ledger, api_keys.key_id_in(revoked), BY)
    users.change(ledger, "bob", BY, blocked=True)
    unknown = api_keys._new_secret()
    answers = set()
    for key in (expired, revoked, blocked, unknown, unknown[:-1] + "!", "sk-something-else"):
        answer = await as_key(key).get("/api/v1/me")
        body = answer.json()
        body.pop("request_id")
        answers.add((answer.status_code, answer.headers["www-authenticate"], str(body)))
        assert key not in answer.text
    assert len(answers) == 1
    assert next(iter(answers))[0] == 401


async def test_a_revoked_key_is_dead_at_the_next_request_of_another_process(
    key_of, ledger, served_by, monkeypatch, folder
):
    monkeypatch.setenv("AIDEON_LEDGER", f"sqlite:///{folder / 'ledger.db'}")
    key = key_of("alice")
    heads = {"Authorization": f"Bearer {key}"}
    _, client = served_by("--rehearse")
    statuses = [client.get("/api/v1/me", headers=heads).status_code for _ in range(2)]
    api_keys.revoke(ledger, api_keys.key_id_in(key), BY)
    statuses += [client.get("/api/v1/me", headers=heads).status_code for _ in range(2)]
    assert statuses == [200, 200, 401, 401]


async def test_the_service_is_open_only_until_it_has_a_key(client, app, key_of, client_of, ledger):
    assert (await client.get("/api/v1/me")).json()["user"] == "ada"
    async with client_of(app, Authorization="Bearer none") as sdk:  # one that must send a word
        assert (await sdk.get("/api/v1/me")).status_code == 200
    async with client_of(app, Authorization=f"Bearer {api_keys._new_secret()}") as wrong:
        assert (await wrong.get("/api/v1/me")).status_code == 401
    key = key_of("alice")
    assert (await client.get("/api/v1/me")).status_code == 401
    api_keys.revoke(ledger, api_keys.key_id_in(key), BY)
    assert (await client.get("/api/v1/me")).status_code == 401


async def test_an_address_is_locked_out_after_failed_sign_ins(service, key_of, client_of):
    app = create_app(service)
    app.state.rates = Rates(failures=3)
    key = key_of("alice")
    async with client_of(app) as client:
        for _ in range(3):
            assert (
                await client.get("/api/v1/me", headers={"x-api-key": "aid_"})
            ).status_code == 401
        for given in ("aid_", key):
            answer = await client.get("/api/v1/me", headers={"x-api-key": given})
            assert (answer.status_code, answer.json()["code"]) == (429, "locked_out")
            assert 1 <= int(answer.headers["retry-after"]) <= 60
    async with client_of(create_app(service), **{"x-api-key": key}) as other:
        assert (await other.get("/api/v1/me")).status_code == 200


async def test_a_key_has_a_rate_and_another_key_has_its_own(service, key_of, client_of):
    app = create_app(service)
    app.state.rates = Rates(requests=3)
    async with client_of(app) as client:
        first, second = ({"x-api-key": key_of(user)} for user in ("alice", "bob"))
        statuses = [(await client.get("/api/v1/me", headers=first)).status_code for _ in range(4)]
        assert statuses == [200, 200, 200, 429]
        assert (await client.get("/api/v1/me", headers=second)).status_code == 200


async def test_a_session_needs_its_csrf_word_for_changes_and_a_key_does_not(
    key_of, signed_in, as_key, ledger
):
    key, place = key_of("alice"), "/api/v1/runs"
    body, wait = {"workflow": "one", "task": "heat pumps"}, {"Prefer": "wait=60"}
    async with signed_in("alice", with_csrf=False) as forged:
        assert (await forged.get("/api/v1/me")).json()["user"] == "alice"
        for word in ({}, {"X-CSRF-Token": "made-up"}):
            refused = await forged.post(place, json=body, headers=word)
            assert (refused.status_code, refused.json()["code"]) == (403, "csrf")
        assert ledger.runs() == []
    async with signed_in("alice") as own:
        assert (await own.post(place, json=body, headers=wait)).status_code == 200
    assert (await as_key(key).post(place, json=body, headers=wait)).status_code == 200


async def test_the_tier_free_switched_off_refuses_spending_and_nothing_else(key_of, as_key, ledger):
    free, premium = as_key(key_of("alice", tier="free")), as_key(key_of("bob"))
    flags.change(ledger, "together_ai_free_tier", BY, is_on=False)
    body = {"workflow": "one", "task": "heat pumps"}
    refused = await free.post("/api/v1/runs", json=body)
    assert (refused.status_code, refused.json()["code"]) == (403, "free_tier_off")
    for place in ("/api/v1/me", "/api/v1/me/usage", "/api/v1/runs"):
        assert (await free.get(place)).status_code == 200
    wait = {"Prefer": "wait=60"}
    assert (await premium.post("/api/v1/runs", json=body, headers=wait)).status_code == 200


async def test_no_secret_is_in_a_row_a_log_or_an_answer(as_key, key_of, signed_in, ledger, caplog):
    caplog.set_level(logging.DEBUG)
    key = key_of("alice")
    client = as_key(key)
    made = key_of("alice")
    body = {"workflow": "fails", "task": "heat pumps"}
    answers = [
        (await client.post("/api/v1/runs", json=body, headers={"Prefer": "wait=60"})).text,
        (await client.get(f"/api/v1/runs/{made}")).text,
        (await client.get(f"/api/v1/workflows/{made}")).text,
        (await client.post("/api/v1/runs", json=body | {"workflow": made})).text,
        (await client.get(f"/api/v1/nowhere/{made}", params={"key": made})).text,
        (await as_key(made + "x").get("/api/v1/me")).text,
    ]
    async with signed_in("alice") as browser:
        cookie = browser.headers["cookie"].partition("=")[2]
        answers.append((await browser.get("/api/v1/me")).text)
    secrets = [one.rpartition("_")[2] for one in (key, made)] + [cookie]
    tables = (
        "api_keys",
        "sessions",
        "sign_in_links",
        "audit",
        "users",
        "runs",
        "calls",
        "run_events",
    )
    rows = [dict(row) for name in tables for row in ledger.select(f"SELECT * FROM {name}")]  # noqa: S608 - our names
    logs = [one.getMessage() for one in caplog.records if not one.name.startswith("http")]
    places = {"rows": repr(rows), "logs": "".join(logs), "answers": "".join(answers)}
    places["reprs"] = repr((api_keys.caller_of(ledger, key), api_keys.listed(ledger)))
    assert "audit" in places["logs"]
    for secret in secrets:
        assert [name for name, text in places.items() if secret in text] == []
