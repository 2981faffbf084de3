"""The store: what a client remembers. Each caller has a namespace of its own, which is not shown."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response
from langgraph.store.base import Item
from pydantic import BaseModel, ConfigDict, Field

from aideon_agents.access.callers import Caller
from aideon_agents.api.asking import Serving, asking
from aideon_agents.api.langgraph.shapes import Document
from aideon_agents.errors import InputError
from aideon_agents.ledger.identity import utc_text
from aideon_agents.serving.memory import open_store, own

router = APIRouter(prefix="/store")
Owner = Annotated[Caller, asking("context:own")]
Labels = Annotated[list[Annotated[str, Field(max_length=200)]], Field(max_length=20)]
Key = Annotated[str, Field(min_length=1, max_length=500)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Page(_Body):
    limit: Annotated[int, Field(ge=1, le=1000)] = 10
    offset: Annotated[int, Field(ge=0)] = 0


class Named(_Body):
    """An item, by its name."""

    namespace: Labels
    key: Key


class Put(Named):
    """An item to keep."""

    value: Document
    index: bool | list[str] | None = None
    ttl: float | None = None


class Search(_Page):
    """Which items a client looks for."""

    namespace_prefix: Labels
    filter: Document | None = None
    query: str | None = None
    refresh_ttl: bool | None = None


class Namespaces(_Page):
    """Which namespaces a client looks for."""

    prefix: Labels | None = None
    suffix: Labels | None = None
    max_depth: Annotated[int, Field(ge=1, le=20)] | None = None


def _document(item: Item) -> Document:
    times = {"created_at": item.created_at, "updated_at": item.updated_at}
    shown = {name: utc_text(at) for name, at in times.items()}
    return {"namespace": list(item.namespace[2:]), "key": item.key, "value": item.value, **shown}


@router.put("/items")
async def put(given: Put, caller: Owner, service: Serving) -> Response:
    """Keep an item, in place of the one with the same name."""
    if given.ttl is not None:
        raise InputError("ttl is not supported: delete the item when it is not wanted any more")
    async with open_store(service.ledger) as store:
        await store.aput(own(caller.user, given.namespace), given.key, given.value, index=False)
    return Response(status_code=204)


@router.get("/items")
async def get(
    key: Annotated[Key, Query()],
    caller: Owner,
    service: Serving,
    namespace: Annotated[str, Query(max_length=4000)] = "",
) -> Document | None:
    """Read an item; null: there is none."""
    labels = namespace.split(".") if namespace else []
    async with open_store(service.ledger) as store:
        found = await store.aget(own(caller.user, labels), key)
    return _document(found) if found else None


@router.delete("/items")
async def delete(given: Named, caller: Owner, service: Serving) -> Response:
    """Delete an item."""
    async with open_store(service.ledger) as store:
        await store.adelete(own(caller.user, given.namespace), given.key)
    return Response(status_code=204)


@router.post("/items/search")
async def search(wanted: Search, caller: Owner, service: Serving) -> Document:
    """List the items below a namespace."""
    if wanted.query:
        raise InputError("query is not supported: the store has no index; use filter")
    async with open_store(service.ledger) as store:
        found = await store.asearch(
            own(caller.user, wanted.namespace_prefix),
            filter=wanted.filter,
            limit=wanted.limit,
            offset=wanted.offset,
        )
    return {"items": [{**_document(one), "score": None} for one in found]}


@router.post("/namespaces")
async def namespaces(wanted: Namespaces, caller: Owner, service: Serving) -> Document:
    """List the namespaces that hold items."""
    async with open_store(service.ledger) as store:
        found = await store.alist_namespaces(
            prefix=own(caller.user, wanted.prefix or ()),
            suffix=tuple(wanted.suffix) if wanted.suffix else None,
            max_depth=wanted.max_depth + 2 if wanted.max_depth else None,
            limit=wanted.limit,
            offset=wanted.offset,
        )
    return {"namespaces": [list(one[2:]) for one in found]}
