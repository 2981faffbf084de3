"""Runs: start, list, watch, answer, resume, cancel and delete them."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Header, Query, Response
from fastapi.responses import JSONResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from aideon_agents.access.callers import Caller
from aideon_agents.api import drawings
from aideon_agents.api.asking import Cursor, Limit, Serving, asking, page
from aideon_agents.api.drawings import RunForm
from aideon_agents.api.problems import answers
from aideon_agents.api.shapes import CallPage, Rated, RunDocument, RunPage, StartedRun
from aideon_agents.ledger.costs import run_cost
from aideon_agents.ledger.documents import call_document, cost_document
from aideon_agents.ledger.rows import Run
from aideon_agents.serving import served
from aideon_agents.serving.events import ENDED
from aideon_agents.serving.launching import Dollars, StartRun
from aideon_agents.serving.service import Service

router = APIRouter(prefix="/runs", tags=["runs"])

Reader = Annotated[Caller, asking("runs:own")]
Writer = Annotated[Caller, asking("runs:write")]
_LONGEST_WAIT = 300
_WAIT = re.compile(r"(?:^|[,;\s])wait=([0-9]{1,6})(?:$|[,;\s])")
_STARTED: dict[int | str, dict[str, Any]] = {
    200: {"model": RunDocument, "description": "The run has ended, or waits for an answer."},
    202: {
        "model": StartedRun,
        "description": "The run is in progress.",
        "headers": {"Location": {"schema": {"type": "string"}}},
    },
}


def found_run(run_id: str, caller: Reader, service: Serving) -> Run:
    """The run of a path, which must be the caller's."""
    return service.find(caller, run_id)


Found = Annotated[Run, Depends(found_run)]


@router.post("", responses={**_STARTED, **answers(404, 409, 422, 429, 503)}, status_code=202)
async def start(
    ask: StartRun,
    caller: Writer,
    service: Serving,
    idempotency_key: Annotated[
        str | None,
        Header(pattern=r"^[!-~]{1,200}$", description="The same word begins one run, for a day."),
    ] = None,
    prefer: Annotated[
        str | None, Header(description="`wait=SECONDS`: answer when the run has ended, or then.")
    ] = None,
) -> Response:
    """Start a run. It continues whatever becomes of the request."""
    seconds = _seconds(prefer)
    run_id = await service.start(caller, ask, word=idempotency_key, stream=not seconds)
    return await _answered(service, caller, run_id, seconds)


async def _answered(service: Service, caller: Caller, run_id: str, seconds: int) -> Response:
    """The run if it has ended within some seconds, else where it is found."""
    heads = {"Location": f"/api/v1/runs/{run_id}"}
    if seconds:
        heads["Preference-Applied"] = f"wait={seconds}"
        if await service.wait(run_id, seconds):
            return JSONResponse(service.show(caller, run_id), 200, heads)
    return JSONResponse({"run_id": run_id, "status": "running"}, 202, heads)


def _seconds(prefer: str | None) -> int:
    found = _WAIT.search(prefer or "")
    return min(int(found[1]), _LONGEST_WAIT) if found else 0


@router.get("", responses={200: {"model": RunPage}, **answers(422)})
def list_runs(
    *,
    caller: Reader,
    service: Serving,
    limit: Limit = 20,
    cursor: Cursor = None,
    status: Annotated[str | None, Query(max_length=20)] = None,
    workflow: Annotated[str | None, Query(max_length=100)] = None,
    thread: Annotated[str | None, Query(max_length=64)] = None,
) -> JSONResponse:
    """List one's own runs, the newest first."""
    only: dict[str, Any] = {"status": status, "workflow": workflow, "thread": thread}
    ids = served.runs(service.ledger, cursor, limit + 1, user=caller.user, **only)
    shown, after = page(ids, limit, str)
    items = [_listed(service, service.ledger.find_run(one)) for one in shown]
    return JSONResponse({"items": items, "next": after})


_LISTED = (
    *("run_id", "workflow", "status", "stop_reason", "user", "started_at", "ended_at"),
    *("rehearsed", "simulated"),
)


def _listed(service: Service, run: Run) -> dict[str, Any]:
    cost = cost_document(run_cost(service.ledger, run.run_id))
    return {**{name: getattr(run, name) for name in _LISTED}, "cost": cost}


@router.get("/{run_id}", responses={200: {"model": RunDocument}, **answers(404)})
def show(found: Found, caller: Reader, service: Serving) -> JSONResponse:
    """Show a run. Its texts are there for ten minutes after its end, or with `record_content`."""
    return JSONResponse(service.show(caller, found.run_id))


@router.get(
    "/{run_id}/events",
    response_class=EventSourceResponse,
    responses=answers(404, 422),
)
async def events(
    *,
    found: Found,
    caller: Reader,
    service: Serving,
    last_event_id: Annotated[int | None, Header(ge=0, le=2**53)] = None,
    content: Annotated[bool, Query(description="Whether events hold texts.")] = True,
) -> AsyncGenerator[ServerSentEvent]:
    """Watch a run. The stream ends with `run_ended`; `Last-Event-ID` continues one that broke off."""
    async for number, kind, document in service.events(found.run_id, last_event_id or 0):
        shown = service.show(caller, found.run_id) if kind == ENDED else document
        if not content:
            if kind == "token":
                continue
            shown = {name: one for name, one in shown.items() if name not in _CONTENT}
        yield ServerSentEvent(data=shown, event=kind, id=str(number))


_CONTENT = ("result", "results", "output", "question", "questions", "schema")


class Answer(BaseModel):
    """The answer to a waiting run."""

    model_config = ConfigDict(extra="forbid")

    answer: JsonValue
    """As the schema of the question wants it; `yes`, `no` and plain words are read as well."""
    id: str | None = None
    """Which question it answers; None: the run asks one."""


class Resume(BaseModel):
    """How a run is resumed."""

    model_config = ConfigDict(extra="forbid")

    budget: Dollars | None = None
    """US dollars that it may cost in all; None: as before."""


_RESUMED: dict[int | str, dict[str, Any]] = {202: {"model": StartedRun}}


@router.post("/{run_id}/answer", responses={**_RESUMED, **answers(404, 409, 422)}, status_code=202)
async def answer(run_id: str, given: Answer, caller: Writer, service: Serving) -> JSONResponse:
    """Answer a waiting run, which then continues."""
    value = given.answer if given.id is None else {given.id: given.answer}
    await service.answer(caller, run_id, value)
    return _running(run_id)


@router.post("/{run_id}/resume", responses={**_RESUMED, **answers(404, 409, 422)}, status_code=202)
async def resume(
    run_id: str,
    caller: Writer,
    service: Serving,
    given: Annotated[Resume | None, Body()] = None,
) -> JSONResponse:
    """Resume a run that stopped, failed or was cancelled: what is done is not done again."""
    await service.resume(caller, run_id, given.budget if given else None)
    return _running(run_id)


@router.post("/{run_id}/cancel", responses={**_RESUMED, **answers(404, 409)}, status_code=202)
async def cancel(run_id: str, caller: Writer, service: Serving) -> JSONResponse:
    """Cancel a run, whatever process it is in."""
    await service.cancel(caller, run_id)
    return _running(run_id)


def _running(run_id: str) -> JSONResponse:
    heads = {"Location": f"/api/v1/runs/{run_id}"}
    return JSONResponse({"run_id": run_id, "status": "running"}, 202, heads)


@router.delete("/{run_id}", responses=answers(404, 409), status_code=204)
async def delete(run_id: str, caller: Writer, service: Serving) -> Response:
    """Delete what is kept of a run. What it cost stays in reports."""
    await service.delete(caller, run_id)
    return Response(status_code=204)


class Feedback(BaseModel):
    """How good a run was."""

    model_config = ConfigDict(extra="forbid")

    score: Annotated[float, Field(ge=0, le=1)]
    """From 0 (useless) to 1 (nothing to improve)."""
    text: Annotated[str, Field(max_length=2000)] | None = None
    """What the user says of it; it is kept with the run."""


@router.post(
    "/{run_id}/feedback",
    responses={201: {"model": Rated}, **answers(404, 409, 422)},
    status_code=201,
)
def rate(run_id: str, given: Feedback, caller: Writer, service: Serving) -> JSONResponse:
    """Rate a run: later choices of models take it into account."""
    made = service.rate(caller, run_id, given.score, given.text)
    return JSONResponse({"run_id": run_id, "score": given.score, "outcomes": made}, 201)


@router.get("/{run_id}/calls", responses={200: {"model": CallPage}, **answers(404, 422)})
def list_calls(
    found: Found,
    service: Serving,
    limit: Limit = 100,
    cursor: Annotated[int | None, Query(ge=0, le=2**31)] = None,
) -> JSONResponse:
    """List the calls of a run: every attempt at a model."""
    first = cursor or 0
    calls = service.ledger.calls(found.run_id)[first : first + limit + 1]
    shown, after = page(calls, limit, lambda _: str(first + limit))
    return JSONResponse({"items": [call_document(one) for one in shown], "next": after})


@router.get(
    "/{run_id}/graph",
    response_class=Response,
    responses={
        200: {"content": {"image/svg+xml": {}, "text/html": {}}, "description": "The picture."},
        **answers(404, 409, 422),
    },
)
def graph(
    found: Found, service: Serving, form: Annotated[RunForm, Query(alias="format")] = "svg"
) -> Response:
    """Draw a run: what each node cost, and which edges it took."""
    return drawings.of_run(service.ledger, found, form)
