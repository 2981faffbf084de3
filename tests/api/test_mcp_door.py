"""The MCP door, with the SDK's own client over a server."""

from __future__ import annotations

import contextlib
import re

import anyio
import pytest
from mcp import ClientSession, types
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import McpError

from aideon_agents.ledger.store import Ledger
from aideon_agents.settings import load as settings_of


@pytest.fixture
def connect(served_by):
    """Connects to a server that is started with some words."""

    @contextlib.asynccontextmanager
    async def connected(*words, **options):
        process, client = served_by("--rehearse", *words)
        place = f"{str(client.base_url).rstrip('/')}/mcp"
        async with (
            streamable_http_client(place) as (reading, writing, _),
            ClientSession(reading, writing, **options) as session,
        ):
            await session.initialize()
            yield session
        process.terminate()  # the first process ends the others
        assert process.wait(60) == 0

    return connected


def answering(action, content=None):
    asked = []

    async def answer(context, params):
        del context
        asked.append(params)
        return types.ElicitResult(action=action, content=content)

    return asked, answer


async def test_each_workflow_is_a_tool_and_tells_what_it_costs(connect):
    told = []

    async def progress(number, total, message):
        del total
        told.append((number, message))

    async with connect() as session:
        tools = {one.name: one for one in (await session.list_tools()).tools}
        assert [*tools] == ["asks", "asks_both", "both", "fails", "named", "one", "two"]
        assert tools["named"].description == "Writes about a place."
        assert tools["named"].inputSchema["required"] == ["task", "inputs"]
        given = {"task": "heat pumps", "budget": "0.05"}
        done = await session.call_tool("two", given, progress_callback=progress)
        named = await session.call_tool("named", {"task": "heat", "inputs": {"place": "Rome"}})
    assert not done.isError
    assert [one.text for one in done.content] == ["heat pumps."]
    assert done.structuredContent["status"] == "completed"
    assert [one.partition(", $")[0] for _, one in told] == ["facts has ended", "text has ended"]
    assert told[-1][1] == f"text has ended, ${done.structuredContent['cost']['usd']} so far"
    assert not named.isError


async def test_an_approval_is_an_elicitation(connect):
    asked, answer = answering("accept", {"approved": True})
    async with connect(elicitation_callback=answer) as session:
        done = await session.call_tool("asks", {"task": "heat pumps"})
    assert done.structuredContent["status"] == "completed"
    (one,) = asked
    assert "heat pumps." in one.message
    assert one.requestedSchema["required"] == ["approved"]


@pytest.mark.parametrize(
    ("action", "status", "is_error"), [("decline", "stopped", True), ("cancel", "waiting", False)]
)
async def test_a_person_who_does_not_answer_leaves_the_run_waiting(
    connect, action, status, is_error
):
    _, answer = answering(action)
    async with connect(elicitation_callback=answer) as session:
        done = await session.call_tool("asks", {"task": "heat pumps"})
    assert (done.structuredContent["status"], done.isError) == (status, is_error)


@pytest.mark.parametrize("words", [(), ("--workers", "2")])
async def test_a_client_without_elicitation_gets_the_question(connect, words):
    async with connect(*words) as session:
        done = await session.call_tool("asks", {"task": "heat pumps"})
    assert not done.isError
    assert done.structuredContent["status"] == "waiting"
    assert "Is the result of draft right?" in done.content[0].text


async def test_what_fails_is_an_error_of_the_tool(connect):
    async with connect() as session:
        for name, given, says in (
            ("fails", {"task": "heat pumps"}, "ValueError: broken"),
            ("two.py", {"task": "heat pumps"}, "no workflow 'two.py'"),
            ("two", {"task": ""}, "task is empty"),
            ("two", {}, "task: Field required"),
            ("two", {"task": "x", "tools": ["x"]}, "tools: Extra inputs"),
            ("named", {"task": "x"}, "place"),
        ):
            done = await session.call_tool(name, given)
            assert done.isError
            assert says in done.content[0].text


SLOW = """
import asyncio
from aideon_agents import creative, sequential
async def pause(state):
    await asyncio.sleep(600)
    return {}
graph = sequential(creative("draft"), pause)
"""


async def test_a_cancelled_call_cancels_its_run(connect, folder):
    (folder / "slow.py").write_text(SLOW, encoding="utf-8")
    begun = anyio.Event()

    async def progress(number, total, message):
        begun.set()

    async with connect("--workflow=slow=slow.py") as session, anyio.create_task_group() as group:

        async def call():
            with pytest.raises(McpError):
                await session.call_tool("slow", {"task": "x"}, progress_callback=progress)

        group.start_soon(call)
        await begun.wait()
        gone = types.CancelledNotificationParams(requestId=session._request_id - 1)
        await session.send_notification(
            types.ClientNotification(types.CancelledNotification(params=gone))
        )
    with Ledger.from_url(settings_of().ledger) as ledger:
        (run,) = ledger.runs()
    assert (run.status, run.stop_reason) == ("cancelled", "cancelled")


@pytest.mark.parametrize("words", [(), ("--workers", "2")])
async def test_any_workflow_has_a_tool_whose_name_models_take(connect, words):
    names = ("write a brief", "write_a_brief", "Übersicht", "x" * 90, "team/brief")
    async with connect(*(f"--workflow={one}=one.py" for one in names), *words) as session:
        tools = [one.name for one in (await session.list_tools()).tools]
        assert all(re.fullmatch("[A-Za-z0-9_-]{1,64}", one) for one in tools)
        assert {"write_a_brief", "write_a_brief_", "_bersicht", "x" * 60, "team_brief"} < {*tools}
        for name in ("write_a_brief_", "_bersicht", "x" * 60):
            done = await session.call_tool(name, {"task": "heat pumps"})
            assert (done.isError, done.content[0].text) == (False, "heat pumps.")
