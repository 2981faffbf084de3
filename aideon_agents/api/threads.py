"""Threads: conversations that runs continue."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Body, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from aideon_agents.api.asking import Cursor, Limit, Serving, page
from aideon_agents.api.problems import answers
from aideon_agents.api.runs import Reader, Writer
from aideon_agents.api.shapes import ThreadDocument, ThreadPage
from aideon_agents.serving import threads

router = APIRouter(prefix="/threads", tags=["threads"])


class NewThread(BaseModel):
    """A thread that begins."""

    model_config = ConfigDict(extra="forbid")

    thread_id: UUID | None = None
    """Its id; None: the service makes one."""
    metadata: Annotated[dict[str, JsonValue], Field(max_length=32)] = Field(default_factory=dict)
    """The caller's own."""


@router.post("", responses={201: {"model": ThreadDocument}, **answers(409, 422)}, status_code=201)
def make(
    caller: Writer, service: Serving, given: Annotated[NewThread | None, Body()] = None
) -> JSONResponse:
    """Make a thread, for runs to continue."""
    asked = given or NewThread()
    thread_id = None if asked.thread_id is None else str(asked.thread_id)
    made = threads.make(service.ledger, caller.user, asked.metadata, thread_id)
    return JSONResponse(made, 201, {"Location": f"/api/v1/threads/{made['thread_id']}"})


@router.get("", responses={200: {"model": ThreadPage}, **answers(422)})
def list_threads(
    caller: Reader, service: Serving, limit: Limit = 20, cursor: Cursor = None
) -> JSONResponse:
    """List one's threads, those that were used last first."""
    found = threads.listed(service.ledger, caller.user, cursor, limit + 1)
    shown, after = page(found, limit, threads.cursor)
    return JSONResponse({"items": shown, "next": after})


@router.get("/{thread_id}", responses={200: {"model": ThreadDocument}, **answers(404)})
def show(thread_id: str, caller: Reader, service: Serving) -> JSONResponse:
    """Show a thread: whether it is idle, busy, or waits for an answer."""
    found: dict[str, Any] = threads.find(service.ledger, caller.user, thread_id)
    return JSONResponse(found)


@router.delete("/{thread_id}", responses=answers(404, 409), status_code=204)
async def delete(thread_id: str, caller: Writer, service: Serving) -> Response:
    """Delete a thread and what was said in it."""
    await threads.delete(service.ledger, caller.user, thread_id)
    return Response(status_code=204)
