"""The keys of providers: one's own, and for admins the system's, which are replaced by steps."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Response

from aideon_agents.access import provider_keys
from aideon_agents.api.problems import Problem
from aideon_agents.dashboard import pages
from aideon_agents.dashboard.pages import Visit, visiting
from aideon_agents.errors import InputError, RunError
from aideon_agents.serving import proving

router = APIRouter()

Holder = Annotated[Visit, visiting("provider-keys:own")]
Manager = Annotated[Visit, visiting("provider-keys:system")]


@router.get("/provider-keys")
def show(visit: Holder) -> Response:
    """List one's own keys, and for those who may manage them the system's with their rotations."""
    keys, user = visit.service.launcher.keys, visit.caller.user
    manages = visit.caller.may("provider-keys:system")
    system = keys.listed(None) if manages else []
    names = sorted({one["provider"] for one in system})
    return visit.page(
        "provider_keys.html",
        "Provider keys",
        own=keys.listed(user),
        system=system,
        rotations={name: keys.rotation(name) for name in names},
        manages=manages,
        takers=provider_keys.with_keys(keys.settings),
        is_allowed=provider_keys.are_own_allowed(keys.ledger, user),
        has_ring=bool(keys.ring),
    )


@router.post("/provider-keys/own")
async def change_own(visit: Holder) -> Response:
    """Store, prove or remove a key of one's own."""
    if visit.text("do") == "store":
        provider_keys.check_allowed(visit.service.ledger, visit.caller.user)
    return await _done(visit, visit.caller.user)


@router.post("/provider-keys/system")
async def change_system(visit: Manager) -> Response:
    """Store, prove or remove a key of the system, or take a step of its rotation."""
    return await _done(visit, None)


async def _done(visit: Visit, user: str | None) -> Response:
    keys, by = visit.service.launcher.keys, visit.by
    do, provider, secret = visit.text("do"), visit.text("provider"), visit.text("key")
    if do == "store":
        falls = {"may_fall_back": visit.text("may_fall_back") == "on"} if user else {}
        await asyncio.to_thread(keys.store, user, provider, secret, by, **falls)
    elif do == "remove":
        await asyncio.to_thread(keys.remove, user, provider, by)
    elif do == "prove":
        do = (await _asked(proving.prove(keys, user, provider, by)))["state"]
        if do != "proven":
            raise InputError(f"{provider} rejects the key: store another one")
    elif do == "rotate" and user is None:
        await _asked(proving.begin(keys, provider, secret, by))
    elif do in ("next", "back") and user is None:
        await asyncio.to_thread(keys.turn, provider, do, by)
    else:
        raise InputError("a key can be stored, proven or removed, and one of the system rotated")
    return pages.to("provider-keys", f"provider-key-{do}")


async def _asked(asking: Any) -> Any:
    try:
        return await asking
    except RunError as error:
        raise Problem(502, "provider_unreachable", str(error)) from None
