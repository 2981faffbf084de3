"""LangGraph's own clients: the Python SDK over the app, and with `RemoteGraph` over a server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from typing import Annotated, Any, TypedDict

import httpx
import pytest
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.pregel.remote import RemoteGraph
from langgraph.types import Command
from langgraph_sdk import get_client, get_sync_client
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import ConflictError, NotFoundError

from aideon_agents import aresume, arun, creative, executor, iterative, sequential
from aideon_agents.api.app import create_app
from aideon_agents.ledger.store import Ledger
from aideon_agents.serving.service import Service
from aideon_agents.serving.workflows import Workflows
from aideon_agents.settings import load as settings_of
from aideon_agents.state import Context, StepResult

EVERYTHING = ["values", "messages-tuple", "updates", "tasks", "custom"]
APPROVE: Any = {"resume": {"decisions": [{"type": "approve"}]}}


def said(text, identity=None):
    return {"messages": [{"type": "human", "content": text, "id": identity}]}


def texts(values):
    return [(one["type"], one["content"]) for one in values["messages"]]


def frames_in(text):
    """Id, event and data of each frame."""
    blocks = (one.splitlines() for one in text.split("\n\n") if one)
    fields = ([line.partition(": ")[2] for line in block] for block in blocks)
    return [(number, event, json.loads(data)) for number, event, data in fields]


async def read(parts):
    return [part async for part in parts]


@contextlib.asynccontextmanager
async def connected(service):
    transport = httpx.ASGITransport(create_app(service))
    asking = httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", timeout=60)
    async with LangGraphClient(asking) as client:
        yield client


@pytest.fixture
async def sdk(service):
    """The SDK over the app in this process."""
    async with connected(service) as client:
        yield client


@pytest.fixture
async def thread(sdk):
    return (await sdk.threads.create())["thread_id"]


@pytest.fixture
def far(served_by):
    """The SDK over a server in a process of its own."""
    _, client = served_by("--rehearse")
    with get_sync_client(url=str(client.base_url), api_key=None) as far:
        yield far


def test_a_run_is_streamed_in_the_order_of_langgraph(far):
    thread = far.threads.create(metadata={"a": 1})["thread_id"]
    created: list[Any] = []
    stream = far.runs.stream(
        thread,
        "two",
        input=said("heat pumps", "m1"),
        stream_mode=EVERYTHING,
        on_run_created=created.append,
    )
    parts = list(stream)
    events = [part.event for part in parts]
    assert (events[0], events[1], events[-1]) == ("metadata", "values", "end")
    assert {"messages", "updates", "tasks", "custom"} <= {*events}
    assert created == [{"run_id": parts[0].data["run_id"], "thread_id": thread}]
    assert texts(parts[1].data) == [("human", "heat pumps")]
    last = [part.data for part in parts if part.event == "values"][-1]
    assert texts(last) == [("human", "heat pumps"), ("ai", "heat pumps.")]
    assert last["messages"][0]["id"] == "m1"
    ids = [part.id for part in parts]
    assert len({*ids}) == len(ids)
    chunks = [part.data for part in parts if part.event == "messages"]
    assert "".join(chunk["content"] for chunk, _ in chunks) == "heat pumps."
    assert {chunk["id"] for chunk, _ in chunks} == {last["messages"][1]["id"]}
    money = [part.data["cost"]["usd"] for part in parts if part.event == "custom"]
    assert len(money) == 3
    assert all(isinstance(one, str) for one in money)


async def test_inner_nodes_speak_under_their_namespace_and_only_when_asked(sdk):
    modes = ["messages-tuple", "messages"]
    ask = {"input": {"task": "heat pumps"}, "stream_mode": modes}
    parts = await read(sdk.runs.stream(None, "two", stream_subgraphs=True, **ask))
    inner = {part.event for part in parts if "|" in part.event}
    place = f"facts:{parts[0].data['run_id']}"
    assert f"messages|{place}" in inner
    assert {one.partition("|")[2] for one in inner} == {place}
    outer = await read(sdk.runs.stream(None, "two", **ask))
    assert not [part for part in outer if "|" in part.event]
    whole = [part.data for part in outer if part.event == "messages/complete"]
    assert [one["content"] for (one,) in whole] == ["heat pumps."]


async def test_a_thread_keeps_the_conversation_and_says_what_it_does(sdk, thread):
    first = await sdk.runs.wait(thread, "two", input=said("heat pumps"))
    second = await sdk.runs.wait(thread, "two", input=said("solar"))
    assert texts(second)[:2] == texts(first)
    assert [kind for kind, _ in texts(second)] == ["human", "ai", "human", "ai"]
    state, older = await sdk.threads.get_history(thread)
    assert state == await sdk.threads.get_state(thread)
    assert state["values"]["messages"] == second["messages"]
    assert older["values"]["messages"] == first["messages"]
    assert state["parent_checkpoint"] == older["checkpoint"]
    assert older == await sdk.threads.get_state(thread, older["checkpoint"])
    runs = await sdk.runs.list(thread)
    assert [run["status"] for run in runs] == ["success", "success"]
    assert state["checkpoint"]["checkpoint_id"] == runs[0]["run_id"]
    (found,) = await sdk.threads.search(metadata={"graph_id": "two"}, status="idle")
    assert await sdk.threads.count(metadata={"graph_id": "two"}) == 1
    assert await sdk.threads.count(metadata={"graph_id": "one"}) == 0
    run = runs[1]["run_id"]
    assert await sdk.threads.get_history(thread, metadata={"run_id": run}) == [older]
    assert await sdk.threads.get_state(thread, checkpoint_id=run) == older
    assert (found["thread_id"], found["values"]["messages"]) == (thread, second["messages"])
    changed = await sdk.threads.update(thread, metadata={"title": "energy"})
    assert changed["metadata"] == {**found["metadata"], "title": "energy"}
    await sdk.threads.delete(thread)
    with pytest.raises(NotFoundError):
        await sdk.threads.get(thread)
    assert await sdk.threads.search() == []


async def test_a_long_conversation_is_shown_whole(sdk, thread):
    for number in range(12):
        await sdk.runs.wait(thread, "one", input=said(f"turn {number}"))
    shown = texts((await sdk.threads.get_state(thread))["values"])
    assert [text for kind, text in shown if kind == "human"] == [f"turn {n}" for n in range(12)]
    assert len(await sdk.threads.get_history(thread, limit=5)) == 5


async def test_an_approval_is_an_interrupt_which_a_decision_answers(sdk, thread):
    waiting = await sdk.runs.wait(thread, "asks", input=said("heat pumps"))
    (asked,) = waiting["__interrupt__"]
    (action,) = asked["value"]["action_requests"]
    assert (action["name"], action["args"]) == ("draft", {"content": "heat pumps."})
    allowed = [{"action_name": "draft", "allowed_decisions": ["approve", "reject"]}]
    assert asked["value"]["review_configs"] == allowed
    # A chat page shows the buttons below a message of the AI.
    assert texts(waiting)[-1] == ("ai", "heat pumps.")
    shown = await sdk.threads.get(thread)
    assert shown["values"]["messages"] == waiting["messages"]
    assert (shown["status"], [*shown["interrupts"]]) == ("interrupted", [asked["id"]])
    assert (await sdk.threads.get_state(thread))["tasks"][0]["interrupts"] == [asked]

    with pytest.raises(httpx.HTTPStatusError, match="409") as refused:
        await sdk.runs.wait(thread, "asks", input=said("and now?"))
    assert asked["id"] in refused.value.response.json()["detail"]

    parts = await read(sdk.runs.stream(thread, "asks", command=APPROVE))
    assert [part.event for part in parts[:2]] == ["metadata", "values"]
    assert texts(parts[1].data) == [("human", "heat pumps")]
    assert parts[-1].data["status"] == "success"
    assert texts(parts[-2].data) == [("human", "heat pumps"), ("ai", "heat pumps.")]
    assert len({part.id for part in parts}) == len(parts)
    with pytest.raises(httpx.HTTPStatusError, match="409"):
        await sdk.runs.wait(thread, "asks", command=APPROVE)
    assert (await sdk.threads.get(thread))["status"] == "idle"
    assert len(await sdk.runs.list(thread)) == 1


async def test_a_rejection_with_a_message_has_the_work_done_again(sdk, thread):
    (first,) = (await sdk.runs.wait(thread, "asks", input=said("heat")))["__interrupt__"]
    no = {"decisions": [{"type": "reject", "message": "shorter"}]}
    again = await sdk.runs.wait(thread, "asks", command={"resume": {first["id"]: no}})
    assert again["__interrupt__"][0]["id"] != first["id"]
    bare = {"resume": {"decisions": [{"type": "reject"}]}}
    declined = await sdk.runs.wait(thread, "asks", command=bare, raise_error=False)
    assert declined["__error__"]["error"] == "declined"


async def test_a_question_that_is_marked_as_resolved_ends_its_run(sdk, thread):
    await sdk.runs.wait(thread, "asks", input=said("heat pumps"))
    resolve: Any = {"goto": "__end__"}  # as Agent Chat UI sends it
    parts = await read(sdk.runs.stream(thread, "asks", command=resolve))
    assert [part.event for part in parts] == ["metadata", "values", "end"]
    assert parts[-1].data["status"] == "interrupted"
    assert (await sdk.threads.get(thread))["status"] == "idle"
    assert (await sdk.threads.get_state(thread))["tasks"] == []
    values = await sdk.runs.wait(thread, "two", input=said("solar"))
    assert texts(values)[-1][0] == "ai"


async def test_a_failure_is_an_error_in_every_way_of_waiting(sdk, thread):
    with pytest.raises(Exception, match="ValueError: broken"):
        await sdk.runs.wait(thread, "fails", input=said("heat pumps"))
    parts = await read(sdk.runs.stream(None, "fails", input=said("heat pumps")))
    assert [part.event for part in parts[-2:]] == ["error", "end"]
    assert "broken" in parts[-2].data["message"]
    shown = await sdk.threads.get(thread)
    assert shown["status"] == "error"
    assert "broken" in shown["error"]
    assert texts(shown["values"]) == [("human", "heat pumps")]


async def test_a_stream_goes_on_behind_the_last_frame_that_a_client_has(sdk, thread):
    client = sdk.http.client
    body = {"assistant_id": "two", "input": said("heat pumps"), "stream_mode": EVERYTHING}
    whole = await client.post(f"/threads/{thread}/runs/stream", json=body)
    frames = frames_in(whole.text)
    for at in (0, 3, len(frames) - 2):
        last = {"Last-Event-ID": frames[at][0]}
        rest = await client.get(whole.headers["location"], headers=last)
        assert frames_in(rest.text) == frames[at + 1 :]
    run_id = whole.headers["content-location"].removeprefix(f"/threads/{thread}/runs/")
    joined = await read(sdk.runs.join_stream(thread, run_id))
    assert [joined[0].event, joined[-1].event] == ["metadata", "end"]
    values = await sdk.runs.join(thread, run_id)
    assert texts(values) == [("human", "heat pumps"), ("ai", "heat pumps.")]


@pytest.mark.parametrize(
    ("more", "status", "says"),
    [
        ({"assistant_id": "two.py"}, 404, "no assistant 'two.py'"),
        ({"input": None}, 422, "no run that could continue"),
        ({"input": {"messages": []}}, 422, "nothing is asked"),
        ({"input": {"messages": [{"type": "human", "content": [{"type": "image"}]}]}}, 422, "text"),
        ({"input": {"messages": [{"content": "x", "id": []}]}}, 422, "the id of each"),
        ({"input": {"messages": [{"content": 5}]}}, 422, "input.messages"),
        ({"input": {"task": "x", "inputs": [1]}}, 422, "input.inputs"),
        ({"input": 5}, 422, "input takes"),
        ({"webhook": "http://127.0.0.1"}, 422, "webhook"),
        ({"multitask_strategy": "enqueue"}, 422, "multitask_strategy enqueue"),
        ({"checkpoint": {"checkpoint_id": "x"}}, 422, "newest state"),
        ({"context": {"budget": "-1"}}, 422, "body.context.budget"),
        ({"context": {"tools": ["x"]}}, 422, "body.context.tools"),
        ({"metadata": {"a": "x" * 600}}, 422, "metadata.a"),
        ({"shell": "ls"}, 422, "body.shell"),
        ({"command": {"goto": "text"}}, 422, "goto"),
    ],
)
async def test_what_is_wrong_or_not_done_is_refused(client, more, status, says):
    body = {"assistant_id": "two", "input": {"task": "heat pumps"}, **more}
    refused = await client.post("/runs/wait", json=body)
    assert refused.status_code == status
    assert says in refused.json()["detail"]


class Chat(TypedDict):
    messages: Annotated[list[Any], add_messages]


def around(remote):
    builder = StateGraph(Chat)
    builder.add_node("remote", remote)
    builder.add_edge(START, "remote")
    return builder.compile(checkpointer=InMemorySaver())


def test_a_remote_graph_is_a_node_of_a_bigger_graph(far):
    graph = around(RemoteGraph("two", sync_client=far))
    config: Any = {"configurable": {"thread_id": str(uuid.uuid4())}}
    for count, text in ((1, "heat pumps"), (2, "solar")):
        found = graph.invoke({"messages": [HumanMessage(text)]}, config)["messages"]
        assert [one.type for one in found] == ["human", "ai"] * count
        assert found[-2].content == text
    asking = around(RemoteGraph("asks", sync_client=far))
    config["configurable"]["thread_id"] = str(uuid.uuid4())
    found = asking.invoke({"messages": [HumanMessage("heat pumps")]}, config)
    (asked,) = found["__interrupt__"]
    assert asked.value["action_requests"][0]["name"] == "draft"
    thread = config["configurable"]["thread_id"]
    state = RemoteGraph("asks", sync_client=far).get_state(config)
    assert [one.id for one in state.interrupts] == [asked.id]
    with pytest.raises(ConflictError, match=asked.id):
        asking.invoke(Command(resume=APPROVE["resume"]), config)
    answered = asking.invoke(Command(resume={asked.id: APPROVE["resume"]}), config)
    assert [one.type for one in answered["messages"]] == ["human", "ai"]
    assert answered["messages"][-1].content == "heat pumps."
    assert far.threads.get(thread)["status"] == "idle"
    assert len(far.runs.list(thread, status="success")) == 1


@pytest.fixture
async def remote(served_by):
    """Makes remote graphs of a server in a process of its own."""
    _, client = served_by("--rehearse")
    address = str(client.base_url)
    async with get_client(url=address, api_key=None) as asking:
        with get_sync_client(url=address, api_key=None) as blocking:
            yield lambda name: RemoteGraph(name, client=asking, sync_client=blocking)


async def test_a_remote_graph_is_a_node_of_our_patterns(remote):
    asks = iterative(remote("asks"), lambda _: True)
    graph = sequential(executor("before"), remote("two"), asks, creative("after"))
    begun = await arun(graph, "heat pumps", rehearse=True, checkpoint=True)
    assert (begun.status, begun.error) == ("waiting", None)
    assert begun.results["two"].content in begun.questions[0]["question"]["result"]
    no = {"approved": False, "feedback": "shorter"}
    again = await aresume(graph, begun.run_id, answer=no)
    assert "version 2" in again.questions[0]["question"]["question"]
    done = await aresume(graph, begun.run_id, answer="yes")
    assert (done.status, done.error) == ("completed", None)
    assert {"before", "two", "iterative/asks", "after"} <= done.results.keys()
    assert {type(one) for one in done.results.values()} == {StepResult}


async def test_a_remote_graph_gets_the_task_alone_where_there_is_no_material(remote):
    graph = sequential(remote("two"), creative("after"))
    found = await arun(graph, "heat pumps", rehearse=True)
    assert (found.results["two"].content, found.results["two"].data) == ("heat pumps.", None)
    context = Context(rehearse=True)
    blocking = await asyncio.to_thread(graph.invoke, {"task": "heat pumps"}, context=context)
    assert blocking["results"]["two"].content == "heat pumps."


async def test_a_remote_graph_that_fails_or_is_not_there_is_named(remote):
    for name, says in (("fails", "ValueError: broken"), ("none", "there is no assistant 'none'")):
        failed = await arun(sequential(remote(name)), "heat pumps", rehearse=True)
        assert failed.status == "failed"
        assert failed.error.startswith(f"{name}: ")
        assert says in failed.error


async def test_assistants_are_the_registered_workflows(sdk, client):
    names = [one["name"] for one in await sdk.assistants.search(limit=100)]
    assert names == ["asks", "asks_both", "both", "fails", "named", "one", "two"]
    assert await sdk.assistants.count() == len(names)
    (two,) = await sdk.assistants.search(graph_id="two")
    assert await sdk.assistants.get(two["assistant_id"]) == two
    drawn = await RemoteGraph("two", client=sdk).aget_graph()
    assert [*drawn.nodes] == ["__start__", "facts", "text", "__end__"]
    takes = (await sdk.assistants.get_schemas("named"))["input_schema"]
    assert takes["properties"]["inputs"]["required"] == ["place"]
    assert (await client.get("/info")).json()["flags"]["crons"] is False
    assert (await client.get("/ok")).json() == {"ok": True}


async def test_the_store_keeps_items_below_the_callers_namespace(sdk):
    await sdk.store.put_item(["notes", "a"], "k", {"text": "heat"})
    item = await sdk.store.get_item(["notes", "a"], "k")
    assert (item["namespace"], item["value"]) == (["notes", "a"], {"text": "heat"})
    found = await sdk.store.search_items(["notes"], filter={"text": "heat"})
    assert [one["key"] for one in found["items"]] == ["k"]
    assert (await sdk.store.search_items(["note"]))["items"] == []
    assert (await sdk.store.list_namespaces(max_depth=1))["namespaces"] == [["notes"]]
    await sdk.store.delete_item(["notes", "a"], "k")
    assert await sdk.store.get_item(["notes", "a"], "k") is None


async def test_threads_and_the_store_are_on_the_ledgers_server(folder, postgres_url):
    with Ledger.from_url(postgres_url) as ledger:
        settings = settings_of()
        served = Service(settings, ledger, Workflows({"asks": "asks.py"}, settings), rehearse=True)
        async with connected(served) as sdk:
            thread = (await sdk.threads.create(metadata={"a": 1}))["thread_id"]
            await sdk.runs.wait(thread, "asks", input=said("heat pumps"))
            assert (await sdk.threads.get(thread))["status"] == "interrupted"
            values = await sdk.runs.wait(thread, "asks", command=APPROVE)
            assert (await sdk.threads.get_state(thread))["values"]["messages"] == values["messages"]
            assert len(await sdk.threads.search(metadata={"graph_id": "asks"})) == 1
            await sdk.store.put_item(["notes"], "k", {"text": "heat"})
            assert (await sdk.store.search_items([]))["items"][0]["key"] == "k"
            await sdk.threads.delete(thread)
            assert await sdk.threads.search() == []


CHAT = """
from langgraph.graph import START, MessagesState, StateGraph
def answer(state):
    return {"messages": [("ai", f"{len(state['messages'])} so far")]}
builder = StateGraph(MessagesState)
builder.add_node("answer", answer)
builder.add_edge(START, "answer")
graph = builder.compile()
"""


def test_a_graph_that_is_not_ours_keeps_its_own_messages(served_by, folder):
    (folder / "chat.py").write_text(CHAT, encoding="utf-8")
    _, client = served_by("--rehearse", "--workflow=chat=chat.py")
    with get_sync_client(url=str(client.base_url), api_key=None) as far:
        thread = far.threads.create()["thread_id"]
        for text in ("heat pumps", "solar"):
            values = far.runs.wait(thread, "chat", input=said(text))
        expected = [
            *(("human", "heat pumps"), ("ai", "1 so far")),
            *(("human", "solar"), ("ai", "3 so far")),
        ]
        assert texts(values) == expected
        assert texts(far.threads.get_state(thread)["values"]) == expected
        assert far.threads.get(thread)["status"] == "idle"
