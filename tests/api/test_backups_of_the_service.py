"""A backup of a service with batches, memory and runs that wait, restored in another folder."""

from __future__ import annotations

import asyncio

import pytest
import service_fixtures

from aideon_agents.api.app import create_app
from aideon_agents.ledger.sqlite import backups
from aideon_agents.ledger.store import Ledger
from aideon_agents.serving.memory import open_store
from aideon_agents.serving.service import Service
from aideon_agents.serving.workflows import Workflows
from aideon_agents.settings import load

pytestmark = pytest.mark.asyncio


async def ended(client, place, status):
    async with asyncio.timeout(60):
        while (document := (await client.get(place)).json())["status"] == "running":
            await asyncio.sleep(0.05)
    assert document["status"] == status
    return document


async def test_another_service_goes_on_with_what_was_saved(client, client_of, ledger, folder):
    ask = {"workflow": "one", "items": [{"task": "a"}, {"task": "b"}]}
    batch = (await client.post("/api/v1/batches", json=ask)).json()["batch_id"]
    await ended(client, f"/api/v1/batches/{batch}", "completed")
    waits = (await client.post("/api/v1/runs", json={"workflow": "asks", "task": "x"})).json()
    run = f"/api/v1/runs/{waits['run_id']}"
    await ended(client, run, "waiting")
    async with open_store(ledger) as store:
        await store.aput(("users", "ada"), "k", {"said": "remember"})
    (folder / "apprise.conf").write_text("https://example.com/secret-hook\n", encoding="utf-8")
    said = (await client.get(f"/api/v1/batches/{batch}/output")).text

    made = await asyncio.to_thread(
        backups.back_up, folder / "ledger.db", None, folder / "copies/one.tar"
    )
    assert {name.split("/")[0] for name in made.files} == {
        *("ledger.db", "checkpoints.db", "store.db", "service"),
    }
    assert b"secret-hook" not in (folder / "copies/one.tar").read_bytes()
    moved = folder / "elsewhere" / "ledger.db"
    await asyncio.to_thread(backups.restore, folder / "copies/one.tar", moved, None, force=False)
    (folder / "service").rename(folder / "gone")

    settings = load()
    with Ledger(moved) as restored:
        workflows = Workflows(service_fixtures.WORKFLOWS, settings)
        other = Service(settings, restored, workflows, rehearse=True)
        await other.open()
        async with client_of(create_app(other)) as asking:
            assert (await asking.get(f"/api/v1/batches/{batch}/output")).text == said
            answer = {"answer": {"approved": True}}
            assert (await asking.post(f"{run}/answer", json=answer)).status_code == 202
            await ended(asking, run, "completed")
        async with open_store(restored) as store:
            assert (await store.aget(("users", "ada"), "k")).value == {"said": "remember"}
        await other.drain()
