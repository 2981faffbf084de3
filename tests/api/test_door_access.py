"""The doors of LangGraph and MCP with keys: whose threads, runs, items and workflows one sees."""

from __future__ import annotations

import httpx
import pytest
from langgraph_sdk import get_sync_client
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import APIStatusError
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client

from aideon_agents.access import api_keys, users
from aideon_agents.access.audit import By
from aideon_agents.api.app import create_app

BY = By("root")
ASK = {"messages": [{"type": "human", "content": "heat pumps"}]}


@pytest.fixture
def key_of(ledger):
    """Makes a user with a key."""

    def make(name, role="member", **options):
        users.add(ledger, name, BY, role=role)
        return api_keys.make(ledger, name, BY, **options)[1]

    return make


@pytest.fixture
async def sdk_of(service, key_of):
    """Makes the SDK of a user, over the app in this process."""
    transport = httpx.ASGITransport(create_app(service))
    opened = []

    def make(name, head="x-api-key", **options):
        key = key_of(name, **options)
        heads = {head: key if head == "x-api-key" else f"Bearer {key}"}
        asking = httpx.AsyncClient(
            transport=transport, base_url="http://127.0.0.1", headers=heads, timeout=60
        )
        opened.append(asking)
        return LangGraphClient(asking)

    yield make
    for one in opened:
        await one.aclose()


async def status(call):
    with pytest.raises((httpx.HTTPStatusError, APIStatusError)) as raised:
        await call
    return raised.value.response.status_code


async def test_what_belongs_to_another_user_is_not_found(sdk_of):
    ada, bob = sdk_of("ada"), sdk_of("bob", head="authorization")
    thread = (await ada.threads.create())["thread_id"]
    await ada.runs.wait(thread, "two", input=ASK)
    run = (await ada.runs.list(thread))[0]["run_id"]
    mine = (await bob.threads.create())["thread_id"]
    calls = [
        bob.threads.get(thread),
        bob.threads.get_state(thread),
        bob.threads.get_history(thread),
        bob.threads.update(thread, metadata={"a": 1}),
        bob.threads.delete(thread),
        bob.threads.create(thread_id=thread, if_exists="do_nothing"),
        bob.runs.list(thread),
        bob.runs.get(thread, run),
        bob.runs.get(mine, run),
        bob.runs.join(thread, run),
        bob.runs.cancel(thread, run),
        bob.runs.delete(thread, run),
        bob.runs.wait(thread, "two", input=ASK),
        bob.runs.create(thread, "two", input=ASK, if_not_exists="create"),
    ]
    assert [await status(call) for call in calls] == [404] * len(calls)
    assert [one["thread_id"] for one in await bob.threads.search()] == [mine]
    assert len(await ada.runs.list(thread)) == 1


async def test_items_of_other_users_are_never_listed(sdk_of):
    made = {name: sdk_of(name) for name in ("ada", "ada.x", "adam", "ada%2Ex")}
    for name, sdk in made.items():
        await sdk.store.put_item(["notes"], "k", {"of": name})
    for name, sdk in made.items():
        found = (await sdk.store.search_items([]))["items"]
        assert [one["value"] for one in found] == [{"of": name}]
        assert (await sdk.store.list_namespaces())["namespaces"] == [["notes"]]


async def test_a_key_sees_its_workflows_and_a_viewer_starts_nothing(sdk_of, client_of, service):
    few = sdk_of("ada", workflows=["one"])
    assert [one["name"] for one in await few.assistants.search()] == ["one"]
    assert await status(few.assistants.get("two")) == 404
    assert await status(few.runs.wait(None, "two", input=ASK)) == 404
    viewer = sdk_of("eve", role="viewer")
    assert await viewer.threads.search() == []
    assert await status(viewer.runs.wait(None, "one", input=ASK)) == 403
    assert await status(viewer.threads.create()) == 403
    assert await status(viewer.store.get_item(["notes"], "k")) == 403
    async with client_of(create_app(service)) as nobody:
        assert (await nobody.post("/threads/search", json={})).status_code == 401
        assert (await nobody.post("/mcp", json={})).status_code == 401
        assert (await nobody.get("/ok")).status_code == 200


async def test_mcp_knows_the_key_of_each_request(served_by, key_of, ledger, monkeypatch):
    monkeypatch.setenv("AIDEON_LEDGER", f"sqlite:///{ledger.path.absolute()}")
    keys = key_of("ada", workflows=["one", "asks"]), key_of("bob")
    _, client = served_by("--rehearse")
    place = f"{str(client.base_url).rstrip('/')}/mcp"
    heads = {"authorization": f"Bearer {keys[0]}"}
    async with (
        httpx.AsyncClient(headers=heads, timeout=60) as asking,
        streamable_http_client(place, http_client=asking) as (reading, writing, session_id),
        ClientSession(reading, writing) as session,
    ):
        await session.initialize()
        assert [one.name for one in (await session.list_tools()).tools] == ["asks", "one"]
        assert (await session.call_tool("two", {"task": "x"})).isError
        assert not (await session.call_tool("one", {"task": "x"})).isError
        stolen = {"mcp-session-id": session_id(), "authorization": f"Bearer {keys[1]}"}
        body = {"jsonrpc": "2.0", "id": 9, "method": "tools/list"}
        accepts = {"accept": "application/json, text/event-stream"}
        refused = client.post("/mcp", json=body, headers={**accepts, **stolen})
        assert refused.status_code == 404


SLOW = """
import asyncio
from aideon_agents import creative, sequential
async def pause(state):
    await asyncio.sleep(600)
    return {}
graph = sequential(creative("draft"), pause)
"""


def test_a_client_that_leaves_cancels_its_run_if_it_wants_that(served_by, folder):
    (folder / "slow.py").write_text(SLOW, encoding="utf-8")
    _, client = served_by("--rehearse", "--workflow=slow=slow.py")
    with get_sync_client(url=str(client.base_url), api_key=None) as sdk:
        threads = {}
        for kind in ("continue", "cancel"):
            threads[kind] = thread = sdk.threads.create()["thread_id"]
            for part in sdk.runs.stream(
                thread, "slow", input=ASK, stream_mode=["tasks"], on_disconnect=kind
            ):
                if part.event == "tasks" and part.data["name"] == "pause":
                    break
        (cancelled,) = sdk.runs.list(threads["cancel"])
        ended = list(sdk.runs.join_stream(threads["cancel"], cancelled["run_id"]))
        assert [part.event for part in ended[-2:]] == ["error", "end"]
        assert ended[-1].data["status"] == "interrupted"
        busy = sdk.threads.get(threads["continue"])
        assert busy["status"] == "busy"
        with pytest.raises(httpx.HTTPStatusError, match="409"):
            sdk.runs.wait(threads["continue"], "one", input=ASK)
        instead = sdk.runs.wait(
            threads["continue"], "one", input=ASK, multitask_strategy="interrupt"
        )
        assert instead["messages"][-1]["type"] == "ai"
        statuses = [one["status"] for one in sdk.runs.list(threads["continue"])]
        assert statuses == ["success", "interrupted"]
