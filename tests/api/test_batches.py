"""Batches over HTTP: many items through one workflow, cancelled, answered and continued."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from aideon_agents.runner.state import open_questions

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


async def questions_of(client, waiting):
    """The ids of the questions of each item."""
    asked = {}
    for one in waiting["waiting_items"]:
        run = (await client.get(f"/api/v1/runs/{one['run_id']}")).json()
        asked[one["id"]] = [each["id"] for each in run["questions"]]
    return asked


async def test_one_answer_is_for_every_question_of_an_item(client, batch):
    waiting = await batch("asks_both")
    assert {len(one) for one in (await questions_of(client, waiting)).values()} == {2}
    place = f"{PLACE}/{waiting['batch_id']}"
    assert (await client.post(f"{place}/approve")).json()["answered"] == 3
    done = await ended(client, place)
    assert (done["status"], done["completed"], done["waiting"]) == ("completed", 3, 0)


async def test_answers_by_the_ids_of_questions_are_for_these_alone(client, batch):
    waiting = await batch("asks_both")
    asked = await questions_of(client, waiting)
    place = f"{PLACE}/{waiting['batch_id']}"
    (first, second), (other, _) = asked["item-a"], asked["item-b"]
    answer = {first: "yes", second: {"approved": True}, other: {"approved": False}}
    given = await client.post(f"{place}/approve", json={"answer": answer})
    assert (given.status_code, given.json()["answered"]) == (202, 2), given.text
    left = await ended(client, place)
    assert left["completed"] == 1
    assert "item-c" in {one["id"] for one in left["waiting_items"]}


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({"approved": "perhaps"}, "approved"),
        ([1], "not of type 'object'"),
        ({"ID": "yes", "nothing": "yes"}, "'nothing'"),
    ],
)
async def test_an_answer_that_fits_no_item_is_refused(client, batch, answer, says):
    waiting = await batch("asks_both", tasks=("a",))
    if "ID" in answer:
        (ids,) = (await questions_of(client, waiting)).values()
        answer[ids[0]] = answer.pop("ID")
    place = f"{PLACE}/{waiting['batch_id']}"
    refused = await client.post(f"{place}/approve", json={"answer": answer})
    assert (refused.status_code, says in refused.json()["detail"]) == (422, True), refused.text
    assert (await client.get(place)).json()["waiting"] == 1


async def test_a_batch_that_has_ended_is_deleted_and_its_cost_stays(client, batch, ledger):
    waiting = await batch("asks", record_content=True)
    place, run = f"{PLACE}/{waiting['batch_id']}", waiting["waiting_items"][0]["run_id"]
    (row,) = ledger.select("SELECT folder FROM served_batches")
    calls = len(ledger.calls(run))
    assert calls
    assert ledger.select("SELECT call_id FROM contents")
    assert (await client.delete(place)).status_code == 204
    assert not Path(row["folder"]).exists()
    for method, path in (
        *(("GET", place), ("GET", f"{place}/output"), ("DELETE", place)),
        *(
            ("POST", f"{place}/cancel"),
            ("POST", f"{place}/approve"),
            ("GET", f"/api/v1/runs/{run}"),
        ),
    ):
        assert (await client.request(method, path)).status_code == 404, path
    assert (await client.get(PLACE)).json()["items"] == []
    assert ledger.select("SELECT call_id FROM contents") == []
    assert ledger.select("SELECT batch_id FROM outputs") == []
    assert ledger.select("SELECT run_id FROM runs WHERE output IS NOT NULL") == []
    assert await open_questions(ledger, run) == []
    assert len(ledger.calls(run)) == calls


async def test_a_batch_that_is_to_continue_is_not_deleted(client, batch, ledger):
    done = await batch()
    place = f"{PLACE}/{done['batch_id']}"
    ledger.database.write("UPDATE served_batches SET intent = 'run', workflow = 'gone'", {})
    refused = await client.delete(place)
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    assert (await client.get(f"{place}/output")).status_code == 200
    assert (await client.delete(f"{PLACE}/{'0' * 26}")).status_code == 404


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
