"""What a caller may know and change about itself: who it is, and its API keys."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Body, Request
from pydantic import BaseModel, ConfigDict, Field

from aideon_agents.access import api_keys, users
from aideon_agents.access.api_keys import ApiKey
from aideon_agents.access.callers import Caller
from aideon_agents.access.roles import ROLES, Role, Scope
from aideon_agents.api.asking import Cursor, Limit, Page, Serving, asking, by_of, page
from aideon_agents.api.problems import Problem, answers
from aideon_agents.errors import NotFound
from aideon_agents.state import Tier

router = APIRouter(prefix="/me", tags=["me"])

Known = Annotated[Caller, asking(None)]
Holder = Annotated[Caller, asking("keys:own")]


class Me(BaseModel):
    """The caller."""

    user: str
    name: str | None
    email: str | None
    role: Role
    tier: Tier
    permissions: list[str]
    """What the role and the key permit."""
    key_id: str | None
    """None: the request came with a session, or the service is open."""
    scopes: list[Scope]
    workflows: list[str] | None
    """The workflows that the key may run; None: all."""
    csrf: str | None
    """For pages with a session: to be sent as `X-CSRF-Token`. None: there is no session."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class NewKey(ApiKey):
    """An API key that was just made."""

    key: str = dataclasses.field(repr=False)
    """The key itself. It is shown this once."""


class MakeKey(BaseModel):
    """What a new key may do: at most what the caller's own key may. Its user is the caller."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(max_length=200)] | None = None
    scopes: Annotated[list[Scope], Field(max_length=5)] | None = None
    """None: all that the caller has but admin."""
    workflows: (
        Annotated[list[Annotated[str, Field(max_length=100)]], Field(max_length=100)] | None
    ) = None
    """None: all that the caller may run."""
    expires_at: datetime | None = None
    """None: when the caller's own key does, or never."""


@router.get("")
def me(request: Request, caller: Known, service: Serving) -> Me:
    """Show who one is, and what one may do."""
    try:
        known = users.find(service.ledger, caller.user)
    except NotFound:  # where the service is open
        known = None
    return Me(
        user=caller.user,
        name=known.name if known else None,
        email=known.email if known else None,
        role=caller.role,
        tier=caller.tier,
        permissions=sorted(one for one in ROLES[caller.role] if caller.may(one)),
        key_id=caller.key_id,
        scopes=sorted(caller.scopes),
        workflows=None if caller.workflows is None else sorted(caller.workflows),
        csrf=getattr(request.state, "csrf", None),
    )


@router.get("/keys")
def list_keys(
    caller: Holder, service: Serving, limit: Limit = 20, cursor: Cursor = None
) -> Page[ApiKey]:
    """List one's own keys, the newest first."""
    found = api_keys.listed(service.ledger, caller.user, before=cursor, most=limit + 1)
    return Page.of(*page(found, limit, api_keys.place_of))


@router.post("/keys", responses=answers(409), status_code=201)
def make_key(given: MakeKey, request: Request, caller: Holder, service: Serving) -> NewKey:
    """Make a key for oneself. It is shown this once."""
    _check_known(caller)
    by = by_of(request, caller)
    return _new(*api_keys.make(service.ledger, caller.user, by, maker=caller, **dict(given)))


@router.post("/keys/{key_id}/rotate", responses=answers(404, 409), status_code=201)
def rotate_key(
    key_id: str,
    request: Request,
    caller: Holder,
    service: Serving,
    grace_s: Annotated[int, Body(embed=True, ge=0, le=api_keys.LONGEST_GRACE_S)] = api_keys.GRACE_S,
) -> NewKey:
    """Replace a key of one's own by a new one with the same rights, which is shown this once.

    The old one works for `grace_s` more seconds.
    """
    _check_known(caller)
    by = by_of(request, caller)
    return _new(*api_keys.rotate(service.ledger, key_id, by, grace_s=grace_s, maker=caller))


@router.delete("/keys/{key_id}", responses=answers(404), status_code=204)
def revoke_key(key_id: str, request: Request, caller: Holder, service: Serving) -> None:
    """End a key of one's own at once."""
    api_keys.revoke(service.ledger, key_id, by_of(request, caller), owner=caller.user)


def _new(made: ApiKey, secret: str) -> NewKey:
    return NewKey(**dataclasses.asdict(made), key=secret)


def _check_known(caller: Caller) -> None:
    """Refuse a key for the user of this machine, who is no user of the service."""
    if caller.key_id is None and caller.session is None:
        detail = "the service is open and has no users: add one with `aideon users add NAME`"
        raise Problem(409, "no_users", f"{detail}, then a key with `aideon keys make NAME`")


@router.get("/context", responses=answers(501), status_code=501)
@router.put("/context", responses=answers(501), status_code=501)
@router.get("/interactions", responses=answers(501), status_code=501)
def memory(caller: Annotated[Caller, asking("context:own")]) -> None:
    """Show or change what is remembered for oneself. This is not there yet."""
    del caller
    raise Problem(501, "not_implemented", "the service does not remember for its users yet")
