"""Assistants: each registered workflow that a caller may run is one."""

from __future__ import annotations

import uuid
from importlib.metadata import version
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from aideon_agents.access.callers import Caller
from aideon_agents.api.asking import Serving, asking
from aideon_agents.api.langgraph.shapes import Document, selected
from aideon_agents.errors import NotFound
from aideon_agents.graphs import topology
from aideon_agents.runner.spec import takes_task
from aideon_agents.serving.service import Service
from aideon_agents.serving.workflows import Workflow

router = APIRouter()
Reader = Annotated[Caller, asking("runs:own")]
_NAMES = uuid.UUID("6ba7b821-9dad-11d1-80b4-00c04fd430c8")  # LangGraph's own, of its graphs' names
_AT = "2026-01-01T00:00:00Z"


def assistant_id(name: str) -> str:
    """The id of a workflow as an assistant."""
    return str(uuid.uuid5(_NAMES, name))


def find(service: Service, caller: Caller, given: str) -> Workflow:
    """The workflow that a caller names, by its name or by the id of its assistant."""
    for one in service.workflows.of(caller):
        if given in (one.name, assistant_id(one.name)):
            return one
    raise NotFound(f"there is no assistant {given!r}: POST /assistants/search lists them")


def _document(workflow: Workflow) -> Document:
    empty: Document = {"config": {}, "context": {}}
    named = {"assistant_id": assistant_id(workflow.name), "graph_id": workflow.name}
    described = {"name": workflow.name, "description": workflow.description, "version": 1}
    times = {"created_at": _AT, "updated_at": _AT, "metadata": {"created_by": "system"}}
    return {**named, **described, **empty, **times}


class Search(BaseModel):
    """Which assistants a client looks for."""

    model_config = ConfigDict(extra="forbid")

    metadata: Document | None = None
    graph_id: str | None = None
    name: str | None = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 10
    offset: Annotated[int, Field(ge=0)] = 0
    sort_by: str | None = None
    sort_order: str | None = None
    select: list[str] | None = None

    def of(self, service: Service, caller: Caller) -> list[Document]:
        """All that match."""
        found = [_document(one) for one in service.workflows.of(caller)]
        wanted = (self.metadata or {}).items()
        found = [one for one in found if wanted <= one["metadata"].items()]
        found = [one for one in found if self.graph_id in (None, one["graph_id"])]
        return [one for one in found if (self.name or "").lower() in one["name"].lower()]


@router.get("/info")
def info(caller: Annotated[Caller, asking(None)]) -> Document:
    """What this server does."""
    del caller
    flags = {"assistants": True, "crons": False, "langsmith": False}
    return {"version": version("aideon-agents"), "langgraph_py_version": "1.2", "flags": flags}


@router.get("/ok")
def is_ok() -> Document:
    """Whether this process answers."""
    return {"ok": True}


@router.post("/assistants/search")
def search(caller: Reader, service: Serving, wanted: Search) -> list[Document]:
    """List the workflows that one may run."""
    found = wanted.of(service, caller)[wanted.offset : wanted.offset + wanted.limit]
    return selected(found, wanted.select)


@router.post("/assistants/count")
def count(caller: Reader, service: Serving, wanted: Search) -> int:
    """Count them."""
    return len(wanted.of(service, caller))


@router.get("/assistants/{given}")
def show(given: str, caller: Reader, service: Serving) -> Document:
    """Show one."""
    return _document(find(service, caller, given))


@router.get("/assistants/{given}/schemas")
def schemas(given: str, caller: Reader, service: Serving) -> Document:
    """What it takes and gives."""
    workflow = find(service, caller, given)
    messages = {"type": "array", "items": {"type": "object"}}
    takes: Document = {"messages": messages}
    if takes_task(workflow.target.graph):
        takes |= {"task": {"type": "string"}, "inputs": workflow.schema}
    gives = {"messages": messages, "output": {"type": ["string", "null"]}, "results": {}}
    whole: Document = {"type": "object", "properties": takes}
    out: Document = {"type": "object", "properties": gives}
    same = {"config_schema": None, "context_schema": None}
    return {"graph_id": workflow.name, "input_schema": whole, "output_schema": out, **same} | {
        "state_schema": out
    }


@router.get("/assistants/{given}/graph")
def graph(
    given: str,
    caller: Reader,
    service: Serving,
    xray: Annotated[str, Query(pattern="^(?i:true|false|[0-9]{1,3})$")] = "false",
) -> dict[str, list[Document]]:
    """Its nodes and edges; those inside of patterns with `xray`, which is true or a depth."""
    word = xray.lower()
    depth = None if word == "true" else 0 if word == "false" else int(word)
    read = topology.read(find(service, caller, given).target.graph, depth)
    return {
        "nodes": [
            {"id": one.id, "type": "runnable", "data": {"id": [one.kind], "name": one.label}}
            for one in read.nodes
        ],
        "edges": [
            {"source": one.source, "target": one.target, "conditional": one.conditional}
            for one in read.edges
        ],
    }
