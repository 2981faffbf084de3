"""What there is besides runs: workflows, estimates, pictures, usage, ratings, threads, health."""

from __future__ import annotations

import io
import re

import pytest
from openpyxl import load_workbook

from aideon_agents.access import api_keys, users
from aideon_agents.access.audit import By
from aideon_agents.api.app import create_app

WAITS = {"Prefer": "wait=60"}


async def start(client, workflow="two", **more):
    body = {"workflow": workflow, "task": "heat pumps", **more}
    done = await client.post("/api/v1/runs", json=body, headers=WAITS)
    assert done.status_code == 200, done.text
    return done.json()


async def test_workflows_say_what_they_do_and_take(client, folder):
    listed = (await client.get("/api/v1/workflows")).json()
    registered = sorted(file.stem for file in folder.glob("*.py"))
    assert [one["name"] for one in listed["items"]] == registered
    shown = (await client.get("/api/v1/workflows/named")).json()
    assert shown["description"] == "Writes about a place."
    assert shown["inputs"]["required"] == ["place"]
    assert (await client.get("/api/v1/workflows/nope")).status_code == 404


@pytest.mark.parametrize(
    ("form", "kind", "begins"),
    [
        ("svg", "image/svg+xml", "<svg"),
        ("mermaid", "text/plain; charset=utf-8", "flowchart"),
        ("json", "application/json", "{"),
    ],
)
async def test_a_workflow_is_drawn(client, form, kind, begins):
    drawn = await client.get("/api/v1/workflows/two/graph", params={"format": form})
    assert drawn.headers["content-type"] == kind
    assert begins in drawn.text[:200]
    assert "facts" in drawn.text


@pytest.mark.parametrize(("form", "kind"), [("svg", "image/svg+xml"), ("html", "text/html")])
async def test_a_run_is_drawn_with_its_costs(client, form, kind):
    run = await start(client)
    place = f"/api/v1/runs/{run['run_id']}/graph"
    drawn = await client.get(place, params={"format": form})
    assert drawn.headers["content-type"].startswith(kind)
    assert "$0.0000" in drawn.text


async def test_an_estimate_calls_no_model_and_leaves_no_run(client, ledger):
    body = {"task": "heat pumps", "inputs": {"place": "Bern"}}
    found = (await client.post("/api/v1/workflows/named/estimate", json=body)).json()
    assert float(found["as_rehearsed"]) < float(found["at_most"])
    assert float(found["about"]) <= float(found["at_most"])
    assert ledger.runs() == []


async def test_the_calls_of_a_run_are_listed_in_pages(client):
    run = await start(client)
    place = f"/api/v1/runs/{run['run_id']}/calls"
    first = (await client.get(place, params={"limit": 1})).json()
    rest = (await client.get(place, params={"limit": 1, "cursor": first["next"]})).json()
    paths = [one["node_path"] for page in (first, rest) for one in page["items"]]
    assert (paths, rest["next"]) == (["facts", "text"], None)


async def test_a_run_is_rated(client):
    run = await start(client)
    place = f"/api/v1/runs/{run['run_id']}"
    rated = await client.post(f"{place}/feedback", json={"score": 0.5, "text": "too short"})
    assert (rated.status_code, rated.json()["outcomes"]) == (201, 2)
    assert (await client.get(place)).json()["feedback"] == {"score": 0.5, "text": "too short"}
    assert (await client.post(f"{place}/feedback", json={"score": 2})).status_code == 422


async def test_usage_is_one_s_own_in_every_form(client):
    await start(client)
    asked = {"by": "node", "rehearsed": "1"}
    found = (await client.get("/api/v1/me/usage", params=asked)).json()
    assert {row["key"] for row in found["rows"]} == {"facts", "text"}
    table = await client.get("/api/v1/me/usage", params={**asked, "format": "csv"})
    assert table.text.splitlines()[0].startswith("key,calls")
    book = await client.get("/api/v1/me/usage", params={**asked, "format": "xlsx"})
    assert "node" in load_workbook(io.BytesIO(book.content)).sheetnames
    by_user = (await client.get("/api/v1/usage", params={"rehearsed": "1"})).json()
    assert [row["key"] for row in by_user["rows"]] == ["ada"]
    nobody = (await client.get("/api/v1/usage", params={"user": "bob", "rehearsed": "1"})).json()
    assert nobody["rows"] == []
    swapped = {"since": "2026-02-01", "until": "2026-01-01"}
    assert (await client.get("/api/v1/me/usage", params=swapped)).status_code == 422


async def test_a_thread_remembers_and_takes_one_run_at_a_time(client):
    made = await client.post("/api/v1/threads", json={"metadata": {"about": "pumps"}})
    thread = made.json()["thread_id"]
    assert made.headers["location"] == f"/api/v1/threads/{thread}"
    await start(client, thread=thread)
    waiting = await start(client, "asks", thread=thread)
    shown = (await client.get(f"/api/v1/threads/{thread}")).json()
    assert (shown["status"], shown["run_id"]) == ("waiting", waiting["run_id"])
    body = {"workflow": "two", "task": "again", "thread": thread}
    refused = await client.post("/api/v1/runs", json=body)
    assert refused.status_code == 409
    assert waiting["run_id"] in refused.json()["detail"]
    assert [one["thread_id"] for one in (await client.get("/api/v1/threads")).json()["items"]] == [
        thread
    ]
    assert (await client.delete(f"/api/v1/threads/{thread}")).status_code == 204
    assert (await client.get(f"/api/v1/threads/{thread}")).status_code == 404
    assert (await client.post("/api/v1/runs", json=body)).status_code == 404


async def test_the_caller_sees_who_one_is(client):
    found = (await client.get("/api/v1/me")).json()
    assert (found["user"], found["role"], found["key_id"]) == ("ada", "admin", None)


async def test_a_process_that_drains_is_alive_and_not_ready(client, service):
    assert (await client.get("/readyz")).json() == {"status": "ok"}
    service.live.leave()
    assert (await client.get("/readyz")).status_code == 503
    assert (await client.get("/healthz")).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "[::1].evil"])
async def test_a_foreign_host_name_is_refused(client, host):
    refused = await client.get("/api/v1/runs", headers={"Host": host})
    assert (refused.status_code, refused.json()["code"]) == (421, "wrong_host")


async def test_a_page_of_another_origin_changes_nothing_unless_it_is_named(service, client_of):
    body, origin = {"workflow": "two", "task": "x"}, {"Origin": "https://ui.example"}
    async with client_of(create_app(service)) as asking:
        refused = await asking.post("/api/v1/runs", json=body, headers=origin)
        assert (refused.status_code, refused.json()["code"]) == (403, "wrong_origin")
    async with client_of(create_app(service, origins=["https://ui.example"])) as asking:
        done = await asking.post("/api/v1/runs", json=body, headers=origin)
        assert done.status_code == 202
        assert done.headers["access-control-allow-origin"] == "https://ui.example"
        assert "Location" in done.headers["access-control-expose-headers"]


async def test_a_body_beyond_a_megabyte_is_refused(client):
    body = {"workflow": "two", "task": "x" * 1_100_000}
    refused = await client.post("/api/v1/runs", json=body)
    assert refused.status_code == 413
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["code"] == "content_too_large"


async def test_every_answer_has_security_heads_and_the_id_of_its_request(client):
    done = await client.get("/api/v1/runs", headers={"X-Request-Id": "abc-1"})
    assert done.headers["x-request-id"] == "abc-1"
    assert done.headers["x-content-type-options"] == "nosniff"
    assert done.headers["cache-control"] == "no-store"
    forged = await client.get("/nope", headers={"X-Request-Id": "a b"})
    assert (forged.status_code, forged.json()["code"]) == (404, "not_found")
    assert forged.headers["x-request-id"] != "a b"


async def test_every_route_wants_a_key_once_there_is_one_and_a_row_of_another_is_not_found(
    client, ledger, client_of, service
):
    mine = (await start(client))["run_id"]
    users.add(ledger, "bob", By("test"))
    _, secret = api_keys.make(ledger, "bob", By("test"))
    document = create_app(service).openapi()
    for path, methods in document["paths"].items():
        for method in methods if path.startswith("/api/v1/") else ():
            filled = re.sub(r"\{\w+\}", mine, path)
            assert (await client.request(method, filled)).status_code == 401, (method, path)
    async with client_of(create_app(service), Authorization=f"Bearer {secret}") as bob:
        for method, word in (("GET", ""), ("GET", "/events"), ("GET", "/calls"), ("GET", "/graph")):
            assert (await bob.request(method, f"/api/v1/runs/{mine}{word}")).status_code == 404
        for word, body in (("cancel", None), ("resume", None), ("answer", {"answer": 1})):
            place = f"/api/v1/runs/{mine}/{word}"
            assert (await bob.post(place, json=body)).status_code == 404, word
        assert (await bob.delete(f"/api/v1/runs/{mine}")).status_code == 404
        assert (await bob.get("/api/v1/runs")).json()["items"] == []
        assert (await bob.get("/api/v1/usage")).status_code == 403


async def test_an_error_names_the_field_and_not_how_it_was_read(client):
    answer = await client.get("/api/v1/together/models", params={"modality": "foo"})
    assert [one["field"] for one in answer.json()["errors"]] == ["query.modality"]
    answer = await client.post("/api/v1/runs", content='{"workflow":')
    assert [one["field"] for one in answer.json()["errors"]] == ["body"]
