"""Batches over HTTP: many items through one workflow, cancelled, answered and continued."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

PLACE = "/api/v1/batches"


@pytest.fixture
def batch(client):
    """Starts a batch and waits for its end; gives its document."""

    async def run(workflow="two", tasks=("a", "b", "c"), **more):
        items = [{"task": task, "id": f"item-{task}"} for task in tasks]
        begun = await client.post(PLACE, json={"workflow": workflow, "items": items, **more})
        assert begun.status_code == 202, begun.text
        return await ended(client, begun.headers["location"])

    return run


async def ended(client, place):
    while (found := (await client.get(place)).json())["status"] == "running":
        await asyncio.sleep(0.05)
    return found


async def lines(client, batch_id):
    found = await client.get(f"{PLACE}/{batch_id}/output")
    assert found.headers["content-type"].startswith("application/x-ndjson")
    return [json.loads(line) for line in found.text.splitlines()]


async def test_a_batch_gives_every_result_in_the_order_of_its_items(client, batch):
    done = await batch()
    assert (done["status"], done["completed"], done["pending"]) == ("completed", 3, 0)
    results = await lines(client, done["batch_id"])
    assert [(one["id"], one["output"]) for one in results] == [
        (f"item-{task}", f"{task}.") for task in "abc"
    ]
    assert [one["batch_id"] for one in (await client.get(PLACE)).json()["items"]] == [
        done["batch_id"]
    ]
    assert not {"out", "target"} & done.keys()


async def test_the_same_items_twice_are_two_batches(client, batch):
    first, second = await batch(), await batch()
    assert first["batch_id"] != second["batch_id"]


async def test_items_that_wait_are_answered_together_and_the_batch_goes_on(client, batch):
    waiting = await batch("asks")
    assert (waiting["waiting"], len(waiting["waiting_items"])) == (3, 3)
    place = f"{PLACE}/{waiting['batch_id']}"
    one = await client.post(f"{place}/approve", json={"items": ["item-a"]})
    assert (one.status_code, one.json()["answered"]) == (202, 1)
    assert (await ended(client, place))["waiting"] == 2
    rest = await client.post(f"{place}/approve")
    assert rest.json()["answered"] == 2
    done = await ended(client, place)
    assert (done["status"], done["completed"]) == ("completed", 3)
    assert [one["status"] for one in await lines(client, waiting["batch_id"])] == ["completed"] * 3
    assert (await client.post(f"{place}/approve")).status_code == 409
    assert (await client.post(f"{place}/cancel")).status_code == 409


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"workflow": "nope", "items": [{"task": "x"}]}, 404, "no workflow"),
        ({"workflow": "two", "items": []}, 422, "body.items"),
        ({"workflow": "two", "items": [{"task": "x", "path": "/etc"}]}, 422, "path"),
        ({"workflow": "two", "items": "items.csv"}, 422, "body.items"),
        ({"workflow": "two", "items": [{"task": "x"}], "inputs": {"images": "/a"}}, 422, "images"),
    ],
)
async def test_a_mistake_starts_no_batch(client, ledger, body, status, says):
    refused = await client.post(PLACE, json=body)
    assert refused.status_code == status
    assert says in refused.json()["detail"]
    assert ledger.select("SELECT batch_id FROM batches") == []


async def test_a_batch_that_cannot_continue_is_given_up(batch, service, ledger):
    done = await batch()
    (row,) = ledger.select("SELECT folder FROM served_batches")
    Path(row["folder"], "out.jsonl").write_text("{}\n")
    ledger.database.write("UPDATE batches SET status = 'stopped', stop_reason = 'interrupted'", {})
    ledger.database.write("UPDATE served_batches SET intent = 'run'", {})
    while ledger.select("SELECT 1 FROM served_batches WHERE intent = 'run'"):
        await asyncio.sleep(0.05)
    assert ledger.select("SELECT batch_id FROM batches")[0]["batch_id"] == done["batch_id"]
