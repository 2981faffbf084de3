"""Batches: many items through one workflow."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Response
from fastapi.responses import FileResponse, JSONResponse
from pydantic import BaseModel, ConfigDict, JsonValue

from aideon_agents.access.callers import Caller
from aideon_agents.api.asking import Cursor, Limit, Serving, asking, page
from aideon_agents.api.problems import answers
from aideon_agents.api.shapes import AnsweredBatch, BatchDocument, BatchPage, StartedBatch
from aideon_agents.serving.batches import StartBatch

router = APIRouter(prefix="/batches", tags=["batches"])

Reader = Annotated[Caller, asking("runs:own")]
Writer = Annotated[Caller, asking("runs:write")]
_LINES = "application/x-ndjson"
_APPROVED: JsonValue = {"approved": True}


class Approval(BaseModel):
    """An answer for items that wait."""

    model_config = ConfigDict(extra="forbid")

    answer: JsonValue = _APPROVED
    """As the schema of their questions wants it, or an answer to each by its id; unless given, they
    are approved."""
    items: list[str] | None = None
    """The ids of the items; None: all that wait."""


@router.post(
    "",
    responses={202: {"model": StartedBatch}, **answers(404, 409, 422, 503)},
    status_code=202,
)
async def start(ask: StartBatch, caller: Writer, service: Serving) -> JSONResponse:
    """Start a batch. It continues whatever becomes of the request."""
    batch_id = await service.batches.start(caller, ask)
    heads = {"Location": f"/api/v1/batches/{batch_id}"}
    return JSONResponse({"batch_id": batch_id, "status": "running"}, 202, heads)


@router.get("", responses={200: {"model": BatchPage}, **answers(422)})
def list_batches(
    caller: Reader, service: Serving, limit: Limit = 20, cursor: Cursor = None
) -> JSONResponse:
    """List one's batches, the newest first."""
    found = service.batches.listed(caller, cursor, limit + 1)
    shown, after = page(found, limit, lambda one: str(one["batch_id"]))
    return JSONResponse({"items": shown, "next": after})


@router.get("/{batch_id}", responses={200: {"model": BatchDocument}, **answers(404)})
def show(batch_id: str, caller: Reader, service: Serving) -> JSONResponse:
    """Show a batch: its items by status, its cost, and which items failed or wait."""
    found: dict[str, Any] = service.batches.show(caller, batch_id)
    return JSONResponse(found)


@router.get(
    "/{batch_id}/output",
    response_class=Response,
    responses={200: {"content": {_LINES: {}}, "description": "Results so far."}, **answers(404)},
)
def output(batch_id: str, caller: Reader, service: Serving) -> Response:
    """Give the results so far: one JSON object per line, in the order of the items."""
    path = service.batches.output(caller, batch_id)
    return FileResponse(path, media_type=_LINES, filename=f"{batch_id}.jsonl")


@router.post(
    "/{batch_id}/cancel",
    responses={202: {"model": StartedBatch}, **answers(404, 409)},
    status_code=202,
)
def cancel(batch_id: str, caller: Writer, service: Serving) -> JSONResponse:
    """Cancel a batch: no more items start, and those in progress end."""
    service.batches.cancel(caller, batch_id)
    return JSONResponse({"batch_id": batch_id, "status": "running"}, 202)


@router.post(
    "/{batch_id}/approve",
    responses={202: {"model": AnsweredBatch}, **answers(404, 409, 422)},
    status_code=202,
)
async def approve(
    batch_id: str,
    caller: Writer,
    service: Serving,
    given: Annotated[Approval | None, Body()] = None,
) -> JSONResponse:
    """Answer what items wait with; the batch then continues. An item that it does not fit still waits."""
    asked = given or Approval()
    answered = await service.batches.approve(caller, batch_id, asked.answer, asked.items)
    return JSONResponse({"batch_id": batch_id, "answered": answered}, 202)


@router.delete("/{batch_id}", responses=answers(404, 409), status_code=204)
async def delete(batch_id: str, caller: Writer, service: Serving) -> Response:
    """Delete what is kept of a batch that has ended. What it cost stays in reports."""
    await service.batches.delete(caller, batch_id)
    return Response(status_code=204)
