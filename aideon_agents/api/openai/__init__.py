"""OpenAI's API over the service: a workflow is a model there, and every client of it connects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from aideon_agents.access.callers import Caller
from aideon_agents.api.asking import SECURITY, Serving, asking
from aideon_agents.api.openai import chat, responses, shapes
from aideon_agents.api.openai.answering import WORKFLOW
from aideon_agents.api.problems import Problem

if TYPE_CHECKING:
    from aideon_agents.serving.service import Service

Known = Annotated[Caller, asking(None)]
_own = APIRouter(route_class=shapes.Route)


@_own.get("/models")
def models(caller: Known, service: Serving) -> JSONResponse:
    """List the workflows that one may run, and the models that one may ask."""
    return JSONResponse({"object": "list", "data": _models(service, caller)})


@_own.get("/models/{name:path}")
def model(name: str, caller: Known, service: Serving) -> JSONResponse:
    """Show one of them."""
    for one in _models(service, caller):
        if one["id"] == name:
            return JSONResponse(one)
    raise Problem(404, "model_not_found", f"there is no model {name}: GET /v1/models lists them")


@_own.api_route("/{path:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
def missing(path: str, caller: Known, request: Request) -> None:
    """Say that the rest of OpenAI's API is not here."""
    del caller
    detail = (
        f"{request.method} /v1/{path} is not here: the service has GET /v1/models, "
        "POST /v1/chat/completions and POST /v1/responses"
    )
    raise Problem(404, "not_found", detail)


def _models(service: Service, caller: Caller) -> list[dict[str, Any]]:
    names: list[tuple[str, str]] = []
    if caller.may("runs:write"):
        names += [(f"{WORKFLOW}{one.name}", "aideon") for one in service.workflows.of(caller)]
    if caller.may("models:call"):
        listed = service.launcher.models_of(caller)
        names += [(name, name.partition(":")[0]) for name in listed]
    return [{"id": name, "object": "model", "created": 0, "owned_by": by} for name, by in names]


def router() -> APIRouter:
    """The endpoints."""
    made = APIRouter(prefix="/v1", dependencies=SECURITY, tags=["openai"])
    for one in (chat.router, responses.router, _own):
        made.include_router(one)
    return made
