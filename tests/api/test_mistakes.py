"""What gateways of others did wrong with keys, money and conversations, and this service must not."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest

from aideon_agents.access import api_keys, quotas, users
from aideon_agents.access.audit import By
from aideon_agents.api.app import create_app
from aideon_agents.api.asking import Rates
from aideon_agents.ledger.identity import now
from aideon_agents.serving import served
from aideon_agents.testing import SimulatedProvider

BY = By("root", address="cli")
RUN = {"workflow": "one", "task": "heat pumps"}
WAIT = {"Prefer": "wait=60"}
OWN = ("/me", "/me/keys", "/me/usage", "/me/quota", "/me/quota-requests", "/runs", "/workflows")


@pytest.fixture
async def paying(make_service, client_of, monkeypatch):
    """Makes clients with keys of a service that calls a simulated provider."""
    with SimulatedProvider() as provider:
        monkeypatch.setenv("TOGETHER_API_KEY", "sk-of-test-mistakes")
        monkeypatch.setenv("TOGETHER_BASE_URL", provider.base_url)
        service = make_service(rehearse=False)
        await service.open()
        app = create_app(service)
        yield lambda key: client_of(app, Authorization=f"Bearer {key}")
        await service.drain()


async def rotated(client, key):
    """The key that replaces one; both work."""
    place = f"/api/v1/me/keys/{api_keys.key_id_in(key)}/rotate"
    made = await client.post(place, json={"grace_s": 600})
    assert made.status_code == 201
    return made.json()["key"]


async def test_a_lower_role_takes_effect_at_the_next_request_with_every_key(key_of, as_key, ledger):
    key = key_of("alice", "admin", scopes=["admin"])
    async with as_key(key) as alice, as_key(key_of("alice")) as other:
        assert (await alice.get("/api/v1/users")).status_code == 200
        users.change(ledger, "alice", BY, role="viewer")
        assert (await alice.get("/api/v1/users")).status_code == 403
        assert (await other.post("/api/v1/runs", json=RUN)).status_code == 403
        assert (await other.get("/api/v1/runs")).status_code == 200
        users.change(ledger, "alice", BY, role="admin", tier="free")
        body = {
            "model": "together:Qwen/Qwen3.7-Max",
            "messages": [{"role": "user", "content": "x"}],
        }
        assert (await other.post("/v1/chat/completions", json=body)).status_code == 404


async def test_a_replaced_key_resets_no_rate_no_quota_and_no_block(
    service, key_of, client_of, ledger
):
    app = create_app(service)
    app.state.rates = Rates(requests=3)
    key = key_of("alice")
    quotas.set_quota(ledger, "user:alice", "text_generation", "requests", BY, most=7)
    async with client_of(app) as client:
        client.headers["x-api-key"] = key
        new = await rotated(client, key)
        for one, status in ((key, 200), (new, 200), (new, 429), (key, 429)):
            client.headers["x-api-key"] = one
            assert (await client.get("/api/v1/me/quota")).status_code == status
        app.state.rates = Rates()
        shown = (await client.get("/api/v1/me/quota")).json()["features"]["text_generation"]
        assert shown["requests_limit"] == 7
        users.change(ledger, "alice", BY, blocked=True)
        for one in (key, new):
            client.headers["x-api-key"] = one
            assert (await client.get("/api/v1/me")).status_code == 401


async def test_the_quota_that_one_key_has_used_is_used_for_every_key_of_its_user(
    paying, key_of, ledger
):
    key = key_of("alice")
    quotas.set_quota(ledger, "user:alice", "text_generation", "requests", BY, most=1)
    async with paying(key) as alice:
        assert (await alice.post("/api/v1/runs", json=RUN, headers=WAIT)).status_code == 200
        new = await rotated(alice, key)
    for one in (key, new, key_of("alice")):
        async with paying(one) as alice:
            refused = await alice.post("/api/v1/runs", json=RUN)
            assert (refused.status_code, refused.json()["code"]) == (429, "quota_exceeded")


async def test_what_is_used_up_refuses_spending_and_nothing_else(paying, key_of, ledger):
    key = key_of("alice")
    for limit in ("quota", "budget"):
        if limit == "quota":
            quotas.set_quota(ledger, "user:alice", "text_generation", "requests", BY, most=0)
        else:
            quotas.remove_quota(ledger, "user:alice", "text_generation", "requests", BY)
            ledger.set_budget("day:user:alice", "0.0000001")
        async with paying(key) as alice:
            done = await alice.post("/api/v1/runs", json=RUN, headers=WAIT)
            said = done.json()
            if limit == "quota":
                assert (done.status_code, said["code"]) == (429, "quota_exceeded")
            else:
                assert (said["status"], said["stop_reason"]) == ("stopped", "budget")
            for place in OWN:
                assert (await alice.get(f"/api/v1{place}")).status_code == 200, (limit, place)
            new = await rotated(alice, key)
            key = new


async def test_the_budgets_of_users_hold_for_admins_at_every_door(paying, key_of, ledger):
    ledger.set_budget("day:user:root", "0.0000001")
    messages = [{"role": "user", "content": "heat pumps"}]
    model = "together:Qwen/Qwen3.5-9B"
    async with paying(key_of("root", "admin", tier="enterprise")) as root:
        run = (await root.post("/api/v1/runs", json=RUN, headers=WAIT)).json()
        assert (run["status"], run["stop_reason"]) == ("stopped", "budget")
        prompt = {"prompt": "heat pumps"}
        asked = await root.post("/api/v1/together/text/completions", json=prompt)
        assert (asked.status_code, asked.json()["code"]) == (403, "budget_exceeded")
        assert "retry-after" not in asked.headers  # waiting a little helps nobody
        for name in (model, "workflow:one"):
            body = {"model": name, "messages": messages}
            asked = await root.post("/v1/chat/completions", json=body)
            assert (asked.status_code, asked.headers["x-should-retry"]) == (429, "false")
    assert ledger.select("SELECT * FROM calls WHERE status = 'ok'") == []


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago"])
async def test_days_end_at_midnight_utc_wherever_the_service_runs(client, monkeypatch, zone):
    with monkeypatch.context() as changed:
        changed.setenv("TZ", zone)
        time.tzset()
        try:
            begins = now()
            shown = (await client.get("/api/v1/me/quota")).json()["reset_at"]
        finally:
            changed.undo()
            time.tzset()
    days = {begins.date(), datetime.now(UTC).date()}  # midnight may have passed meanwhile
    assert shown.endswith("Z")
    found = datetime.fromisoformat(shown)
    assert (found.hour, found.minute, found.date() - timedelta(days=1) in days) == (0, 0, True)


async def test_a_viewer_sees_its_own_usage_and_no_other(key_of, as_key):
    async with as_key(key_of("eve", "viewer")) as viewer:
        assert (await viewer.get("/api/v1/me/usage")).status_code == 200
        assert (await viewer.get("/api/v1/me/quota")).status_code == 200
        assert (await viewer.get("/api/v1/usage")).status_code == 403


async def test_a_thread_is_not_busy_with_a_run_whose_process_has_ended(client, ledger):
    thread = (await client.post("/api/v1/threads", json={})).json()["thread_id"]
    run = (await client.post("/api/v1/runs", json={**RUN, "thread": thread}, headers=WAIT)).json()
    gone = {"run_id": run["run_id"], "host": "", "pid": 0}
    (row,) = ledger.select(
        "SELECT host FROM runs WHERE run_id = :run_id", {"run_id": run["run_id"]}
    )
    gone |= {"host": row["host"], "pid": 2**22 + 1}  # more than any process has
    sql = (
        "UPDATE runs SET status = 'running', pid = :pid, process_start = '0' WHERE run_id = :run_id"
    )
    ledger.database.write(sql, {"run_id": gone["run_id"], "pid": gone["pid"]})
    assert served.find(ledger, run["run_id"])["intent"] == "done"
    assert (await client.get(f"/api/v1/threads/{thread}")).json()["status"] == "idle"
    again = await client.post("/api/v1/runs", json={**RUN, "thread": thread}, headers=WAIT)
    assert again.json()["status"] == "completed"


async def test_a_new_message_beside_an_open_question_is_refused_and_names_it(client):
    thread = (await client.post("/api/v1/threads", json={})).json()["thread_id"]
    body = {"workflow": "asks", "task": "heat pumps", "thread": thread}
    run = (await client.post("/api/v1/runs", json=body, headers=WAIT)).json()
    refused = await client.post("/api/v1/runs", json=body)
    assert (refused.status_code, run["run_id"] in refused.json()["detail"]) == (409, True)
    answer = {"answer": "yes", "id": "another question"}
    place = f"/api/v1/runs/{run['run_id']}"
    assert (await client.post(f"{place}/answer", json=answer)).status_code == 422
    assert (await client.get(place)).json()["status"] == "waiting"
    answers = [
        client.post(f"{place}/answer", json={"answer": "yes", "id": run["questions"][0]["id"]})
        for _ in range(5)
    ]
    statuses = sorted([one.status_code for one in await asyncio.gather(*answers)])
    assert statuses == [202, 409, 409, 409, 409]


async def test_what_a_body_says_more_than_its_route_takes_is_refused(app):
    document = app.openapi()
    shapes = document["components"]["schemas"]

    def names(schema):
        if "$ref" in schema:
            return [schema["$ref"].rpartition("/")[2]]
        return [name for one in schema.get("anyOf", ()) for name in names(one)]

    taken = {
        name
        for methods in document["paths"].values()
        for route in methods.values()
        for media in route.get("requestBody", {}).get("content", {}).values()
        for name in names(media["schema"])
        if not name.startswith("Body_")  # made by FastAPI of single parameters
    }
    assert len(taken) > 15
    assert [one for one in taken if shapes[one].get("additionalProperties") is not False] == []


@pytest.mark.parametrize("place", ["/docs", "/redoc", "/openapi.json", "/api/v1/docs", "/api/runs"])
async def test_there_is_one_description_of_the_api_and_no_other_path(client, place):
    assert (await client.get(place)).status_code == 404
    assert (await client.get("/api/v1/openapi.json")).status_code == 200


async def test_pages_are_short_and_no_answer_is_compressed_or_kept(client):
    for place in ("runs", "threads", "batches", "me/keys", "users", "keys", "audit"):
        answer = await client.get(f"/api/v1/{place}", headers={"Accept-Encoding": "gzip, br"})
        assert answer.status_code == 200
        assert "content-encoding" not in answer.headers
        assert answer.headers["cache-control"] == "no-store"
        for limit in (0, 101, 10**9):
            refused = await client.get(f"/api/v1/{place}", params={"limit": limit})
            assert refused.status_code == 422, place
