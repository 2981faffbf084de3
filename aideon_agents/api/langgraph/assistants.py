"""Assistants: each registered workflow that a caller may run is one."""

from __future__ import annotations

import uuid
from importlib.metadata import version
from typing import Annotated

from fastapi import APIRouter, Depends, Query

from aideon_agents.api.asking import asking
from aideon_agents.api.langgraph.shapes import Client, Document, Page, Reader, RunContext
from aideon_agents.errors import NotFound
from aideon_agents.graphs import topology
from aideon_agents.runner.spec import takes_task
from aideon_agents.serving.workflows import Workflow

router = APIRouter()
_NAMES = uuid.UUID("6ba7b821-9dad-11d1-80b4-00c04fd430c8")  # LangGraph's own, of its graphs' names
_AT = "2026-01-01T00:00:00Z"


def assistant_id(name: str) -> str:
    """The id of a workflow as an assistant."""
    return str(uuid.uuid5(_NAMES, name))


def find(client: Client, given: str) -> Workflow:
    """The workflow that a caller names, by its name or by the id of its assistant."""
    for one in client.service.workflows.of(client.caller):
        if given in (one.name, assistant_id(one.name)):
            return one
    raise NotFound(f"there is no assistant {given!r}: POST /assistants/search lists them")


async def _found(given: str, client: Reader) -> Workflow:
    return find(client, given)


Found = Annotated[Workflow, Depends(_found)]


def _document(workflow: Workflow) -> Document:
    named = {"assistant_id": assistant_id(workflow.name), "graph_id": workflow.name}
    described = {"name": workflow.name, "description": workflow.description, "version": 1}
    times = {"created_at": _AT, "updated_at": _AT, "metadata": {"created_by": "system"}}
    return {**named, **described, "config": {}, "context": {}, **times}


class Search(Page):
    """Which assistants a client looks for."""

    metadata: Document | None = None
    graph_id: str | None = None
    name: str | None = None
    sort_by: str | None = None
    sort_order: str | None = None

    def among(self, client: Client) -> list[Document]:
        """All that match."""
        return [
            one
            for one in map(_document, client.service.workflows.of(client.caller))
            if (self.metadata or {}).items() <= one["metadata"].items()
            and self.graph_id in (None, one["graph_id"])
            and (self.name or "").lower() in one["name"].lower()
        ]


@router.get("/info", dependencies=[asking(None)])
async def info() -> Document:
    flags = {"assistants": True, "crons": False, "langsmith": False}
    versions = {"version": version("aideon-agents"), "langgraph_py_version": version("langgraph")}
    return {**versions, "flags": flags}


@router.get("/ok")
async def is_ok() -> Document:
    return {"ok": True}


@router.post("/assistants/search")
async def search(client: Reader, wanted: Search) -> list[Document]:
    return wanted.selected(wanted.of(wanted.among(client)))


@router.post("/assistants/count")
async def count(client: Reader, wanted: Search) -> int:
    return len(wanted.among(client))


@router.get("/assistants/{given}")
async def show(found: Found) -> Document:
    return _document(found)


@router.get("/assistants/{given}/schemas")
async def schemas(found: Found) -> Document:
    messages = {"type": "array", "items": {"type": "object"}}
    takes: Document = {"messages": messages}
    if takes_task(found.target.graph):
        takes |= {"task": {"type": "string"}, "inputs": found.schema}
    gives = {"messages": messages, "output": {"type": ["string", "null"]}, "results": {}}
    out = {"type": "object", "properties": gives}
    return {
        "graph_id": found.name,
        "input_schema": {"type": "object", "properties": takes},
        "output_schema": out,
        "state_schema": out,
        "config_schema": None,
        "context_schema": RunContext.model_json_schema(),
    }


@router.get("/assistants/{given}/graph")
async def graph(
    found: Found,
    xray: Annotated[str, Query(pattern="^(?i:true|false|[0-9]{1,3})$")] = "false",
) -> dict[str, list[Document]]:
    """Its nodes and edges; those inside of patterns with `xray`, which is true or a depth."""
    word = xray.lower()
    depth = None if word == "true" else 0 if word == "false" else int(word)
    read = topology.read(found.target.graph, depth)
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
