"""Who asks: the caller of a request, and the permission that each route needs."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any, cast

from fastapi import Depends, Query, Request
from fastapi.security import APIKeyHeader, HTTPBearer

from aideon_agents.access import api_keys
from aideon_agents.access.callers import LOCAL, Caller, is_open
from aideon_agents.access.roles import Permission
from aideon_agents.api.problems import Problem
from aideon_agents.serving.service import Service

if TYPE_CHECKING:
    from collections.abc import Callable

_BEARER = HTTPBearer(auto_error=False, description="An API key of the service.")
_HEADER = APIKeyHeader(name="x-api-key", auto_error=False, description="The same, for SDKs.")


def service_of(request: Request) -> Service:
    """The service behind the app."""
    return cast("Service", request.app.state.service)


async def _served(request: Request) -> Service:
    return service_of(request)  # on the event loop: a plain function would cost a thread's turn


Serving = Annotated[Service, Depends(_served)]


def caller_of(request: Request) -> Caller:
    """The caller, by an API key; where the service is open, the user of this machine."""
    service = service_of(request)
    word, _, secret = request.headers.get("authorization", "").partition(" ")
    secret = secret.strip() if word.lower() == "bearer" else request.headers.get("x-api-key", "")
    if secret:
        if found := api_keys.caller_of(service.ledger, secret):
            return found
    elif service.is_local and is_open(service.ledger):
        return dataclasses.replace(LOCAL, user=service.settings.user)
    raise Problem(
        401,
        "unauthorized",
        "give a valid API key in the head Authorization: Bearer KEY, or x-api-key: KEY",
        headers={"WWW-Authenticate": "Bearer"},
    )


def asking(permission: Permission | None, *others: Permission) -> Any:
    """The dependency that each route has: its caller, who must have a permission, or one of several.

    None: a caller who is known is enough. Use it as `caller: Annotated[Caller, asking("runs:own")]`.
    """

    def allowed(request: Request) -> Caller:
        caller = caller_of(request)
        if permission is not None and not any(map(caller.may, (permission, *others))):
            detail = f"this needs the permission {permission}, which your role or your key lacks"
            raise Problem(403, "forbidden", detail)
        return caller

    cast("Any", allowed).permission = permission
    return Depends(allowed)


SECURITY = [Depends(_BEARER), Depends(_HEADER)]
"""Declares in the OpenAPI document how a key is given."""

Limit = Annotated[int, Query(ge=1, le=100, description="How many at most.")]
Cursor = Annotated[
    str | None, Query(max_length=200, description="`next` of the page before; none: the first.")
]


def page(
    found: list[Any], limit: int, cursor: Callable[[Any], str]
) -> tuple[list[Any], str | None]:
    """A page of what was read with one more than `limit`, and the cursor of the next page."""
    shown = found[:limit]
    return shown, cursor(shown[-1]) if len(found) > limit else None
