"""The workflows that a caller may run."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from aideon_agents.access.callers import Caller
from aideon_agents.api.asking import Serving, asking
from aideon_agents.api.problems import answers
from aideon_agents.api.shapes import WorkflowDocument, WorkflowPage

router = APIRouter(prefix="/workflows", tags=["workflows"])

Reader = Annotated[Caller, asking("runs:own")]


@router.get("", responses={200: {"model": WorkflowPage}})
def list_workflows(caller: Reader, service: Serving) -> JSONResponse:
    """List the workflows that one may run."""
    items = [one.document() for one in service.workflows.of(caller)]
    return JSONResponse({"items": items, "next": None})


@router.get("/{name}", responses={200: {"model": WorkflowDocument}, **answers(404)})
def show(name: str, caller: Reader, service: Serving) -> JSONResponse:
    """Show a workflow: what it does and takes."""
    return JSONResponse(service.workflows.find(caller, name).document())
