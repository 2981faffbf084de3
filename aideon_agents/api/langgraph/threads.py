"""Threads, and the states that their runs have left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeAlias
from uuid import UUID

from fastapi import APIRouter, Depends, Response
from langchain_core.messages import convert_to_messages
from pydantic import BaseModel, ConfigDict, Field

from aideon_agents.access.callers import Caller
from aideon_agents.api.asking import Serving, asking
from aideon_agents.api.langgraph.frames import answer_id
from aideon_agents.api.langgraph.shapes import MESSAGE_ID, Document, interrupt, message, selected
from aideon_agents.errors import Conflict, NotFound
from aideon_agents.graphs.output import output
from aideon_agents.ledger.rows import Run
from aideon_agents.runner.outcome import recorded
from aideon_agents.runner.spec import takes_task
from aideon_agents.runner.state import conversation, kept_values
from aideon_agents.serving import events, served, threads
from aideon_agents.serving.service import Service
from aideon_agents.serving.workflows import Workflow

router = APIRouter(prefix="/threads")
Reader = Annotated[Caller, asking("runs:own")]
Writer = Annotated[Caller, asking("runs:write")]
ThreadStatus: TypeAlias = Literal["idle", "busy", "interrupted", "error"]
ALL = 10_000
"""More runs than a thread has, and more threads than a user has."""


def found_thread(thread_id: str, caller: Reader, service: Serving) -> Document:
    """The thread of a path, which must be the caller's."""
    return threads.find(service.ledger, caller.user, thread_id)


Found = Annotated[Document, Depends(found_thread)]


def run_ids(service: Service, caller: Caller, thread: Document) -> list[str]:
    """The runs of a thread, the newest first."""
    return served.own_runs(service.ledger, caller.user, None, ALL, thread=thread["thread_id"])


async def states(service: Service, caller: Caller, thread: Document) -> list[Document]:
    """What each completed run of a thread has left, and its newest run; the newest first."""
    thread_id = thread["thread_id"]
    runs = [service.ledger.find_run(one) for one in reversed(run_ids(service, caller, thread))]
    if not runs:
        return []
    newest = runs[-1]
    workflow = service.workflows.get(thread["workflow"] or "")
    graph = workflow.target.graph if workflow else None
    found: list[Document] = []
    values: Document = {"messages": []}
    done = [one for one in runs if one.status == "completed"]
    if workflow and graph and not takes_task(graph):
        values = await _messages_kept(service, workflow, newest)
        done = []
    kept = await conversation(service.ledger, thread_id, rehearsed=newest.rehearsed)
    count = min(len(done), len(kept))
    done = done[len(done) - count :]
    for run, exchange in zip(done, kept[len(kept) - count :], strict=True):
        given = output(graph, exchange.results)
        text = given.content if given else ""
        both = [
            _human(service, run.run_id, exchange.task),
            message("ai", text, answer_id(run.run_id)),
        ]
        results = recorded(exchange.results)
        values = {"messages": values["messages"] + both, "results": results, "output": text}
        found.append(_state(thread, run.run_id, values, run.ended_at, before=found))
    if newest not in done:
        shown = service.show(caller, newest.run_id)
        if graph is None or takes_task(graph):
            task = (events.asked(service.ledger, newest.run_id) or {}).get("task")
            asked = [] if task is None else [_human(service, newest.run_id, task)]
            values = {"messages": values["messages"] + asked, "output": None}
            values["results"] = shown["results"]
        at = newest.ended_at or newest.started_at
        found.append(_state(thread, newest.run_id, values, at, before=found, shown=shown))
    return found[::-1]


async def _messages_kept(service: Service, workflow: Workflow, run: Run) -> Document:
    """The messages of a graph that is not ours, which keeps them itself."""
    name, thread = workflow.name, str(run.thread)
    graph, is_rehearsed = workflow.target.graph, run.rehearsed
    values = await kept_values(service.ledger, graph, name, thread, rehearsed=is_rehearsed)
    kept = convert_to_messages(values.get("messages") or [])
    return {"messages": [one.model_dump(mode="json") for one in kept]}


def _human(service: Service, run_id: str, task: str) -> Document:
    """What a run was asked, under the id by which its client knows it."""
    metadata = served.metadata_of(served.find(service.ledger, run_id))
    return message("human", task, metadata.get(MESSAGE_ID) or f"{run_id}.task")


def _state(
    thread: Document,
    run_id: str | None,
    values: Document,
    at: str | None,
    *,
    before: Sequence[Document] = (),
    shown: Mapping[str, Any] | None = None,
) -> Document:
    """A ThreadState; `shown` is the document of a run whose state may be more than its values."""
    tasks: list[Document] = []
    questions = shown["questions"] if shown else []
    for one in questions:
        asks = {"interrupts": [interrupt(one)], "error": None}
        tasks.append({"id": one["id"], "name": one["node_path"], **asks})
    if shown and shown["error"]:
        name = (shown["failed_node"] or thread["workflow"] or "").partition(" ")[0]
        tasks.append({"id": run_id, "name": name, "error": shown["error"], "interrupts": []})
    where = {"thread_id": thread["thread_id"], "checkpoint_ns": "", "checkpoint_map": None}
    return {
        "values": values,
        "next": [one["node_path"] for one in questions],
        "checkpoint": {**where, "checkpoint_id": run_id},
        "parent_checkpoint": before[-1]["checkpoint"] if before else None,
        "metadata": {**thread["metadata"], "run_id": run_id, "thread_id": thread["thread_id"]},
        "created_at": at,
        "tasks": [{**one, "checkpoint": None, "state": None} for one in tasks],
        "interrupts": [one for task in tasks for one in task["interrupts"]],
    }


async def state_of(service: Service, caller: Caller, thread: Document) -> Document:
    """The newest state of a thread."""
    found = await states(service, caller, thread)
    return found[0] if found else _state(thread, None, {}, thread["created_at"])


def _status(service: Service, thread: Document) -> ThreadStatus:
    """LangGraph's word for what a thread does."""
    if thread["status"] != "idle":
        return "interrupted" if thread["status"] == "waiting" else "busy"
    ended = service.ledger.find_run(thread["run_id"]).status if thread["run_id"] else None
    return "error" if ended in ("failed", "stopped", "crashed") else "idle"


async def _document(service: Service, caller: Caller, thread: Document) -> Document:
    state = await state_of(service, caller, thread)
    tasks = state["tasks"]
    return {
        **{name: thread[name] for name in ("thread_id", "created_at", "updated_at", "metadata")},
        "state_updated_at": state["created_at"],
        "status": _status(service, thread),
        "config": {},
        "values": state["values"] or None,
        "interrupts": {one["id"]: one["interrupts"] for one in tasks if one["interrupts"]},
        "error": next((one["error"] for one in tasks if one["error"]), None),
    }


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")

    metadata: Document | None = None


class Make(_Body):
    """What a thread is made with."""

    thread_id: UUID | None = None
    if_exists: Literal["raise", "do_nothing"] = "raise"


class Search(_Body):
    """Which threads a client looks for."""

    ids: list[str] | None = None
    status: ThreadStatus | None = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 10
    offset: Annotated[int, Field(ge=0)] = 0
    sort_by: Literal["thread_id", "status", "created_at", "updated_at"] = "updated_at"
    sort_order: Literal["asc", "desc"] = "desc"
    select: list[str] | None = None


class History(_Body):
    """Which states of a thread a client wants."""

    limit: Annotated[int, Field(ge=1, le=1000)] = 10
    before: str | Document | None = None
    checkpoint: Document | None = None
    select: list[str] | None = None


class At(BaseModel):
    """Which state of a thread a client wants; none: the newest."""

    model_config = ConfigDict(extra="forbid")

    checkpoint: Document
    subgraphs: bool = False
    select: list[str] | None = None


@router.post("")
async def create(given: Make, caller: Writer, service: Serving) -> Document:
    """Make a thread."""
    name = str(given.thread_id) if given.thread_id else None
    try:
        made = threads.make(service.ledger, caller.user, given.metadata, name)
    except Conflict:
        if given.if_exists == "raise":
            raise
        made = threads.find(service.ledger, caller.user, str(name))
    return await _document(service, caller, made)


@router.post("/search")
async def search(wanted: Search, caller: Reader, service: Serving) -> list[Document]:
    """List one's own threads."""
    metadata = (wanted.metadata or {}).items()
    known: list[Document] = [
        {**one, "status": _status(service, one), "itself": one}
        for one in threads.listed(service.ledger, caller.user, None, ALL)
        if all(one["metadata"].get(key) == value for key, value in metadata)
        and (wanted.ids is None or one["thread_id"] in wanted.ids)
    ]
    found = [one for one in known if wanted.status in (None, one["status"])]
    found.sort(key=lambda one: one[wanted.sort_by], reverse=wanted.sort_order == "desc")
    page = found[wanted.offset : wanted.offset + wanted.limit]
    return selected(
        [await _document(service, caller, one["itself"]) for one in page], wanted.select
    )


@router.get("/{thread_id}")
async def show(found: Found, caller: Reader, service: Serving) -> Document:
    """Show a thread."""
    return await _document(service, caller, found)


@router.patch("/{thread_id}")
async def change(given: _Body, found: Found, caller: Writer, service: Serving) -> Document:
    """Add to a thread's metadata."""
    thread_id = found["thread_id"]
    threads.merge_metadata(service.ledger, caller.user, thread_id, given.metadata or {})
    return await _document(service, caller, found_thread(thread_id, caller, service))


@router.delete("/{thread_id}")
async def delete(found: Found, caller: Writer, service: Serving) -> Response:
    """Delete a thread, and what is kept of its runs. What they cost stays in reports."""
    await threads.delete(service.ledger, caller.user, found["thread_id"])
    for one in run_ids(service, caller, found):
        await service.delete(caller, one)
    return Response(status_code=204)


@router.get("/{thread_id}/state")
async def state(found: Found, caller: Reader, service: Serving) -> Document:
    """The newest state of a thread."""
    return await state_of(service, caller, found)


@router.post("/{thread_id}/state/checkpoint")
async def state_at(wanted: At, found: Found, caller: Reader, service: Serving) -> Document:
    """The state at a checkpoint."""
    wanted_id = wanted.checkpoint.get("checkpoint_id")
    if wanted_id is None:
        return await state_of(service, caller, found)
    for one in await states(service, caller, found):
        if one["checkpoint"]["checkpoint_id"] == wanted_id:
            return one
    raise NotFound(f"thread {found['thread_id']} has no such checkpoint: its history lists them")


@router.post("/{thread_id}/history")
async def history(
    wanted: History, found: Found, caller: Reader, service: Serving
) -> list[Document]:
    """The states of a thread, the newest first."""
    kept = await states(service, caller, found)
    before = wanted.before
    before = before.get("checkpoint_id") if isinstance(before, dict) else before
    if before is not None:
        ids = [one["checkpoint"]["checkpoint_id"] for one in kept]
        kept = kept[ids.index(before) + 1 :] if before in ids else []
    return selected(kept[: wanted.limit], wanted.select)
