"""Runs: begun on a thread or on none, and streamed, waited for, joined, listed and cancelled."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Generator, Sequence
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import StreamingResponse
from pydantic import ValidationError

from aideon_agents.api import doors
from aideon_agents.api.langgraph import assistants, shapes
from aideon_agents.api.langgraph.frames import HEAD, Frame, Frames, position, status_of
from aideon_agents.api.langgraph.shapes import Client, Document, Page, Reader, RunCreate, Writer
from aideon_agents.api.langgraph.threads import Found, Thread, made
from aideon_agents.api.problems import Problem
from aideon_agents.errors import Conflict, InputError, NotFound
from aideon_agents.serving import events, served
from aideon_agents.serving.launching import StartRun

router = APIRouter()
"""For runs on a thread and for those on none."""
on_thread = APIRouter()
_LONGEST = 86_400.0
_HEARTBEAT = 5.0
"""Seconds after which a client that waits is shown that the connection is alive."""


class Begun(NamedTuple):
    """A run that a request began, resumed or found."""

    client: Client
    run_id: str
    thread: str | None
    after: int = 0
    """The event after which the request's own part of the run begins."""
    messages: Sequence[Document] = ()
    """The conversation, the run's own task at its end."""

    @property
    def path(self) -> str:
        """Where the run is found."""
        place = f"/threads/{self.thread}" if self.thread else ""
        return f"{place}/runs/{self.run_id}"


async def _frames(run: Begun) -> AsyncGenerator[Frame]:
    """The frames of a run, until it ends, or this process drains."""
    service, held = run.client.service, 0
    row = served.find(service.ledger, run.run_id)
    workflow = service.workflows.get(row["workflow"]) if row else None
    graph = workflow.target.graph if workflow else None
    frames = Frames(run.run_id, run.thread, graph, run.messages)
    if not run.after:
        for one in frames.begin(0):
            yield one
    async for number, kind, document in service.events(run.run_id):
        held = number if kind == events.ENDED else 0  # the end of a run that resumed is none
        for one in () if held else frames.of(number, kind, document):
            yield one
        if number == run.after:
            for one in frames.begin(number):
                yield one
    if not held or service.is_open(run.run_id):
        return
    shown = service.show(run.client.caller, run.run_id)
    if held == run.after:  # a waiting run that was cancelled has no event more
        yield frames.end(held, shown)
    for one in frames.of(held, events.ENDED, shown):
        yield one


@contextlib.contextmanager
def _watched(run: Begun, on_disconnect: str) -> Generator[None]:
    """Cancel a run when the client has left that watches it, if the client wants that."""
    service = run.client.service
    try:
        yield
    except (asyncio.CancelledError, GeneratorExit):
        # The request is being cancelled: nothing can be waited for here.
        if on_disconnect == "cancel" and not service.live.is_draining:
            served.want(service.ledger.database, run.run_id, "cancel", if_is="run")
            service.live.interrupt(run.run_id)
        raise


def _streamed(
    run: Begun,
    modes: str | Sequence[str],
    on_disconnect: str,
    *,
    subgraphs: bool,
    after: tuple[int, int] | None = None,
) -> Response:
    """The frames of a run that a client wants, those after a position."""
    modes = [modes] if isinstance(modes, str) else list(modes)
    start = after or (run.after, HEAD - 1)

    async def lines() -> AsyncGenerator[str]:
        with _watched(run, on_disconnect):
            async for one in _frames(run):
                is_wanted = one.mode in ("", *modes) and (subgraphs or not one.path)
                if is_wanted and one.at > start:
                    yield one.encode(run.run_id)

    query = urlencode({"stream_mode": modes, "stream_subgraphs": subgraphs}, doseq=True)
    heads = {"Content-Location": run.path, "Location": f"{run.path}/stream?{query}"}
    return doors.events(lines(), heads, _failed)


def _failed(problem: Problem) -> str:
    document = json.dumps({"error": problem.code, "message": problem.detail})
    return f"event: error\ndata: {document}\n\n"


def _waited(run: Begun, on_disconnect: str) -> Response:
    """The state that a run ends with. Blank lines before it keep the connection alive."""
    text = f"run {run.run_id} continues in another process: join it there"
    draining: Document = {"__error__": {"error": "draining", "message": text}}

    async def parts() -> AsyncGenerator[bytes]:
        service, last = run.client.service, dict[str, Document]()
        with _watched(run, on_disconnect):
            while not await service.wait(run.run_id, _HEARTBEAT) and not service.live.is_draining:
                yield b"\n"
            async for one in _frames(run):
                if one.at > (run.after, HEAD - 1):
                    last[one.event] = one.data
        values = {"__error__": last["error"]} if "error" in last else last.get("values", {})
        yield json.dumps(values if "end" in last else draining).encode()

    heads = {"Content-Location": run.path, "Location": f"{run.path}/join"}
    return StreamingResponse(parts(), headers=heads, media_type="application/json")


async def _begun(ask: RunCreate, client: Writer, request: Request) -> Begun:
    """Begin or resume what a request asks for."""
    workflow, thread = assistants.find(client, ask.assistant_id), None
    if place := request.path_params.get("thread_id"):
        is_made = ask.if_not_exists == "create"
        thread = made(client, place, None, "use") if is_made else Thread.find(client, place)
    newest = thread.row["run_id"] if thread else None
    ask.refuse_undone(newest)
    if ask.command is not None or ask.input is None:
        if thread is None or newest is None:
            raise InputError("input is missing: the thread has no run that could continue")
        return await _resumed(thread, newest, ask.command)
    if thread and newest and thread.row["status"] == "waiting":
        questions = client.service.show(client.caller, newest)["questions"]
        if command := ask.resumed(questions):
            return await _resumed(thread, newest, command)
        named = "; ".join(f"{one['id']} of {one['node_path']}" for one in questions)
        raise Conflict(
            f"thread {thread.id} waits for the answer to question {named}: "
            "send it as command.resume, or cancel the run"
        )
    if thread and newest and thread.row["status"] == "busy":
        await _make_free(thread, newest, ask.multitask_strategy)
    before = (await thread.state())["values"].get("messages", []) if thread else []
    task, inputs, new = shapes.asked(ask.input, before)
    given: dict[str, Any] = {
        **(ask.context.model_dump(exclude_defaults=True) if ask.context else {}),
        "workflow": workflow.name,
        "task": task,
        "inputs": inputs,
        "thread": thread.id if thread else None,
        "metadata": shapes.metadata_of(ask.metadata, new[-1]["id"] if new else None),
    }
    try:
        start = StartRun.model_validate(given)
    except ValidationError as error:
        raise RequestValidationError(error.errors(include_url=False)) from None
    run_id = await client.service.start(client.caller, start)
    if thread:  # lists of threads ask for these
        own_id = assistants.assistant_id(workflow.name)
        thread.with_metadata({"graph_id": workflow.name, "assistant_id": own_id})
    spoken = new or [shapes.message("human", task, "")]
    spoken[-1] = {**spoken[-1], "id": spoken[-1]["id"] or f"{run_id}.task"}
    return Begun(client, run_id, thread.id if thread else None, 0, [*before, *spoken])


BegunRun = Annotated[Begun, Depends(_begun)]


async def _resumed(thread: Thread, run_id: str, command: shapes.Command | None) -> Begun:
    """Answer the question of a thread's newest run, or resume the run where it ended early."""
    client = thread.client
    run = client.service.show(client.caller, run_id)
    after = events.last(client.ledger, run_id)
    messages = await _conversation(client, thread, run_id)
    if command is None:
        await client.service.resume(client.caller, run_id)
    elif run["status"] != "waiting":
        raise Conflict(f"run {run_id} is {run['status']}: thread {thread.id} asks nothing")
    elif command.goto:
        await client.service.cancel(client.caller, run_id)
    else:
        answer = shapes.answer(command.resume, run["questions"])
        await client.service.answer(client.caller, run_id, answer)
    return Begun(client, run_id, thread.id, after, messages)


async def _make_free(thread: Thread, run_id: str, strategy: str | None) -> None:
    """Refuse a run on a thread that is taken, or cancel what it does if the request says so."""
    if strategy not in ("interrupt", "rollback"):
        raise Conflict(
            f"thread {thread.id} is busy with run {run_id}: join it, cancel it, or send "
            'multitask_strategy "interrupt"'
        )
    with contextlib.suppress(Conflict):
        await _cancel(thread.client, run_id, wait=True, delete=strategy == "rollback")


async def _cancel(client: Client, run_id: str, *, wait: bool, delete: bool) -> None:
    await client.service.cancel(client.caller, run_id)
    if wait or delete:
        await client.service.wait(run_id, _LONGEST)
    if delete:
        await client.service.delete(client.caller, run_id)


async def _conversation(client: Client, thread: Thread | None, run_id: str) -> list[Document]:
    """The messages up to what a run was asked."""
    if thread is None:
        task = (events.asked(client.ledger, run_id) or {}).get("task")
        return [] if task is None else [shapes.message("human", task, f"{run_id}.task")]
    kept = await thread.states()
    state = next((one for one in kept if one["checkpoint"]["checkpoint_id"] == run_id), None)
    messages: list[Document] = state["values"]["messages"] if state else []
    asked = [at for at, one in enumerate(messages) if one["type"] == "human"]
    return messages[: asked[-1] + 1] if asked else []


async def _found(run_id: str, client: Reader, request: Request) -> Begun:
    """The run of a path, which must be the caller's and on the thread of the path."""
    found, place = client.service.find(client.caller, run_id), request.path_params.get("thread_id")
    if place not in (None, found.thread):
        raise NotFound(f"there is no run {run_id} on thread {place}")
    return Begun(client, run_id, found.thread)


FoundRun = Annotated[Begun, Depends(_found)]


async def _joined(run: FoundRun) -> Begun:
    """A run that is watched by another request than the one that began it."""
    thread = Thread.find(run.client, run.thread) if run.thread else None
    messages = await _conversation(run.client, thread, run.run_id)
    after = events.last_begin(run.client.ledger, run.run_id)
    return run._replace(after=after, messages=messages)


JoinedRun = Annotated[Begun, Depends(_joined)]


def _document(run: Begun) -> Document:
    shown = run.client.service.show(run.client.caller, run.run_id)
    return {
        "run_id": run.run_id,
        "thread_id": run.thread,
        "assistant_id": assistants.assistant_id(shown["workflow"]),
        "created_at": shown["started_at"],
        "updated_at": shown["ended_at"] or shown["started_at"],
        "status": status_of(shown),
        "metadata": shown["metadata"],
        "multitask_strategy": "reject",
    }


@router.post("/runs/stream")
async def stream(ask: RunCreate, run: BegunRun) -> Response:
    return _streamed(run, ask.stream_mode, ask.on_disconnect, subgraphs=ask.stream_subgraphs)


@router.post("/runs/wait")
async def wait_for(ask: RunCreate, run: BegunRun) -> Response:
    return _waited(run, ask.on_disconnect)


@router.post("/runs")
async def create(run: BegunRun, response: Response) -> Document:
    response.headers["Content-Location"] = run.path
    return _document(run)


class List(Page):
    """Which runs of a thread a client wants."""

    status: str | None = None


@on_thread.get("/runs")
async def list_runs(found: Found, wanted: Annotated[List, Query()]) -> list[Document]:
    runs = [_document(Begun(found.client, one, found.id)) for one in found.run_ids()]
    matching = [one for one in runs if wanted.status in (None, one["status"])]
    return wanted.selected(wanted.of(matching))


@router.get("/runs/{run_id}")
async def show(run: FoundRun) -> Document:
    return _document(run)


@router.get("/runs/{run_id}/join")
async def join(run: JoinedRun) -> Response:
    return _waited(run, "continue")


@router.get("/runs/{run_id}/stream")
async def join_stream(
    run: JoinedRun,
    *,
    stream_mode: Annotated[list[str] | None, Query()] = None,
    stream_subgraphs: bool = False,
    cancel_on_disconnect: bool = False,
    last_event_id: Annotated[str | None, Header()] = None,
) -> Response:
    """Watch a run, from its begin or behind the last frame that a client has."""
    modes = [one for one in stream_mode or () if one] or ["values", "messages-tuple", "updates"]
    left = "cancel" if cancel_on_disconnect else "continue"
    return _streamed(run, modes, left, subgraphs=stream_subgraphs, after=position(last_event_id))


@router.post("/runs/{run_id}/cancel")
async def cancel(
    run: FoundRun,
    client: Writer,
    *,
    wait: bool = False,
    action: Literal["interrupt", "rollback"] = "interrupt",
) -> Response:
    """Cancel a run; `rollback` deletes what is kept of it as well."""
    await _cancel(client, run.run_id, wait=wait, delete=action == "rollback")
    return Response(status_code=204 if wait else 202)


@router.delete("/runs/{run_id}", status_code=204)
async def delete(run: FoundRun, client: Writer) -> None:
    await client.service.delete(client.caller, run.run_id)
