"""What admins manage: users, the keys of all users, the feature flags, and the audit log."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from aideon_agents.access import api_keys, audit, flags, users
from aideon_agents.access.api_keys import ApiKey
from aideon_agents.access.callers import Caller
from aideon_agents.access.flags import FlagState
from aideon_agents.access.roles import Role
from aideon_agents.access.users import User
from aideon_agents.api.asking import (
    Cursor,
    IfMatch,
    Limit,
    Page,
    Serving,
    asking,
    by_of,
    check_match,
    page,
    tagged,
)
from aideon_agents.api.problems import answers
from aideon_agents.state import Tier

router = APIRouter(tags=["admin"])

OfUsers = Annotated[Caller, asking("users")]
OfKeys = Annotated[Caller, asking("keys:any")]
OfFlags = Annotated[Caller, asking("flags")]
OfAudit = Annotated[Caller, asking("audit")]
_CHANGES = answers(404, 409, 412, 428)


class ChangeUser(BaseModel):
    """What is to change of a user; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    role: Role | None = None
    tier: Tier | None = None
    name: Annotated[str, Field(max_length=200)] | None = None
    email: Annotated[str, Field(max_length=200)] | None = None


class PatchUser(ChangeUser):
    """The same, with whether the user is blocked."""

    blocked: bool | None = None


class AddUser(ChangeUser):
    """A new user: a member of the tier free, unless it says otherwise."""

    user: Annotated[str, Field(max_length=200, examples=["alice"])]


class SetFlag(BaseModel):
    """What a flag is set to."""

    model_config = ConfigDict(extra="forbid")

    on: bool
    share: Annotated[int, Field(ge=0, le=100)] | None = None
    """The percentage of the users whom it is on for; None: all."""


class Head(BaseModel):
    """The newest entry of the audit log; to be kept elsewhere."""

    number: int
    digest: str | None
    """None: there is no entry."""


@router.get("/users", dependencies=[asking("users")])
def list_users(service: Serving, limit: Limit = 20, cursor: Cursor = None) -> Page[User]:
    """List users by name."""
    found = users.listed(service.ledger, after=cursor or "", most=limit + 1)
    return Page.of(*page(found, limit, lambda one: one.user))


@router.post("/users", responses=answers(409), status_code=201)
def add_user(
    given: AddUser, request: Request, response: Response, caller: OfUsers, service: Serving
) -> User:
    """Add a user."""
    values = given.model_dump(exclude_none=True)
    by = by_of(request, caller)
    return tagged(response, users.add(service.ledger, values.pop("user"), by, **values))


@router.get("/users/{user}", responses=answers(404), dependencies=[asking("users")])
def show_user(user: str, response: Response, service: Serving) -> User:
    """Show a user."""
    return tagged(response, users.find(service.ledger, user))


@router.patch("/users/{user}", responses=_CHANGES)
def change_user(
    *,
    user: str,
    given: PatchUser,
    request: Request,
    response: Response,
    caller: OfUsers,
    service: Serving,
    if_match: IfMatch = None,
) -> User:
    """Change a user. It applies from the next request on."""
    seen = users.find(service.ledger, user)
    check_match(if_match, seen)
    values, by = given.model_dump(exclude_none=True), by_of(request, caller)
    return tagged(response, users.change(service.ledger, user, by, seen=seen, **values))


@router.get("/keys", responses=answers(404), dependencies=[asking("keys:any")])
def list_keys(
    service: Serving,
    limit: Limit = 20,
    cursor: Cursor = None,
    user: Annotated[str | None, Query(max_length=200)] = None,
) -> Page[ApiKey]:
    """List the keys of all users, or of one, the newest first."""
    if user is not None:
        users.find(service.ledger, user)
    found = api_keys.listed(service.ledger, user, before=cursor, most=limit + 1)
    return Page.of(*page(found, limit, api_keys.place_of))


@router.delete("/keys/{key_id}", responses=answers(404), status_code=204)
def revoke_key(key_id: str, request: Request, caller: OfKeys, service: Serving) -> None:
    """End a key of any user at once."""
    api_keys.revoke(service.ledger, key_id, by_of(request, caller))


@router.get("/flags", dependencies=[asking("flags")])
def list_flags(service: Serving) -> Page[FlagState]:
    """List the feature flags."""
    return Page.of(flags.listed(service.ledger))


@router.get("/flags/{name}", responses=answers(404), dependencies=[asking("flags")])
def show_flag(name: str, response: Response, service: Serving) -> FlagState:
    """Show a feature flag."""
    return tagged(response, flags.find(service.ledger, name))


@router.put("/flags/{name}", responses=_CHANGES)
def set_flag(
    *,
    name: str,
    given: SetFlag,
    request: Request,
    response: Response,
    caller: OfFlags,
    service: Serving,
    if_match: IfMatch = None,
) -> FlagState:
    """Set a feature flag. It applies from the next request on."""
    seen = flags.find(service.ledger, name)
    check_match(if_match, seen)
    by, wanted = by_of(request, caller), {"share": given.share}
    return tagged(
        response, flags.change(service.ledger, name, by, is_on=given.on, seen=seen, **wanted)
    )


@router.get("/audit", dependencies=[asking("audit")])
def list_entries(
    service: Serving, limit: Limit = 20, cursor: Annotated[int | None, Query(ge=1, le=2**53)] = None
) -> Page[dict[str, Any]]:
    """List the audit log, the newest entries first."""
    found = audit.entries(service.ledger, before=cursor, most=limit + 1)
    return Page.of(*page(found, limit, lambda one: str(one["number"])))


@router.get("/audit/head", dependencies=[asking("audit")])
def head(service: Serving) -> Head:
    """Show the digest of the newest entry. Kept elsewhere, it shows later that none was cut off."""
    number, digest = audit.head(service.ledger)
    return Head(number=number, digest=digest)
