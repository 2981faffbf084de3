"""Who uses the service: one's keys and quotas, and for admins users, requests for more, and flags."""

from __future__ import annotations

from typing import Annotated, Any, get_args

from fastapi import APIRouter, Query, Response

from aideon_agents.access import api_keys, flags, increases, quotas, users
from aideon_agents.access.roles import Role, Scope, scopes_of
from aideon_agents.api.accounts import signing_in
from aideon_agents.dashboard import pages
from aideon_agents.dashboard.pages import Visit, visiting
from aideon_agents.errors import InputError, shown
from aideon_agents.ledger.budgets.units import Feature, Unit
from aideon_agents.state import Tier

router = APIRouter()

Holder = Annotated[Visit, visiting("keys:own")]
Reader = Annotated[Visit, visiting("usage:own")]
Asking = Annotated[Visit, visiting("quota:ask")]
OfUsers = Annotated[Visit, visiting("users")]
OfQuotas = Annotated[Visit, visiting("quotas")]
OfFlags = Annotated[Visit, visiting("flags")]
_MOST = 100
_SCOPES: dict[Scope, str] = {
    "runs": "start runs, watch them and answer what they ask",
    "models": "call models without a workflow",
    "usage": "see what was spent",
    "keys": "manage your keys, and ask for higher quotas",
    "admin": "manage the service; a key with it has no other scope",
}
"""What each scope of a key permits, for people."""


@router.get("/keys")
def keys(visit: Holder) -> Response:
    """List one's own keys, or for those who may see them everybody's."""
    return _keys(visit)


def _keys(visit: Visit, made: str | None = None) -> Response:
    sees_all = visit.caller.may("keys:any")
    whose = None if sees_all else visit.caller.user
    return visit.page(
        "keys.html",
        "Keys",
        keys=api_keys.listed(visit.service.ledger, whose, most=_MOST),
        scopes={one: _SCOPES[one] for one in scopes_of(visit.caller.role)},
        made=made,
        sees_all=sees_all,
    )


@router.post("/keys")
def make_key(visit: Holder) -> Response:
    """Make a key for oneself; the page shows it this once."""
    scopes = [str(one) for one in visit.form.getlist("scope")] or None
    _, secret = api_keys.make(
        visit.service.ledger,
        visit.caller.user,
        visit.by,
        maker=visit.caller,
        name=visit.text("name") or None,
        scopes=scopes,
    )
    return _keys(visit, secret)


@router.post("/keys/{key_id}/rotate")
def rotate_key(key_id: str, visit: Holder) -> Response:
    """Replace a key; the page shows the new one this once."""
    _, secret = api_keys.rotate(visit.service.ledger, key_id, visit.by, maker=visit.caller)
    return _keys(visit, secret)


@router.post("/keys/{key_id}/revoke")
def revoke_key(key_id: str, visit: Holder) -> Response:
    """End a key at once."""
    owner = None if visit.caller.may("keys:any") else visit.caller.user
    api_keys.revoke(visit.service.ledger, key_id, visit.by, owner=owner)
    return pages.to("keys", "revoked")


@router.get("/quotas")
def quotas_page(visit: Reader) -> Response:
    """Show what is left of today, and the requests for more."""
    ledger, caller = visit.service.ledger, visit.caller
    decides = caller.may("quotas")
    return visit.page(
        "quotas.html",
        "Quotas",
        used=quotas.used(ledger, caller.user, caller.tier),
        reset_at=quotas.reset_at(),
        features=get_args(Feature),
        units=get_args(Unit),
        requests=increases.requests(ledger, user=None if decides else caller.user),
        decides=decides,
        all=quotas.listed(ledger) if decides else (),
    )


@router.post("/quotas")
def set_quota(visit: OfQuotas) -> Response:
    """Set a quota of a tier or of a user alone; without a limit it is removed."""
    ledger, text = visit.service.ledger, visit.text("limit")
    named = visit.text("subject"), visit.text("feature"), visit.text("unit")
    if not text:
        quotas.remove_quota(ledger, *named, visit.by)
    else:
        most = None if text == "unlimited" else _number(text)
        quotas.set_quota(ledger, *named, visit.by, most=most)
    return pages.to("quotas", "quota")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"the limit must be a number, not {shown(text)}") from None


@router.post("/quotas/requests")
def ask_for_more(visit: Asking) -> Response:
    """Ask for a higher quota."""
    most = _number(visit.text("limit"))
    named = quotas.checked(visit.text("feature"), visit.text("unit"))
    reason = visit.text("reason") or None
    increases.ask(visit.service.ledger, visit.caller, *named, visit.by, most=most, reason=reason)
    return pages.to("quotas", "asked")


@router.post("/quotas/requests/{request_id}")
def decide(request_id: str, visit: OfQuotas) -> Response:
    """Approve or decline a request."""
    approve = visit.text("decision") == "approve"
    increases.decide(visit.service.ledger, request_id, visit.by, approve=approve)
    return pages.to("quotas", "decided")


@router.get("/users")
def users_page(visit: OfUsers, after: Annotated[str, Query(max_length=200)] = "") -> Response:
    """List users."""
    return _users(visit, after)


def _users(visit: Visit, after: str = "", link: str | None = None) -> Response:
    found = users.listed(visit.service.ledger, after=after, most=_MOST + 1)
    shown = found[:_MOST]
    return visit.page(
        "users.html",
        "Users",
        users=shown,
        after=shown[-1].user if len(found) > _MOST else None,
        roles=get_args(Role),
        tiers=get_args(Tier),
        link=link,
    )


@router.post("/users")
def add_user(visit: OfUsers) -> Response:
    """Add a user."""
    given = {name: visit.text(name) for name in ("role", "tier", "name", "email")}
    known = {name: one for name, one in given.items() if one}
    users.add(visit.service.ledger, visit.text("user"), visit.by, **known)
    return pages.to("users", "user")


@router.post("/users/{user}")
def change_user(user: str, visit: OfUsers) -> Response:
    """Change a user's role and tier, block the user, or make a link that signs the user in."""
    if visit.text("do") == "link":
        made = signing_in.make_link(user, visit.request, visit.caller, visit.service)
        return _users(visit, link=made.link)
    values: dict[str, Any] = {
        name: visit.text(name) for name in ("role", "tier") if visit.text(name)
    }
    blocked = {"block": True, "unblock": False}.get(visit.text("do"))
    if blocked is not None:
        values["blocked"] = blocked
    users.change(visit.service.ledger, user, visit.by, **values)
    return pages.to("users", "user")


@router.get("/flags")
def flags_page(visit: OfFlags) -> Response:
    """List the feature flags."""
    return visit.page(
        "flags.html", "Flags", flags=flags.listed(visit.service.ledger), meanings=flags.MEANINGS
    )


@router.post("/flags/{name}")
def set_flag(name: str, visit: OfFlags) -> Response:
    """Set a flag: for all users, for none, or for a share of the users."""
    text = visit.text("share")
    if text and not text.isdecimal():
        raise InputError("the share is a whole number from 0 to 100")
    is_on, share = visit.text("on") == "on", int(text) if text else None
    flags.change(visit.service.ledger, name, visit.by, is_on=is_on, share=share)
    return pages.to("flags", "flag")
