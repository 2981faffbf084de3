"""Who asks: the caller of a request, and the permission that each route needs."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import hmac
import math
import time
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any, Generic, Self, TypeVar, cast

from fastapi import Depends, Header, Query, Request, Response
from fastapi.security import APIKeyCookie, APIKeyHeader, HTTPBearer
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter
from pydantic import BaseModel

from aideon_agents.access import api_keys, flags, ring, sessions
from aideon_agents.access.audit import By
from aideon_agents.access.callers import LOCAL, Caller, is_open
from aideon_agents.access.quotas import Left
from aideon_agents.access.roles import Permission
from aideon_agents.api.problems import Problem
from aideon_agents.errors import Changed
from aideon_agents.serving.service import Service

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_BEARER = HTTPBearer(auto_error=False, description="An API key of the service.")
_HEADER = APIKeyHeader(name="x-api-key", auto_error=False, description="The same, for SDKs.")
_COOKIE = APIKeyCookie(name=sessions.COOKIE, auto_error=False, description="A person's session.")
_SAFE = ("GET", "HEAD", "OPTIONS")
_SPENDING: frozenset[Permission] = frozenset({"runs:write", "models:call"})
CSRF_HEAD = "X-CSRF-Token"


class Rates:
    """What one address and one key may ask of this process in a minute. It is kept in memory."""

    def __init__(self, *, failures: int = 20, requests: int = 6000, at_once: int = 250) -> None:
        self._counted = FixedWindowRateLimiter(MemoryStorage())
        self._failures = RateLimitItemPerMinute(failures, namespace="failed")
        self._requests = RateLimitItemPerMinute(requests, namespace="asked")
        self._at_once, self._open = at_once, Counter[str]()

    def check_address(self, address: str) -> None:
        """Refuse an address that has failed to sign in too often, whatever it sends now."""
        if not self._counted.test(self._failures, address):
            detail = "too many failed sign-ins from this address: wait, and check the key"
            raise self._refused(self._failures, address, "locked_out", detail)

    def failed(self, address: str) -> None:
        """Count a failed sign-in."""
        self._counted.hit(self._failures, address)

    def count(self, caller: Caller) -> str:
        """Count a request that is open until `left` is given the result; or refuse one too many."""
        who = _who(caller)
        if not self._counted.hit(self._requests, who):
            detail = f"this key has sent {self._requests.amount} requests within a minute: wait"
            raise self._refused(self._requests, who, "rate_limited", detail)
        if self._open[who] >= self._at_once:
            detail = f"this key has {self._at_once} requests open, streams among them: close some"
            raise Problem(429, "too_many_open", detail, headers={"Retry-After": "1"})
        self._open[who] += 1
        return who

    def left(self, who: str) -> None:
        """Count that a request has been answered."""
        self._open[who] -= 1
        if not self._open[who]:
            del self._open[who]

    def remaining(self, caller: Caller) -> Left:
        """What is left of the rate of a caller's key."""
        found = self._counted.get_window_stats(self._requests, _who(caller))
        return Left(self._requests.amount, found.remaining, math.ceil(found.reset_time))

    def _refused(self, item: RateLimitItemPerMinute, who: str, code: str, detail: str) -> Problem:
        ends = self._counted.get_window_stats(item, who).reset_time
        seconds = max(1, round(ends - time.time()))
        return Problem(429, code, detail, headers={"Retry-After": str(seconds)})


def service_of(request: Request) -> Service:
    """The service behind the app."""
    return cast("Service", request.app.state.service)


async def _served(request: Request) -> Service:
    return service_of(request)  # on the event loop: a plain function would cost a thread's turn


Serving = Annotated[Service, Depends(_served)]


def caller_of(request: Request, csrf: str = "") -> Caller:
    """The caller, by an API key or a session; where the service is open, the user of this machine.

    `csrf` is the word of a session where a form has sent it, instead of a head.

    A key that is unknown, mistyped, expired or revoked gets the same answer.
    """
    service, rates, address = service_of(request), rates_of(request), address_of(request)
    secret = _key_in(request)
    rates.check_address(address)
    caller = None
    if secret:
        caller = api_keys.caller_of(service.ledger, secret)
    elif cookie := request.cookies.get(sessions.COOKIE):
        caller = _of_session(request, cookie, csrf)
    # Clients that cannot do without a key send any word, but a key of ours is one.
    may_be_open = service.is_local and not secret.startswith("aid_")
    if caller is None and may_be_open and is_open(service.ledger):
        return dataclasses.replace(LOCAL, user=service.settings.user)
    if caller is None:
        if secret:
            rates.failed(address)
        raise Problem(
            401,
            "unauthorized",
            "give a valid API key in the head Authorization: Bearer KEY, or x-api-key: KEY",
            headers={"WWW-Authenticate": "Bearer"},
        )
    if not hasattr(request.state, "counted"):  # several dependencies of a route ask
        request.state.rate = functools.partial(rates.remaining, caller)
        request.state.counted = rates.count(caller)
    return caller


def _who(caller: Caller) -> str:
    """Whose requests are counted together: a key that replaced another one begins nothing anew."""
    return caller.lineage or caller.session or caller.user


def _key_in(request: Request) -> str:
    word, _, secret = request.headers.get("authorization", "").partition(" ")
    if word.lower() == "bearer":
        return secret.strip()
    return request.headers.get("x-api-key", "").strip()


def _of_session(request: Request, cookie: str, csrf: str) -> Caller | None:
    """The caller of a session. What changes something must repeat a word of it, which no other site knows."""
    found = sessions.session_of(service_of(request).ledger, cookie)
    if found is None:
        return None
    caller, request.state.csrf = found
    given = csrf or request.headers.get(CSRF_HEAD, "")
    is_same = hmac.compare_digest(given.encode(), request.state.csrf.encode())
    if request.method not in _SAFE and not is_same:
        detail = f"send the head {CSRF_HEAD} with the value `csrf` of GET /api/v1/me"
        raise Problem(403, "csrf", detail)
    return caller


def rates_of(request: Request) -> Rates:
    """The rates of this process."""
    return cast("Rates", request.app.state.rates)


def address_of(request: Request) -> str:
    """The address that a request came from."""
    return request.client.host if request.client else "unknown"


def by_of(request: Request, caller: Caller | None = None) -> By:
    """Who does something by a request, for the audit log."""
    return By(
        caller.user if caller else "-",
        key_id=caller.key_id if caller else None,
        request_id=getattr(request.state, "request_id", None),
        address=address_of(request),
        ring=ring.read(service_of(request).settings.key_ring),
    )


def asking(permission: Permission | None, *others: Permission) -> Any:
    """The dependency that each route has: its caller, who must have a permission, or one of several.

    None: a caller who is known is enough. Use it as `caller: Annotated[Caller, asking("runs:own")]`.
    """

    async def allowed(request: Request) -> Caller:  # as `_served`: the ledger is read here
        caller = caller_of(request)
        if permission is not None and not any(map(caller.may, (permission, *others))):
            detail = f"this needs the permission {permission}, which your role or your key lacks"
            raise Problem(403, "forbidden", detail)
        if permission in _SPENDING and caller.tier == "free":
            _check_free_tier(request, caller)
        return caller

    cast("Any", allowed).permission = permission
    cast("Any", allowed).others = others
    return Depends(allowed)


def _check_free_tier(request: Request, caller: Caller) -> None:
    """Refuse spending where the tier free is switched off; what was spent can still be seen."""
    if not flags.is_on(service_of(request).ledger, "together_ai_free_tier", caller.user):
        detail = "the tier free is switched off here: ask for the tier premium"
        raise Problem(403, "free_tier_off", detail)


SECURITY = [Depends(_BEARER), Depends(_HEADER), Depends(_COOKIE)]
"""Declares in the OpenAPI document how a caller is recognized."""

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


class Page(BaseModel, Generic[T]):
    """A page of a list."""

    items: list[T]
    next: str | None
    """The `cursor` of the next page; None: this is the last."""

    @classmethod
    def of(cls, items: list[T], after: str | None = None) -> Self:
        """A page of what was read, as it is."""
        return cls.model_construct(items=items, next=after)


IfMatch = Annotated[
    str | None,
    Header(
        alias="If-Match",
        max_length=200,
        description="Needed: the `ETag` that was read, so that no other change is overwritten; `*`: any.",
    ),
]


def tagged(response: Response, row: T) -> T:
    """What can be changed, answered with its entity tag."""
    response.headers["ETag"] = _tag(row)
    return row


def check_match(given: str | None, row: object) -> None:
    """Refuse a change to what is no longer as the caller has read it."""
    if given is None:
        detail = "send the ETag that you have read as If-Match, so that no change is overwritten"
        raise Problem(428, "if_match_needed", detail)
    if given.strip() != "*" and _tag(row) not in map(str.strip, given.split(",")):
        raise Changed(
            "it was changed since it was read: read it again, and send its ETag as If-Match"
        )


def _tag(row: object) -> str:
    return f'"{hashlib.sha256(repr(row).encode()).hexdigest()[:32]}"'
