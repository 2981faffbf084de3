"""Runs: begun on a thread or on none, and streamed, waited for, joined, listed and cancelled."""

from __future__ import annotations

import contextlib
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from pydantic import ValidationError

from aideon_agents.access.callers import Caller
from aideon_agents.api.asking import Serving, asking
from aideon_agents.api.langgraph import assistants, shapes
from aideon_agents.api.langgraph.frames import position, status_of
from aideon_agents.api.langgraph.shapes import Document, RunCreate
from aideon_agents.api.langgraph.streaming import Begun, streamed, waited
from aideon_agents.api.langgraph.threads import Found, run_ids, state_of, states
from aideon_agents.errors import Conflict, InputError, NotFound
from aideon_agents.ledger.rows import Run
from aideon_agents.serving import events, threads
from aideon_agents.serving.launching import StartRun
from aideon_agents.serving.service import Service

router = APIRouter()
Reader = Annotated[Caller, asking("runs:own")]
Writer = Annotated[Caller, asking("runs:write")]
_LONGEST = 86_400.0


def _place(request: Request) -> str | None:
    """The thread in the path of a request; None: there is none."""
    return request.path_params.get("thread_id")


async def begun(
    ask: RunCreate,
    caller: Writer,
    service: Serving,
    thread_id: Annotated[str | None, Depends(_place)],
) -> Begun:
    """Begin or resume what a request asks for."""
    workflow = assistants.find(service, caller, ask.assistant_id)
    thread = None
    if thread_id is not None:
        if ask.if_not_exists == "create":
            with contextlib.suppress(Conflict):  # it is there
                threads.make(service.ledger, caller.user, None, thread_id)
        thread = threads.find(service.ledger, caller.user, thread_id)
    ask.refuse_undone(thread["run_id"] if thread else None)
    if ask.command is not None or ask.input is None:
        if thread is None or thread["run_id"] is None:
            raise InputError("input is missing: the thread has no run that could continue")
        return await _resumed(service, caller, thread, ask)
    if thread and thread["status"] != "idle":
        await _make_free(service, caller, thread, ask)
    state = await state_of(service, caller, thread) if thread else {"values": {}}
    before: list[Document] = state["values"].get("messages", [])
    task, inputs, new = shapes.asked(ask.input, before)
    identity = new[-1]["id"] if new else None
    options = ask.context.model_dump(exclude_defaults=True) if ask.context else {}
    given = {
        "workflow": workflow.name,
        "task": task,
        "inputs": inputs,
        "thread": thread_id,
        "metadata": shapes.metadata_of(ask.metadata, identity),
        **options,
    }
    try:
        start = StartRun.model_validate(given)
    except ValidationError as error:
        wrong = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, wrong["loc"]))
        raise InputError(f"{where}: {wrong['msg']}") from None
    run_id = await service.start(caller, start)
    if thread_id is not None:
        # Lists of threads ask for these.
        named = {"graph_id": workflow.name, "assistant_id": assistants.assistant_id(workflow.name)}
        threads.merge_metadata(service.ledger, caller.user, thread_id, named)
    spoken = new or [shapes.message("human", task, f"{run_id}.task")]
    spoken[-1] = {**spoken[-1], "id": spoken[-1]["id"] or f"{run_id}.task"}
    return Begun(service, caller, run_id, thread_id, 0, [*before, *spoken])


async def _resumed(service: Service, caller: Caller, thread: Document, ask: RunCreate) -> Begun:
    """Answer the question of a thread's newest run, or resume the run where it ended early."""
    run_id = str(thread["run_id"])
    run = service.show(caller, run_id)
    after = events.last(service.ledger, run_id)
    if ask.command is None:
        await service.resume(caller, run_id)
    elif run["status"] == "waiting":
        answer = shapes.answer(ask.command.resume, run["questions"])
        await service.answer(caller, run_id, answer)
    else:
        raise Conflict(
            f"run {run_id} is {run['status']}: thread {thread['thread_id']} asks nothing"
        )
    messages = await _conversation(service, caller, thread, run_id)
    return Begun(service, caller, run_id, thread["thread_id"], after, messages)


async def _make_free(service: Service, caller: Caller, thread: Document, ask: RunCreate) -> None:
    """Refuse a run on a thread that is taken, or cancel what it does if the request says so."""
    run_id = str(thread["run_id"])
    if thread["status"] == "waiting":
        questions = service.show(caller, run_id)["questions"]
        named = "; ".join(f"{one['id']} of {one['node_path']}" for one in questions)
        raise Conflict(
            f"thread {thread['thread_id']} waits for the answer to question {named}: "
            "send it as command.resume, or cancel the run"
        )
    if ask.multitask_strategy != "interrupt":
        raise Conflict(
            f"thread {thread['thread_id']} is busy with run {run_id}: join it, cancel it, or send "
            'multitask_strategy "interrupt"'
        )
    with contextlib.suppress(Conflict):
        await service.cancel(caller, run_id)
    await service.wait(run_id, _LONGEST)


async def _conversation(
    service: Service, caller: Caller, thread: Document | None, run_id: str
) -> list[Document]:
    """The messages up to what a run was asked."""
    if thread is None:
        task = (events.asked(service.ledger, run_id) or {}).get("task")
        return [] if task is None else [shapes.message("human", task, f"{run_id}.task")]
    kept = await states(service, caller, thread)
    state = next((one for one in kept if one["checkpoint"]["checkpoint_id"] == run_id), None)
    messages: list[Document] = state["values"]["messages"] if state else []
    asked = [at for at, one in enumerate(messages) if one["type"] == "human"]
    return messages[: asked[-1] + 1] if asked else []


def found_run(
    run_id: str,
    caller: Reader,
    service: Serving,
    thread_id: Annotated[str | None, Depends(_place)],
) -> Run:
    """The run of a path, which must be the caller's and on the thread of the path."""
    found = service.find(caller, run_id)
    if thread_id is not None and found.thread != thread_id:
        raise NotFound(f"there is no run {run_id} on thread {thread_id}")
    return found


FoundRun = Annotated[Run, Depends(found_run)]


async def joined(found: FoundRun, caller: Reader, service: Serving) -> Begun:
    """A run that is watched by another request than the one that began it."""
    thread = found.thread and threads.find(service.ledger, caller.user, found.thread)
    messages = await _conversation(service, caller, thread or None, found.run_id)
    after = events.last_begin(service.ledger, found.run_id)
    return Begun(service, caller, found.run_id, found.thread, after, messages)


def _document(run: Begun) -> Document:
    shown = run.service.show(run.caller, run.run_id)
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


_ON_THREAD = "/threads/{thread_id}/runs"
_ONE = ("/threads/{thread_id}/runs/{run_id}", "/runs/{run_id}")


@router.post(f"{_ON_THREAD}/stream")
@router.post("/runs/stream")
async def stream(ask: RunCreate, run: Annotated[Begun, Depends(begun)]) -> Response:
    """Begin or resume a run, and watch it."""
    return streamed(
        run, ask.stream_mode, subgraphs=ask.stream_subgraphs, on_disconnect=ask.on_disconnect
    )


@router.post(f"{_ON_THREAD}/wait")
@router.post("/runs/wait")
async def wait(ask: RunCreate, run: Annotated[Begun, Depends(begun)]) -> Response:
    """Begin or resume a run, and wait for what it ends with."""
    return waited(run, ask.on_disconnect)


@router.post(_ON_THREAD)
@router.post("/runs")
async def create(
    ask: RunCreate, run: Annotated[Begun, Depends(begun)], response: Response
) -> Document:
    """Begin or resume a run."""
    del ask
    response.headers["Content-Location"] = run.path
    return _document(run)


@router.get(_ON_THREAD)
async def list_runs(
    *,
    found: Found,
    caller: Reader,
    service: Serving,
    limit: Annotated[int, Query(ge=1, le=1000)] = 10,
    offset: Annotated[int, Query(ge=0)] = 0,
    status: str | None = None,
) -> list[Document]:
    """List the runs of a thread, the newest first."""
    ids, name = run_ids(service, caller, found), found["thread_id"]
    runs = [_document(Begun(service, caller, one, name, 0, [])) for one in ids]
    return [one for one in runs if status in (None, one["status"])][offset : offset + limit]


@router.get(_ONE[0])
@router.get(_ONE[1])
async def show(found: FoundRun, caller: Reader, service: Serving) -> Document:
    """Show a run."""
    return _document(Begun(service, caller, found.run_id, found.thread, 0, []))


@router.get(f"{_ONE[0]}/join")
@router.get(f"{_ONE[1]}/join")
async def join(run: Annotated[Begun, Depends(joined)]) -> Response:
    """Wait for what a run ends with."""
    return waited(run, "continue")


@router.get(f"{_ONE[0]}/stream")
@router.get(f"{_ONE[1]}/stream")
async def join_stream(
    *,
    run: Annotated[Begun, Depends(joined)],
    stream_mode: Annotated[list[str] | None, Query()] = None,
    stream_subgraphs: bool = False,
    cancel_on_disconnect: bool = False,
    last_event_id: Annotated[str | None, Header()] = None,
) -> Response:
    """Watch a run, from its begin or behind the last frame that a client has."""
    modes = [one for one in stream_mode or () if one] or ["values", "messages-tuple", "updates"]
    return streamed(
        run,
        modes,
        subgraphs=stream_subgraphs,
        on_disconnect="cancel" if cancel_on_disconnect else "continue",
        after=position(last_event_id),
    )


@router.post(f"{_ONE[0]}/cancel")
@router.post(f"{_ONE[1]}/cancel")
async def cancel(
    found: FoundRun,
    caller: Writer,
    service: Serving,
    wait: Annotated[bool, Query()] = False,  # noqa: FBT002 - a parameter of the query
    action: Annotated[Literal["interrupt", "rollback"], Query()] = "interrupt",
) -> Response:
    """Cancel a run; `rollback` deletes what is kept of it as well."""
    await service.cancel(caller, found.run_id)
    if wait or action == "rollback":
        await service.wait(found.run_id, _LONGEST)
    if action == "rollback":
        await service.delete(caller, found.run_id)
    return Response(status_code=204 if wait else 202)


@router.delete(_ONE[0])
@router.delete(_ONE[1])
async def delete(found: FoundRun, caller: Writer, service: Serving) -> Response:
    """Delete what is kept of a run."""
    await service.delete(caller, found.run_id)
    return Response(status_code=204)
