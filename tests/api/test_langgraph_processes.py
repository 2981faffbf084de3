"""A thread of LangGraph's clients over several processes, on both databases: one of them is killed."""

from __future__ import annotations

import contextlib
import dataclasses
import time

import pytest
from langgraph_sdk import get_sync_client
from langgraph_sdk.errors import ConflictError, NotFoundError

from aideon_agents.access.callers import LOCAL
from aideon_agents.ledger.store import Ledger
from aideon_agents.serving import adopting, threads
from aideon_agents.serving.service import Service
from aideon_agents.serving.workflows import Workflows
from aideon_agents.settings import load as settings_of

GATED = """
import asyncio, pathlib
from aideon_agents import sequential

def first(state):
    with open("log", "a") as log:
        log.write("first ")
    return "one"

async def second(state):
    with open("log", "a") as log:
        log.write("second ")
    while not pathlib.Path("go").exists():
        await asyncio.sleep(0.01)
    return state["task"]

graph = sequential(first, second)
"""
"""A run that waits in its second node until there is a file `go`."""
ADA = dataclasses.replace(LOCAL, user="ada")


def said(text):
    return {"messages": [{"type": "human", "content": text}]}


@pytest.fixture(params=["sqlite", "postgres"])
def address(request, folder, monkeypatch):
    """The address of a ledger that several processes share."""
    (folder / "gated.py").write_text(GATED, encoding="utf-8")
    found = f"sqlite:///{folder / 'ledger.db'}"
    if request.param == "postgres":
        found = request.getfixturevalue("postgres_url")
    monkeypatch.setenv("AIDEON_LEDGER", found)
    return found


@pytest.fixture
def until_logged(folder):
    """Waits for what the nodes have written, at most a minute."""

    def wait(words):
        last = time.monotonic() + 60
        while (found := (folder / "log").read_text() if (folder / "log").exists() else "") != words:
            assert time.monotonic() < last, found
            time.sleep(0.01)

    return wait


@pytest.fixture
def begin(address, served_by):
    """Starts a process with the gated workflow; gives it and the SDK's client of it."""
    with contextlib.ExitStack() as opened:

        def start():
            process, client = served_by("--workflow=gated=gated.py")
            sdk = get_sync_client(url=str(client.base_url), api_key=None)
            return process, opened.enter_context(sdk)

        yield start


def test_a_stream_ends_in_another_process_when_that_of_the_run_is_killed(
    begin, folder, until_logged
):
    process, killed = begin()
    thread = killed.threads.create()["thread_id"]
    run = killed.runs.create(thread, "gated", input=said("done"))["run_id"]
    until_logged("first second ")
    modes = ["values", "updates", "tasks"]
    before = []
    for part in killed.runs.join_stream(thread, run, stream_mode=modes):
        before.append(part)
        if part.event == "tasks" and part.data["name"] == "second":
            break
    _, other = begin()
    assert other.threads.get(thread)["status"] == "busy"
    process.kill()
    until_logged("first second second ")
    assert other.threads.get(thread)["status"] == "busy"
    with pytest.raises(ConflictError, match=run):
        other.runs.create(thread, "gated", input=said("more"))
    (folder / "go").touch()
    rest = list(other.runs.join_stream(thread, run, stream_mode=modes, last_event_id=before[-1].id))
    assert (rest[-1].event, rest[-1].data) == ("end", {"run_id": run, "status": "success"})
    ids = [part.id for part in (*before, *rest)]
    assert len({*ids}) == len(ids)
    assert other.threads.get(thread)["status"] == "idle"
    assert other.runs.join(thread, run)["messages"][-1]["content"] == "done"
    values = other.runs.wait(thread, "gated", input=said("more"))
    assert [one["content"] for one in values["messages"]] == ["done", "done", "more", "more"]


async def test_a_run_of_another_machine_is_adopted_when_it_shows_no_life(
    address, served_by, folder, until_logged, monkeypatch
):
    process, client = served_by("--workflow=gated=gated.py")
    thread = client.post("/threads", json={}).json()["thread_id"]
    ask = {"assistant_id": "gated", "input": said("done")}
    run = client.post(f"/threads/{thread}/runs", json=ask).json()["run_id"]
    until_logged("first second ")
    process.kill()
    process.wait(60)
    settings = settings_of()
    with Ledger.from_url(address) as ledger:
        move = "UPDATE runs SET host = 'another machine' WHERE run_id = :run_id"
        ledger.database.write(move, {"run_id": run})
        service = Service(settings, ledger, Workflows({"gated": "gated.py"}, settings))
        monkeypatch.setattr(adopting, "_SILENT", 86_400)  # it may be alive
        await service.keeper.look()
        assert service.find(ADA, run).status == "running"
        assert service.live.ids == []
        assert threads.find(ledger, "ada", thread)["status"] == "busy"
        monkeypatch.setattr(adopting, "_SILENT", -1)
        await service.keeper.look()  # frees the run
        await service.keeper.look()  # continues it
        assert service.live.ids == [run]
        (folder / "go").touch()
        assert await service.wait(run, 60)
        assert service.show(ADA, run)["output"] == "done"
        assert threads.find(ledger, "ada", thread)["status"] == "idle"
        await service.drain()
    until_logged("first second second ")


def test_a_run_ends_when_its_client_leaves_or_another_run_takes_its_thread(begin):
    _, sdk = begin()
    thread = sdk.threads.create()["thread_id"]
    ask = {"assistant_id": "gated", "input": said("done")}
    run = ""
    watched = sdk.runs.stream(thread, **ask, on_disconnect="cancel", stream_mode="tasks")
    for part in watched:
        run = run or part.data["run_id"]
        if part.event == "tasks" and part.data["name"] == "second":
            break
    watched.close()
    *_, error, end = sdk.runs.join_stream(thread, run)
    assert (error.data["error"], end.event, end.data["status"]) == (
        "cancelled",
        "end",
        "interrupted",
    )
    assert sdk.threads.get(thread)["status"] == "idle"
    first = sdk.runs.create(thread, **ask)["run_id"]
    second = sdk.runs.create(thread, **ask, multitask_strategy="interrupt")["run_id"]
    assert sdk.runs.get(thread, first)["status"] == "interrupted"
    third = sdk.runs.create(thread, **ask, multitask_strategy="rollback")["run_id"]
    with pytest.raises(NotFoundError):
        sdk.runs.get(thread, second)
    assert sdk.threads.get(thread)["status"] == "busy"
    sdk.runs.cancel(thread, third, wait=True)
    assert sdk.runs.get(thread, third)["status"] == "interrupted"
    assert sdk.threads.get(thread)["status"] == "idle"
