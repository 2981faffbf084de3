"""What an attacker tries who has a key: more than one's own, more than one's tier, more than one's quota."""

from __future__ import annotations

import asyncio
import base64

import pytest

from aideon_agents.access import api_keys
from aideon_agents.api import passing
from aideon_agents.api.app import create_app
from aideon_agents.api.asking import Rates
from aideon_agents.models import catalog

WAIT = {"Prefer": "wait=60"}
FREE, LARGE = "together:Qwen/Qwen3.5-9B", "together:Qwen/Qwen3.7-Max"


def test_the_models_of_these_tests_are_of_the_tiers_that_they_stand_for():
    entries = catalog.load(None, "current").entries
    assert (entries[FREE].tier, entries[LARGE].tier) == ("free", "enterprise")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/v1/runs", {"workflow": "one", "task": "x", "model": {"creative": LARGE}}),
        ("/api/v1/runs", {"workflow": "one", "task": "x", "model": {"creative": [FREE, LARGE]}}),
        ("/api/v1/runs", {"workflow": "one", "task": "x", "model": {"creative": "openai:new"}}),
        ("/api/v1/runs", {"workflow": "one", "task": "x", "tier": "premium"}),
        ("/api/v1/workflows/one/estimate", {"task": "x", "model": {"creative": LARGE}}),
        ("/api/v1/batches", {"workflow": "one", "items": [{"task": "x"}], "tier": "enterprise"}),
        (
            "/api/v1/batches",
            {"workflow": "one", "items": [{"task": "x"}], "model": {"creative": LARGE}},
        ),
        ("/v1/chat/completions", {"model": LARGE, "messages": [{"role": "user", "content": "x"}]}),
        ("/v1/responses", {"model": LARGE, "input": "x"}),
        ("/v1/responses", {"model": "workflow:one", "input": "x", "aideon": {"tier": "premium"}}),
        ("/runs/wait", {"assistant_id": "one", "input": "x", "context": {"tier": "premium"}}),
        (
            "/runs/wait",
            {"assistant_id": "one", "input": "x", "context": {"model": {"creative": LARGE}}},
        ),
    ],
)
async def test_no_door_gives_a_model_or_a_tier_above_the_caller_s(
    key_of, as_key, ledger, path, body
):
    async with as_key(key_of("alice", tier="free")) as alice:
        refused = await alice.post(path, json=body, headers=WAIT)
        assert refused.status_code in {400, 404, 422}, refused.text
        assert ledger.select("SELECT run_id FROM runs") == []
    async with as_key(key_of("eve", tier="enterprise")) as eve:
        assert (await eve.post(path, json=body, headers=WAIT)).status_code < 300


async def test_a_model_of_the_tier_may_be_named(key_of, as_key):
    async with as_key(key_of("alice", tier="free")) as alice:
        body = {"workflow": "one", "task": "x", "model": {"creative": FREE}}
        done = await alice.post("/api/v1/runs", json=body, headers=WAIT)
        assert (done.status_code, done.json()["status"]) == (200, "completed")


async def test_a_picture_of_some_megabytes_is_taken_and_other_bodies_are_not(key_of, as_key):
    picture = "data:image/png;base64," + base64.b64encode(bytes(3_000_000)).decode()
    async with as_key(key_of("alice")) as alice:
        taken = await alice.post(
            "/api/v1/together/images/analysis", json={"prompt": "x", "image_url": picture}
        )
        assert taken.status_code == 400  # it is read: there is no picture in it
        assert "picture" in taken.json()["detail"]
        for path in ("/api/v1/together/text/completions", "/threads", "/mcp"):
            refused = await alice.post(path, json={"prompt": picture})
            assert (refused.status_code, refused.json()["code"]) == (413, "content_too_large")
        refused = await alice.post(
            "/v1/chat/completions",
            content=b" " * (28 * 1024 * 1024 + 1),
            headers={"Content-Type": "application/json"},
        )
        assert refused.status_code == 413
        assert refused.json()["error"]["code"] == "content_too_large"


async def test_a_replaced_key_makes_no_key_that_outlives_it(key_of, as_key, ledger):
    old = key_of("alice")
    async with as_key(old) as alice:
        place = f"/api/v1/me/keys/{api_keys.key_id_in(old)}/rotate"
        assert (await alice.post(place, json={"grace_s": 600})).status_code == 201
        ends = api_keys.find(ledger, api_keys.key_id_in(old)).grace_until
        made = (await alice.post("/api/v1/me/keys", json={})).json()
        assert made["expires_at"] == ends
        for body in ({"expires_at": "2099-01-01T00:00:00Z"}, {"scopes": ["admin"]}):
            assert (await alice.post("/api/v1/me/keys", json=body)).status_code == 403


async def test_a_key_for_some_workflows_calls_no_model_unless_it_says_so(key_of, as_key):
    ask = {"model": FREE, "messages": [{"role": "user", "content": "x"}]}
    answers = []
    for scopes in (None, ["runs", "models"]):
        async with as_key(key_of("alice", workflows=["one"], scopes=scopes)) as alice:
            answers.append((await alice.post("/v1/chat/completions", json=ask)).status_code)
            for body in ({"workflow": "two", "task": "x"}, {"workflow": "two.py", "task": "x"}):
                assert (await alice.post("/api/v1/runs", json=body)).status_code == 404
    assert answers == [403, 200]


@pytest.mark.parametrize(
    "name",
    [
        *("one.py", "./one.py", "one.py:graph", "/etc/passwd", "os:system", "os.system"),
        *("https://example.com/one.py", "file:///etc/passwd", "@one.py", "brief", "../one", " one"),
    ],
)
async def test_only_registered_names_are_workflows(client, name):
    batch = {"workflow": name, "items": [{"task": "x"}]}
    door = {"model": f"workflow:{name}", "messages": [{"role": "user", "content": "x"}]}
    for path, body in (
        ("/api/v1/runs", {"workflow": name, "task": "x"}),
        ("/api/v1/batches", batch),
        ("/v1/chat/completions", door),
        ("/runs/wait", {"assistant_id": name, "input": "x"}),
    ):
        assert (await client.post(path, json=body)).status_code == 404, path


@pytest.mark.parametrize("given", ["@secret.txt", "secret.txt", "file://{}/secret.txt", "-"])
async def test_what_a_caller_sends_is_never_read_as_a_file(client, folder, given):
    (folder / "secret.txt").write_text("the secret of this machine", encoding="utf-8")
    sent = given.format(folder)
    body = {"workflow": "named", "task": sent, "inputs": {"place": sent}, "record_content": True}
    done = await client.post("/api/v1/runs", json=body, headers=WAIT)
    assert done.json()["status"] == "completed"
    items = [{"task": sent, "inputs": {"place": sent}}]
    batch = await client.post("/api/v1/batches", json={"workflow": "named", "items": items})
    async with asyncio.timeout(60):
        place = batch.headers["location"]
        while (await client.get(place)).json()["status"] == "running":
            await asyncio.sleep(0.05)
    texts = [done.text, (await client.get(f"{place}/output")).text]
    images = {"workflow": "named", "task": "x", "inputs": {"place": "x", "images": [sent]}}
    texts.append((await client.post("/api/v1/runs", json=images, headers=WAIT)).text)
    assert [one for one in texts if "the secret" in one] == []


HTML = "</script></title><script>alert(1)</script><img src=x onerror=alert(1)>"


async def test_what_models_and_callers_write_is_text_in_every_page_and_picture(key_of, as_key):
    async with as_key(key_of("alice")) as alice:
        body = {
            "workflow": "named",
            "task": HTML,
            "inputs": {"place": HTML},
            "metadata": {"a": HTML},
        }
        body["record_content"] = True
        run = (await alice.post("/api/v1/runs", json=body, headers=WAIT)).json()["run_id"]
        for form in ("html", "svg"):
            page = await alice.get(f"/api/v1/runs/{run}/graph", params={"format": form})
            assert page.status_code == 200
            assert "<img src=x" not in page.text
            assert "<script>alert" not in page.text
            policy = page.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "script-src 'unsafe-inline'" not in policy
        for place in (f"/api/v1/runs/{run}", "/api/v1/runs", f"/api/v1/runs/{HTML}"):
            answer = await alice.get(place)
            assert "html" not in answer.headers["content-type"]
            assert answer.headers["x-content-type-options"] == "nosniff"


async def test_one_key_has_so_many_requests_open_and_another_key_its_own(
    service, key_of, client_of, folder
):
    app = create_app(service)
    app.state.rates = Rates(at_once=1)
    first, second = ({"x-api-key": key_of(user)} for user in ("alice", "bob"))
    async with client_of(app) as client:
        begun = await client.post(
            "/api/v1/runs", json={"workflow": "asks", "task": "x"}, headers=first
        )
        waits = {**first, "Prefer": "wait=60"}
        released = asyncio.Event()
        wait = service.wait

        async def waiting(*given):
            arrived.set()
            await released.wait()
            return await wait(*given)

        arrived, service.wait = asyncio.Event(), waiting
        body = {"workflow": "one", "task": "x"}
        held = asyncio.create_task(client.post("/api/v1/runs", json=body, headers=waits))
        await arrived.wait()
        refused = await client.get(begun.headers["location"], headers=first)
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_open")
        assert (await client.get("/api/v1/me", headers=second)).status_code == 200
        released.set()
        assert (await held).status_code == 200
        assert (await client.get(begun.headers["location"], headers=first)).status_code == 200


async def test_a_body_that_does_not_arrive_is_given_up(key_of, as_key, monkeypatch):
    monkeypatch.setattr(passing, "_ARRIVES_WITHIN", 0.01)

    async def slow():
        yield b'{"workflow": "one", '
        await asyncio.sleep(600)

    async with as_key(key_of("alice")) as alice:
        refused = await alice.post(
            "/api/v1/runs", content=slow(), headers={"Content-Type": "application/json"}
        )
    assert (refused.status_code, refused.json()["code"]) == (408, "request_timeout")


async def test_a_retry_with_the_next_key_begins_no_second_run(key_of, as_key, ledger):
    old = key_of("alice")
    heads = {"Idempotency-Key": "w-1"}
    body = {"workflow": "one", "task": "x"}
    async with as_key(old) as alice:
        first = await alice.post("/api/v1/runs", json=body, headers=heads)
        new = await alice.post(f"/api/v1/me/keys/{api_keys.key_id_in(old)}/rotate", json={})
    async with as_key(new.json()["key"]) as alice, as_key(key_of("bob")) as bob:
        again = await alice.post("/api/v1/runs", json=body, headers=heads)
        other = await bob.post("/api/v1/runs", json=body, headers=heads)
    ids = [one.json()["run_id"] for one in (first, again, other)]
    assert (ids[0] == ids[1], ids[0] == ids[2]) == (True, False)
