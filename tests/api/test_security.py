"""What an attacker tries who has a key: more than one's own, more than one's tier, more than one's quota."""

from __future__ import annotations

import base64

import pytest

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
