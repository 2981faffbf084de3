"""Keys of providers over HTTP: one's own, and for admins the system's and their rotation."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from aideon_agents.access import provider_keys
from aideon_agents.access.audit import By
from aideon_agents.access.callers import Caller
from aideon_agents.api.asking import Page, Serving, asking, by_of
from aideon_agents.api.problems import Problem, answers
from aideon_agents.errors import InputError, RunError
from aideon_agents.serving import proving
from aideon_agents.serving.service import Service

router = APIRouter(tags=["provider keys"])

Holder = Annotated[Caller, asking("provider-keys:own")]
OfSystem = asking("provider-keys:system")
Manager = Annotated[Caller, OfSystem]
Name = Annotated[str, Path(max_length=100, examples=["together"])]
_ABOUT, _PROVING = answers(404, 409), answers(404, 409, 502)
Secret = Annotated[SecretStr, Field(max_length=1000)]


class StoreKey(BaseModel):
    """A key to store in place of the one that there is. No answer repeats it."""

    model_config = ConfigDict(extra="forbid")

    key: Secret


class StoreOwnKey(StoreKey):
    """A key of one's own."""

    may_fall_back: bool = False
    """Whether runs may also use the system's keys, and so what the service grants."""


class Turn(BaseModel):
    """Either a new key, which begins a rotation with a tenth of the runs, or its next step."""

    model_config = ConfigDict(extra="forbid")

    key: Secret | None = None
    step: Literal["next", "back"] | None = None


class StoredKey(BaseModel):
    """A stored key, without the key."""

    key_id: str
    user: str | None
    """None: it is the system's."""
    provider: str
    last4: str
    share: int
    """The percentage of runs that use it."""
    may_fall_back: bool
    state: str
    created_by: str
    created_at: str
    proven_at: str | None
    refused_at: str | None
    calls: int | None = None
    """Since the last step of a rotation, as below; None: it was not asked for."""
    rejected: int | None = None


class Rotation(BaseModel):
    """How far the rotation of a key is."""

    provider: str
    under_way: bool
    share: int
    """The percentage of runs that use the newest key."""
    next: int | None
    """The step that follows; None: no rotation is under way."""
    keys: list[StoredKey]


class Proof(BaseModel):
    """Whether a provider takes a key."""

    provider: str
    key_id: str
    state: Literal["proven", "refused"]


@router.get("/me/provider-keys", tags=["me"], response_model=Page[StoredKey])
def list_own(caller: Holder, service: Serving) -> Any:
    """List one's own keys of providers."""
    return Page[Any].of(service.launcher.keys.listed(caller.user))


@router.put("/me/provider-keys/{provider}", responses=_ABOUT, tags=["me"], response_model=StoredKey)
def store_own(
    provider: Name, given: StoreOwnKey, request: Request, caller: Holder, service: Serving
) -> Any:
    """Store a key of one's own, in place of the one that there is."""
    provider_keys.check_allowed(service.ledger, caller.user)
    secret, by = given.key.get_secret_value(), by_of(request, caller)
    falls = {"may_fall_back": given.may_fall_back}
    return service.launcher.keys.store(caller.user, provider, secret, by, **falls)


@router.delete("/me/provider-keys/{provider}", responses=_ABOUT, status_code=204, tags=["me"])
def remove_own(provider: Name, request: Request, caller: Holder, service: Serving) -> None:
    """Remove a key of one's own. What was sealed is erased."""
    service.launcher.keys.remove(caller.user, provider, by_of(request, caller))


@router.post("/me/provider-keys/{provider}/proof", responses=_PROVING, tags=["me"])
async def prove_own(provider: Name, request: Request, caller: Holder, service: Serving) -> Proof:
    """Ask the provider, with one free call, whether it takes a key of one's own."""
    return await _proof(service, caller.user, provider, by_of(request, caller))


@router.get("/provider-keys", dependencies=[OfSystem], response_model=Page[StoredKey])
def list_system(service: Serving) -> Any:
    """List the system's keys of providers."""
    return Page[Any].of(service.launcher.keys.listed(None))


@router.put("/provider-keys/{provider}", responses=_ABOUT, response_model=StoredKey)
def store_system(
    provider: Name, given: StoreKey, request: Request, caller: Manager, service: Serving
) -> Any:
    """Store a key of the system, which all runs use at once. A rotation replaces one by steps."""
    secret = given.key.get_secret_value()
    return service.launcher.keys.store(None, provider, secret, by_of(request, caller))


@router.delete("/provider-keys/{provider}", responses=_ABOUT, status_code=204)
def remove_system(provider: Name, request: Request, caller: Manager, service: Serving) -> None:
    """Remove the keys of the system. The environment's is used from then on."""
    service.launcher.keys.remove(None, provider, by_of(request, caller))


@router.post("/provider-keys/{provider}/proof", responses=_PROVING)
async def prove_system(
    provider: Name, request: Request, caller: Manager, service: Serving
) -> Proof:
    """Ask the provider, with one free call, whether it takes the newest key of the system."""
    return await _proof(service, None, provider, by_of(request, caller))


_ROTATION: Any = {"responses": _ABOUT, "response_model": Rotation}


@router.get("/provider-keys/{provider}/rotation", dependencies=[OfSystem], **_ROTATION)
def show_rotation(provider: Name, service: Serving) -> Any:
    """Show how far the rotation of a key is."""
    return service.launcher.keys.rotation(provider)


@router.post("/provider-keys/{provider}/rotation", **_ROTATION)
async def rotate(
    provider: Name, given: Turn, request: Request, caller: Manager, service: Serving
) -> Any:
    """Begin to replace the system's key, take the next step (10, 50, 100 % of the runs), or go back.

    It takes its steps by itself as well, and goes back when the provider rejects the new key.
    """
    keys, by = service.launcher.keys, by_of(request, caller)
    if (given.key is None) == (given.step is None):
        raise InputError("give either key, to begin, or step")
    if given.step:
        keys.turn(provider, given.step, by)
    elif given.key:
        await proving.begin(keys, provider, given.key.get_secret_value(), by)
    return keys.rotation(provider)


async def _proof(service: Service, user: str | None, provider: str, by: By) -> Proof:
    try:
        return Proof.model_validate(await proving.prove(service.launcher.keys, user, provider, by))
    except RunError as error:
        raise Problem(502, "provider_unreachable", str(error)) from None
