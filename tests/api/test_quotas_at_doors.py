"""Quotas at the doors: counted before a run begins, refused with the ways to more, given back unused."""

from __future__ import annotations

import asyncio

import pytest

from aideon_agents.access import quotas
from aideon_agents.access.audit import By
from aideon_agents.api.app import create_app
from aideon_agents.testing import SimulatedProvider

BY = By("root", address="cli")
RUN = {"workflow": "one", "task": "Describe heat pumps"}
TEXT = {"prompt": "Describe heat pumps", "max_tokens": 40}


@pytest.fixture
async def paying(make_service, client_of, monkeypatch):
    """Asks a service that calls a simulated provider."""
    with SimulatedProvider() as provider:
        monkeypatch.setenv("TOGETHER_API_KEY", "sim-key")
        monkeypatch.setenv("TOGETHER_BASE_URL", provider.base_url)
        service = make_service(rehearse=False)
        await service.open()
        async with client_of(create_app(service)) as client:
            yield client
        await service.drain()


def used(ledger, unit="requests"):
    return (
        quotas.used(ledger, "ada", "premium")["text_generation"][f"{unit}_used"]
        + (quotas.used(ledger, "local", "premium")["text_generation"][f"{unit}_used"])
    )


@pytest.mark.parametrize(
    ("path", "body"), [("/api/v1/runs", RUN), ("/api/v1/together/text/completions", TEXT)]
)
async def test_the_request_beyond_a_quota_is_refused_with_the_ways_to_more(
    paying, ledger, path, body
):
    quotas.set_quota(ledger, "tier:premium", "text_generation", "requests", BY, most=1)
    first = await paying.post(path, json=body, headers={"Prefer": "wait=30"})
    assert first.status_code == 200, first.text
    assert used(ledger) == 1
    assert used(ledger, "tokens") > 0
    second = await paying.post(path, json=body, headers={"Prefer": "wait=30"})
    problem = second.json()
    assert (second.status_code, problem["code"]) == (429, "quota_exceeded")
    named = {name: problem[name] for name in ("feature", "unit", "used", "limit", "cheaper")}
    assert named == {
        "feature": "text_generation",
        "unit": "requests",
        "used": 1,
        "limit": 1,
        "cheaper": None,
    }
    assert problem["upgrade"] == {"tier": "enterprise", "limit": None}
    assert problem["reset_at"] == quotas.reset_at()
    assert 0 < int(second.headers["Retry-After"]) <= 86_400
    assert used(ledger) == 1
    assert len(ledger.runs()) == 1


@pytest.mark.parametrize(
    ("path", "body"), [("/api/v1/runs", RUN), ("/api/v1/together/text/completions", TEXT)]
)
async def test_a_rehearsed_run_uses_no_quota(client, ledger, path, body):
    quotas.set_quota(ledger, "tier:premium", "text_generation", "requests", BY, most=0)
    answer = await client.post(path, json=body, headers={"Prefer": "wait=30"})
    assert answer.status_code == 200, answer.text
    assert used(ledger) == 0


async def batch_of(client, tasks):
    """The answer to a batch, and the batch at its end."""
    items = [{"task": task} for task in tasks]
    begun = await client.post("/api/v1/batches", json={"workflow": "one", "items": items})
    if begun.status_code != 202:
        return begun, None
    async with asyncio.timeout(60):
        while (found := (await client.get(begun.headers["location"])).json())[
            "status"
        ] == "running":
            await asyncio.sleep(0.05)
    return begun, found


async def test_each_item_of_a_batch_uses_its_user_s_quota(paying, ledger):
    quotas.set_quota(ledger, "tier:premium", "text_generation", "requests", BY, most=3)
    _, found = await batch_of(paying, ["heat pumps", "wind"])
    assert (found["status"], found["completed"], used(ledger)) == ("completed", 2, 2)
    assert used(ledger, "tokens") > 0
    refused, _ = await batch_of(paying, ["heat pumps", "wind"])
    assert (refused.status_code, refused.json()["code"]) == (429, "quota_exceeded")
    assert used(ledger) == 2
    assert len((await paying.get("/api/v1/batches")).json()["items"]) == 1
    assert len(list((ledger.database.folder / "service").iterdir())) == 1


async def test_a_batch_ends_where_its_user_has_no_tokens_left(paying, ledger):
    quotas.set_quota(ledger, "tier:premium", "text_generation", "tokens", BY, most=3000)
    _, found = await batch_of(paying, [f"heat pumps {number}" for number in range(20)])
    assert (found["status"], found["stop_reason"]) == ("stopped", "quota")
    assert found["completed"] < 20
    assert used(ledger, "tokens") <= 3000


async def test_no_number_of_requests_at_once_gets_more_than_the_quota(paying, ledger):
    quotas.set_quota(ledger, "tier:premium", "text_generation", "requests", BY, most=3)
    chat = {"messages": [{"role": "user", "content": "heat pumps"}]}
    batch = {"workflow": "one", "items": [{"task": "heat pumps"}, {"task": "wind"}]}
    asked = [
        ("/api/v1/runs", RUN),
        ("/api/v1/together/text/completions", TEXT),
        ("/v1/chat/completions", {**chat, "model": "workflow:one"}),
        ("/v1/chat/completions", {**chat, "model": "together:Qwen/Qwen3.5-9B"}),
        ("/runs/wait", {"assistant_id": "one", "input": "heat pumps"}),
        ("/api/v1/batches", batch),
    ]
    answers = await asyncio.gather(
        *(paying.post(path, json=body) for path, body in asked for _ in range(3))
    )
    granted = 0
    for (path, _), answer in zip([one for one in asked for _ in range(3)], answers, strict=True):
        assert answer.status_code in {200, 202, 429}, answer.text
        granted += (answer.status_code != 429) * (2 if path.endswith("batches") else 1)
    assert (granted, used(ledger)) == (3, 3)
