"""The workflows that a caller may run."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse

from aideon_agents.access.callers import Caller
from aideon_agents.api import drawings
from aideon_agents.api.asking import Serving, asking
from aideon_agents.api.drawings import WorkflowForm
from aideon_agents.api.problems import answers
from aideon_agents.api.shapes import EstimateDocument, WorkflowDocument, WorkflowPage
from aideon_agents.serving.launching import Asked

router = APIRouter(prefix="/workflows", tags=["workflows"])

Reader = Annotated[Caller, asking("runs:own")]
Writer = Annotated[Caller, asking("runs:write")]


@router.get("", responses={200: {"model": WorkflowPage}})
def list_workflows(caller: Reader, service: Serving) -> JSONResponse:
    """List the workflows that one may run."""
    items = [one.document() for one in service.workflows.of(caller)]
    return JSONResponse({"items": items, "next": None})


@router.get("/{name}", responses={200: {"model": WorkflowDocument}, **answers(404)})
def show(name: str, caller: Reader, service: Serving) -> JSONResponse:
    """Show a workflow: what it does and takes."""
    return JSONResponse(service.workflows.find(caller, name).document())


@router.get(
    "/{name}/graph",
    response_class=Response,
    responses={
        200: {
            "content": {"image/svg+xml": {}, "application/json": {}, "text/plain": {}},
            "description": "The picture.",
        },
        **answers(404, 422),
    },
)
def graph(
    name: str,
    caller: Reader,
    service: Serving,
    form: Annotated[WorkflowForm, Query(alias="format")] = "svg",
) -> Response:
    """Draw a workflow."""
    return drawings.of_workflow(service.workflows.find(caller, name).target.graph, form)


@router.post("/{name}/estimate", responses={200: {"model": EstimateDocument}, **answers(404, 422)})
async def estimate(name: str, ask: Asked, caller: Writer, service: Serving) -> JSONResponse:
    """Estimate what a run would cost. No model is called; the workflow's plain functions run."""
    workflow = service.workflows.find(caller, name)
    return JSONResponse(await service.launcher.estimate(workflow, caller, ask))
