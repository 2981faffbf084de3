"""Runs over HTTP: started, watched, answered, cancelled and deleted."""

from __future__ import annotations

import pytest
from server_events import events_in

WAITS = {"Prefer": "wait=60"}


async def start(client, workflow="two", **more):
    heads = more.pop("headers", WAITS)
    body = {"workflow": workflow, "task": "heat pumps", **more}
    return await client.post("/api/v1/runs", json=body, headers=heads)


async def test_a_run_that_is_waited_for_comes_as_the_document_of_aideon_run(client):
    done = await start(client, metadata={"ticket": "7"})
    assert done.status_code == 200
    assert done.headers["preference-applied"] == "wait=60"
    found = done.json()
    assert (found["status"], found["output"]) == ("completed", "heat pumps.")
    assert [node["node_path"] for node in found["nodes"]] == ["facts", "text"]
    assert found["metadata"] == {"ticket": "7"}
    assert isinstance(found["cost"]["usd"], str)
    assert (await client.get(done.headers["location"])).json() == found


async def test_a_run_outlives_the_request_that_started_it(client, service):
    begun = await start(client, headers={})
    assert begun.status_code == 202
    assert begun.json() == {"run_id": begun.headers["location"][-26:], "status": "running"}
    assert await service.wait(begun.json()["run_id"], 60)
    assert (await client.get(begun.headers["location"])).json()["status"] == "completed"


async def test_the_same_idempotency_key_begins_one_run(client, ledger):
    heads = {"Idempotency-Key": "a", **WAITS}
    first, second = await start(client, headers=heads), await start(client, headers=heads)
    assert first.json() == second.json()
    assert len(ledger.runs()) == 1
    other = await start(client, "one", headers=heads)
    assert (other.status_code, other.json()["code"]) == (422, "invalid")


async def test_events_come_in_order_and_from_any_number_on(client):
    location = (await start(client)).headers["location"]
    all_of_them = events_in((await client.get(f"{location}/events")).text)
    kinds = [kind for _, kind, _ in all_of_them]
    assert kinds == ["node_started", "node_ended"] * 2 + ["run_ended"] or "token" in kinds
    assert [number for number, _, _ in all_of_them] == list(range(1, len(kinds) + 1))
    assert all_of_them[-1][2]["output"] == "heat pumps."
    later = await client.get(f"{location}/events", headers={"Last-Event-ID": "2"})
    assert events_in(later.text) == all_of_them[2:]
    bare = await client.get(f"{location}/events", params={"content": "0"})
    assert "heat pumps" not in bare.text


async def test_a_waiting_run_is_answered_and_continues(client):
    waiting = (await start(client, "asks")).json()
    assert waiting["status"] == "waiting"
    place = f"/api/v1/runs/{waiting['run_id']}"
    refused = await client.post(f"{place}/resume")
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    given = await client.post(f"{place}/answer", json={"answer": "yes"})
    assert given.status_code == 202
    stream = events_in((await client.get(f"{place}/events")).text)
    assert [kind for _, kind, _ in stream].count("run_ended") == 2
    assert stream[-1][2]["status"] == "completed"
    again = await client.post(f"{place}/answer", json={"answer": "yes"})
    assert again.status_code == 409


async def test_a_failed_run_says_where(client):
    found = (await start(client, "fails")).json()
    assert (found["status"], found["failed_node"]) == ("failed", "fail fails.py:3")


async def test_runs_are_listed_in_pages_the_newest_first(client):
    ids = [(await start(client, "one")).json()["run_id"] for _ in range(3)]
    first = (await client.get("/api/v1/runs", params={"limit": 2})).json()
    assert [one["run_id"] for one in first["items"]] == ids[:0:-1]
    rest = await client.get("/api/v1/runs", params={"limit": 2, "cursor": first["next"]})
    assert [one["run_id"] for one in rest.json()["items"]] == ids[:1]
    assert rest.json()["next"] is None


async def test_a_deleted_run_is_gone_and_its_cost_stays(client, ledger):
    location = (await start(client, record_content=True)).headers["location"]
    assert (await client.delete(location)).status_code == 204
    assert (await client.get(location)).status_code == 404
    assert (await client.get("/api/v1/runs")).json()["items"] == []
    (row,) = ledger.runs()
    assert (row.output, ledger.contents(row.run_id)) == (None, [])
    assert ledger.calls(row.run_id)
    assert ledger.select("SELECT * FROM run_events") == []


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"workflow": "two", "task": ""}, 422, "body.task: "),
        ({"workflow": "two"}, 422, "body.task"),
        ({"workflow": "two.py", "task": "x"}, 404, "no workflow 'two.py'"),
        ({"workflow": "two", "task": "x", "target": "two.py"}, 422, "body.target"),
        ({"workflow": "two", "task": "x", "budget": "-1"}, 422, "body.budget"),
        ({"workflow": "named", "task": "x"}, 422, "place"),
        ({"workflow": "two", "task": "x", "model": {"executor": "nope:x"}}, 422, "nope"),
        ({"workflow": "two", "task": "x", "model": {"cook": "local:x"}}, 422, "cook"),
    ],
)
async def test_a_mistake_of_the_caller_is_a_problem_document(client, body, status, says):
    refused = await client.post("/api/v1/runs", json=body)
    assert refused.status_code == status
    assert refused.headers["content-type"] == "application/problem+json"
    assert says in refused.json()["detail"]
    assert refused.json()["request_id"] == refused.headers["x-request-id"]
