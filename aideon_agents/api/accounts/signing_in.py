"""Signing in to the pages and out again: one-time links, and the cookie of a session."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel

from aideon_agents.access import sessions
from aideon_agents.access.callers import Caller
from aideon_agents.api.asking import Serving, address_of, asking, by_of, rates_of
from aideon_agents.api.problems import Problem, answers

router = APIRouter(tags=["sign-in"])
doors = APIRouter(tags=["sign-in"])
"""What needs no caller, because it makes one."""


class Link(BaseModel):
    """A link that signs a user in. It works once."""

    user: str
    link: str
    expires_in_s: int


@router.post("/sign-in-links", responses=answers(404), status_code=201)
def make_link(
    user: Annotated[str, Body(embed=True, max_length=200)],
    request: Request,
    caller: Annotated[Caller, asking("users")],
    service: Serving,
) -> Link:
    """Make a link that signs a user in, which works once and for 15 minutes."""
    token = sessions.make_link(service.ledger, user, by_of(request, caller))
    link = sessions.address(service.settings.public_url, token)
    return Link(user=user, link=link, expires_in_s=sessions.LINK_S)


@router.post("/sign-out", status_code=204)
def sign_out(
    request: Request,
    response: Response,
    caller: Annotated[Caller, asking(None)],
    service: Serving,
) -> None:
    """End one's session. With a key there is none, and nothing happens."""
    if caller.session:
        sessions.end(service.ledger, caller.session, by_of(request, caller))
    response.delete_cookie(sessions.COOKIE, secure=True, httponly=True, samesite="lax")


@doors.get(
    "/sign-in/{token}",
    responses={303: {"description": "Signed in."}, **answers(404, 429)},
    status_code=303,
    response_class=RedirectResponse,
)
def sign_in(token: str, request: Request, service: Serving) -> Response:
    """Sign in by a link."""
    rates_of(request).check_address(address_of(request))
    secret = sessions.use_link(service.ledger, token, by_of(request))
    if secret is None:
        rates_of(request).failed(address_of(request))
        detail = "this link was used, or is older than 15 minutes: ask for a new one"
        raise Problem(404, "no_link", detail)
    return signed_in(secret)


def signed_in(secret: str) -> Response:
    """The answer that begins a session in a browser."""
    to_pages = RedirectResponse("/", 303)
    to_pages.set_cookie(
        sessions.COOKIE,
        secret,
        max_age=sessions.SESSION_S,
        secure=True,
        httponly=True,
        samesite="lax",
    )
    return to_pages
