"""Signing in to the pages and out again: by link, API key or OpenID Connect, and the cookie of a session."""

from __future__ import annotations

import base64
import hashlib
import html
import re
import secrets
from types import ModuleType
from typing import Annotated, Any
from urllib.parse import quote, unquote

from fastapi import APIRouter, Body, Form, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import BaseModel

from aideon_agents.access import api_keys, sessions
from aideon_agents.access.callers import Caller
from aideon_agents.api import problems
from aideon_agents.api.asking import Serving, asking, by_of, rates_of
from aideon_agents.api.passing import OWN_FORMS
from aideon_agents.api.problems import Problem, answers
from aideon_agents.errors import NotAllowed, UserError
from aideon_agents.settings import Settings

router = APIRouter(tags=["sign-in"])
doors = APIRouter(tags=["sign-in"], prefix="/sign-in")
"""What needs no caller, because it makes one."""

problems.KNOWN[sessions.IssuerError] = (502, "issuer_failed")
_SIGNED_IN: dict[int | str, dict[str, Any]] = {303: {"description": "Signed in."}}
_OWN = re.compile(r"/(?![/\\])[!-\[\]-~]*")
"""A path of this service: a browser would take `//host` and `/\\host` for another one."""
_ATTEMPT = f"{sessions.COOKIE}-sign-in"
_ATTEMPT_S = 600
"""How long a person may take at the provider."""
_COOKIE: Any = {"secure": True, "httponly": True, "samesite": "lax"}
Next = Annotated[str, Query(max_length=2000, description="The path to go to, signed in.")]


class Link(BaseModel):
    """A link that signs a user in. It works once."""

    user: str
    link: str
    expires_in_s: int


class Session(BaseModel):
    """A session that has begun; its cookie is in the answer."""

    user: str
    csrf: str
    """To be sent as `X-CSRF-Token` with what changes something."""
    expires_in_s: int


@router.post("/sign-in-links", responses=answers(404), status_code=201)
def make_link(
    user: Annotated[str, Body(embed=True, max_length=200)],
    request: Request,
    caller: Annotated[Caller, asking("users")],
    service: Serving,
) -> Link:
    """Make a link that signs a user in, which works once and for 15 minutes."""
    if caller.key_id:  # which would get more than it has: a session can spend
        raise NotAllowed(
            "a key cannot sign people in: sign in yourself, or use `aideon users link`"
        )
    token = sessions.make_link(service.ledger, user, by_of(request, caller))
    link = sessions.address(service.settings.public_url, token)
    return Link(user=user, link=link, expires_in_s=sessions.LINK_S)


@router.post("/sessions", responses=answers(409), status_code=201)
def begin_session(
    request: Request,
    response: Response,
    caller: Annotated[Caller, asking(None)],
    service: Serving,
) -> Session:
    """Begin a session with an API key. It may do what the key may, and ends when the key does."""
    if caller.key_id is None or caller.session:
        raise Problem(409, "no_key", "a session begins with an API key: send one without a cookie")
    secret = sessions.begin_with_key(service.ledger, caller, by_of(request, caller))
    found = sessions.session_of(service.ledger, secret or "")
    if secret is None or found is None:
        raise _no_link()
    response.set_cookie(sessions.COOKIE, secret, sessions.SESSION_S, **_COOKIE)
    return Session(user=caller.user, csrf=found[1], expires_in_s=sessions.SESSION_S)


@router.post("/sign-out", status_code=204)
def sign_out(
    request: Request, response: Response, caller: Annotated[Caller, asking(None)], service: Serving
) -> None:
    """End one's session. With a key there is none, and nothing happens."""
    if caller.session:
        sessions.end(service.ledger, caller.session, by_of(request, caller))
    response.delete_cookie(sessions.COOKIE, **_COOKIE)


@doors.get("", response_class=HTMLResponse)
def sign_in_page(service: Serving, to: Annotated[Next, Query(alias="next")] = "/") -> HTMLResponse:
    """The page of a sign-in link, which also takes an API key."""
    place = _own(to)
    other = (
        f'<p><a href="/sign-in/oidc?next={quote(place, safe="")}">Sign in with single sign-on</a>'
    )
    shown = _PAGE.format(
        script=_SCRIPT,
        to=html.escape(place),
        other=other if service.settings.oidc_issuer else "",
    )
    return HTMLResponse(shown, headers={"Content-Security-Policy": _POLICY, **OWN_FORMS})


@doors.post("", responses={**_SIGNED_IN, **answers(404, 422, 429)}, status_code=303)
def sign_in(
    request: Request,
    service: Serving,
    secret: Annotated[str, Form(max_length=200)],
    to: Annotated[Next, Form(alias="next")] = "/",
) -> Response:
    """Sign in by the end of a link, or by an API key."""
    by = by_of(request)
    rates_of(request).check_address(by.address or "")
    given = secret.strip().rpartition("#")[2]
    if caller := api_keys.caller_of(service.ledger, given):
        begun = sessions.begin_with_key(service.ledger, caller, by)
    else:
        begun = sessions.use_link(service.ledger, given, by)
    if begun is None:
        rates_of(request).failed(by.address or "")
        raise _no_link()
    return _signed_in(begun, to)


@doors.get("/oidc", responses={**_SIGNED_IN, **answers(404, 422, 502)}, status_code=303)
async def begin_oidc(service: Serving, to: Annotated[Next, Query(alias="next")] = "/") -> Response:
    """Go to the provider that signs people in."""
    oidc, settings = provider(service.settings), service.settings
    secret = secrets.token_urlsafe(32)
    there = RedirectResponse(await oidc.begin(settings, secret, _back(settings)), 303)
    there.set_cookie(_ATTEMPT, f"{secret}.{quote(_own(to), safe='')}", _ATTEMPT_S, **_COOKIE)
    return there


@doors.get("/oidc/callback", responses={**_SIGNED_IN, **answers(403, 404, 502)}, status_code=303)
async def finish_oidc(request: Request, service: Serving) -> Response:
    """Sign in as the person whom the provider has sent back."""
    oidc, settings = provider(service.settings), service.settings
    secret, _, to = request.cookies.get(_ATTEMPT, "").partition(".")
    came = await oidc.finish(settings, secret, _back(settings), request.query_params)
    issuer, subject, name = came
    new = settings.oidc_role and (settings.oidc_role, settings.oidc_tier)
    begun = sessions.sign_in(service.ledger, issuer, subject, name, by_of(request), new=new)
    if begun is None:
        raise NotAllowed("your user is blocked here: ask an administrator")
    answer = _signed_in(begun, unquote(to))
    answer.delete_cookie(_ATTEMPT, **_COOKIE)
    return answer


def provider(settings: Settings) -> ModuleType:
    """What signs people in with OpenID Connect, where that is set and its extra is installed."""
    if settings.oidc_issuer is None:
        raise Problem(404, "no_issuer", "no provider signs people in here: set AIDEON_OIDC_ISSUER")
    try:
        from aideon_agents.access.sessions import oidc  # noqa: PLC0415 - an extra
    except ModuleNotFoundError:
        why = "AIDEON_OIDC_ISSUER needs an extra: pip install 'aideon-agents[oidc]'"
        raise UserError(why) from None
    oidc.check(settings)
    return oidc


def _back(settings: Settings) -> str:
    return f"{settings.public_url.rstrip('/')}/sign-in/oidc/callback"


def _own(place: str) -> str:
    """The path to go to: one of this service, or its first page."""
    return place if _OWN.fullmatch(place) else "/"


def _no_link() -> Problem:
    detail = (
        "this is no API key, and no link that was not used within 15 minutes: ask for a new one"
    )
    return Problem(404, "no_link", detail)


def _signed_in(secret: str, to: str) -> Response:
    """The answer that begins a session in a browser."""
    there = RedirectResponse(_own(to), 303)
    there.set_cookie(sessions.COOKIE, secret, sessions.SESSION_S, **_COOKIE)
    return there


_SCRIPT = """
const field = document.querySelector("[name=secret]")
field.value = location.hash.slice(1)
history.replaceState(null, "", location.pathname + location.search)
if (field.value) field.form.submit()
"""
_POLICY = (
    "default-src 'none'; form-action 'self'; frame-ancestors 'none'; base-uri 'none';"
    " style-src 'self'; img-src 'self';"
    f" script-src 'sha256-{base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()}'"
)
_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>Sign in</title>
<link rel="stylesheet" href="/ui/static/dash.css">
<link rel="icon" href="/ui/static/icon.svg">
<body class="alone">
<main>
<h1>Sign in</h1>
<form method="post" action="/sign-in" class="card">
<input type="hidden" name="next" value="{to}">
<label>API key, or the part of your link behind #
<input type="password" name="secret" required autocomplete="off"></label>
<p class="actions"><button class="main">Sign in</button></p>
</form>
{other}
</main>
<script>{script}</script>
"""
