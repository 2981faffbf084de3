"""The store: what a client remembers. Each caller has a namespace of its own, which is not shown."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from langgraph.store.base import Item
from pydantic import Field

from aideon_agents.api.langgraph.shapes import Body, Client, Document, Owner, Page
from aideon_agents.errors import InputError
from aideon_agents.ledger.identity import utc_text
from aideon_agents.serving.memory import open_store, own

router = APIRouter(prefix="/store")
Labels = Annotated[list[Annotated[str, Field(max_length=200)]], Field(max_length=20)]
Key = Annotated[str, Field(min_length=1, max_length=500)]


class Named(Body):
    """An item, by its name."""

    namespace: Labels
    key: Key


class Put(Named):
    """An item to keep."""

    value: Document
    index: bool | list[str] | None = None
    ttl: float | None = None


class Search(Page):
    """Which items a client looks for."""

    namespace_prefix: Labels
    filter: Document | None = None
    query: str | None = None
    refresh_ttl: bool | None = None


class Namespaces(Page):
    """Which namespaces a client looks for."""

    prefix: Labels | None = None
    suffix: Labels | None = None
    max_depth: Annotated[int, Field(ge=1, le=20)] | None = None


def _document(item: Item) -> Document:
    times = {"created_at": utc_text(item.created_at), "updated_at": utc_text(item.updated_at)}
    return {"namespace": list(item.namespace[2:]), "key": item.key, "value": item.value, **times}


def _own(client: Client, labels: list[str]) -> tuple[str, ...]:
    return own(client.caller.user, labels)


@router.put("/items", status_code=204)
async def put(given: Put, client: Owner) -> None:
    if given.ttl is not None:
        raise InputError("ttl is not supported: delete the item when it is not wanted any more")
    async with open_store(client.ledger) as store:
        await store.aput(_own(client, given.namespace), given.key, given.value, index=False)


@router.get("/items")
async def get(
    key: Annotated[Key, Query()],
    client: Owner,
    namespace: Annotated[str, Query(max_length=4000)] = "",
) -> Document | None:
    labels = namespace.split(".") if namespace else []
    async with open_store(client.ledger) as store:
        found = await store.aget(_own(client, labels), key)
    return _document(found) if found else None


@router.delete("/items", status_code=204)
async def delete(given: Named, client: Owner) -> None:
    async with open_store(client.ledger) as store:
        await store.adelete(_own(client, given.namespace), given.key)


@router.post("/items/search")
async def search(wanted: Search, client: Owner) -> Document:
    if wanted.query:
        raise InputError("query is not supported: the store has no index; use filter")
    place, page = _own(client, wanted.namespace_prefix), (wanted.limit, wanted.offset)
    async with open_store(client.ledger) as store:
        found = await store.asearch(place, filter=wanted.filter, limit=page[0], offset=page[1])
    return {"items": [{**_document(one), "score": None} for one in found]}


@router.post("/namespaces")
async def namespaces(wanted: Namespaces, client: Owner) -> Document:
    async with open_store(client.ledger) as store:
        found = await store.alist_namespaces(
            prefix=_own(client, wanted.prefix or []),
            suffix=tuple(wanted.suffix) if wanted.suffix else None,
            max_depth=wanted.max_depth + 2 if wanted.max_depth else None,
            limit=wanted.limit,
            offset=wanted.offset,
        )
    return {"namespaces": [list(one[2:]) for one in found]}
