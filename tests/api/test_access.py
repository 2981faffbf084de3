"""Who may ask what: every route with every role, other users' rows, keys, sessions, and what is managed."""

from __future__ import annotations

import logging
import re
from datetime import timedelta

import pytest
from fastapi.routing import iter_route_contexts

from aideon_agents.access import api_keys, audit, flags, users
from aideon_agents.access.audit import By
from aideon_agents.access.roles import ROLES, SCOPES
from aideon_agents.api.app import create_app
from aideon_agents.api.asking import Rates
from aideon_agents.ledger.identity import now
from aideon_agents.ledger.schema import table_names

BY = By("root", address="cli")
PUBLIC = {"/healthz", "/readyz", "/ok", "/sign-in", "/sign-in/oidc", "/sign-in/oidc/callback"}
"""Routes that need no caller."""


def at(path, **rows):
    """A path with ids of rows; one that is not given names no row."""
    return re.sub(r"{(\w+)}", lambda found: rows.get(found[1], "0" * 26), path)


FALLBACK = "/api/v1/flags/together_ai_fallback"


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
    own["thread_id"] = (await bob.post("/api/v1/threads", json={})).json()["thread_id"]
    batch = {"workflow": "asks", "items": [{"task": "heat pumps"}]}
    own["batch_id"] = (await bob.post("/api/v1/batches", json=batch)).json()["batch_id"]
    bodies = {
        "answer": {"answer": "yes"},
        "feedback": {"score": 1},
        "checkpoint": {"checkpoint": {}},
    }
    begins = {"assistant_id": "one", "input": "x"}
    bodies |= {"runs": begins, "wait": begins, "stream": begins}
    bodies |= {"history": {}, "{thread_id}": {"metadata": {"a": 1}}}
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
    assert tried >= 30
    assert (await bob.get(f"/api/v1/runs/{run['run_id']}")).json()["status"] == "waiting"
    assert (await bob.get("/api/v1/me/keys")).json()["items"][0]["state"] == "active"
    for place in ("runs", "threads", "batches", "me/keys", "me/usage?by=run"):
        listed = (await alice.get(f"/api/v1/{place}")).text
        assert not [one for one in own.values() if one in listed], place
    for search in ({}, {"ids": [own["thread_id"]]}, {"metadata": {}}):
        assert (await alice.post("/threads/search", json=search)).json() == []
    assert (await bob.get(f"/threads/{own['thread_id']}")).json()["metadata"] == {}


async def test_a_key_is_given_as_bearer_or_x_api_key(app, key_of, as_key, client_of):
    key = key_of("alice")
    for client in (as_key(key), client_of(app, **{"x-api-key": key})):
        found = (await client.get("/api/v1/me")).json()
        assert (found["user"], found["role"], found["tier"]) == ("alice", "member", "premium")
        assert found["csrf"] is None
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
    key_of, ledger, ledger_url, served_by, monkeypatch
):
    monkeypatch.setenv("AIDEON_LEDGER", ledger_url)
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
    refused = await client.post("/api/v1/me/keys", json={})
    assert (refused.status_code, refused.json()["code"]) == (409, "no_users")
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
        assert (await client.post("/sign-in", data={"secret": "made-up"})).status_code == 429
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


async def test_a_user_makes_replaces_lists_and_revokes_keys_of_its_own(key_of, as_key):
    alice = as_key(key_of("alice"))
    made = await alice.post("/api/v1/me/keys", json={"name": "laptop", "workflows": ["two"]})
    assert made.status_code == 201
    key, key_id = made.json()["key"], made.json()["key_id"]
    assert (await as_key(key).get("/api/v1/me")).json()["workflows"] == ["two"]
    listed = await alice.get("/api/v1/me/keys", params={"limit": 1})
    assert [one["key_id"] for one in listed.json()["items"]] == [key_id]
    assert key not in listed.text
    rest = await alice.get("/api/v1/me/keys", params={"cursor": listed.json()["next"]})
    assert len(rest.json()["items"]) == 1
    new = await alice.post(f"/api/v1/me/keys/{key_id}/rotate", json={"grace_s": 0})
    assert new.status_code == 201
    assert new.json()["lineage"] == key_id
    assert (await as_key(key).get("/api/v1/me")).status_code == 401
    again = await alice.post(f"/api/v1/me/keys/{key_id}/rotate")
    assert (again.status_code, again.json()["code"]) == (409, "conflict")
    assert (await alice.delete(f"/api/v1/me/keys/{new.json()['key_id']}")).status_code == 204
    assert (await as_key(new.json()["key"]).get("/api/v1/me")).status_code == 401


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"user": "bob"}, 422),
        ({"role": "admin"}, 422),
        ({"scopes": ["admin"]}, 403),
        ({"scopes": ["models"]}, 403),
        ({"scopes": ["everything"]}, 422),
        ({"workflows": ["article"]}, 403),
        ({"expires_at": "2099-01-01T00:00:00Z"}, 403),
        ({"expires_at": "2020-01-01T00:00:00Z"}, 422),
        ({"name": "a\nb"}, 422),
    ],
)
async def test_a_key_cannot_make_one_for_others_or_with_more_than_it_has(
    key_of, as_key, ledger, body, status
):
    given = {"scopes": ["runs", "keys"], "workflows": ["two"]}
    alice = as_key(key_of("alice", **given, expires_at=now() + timedelta(days=1)))
    answer = await alice.post("/api/v1/me/keys", json=body)
    assert answer.status_code == status, answer.text
    assert len(api_keys.listed(ledger)) == 1


async def test_a_user_cannot_change_its_own_role_or_tier(key_of, as_key, ledger):
    for role in ("viewer", "member"):
        client = as_key(key_of(role, role))
        answer = await client.patch(
            f"/api/v1/users/{role}", json={"role": "admin"}, headers={"If-Match": "*"}
        )
        assert answer.status_code == 403
        assert users.find(ledger, role).role == role


async def test_a_session_needs_its_csrf_word_for_changes_and_a_key_does_not(
    key_of, signed_in, as_key, ledger
):
    key = key_of("alice")
    async with signed_in("alice", with_csrf=False) as forged:
        assert (await forged.get("/api/v1/me")).status_code == 200
        refused = await forged.post("/api/v1/me/keys", json={})
        assert (refused.status_code, refused.json()["code"]) == (403, "csrf")
        word = (await forged.get("/api/v1/me")).json()["csrf"]
        wrong = await forged.post("/api/v1/me/keys", json={}, headers={"X-CSRF-Token": word[:-1]})
        assert wrong.status_code == 403
        made = await forged.post("/api/v1/me/keys", json={}, headers={"X-CSRF-Token": word})
        assert made.status_code == 201
    assert (await as_key(key).post("/api/v1/me/keys", json={})).status_code == 201
    assert len(api_keys.listed(ledger, "alice")) == 3


async def test_a_key_that_manages_the_service_signs_nobody_in(key_of, as_key, ledger):
    async with as_key(key_of("root", "admin", scopes=["admin"])) as manager:
        for user in ("root", "alice"):
            refused = await manager.post("/api/v1/sign-in-links", json={"user": user})
            assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert ledger.select("SELECT * FROM sign_in_links") == []


async def test_a_link_of_an_admin_signs_a_user_in_once(key_of, signed_in, client_of, app):
    key_of("root", "admin")
    admin = signed_in("root")
    key_of("alice")
    made = await admin.post("/api/v1/sign-in-links", json={"user": "alice"})
    assert made.status_code == 201
    place, _, token = made.json()["link"].partition("#")
    assert place == "http://127.0.0.1:8400/sign-in"  # no server is sent what follows the #
    async with client_of(app) as browser:
        answer = await browser.post("/sign-in", data={"secret": token})
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        assert answer.headers["cache-control"] == "no-store"
        cookie = answer.headers["set-cookie"]
        begin, *flags_ = cookie.split("; ")
        assert begin.startswith("__Host-aideon=")
        assert {one.lower() for one in flags_} == {
            "httponly",
            "max-age=43200",
            "path=/",
            "samesite=lax",
            "secure",
        }
        heads = {"Cookie": begin}
        me = (await browser.get("/api/v1/me", headers=heads)).json()
        assert (me["user"], me["key_id"]) == ("alice", None)
        assert (await browser.post("/sign-in", data={"secret": token})).status_code == 404
        out = await browser.post("/api/v1/sign-out", headers={**heads, "X-CSRF-Token": me["csrf"]})
        assert out.status_code == 204
        assert (await browser.get("/api/v1/me", headers=heads)).status_code == 401
    assert (await admin.post("/api/v1/sign-in-links", json={"user": "nemo"})).status_code == 404


async def test_an_admin_adds_lists_and_changes_users_with_if_match(key_of, as_key, ledger):
    admin = as_key(key_of("root", "admin", scopes=["admin"]))
    made = await admin.post("/api/v1/users", json={"user": "alice", "tier": "premium"})
    assert (made.status_code, made.json()["role"]) == (201, "member")
    assert (await admin.post("/api/v1/users", json={"user": "alice"})).status_code == 409
    place = "/api/v1/users/alice"
    bare = await admin.patch(place, json={"tier": "free"})
    assert (bare.status_code, bare.json()["code"]) == (428, "if_match_needed")
    tag = (await admin.get(place)).headers["etag"]
    assert tag == made.headers["etag"]
    changed = await admin.patch(place, json={"tier": "free"}, headers={"If-Match": tag})
    assert (changed.status_code, changed.json()["tier"]) == (200, "free")
    stale = await admin.patch(place, json={"tier": "enterprise"}, headers={"If-Match": tag})
    assert (stale.status_code, stale.json()["code"]) == (412, "changed")
    newest = {"If-Match": changed.headers["etag"]}
    blocked = await admin.patch(place, json={"blocked": True}, headers=newest)
    assert blocked.json()["blocked_at"]
    page = (await admin.get("/api/v1/users", params={"limit": 1})).json()
    assert [one["user"] for one in page["items"]] == ["alice"] == [page["next"]]
    rest = (await admin.get("/api/v1/users", params={"cursor": page["next"]})).json()
    assert ([one["user"] for one in rest["items"]], rest["next"]) == (["root"], None)
    assert (await admin.get("/api/v1/users/nemo")).status_code == 404
    assert {one["request_id"] for one in audit.entries(ledger)} >= {changed.headers["x-request-id"]}


async def test_an_admin_sees_and_revokes_keys_of_all_users(key_of, as_key):
    admin = as_key(key_of("root", "admin", scopes=["admin"]))
    key = key_of("alice")
    found = (await admin.get("/api/v1/keys", params={"user": "alice"})).json()["items"]
    assert [one["key_id"] for one in found] == [api_keys.key_id_in(key)]
    assert len((await admin.get("/api/v1/keys")).json()["items"]) == 2
    assert (await admin.get("/api/v1/keys", params={"user": "nemo"})).status_code == 404
    assert (await admin.delete(f"/api/v1/keys/{api_keys.key_id_in(key)}")).status_code == 204
    assert (await as_key(key).get("/api/v1/me")).status_code == 401


async def test_an_admin_sets_flags_with_if_match(key_of, as_key, ledger):
    admin = as_key(key_of("root", "admin", scopes=["admin"]))
    seen = await admin.get(FALLBACK)
    assert (seen.json()["on"], seen.json()["share"]) == (True, None)
    tag = {"If-Match": seen.headers["etag"]}
    changed = await admin.put(FALLBACK, json={"on": True, "share": 10}, headers=tag)
    assert changed.json()["share"] == 10
    assert (await admin.put(FALLBACK, json={"on": False}, headers=tag)).status_code == 412
    assert (await admin.put(FALLBACK, json={"on": False})).status_code == 428
    off = await admin.put(FALLBACK, json={"on": False, "share": 5}, headers={"If-Match": "*"})
    assert off.status_code == 422
    assert (await admin.get("/api/v1/flags/dark_mode")).status_code == 404
    listed = (await admin.get("/api/v1/flags")).json()["items"]
    assert [one["name"] for one in listed if one["changed_by"]] == ["together_ai_fallback"]
    (entry,) = audit.entries(ledger, most=1)
    assert (entry["action"], entry["actor"], entry["from"]) == ("flag.changed", "root", "127.0.0.1")
    assert entry["key_id"]


async def test_an_admin_reads_the_audit_log_in_pages_and_its_head(key_of, as_key):
    admin = as_key(key_of("root", "admin", scopes=["admin"]))
    key_of("alice")
    first = (await admin.get("/api/v1/audit", params={"limit": 3})).json()
    assert [one["number"] for one in first["items"]] == [4, 3, 2]
    rest = (await admin.get("/api/v1/audit", params={"cursor": first["next"]})).json()
    assert ([one["number"] for one in rest["items"]], rest["next"]) == ([1], None)
    head = (await admin.get("/api/v1/audit/head")).json()
    assert head == {"number": 4, "digest": first["items"][0]["digest"]}


async def test_the_tier_free_switched_off_refuses_spending_and_nothing_else(key_of, as_key, ledger):
    free, premium = as_key(key_of("alice", tier="free")), as_key(key_of("bob"))
    flags.change(ledger, "together_ai_free_tier", BY, is_on=False)
    body = {"workflow": "one", "task": "heat pumps"}
    refused = await free.post("/api/v1/runs", json=body)
    assert (refused.status_code, refused.json()["code"]) == (403, "free_tier_off")
    for place in ("/api/v1/me", "/api/v1/me/keys", "/api/v1/runs"):
        assert (await free.get(place)).status_code == 200
    wait = {"Prefer": "wait=60"}
    assert (await premium.post("/api/v1/runs", json=body, headers=wait)).status_code == 200


async def test_no_secret_is_in_a_row_a_log_or_an_answer(as_key, key_of, signed_in, ledger, caplog):
    caplog.set_level(logging.DEBUG)
    key = key_of("alice")
    client = as_key(key)
    made = (await client.post("/api/v1/me/keys", json={})).json()["key"]
    body = {"workflow": "fails", "task": "heat pumps"}
    answers = [
        (await client.post("/api/v1/runs", json=body, headers={"Prefer": "wait=60"})).text,
        (await client.get(f"/api/v1/runs/{made}")).text,
        (await client.get(f"/api/v1/workflows/{made}")).text,
        (await client.delete(f"/api/v1/me/keys/{made}")).text,
        (await client.post("/api/v1/me/keys", json={"name": 7, "key": made})).text,
        (await client.post("/api/v1/runs", json=body | {"workflow": made})).text,
        (await client.get(f"/api/v1/nowhere/{made}", params={"key": made})).text,
        (await as_key(made + "x").get("/api/v1/me")).text,
    ]
    async with signed_in("alice") as browser:
        cookie = browser.headers["cookie"].partition("=")[2]
        answers.append((await browser.get("/api/v1/me/keys")).text)
    secrets = [one.rpartition("_")[2] for one in (key, made)] + [cookie]
    rows = [dict(row) for name in table_names() for row in ledger.select(f"SELECT * FROM {name}")]  # noqa: S608 - our names
    logs = [one.getMessage() for one in caplog.records if not one.name.startswith("http")]
    places = {"rows": repr(rows), "logs": "".join(logs), "answers": "".join(answers)}
    places["reprs"] = repr((api_keys.caller_of(ledger, key), api_keys.listed(ledger)))
    assert "audit" in places["logs"]
    for secret in secrets:
        assert [name for name, text in places.items() if secret in text] == []


async def test_a_user_sees_its_quotas_and_asks_for_more_and_an_admin_decides(key_of, as_key):
    alice, bob = as_key(key_of("alice", tier="free")), as_key(key_of("bob"))
    admin = as_key(key_of("root", role="admin", scopes=["admin"]))
    quota = (await alice.get("/api/v1/me/quota")).json()
    text = quota["features"]["text_generation"]
    assert (text["requests_used"], text["requests_limit"], text["tokens_limit"]) == (0, 50, 10_000)
    assert text["tokens_per_request"] == 2000
    assert quota["reset_at"].endswith("Z")
    assert (await bob.get("/api/v1/me/quota")).json()["features"]["audio_tts"][
        "minutes_limit"
    ] is None

    given = {"feature": "text_generation", "unit": "requests", "limit": 80, "reason": "A report."}
    asked = await alice.post("/api/v1/me/quota-requests", json=given)
    assert (asked.status_code, asked.json()["status"]) == (201, "open")
    for unit, limit in (("requests", 50), ("poems", 80)):
        wrong = await alice.post(
            "/api/v1/me/quota-requests", json=given | {"unit": unit, "limit": limit}
        )
        assert wrong.status_code == 422
    place = f"/api/v1/quota-requests/{asked.json()['id']}"
    assert (await alice.patch(place, json={"approve": True})).status_code == 403
    assert (await bob.get("/api/v1/me/quota-requests")).json()["items"] == []
    assert [
        one["asked"] for one in (await admin.get("/api/v1/quota-requests")).json()["items"]
    ] == [80]
    approved = await admin.patch(place, json={"approve": True})
    assert (approved.status_code, approved.json()["decided_by"]) == (200, "root")
    assert (await admin.patch(place, json={"approve": False})).status_code == 409
    assert (
        await admin.patch("/api/v1/quota-requests/none", json={"approve": True})
    ).status_code == 404
    now_ = (await alice.get("/api/v1/me/quota")).json()["features"]["text_generation"]
    assert now_["requests_limit"] == 80
    (own,) = (await alice.get("/api/v1/me/quota-requests?limit=1")).json()["items"]
    assert own["status"] == "approved"


async def test_a_key_makes_no_link_for_an_admin_and_a_session_does(key_of, as_key, signed_in):
    manager = as_key(key_of("root", "admin", scopes=["admin"]))
    key_of("other", "admin")
    for user in ("root", "other"):
        answer = await manager.post("/api/v1/sign-in-links", json={"user": user})
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    async with signed_in("root") as person:
        made = await person.post("/api/v1/sign-in-links", json={"user": "other"})
        assert made.status_code == 201, made.text
    for scopes in (["keys"], ["runs", "models", "usage"]):
        client = as_key(key_of("root", scopes=scopes))
        refused = await client.post("/api/v1/sign-in-links", json={"user": "nobody"})
        assert refused.status_code == 403
