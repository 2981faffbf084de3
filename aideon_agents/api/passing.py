"""What every request passes, as pure ASGI: its id, its host and its origin, and security heads.

Starlette's BaseHTTPMiddleware starts a task per request, which costs more than everything here.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import re
import secrets
import sys
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException

from aideon_agents.access.quotas import LEFT, Left
from aideon_agents.api.problems import Problem, response
from aideon_agents.ledger.redaction import without_keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

REQUEST_ID: contextvars.ContextVar[str | None] = contextvars.ContextVar("request_id", default=None)
"""The id of the request that is answered, for logs."""

_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SAFE = ("GET", "HEAD", "OPTIONS")

LOOPBACK = ("localhost", "127.0.0.1", "::1")
"""The hosts that a request may name where only this machine reaches the service."""

RATE_HEADS = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")
"""Of the tighter one of the quota of requests and the rate of the key."""

_HEADS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Frame-Options": "SAMEORIGIN",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'self'",
    "Cache-Control": "no-store",
}
"""Added to every answer that does not say it differently."""

OWN_FORMS = {"Referrer-Policy": "same-origin"}
"""For pages with forms: with `no-referrer` a browser sends the origin `null` with them."""


class Passing:
    """Gives each request an id, refuses foreign hosts and origins, and adds security heads.

    `hosts` are the names that a request may ask for; empty: any. `origins` are those of web pages that
    may change something, besides the service's own.
    """

    def __init__(
        self, app: ASGIApp, hosts: Sequence[str] = (), origins: Sequence[str] = ()
    ) -> None:
        self._app = app
        self._hosts = frozenset(hosts)
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        heads = Headers(scope=scope)
        given = heads.get("x-request-id", "")
        is_usable = _ID.fullmatch(given) and without_keys(given) == given
        request_id = given if is_usable else secrets.token_hex(8)
        _hide_keys(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        token, left = REQUEST_ID.set(request_id), list[Left]()
        asked = LEFT.set(left)

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                out = MutableHeaders(scope=message)
                out["X-Request-Id"] = request_id
                if of_key := scope["state"].get("rate"):
                    left.append(of_key())
                if left:
                    tightest = min(left, key=lambda one: one.remaining)
                    for name, value in zip(RATE_HEADS, tightest, strict=True):
                        out[name] = str(value)
                for name, value in _HEADS.items():
                    out.setdefault(name, value)
            await send(message)

        try:
            refused = self._refused(scope, heads)
            app: Any = response(refused, request_id) if refused else self._app
            await app(scope, _checked(receive, heads, scope["path"]), sending)
        finally:
            LEFT.reset(asked)
            REQUEST_ID.reset(token)
            if who := scope["state"].get("counted"):
                scope["app"].state.rates.left(who)

    def _refused(self, scope: Scope, heads: Headers) -> Problem | None:
        host = heads.get("host", "")
        if self._hosts and _name_of(host) not in self._hosts:
            detail = "the service does not answer under this host name: name it with --allow-host"
            return Problem(421, "wrong_host", detail)
        origin = heads.get("origin")
        if scope["method"] in _SAFE or origin is None or origin in self._origins:
            return None
        if origin in (f"http://{host}", f"https://{host}"):
            return None
        detail = "a web page of another origin may not send this: allow it with --allow-origin"
        return Problem(403, "wrong_origin", detail)


_LARGEST = 1024 * 1024
_WITH_PICTURES = 28 * _LARGEST
"""Bytes of a body with a picture of 20 MB in base64, or with the items of a batch."""
_ARRIVES_WITHIN = 60.0
"""Seconds between two parts of a body."""
_PICTURES = (
    *("/v1/", "/ui/batches"),
    *("/api/v1/together/images/", "/api/v1/together/audio/"),
)
"""Where a body may hold pictures, recordings, or a file of items."""
_DEEPEST = 100
"""How deep lists and objects of a body may be in each other."""
_SUSPECT = re.compile(
    rb"(?:^|[\[:,\s])-?(?:NaN|Infinity|[0-9.]+[eE]\+?[0-9]{3}|[0-9]{300})|\\u[dD]|\x00"
)
"""What a body has where its values may be none of JSON's; most bodies have nothing of it."""


def _hide_keys(scope: Scope) -> None:
    """Hide a key that a client has put into a URL from the span of the request."""
    if tracing := sys.modules.get("opentelemetry.trace"):
        query = scope["query_string"].decode("latin-1")
        for name, text in {"url.path": scope["path"], "url.query": query}.items():
            if (hidden := without_keys(text)) != text:
                tracing.get_current_span().set_attribute(name, hidden)


def _checked(receive: Receive, heads: Headers, path: str) -> Receive:
    """Receive a body; an app sees one that is too large, or no JSON, as an error of HTTP."""
    largest = _WITH_PICTURES if path.startswith(_PICTURES) else _LARGEST
    is_json = "json" in heads.get("content-type", "").lower()
    size, is_whole, parts = 0, False, list[bytes]()

    async def receiving() -> Message:
        nonlocal size, is_whole
        try:
            async with asyncio.timeout(None if is_whole else _ARRIVES_WITHIN):
                message = await receive()
        except TimeoutError:
            detail = f"the body has not arrived: send a part every {_ARRIVES_WITHIN:g} seconds"
            raise HTTPException(408, detail) from None
        size += len(message.get("body", b""))
        is_whole = not message.get("more_body")
        if size > largest:
            raise HTTPException(413)
        if is_json and message["type"] == "http.request":
            parts.append(message.get("body", b""))
            if is_whole:
                _check_json(b"".join(parts))
        return message

    return receiving


def _check_json(body: bytes) -> None:
    """Refuse what Python alone reads as JSON: once kept, it could not be shown again."""
    is_shallow = body.count(b"[") + body.count(b"{") <= _DEEPEST
    if is_shallow and not _SUSPECT.search(body):
        return
    try:
        level = [found := json.loads(body)]
        for _ in range(_DEEPEST):
            level = [inner for one in level for inner in _inside(one)]
        json.dumps(found, allow_nan=False, ensure_ascii=False).encode()
    except json.JSONDecodeError:
        return  # FastAPI says where it is wrong
    except (ValueError, RecursionError):
        level = [None]
    if level:
        raise HTTPException(400)


def _inside(one: Any) -> Iterable[Any]:
    return one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()  # type: ignore[return-value] - of JSON


_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^:\[\]/@]+))(?::[0-9]+)?", re.IGNORECASE)


def _name_of(host: str) -> str:
    """The name in a Host head, without its port; empty: it is not one."""
    found = _HOST.fullmatch(host)
    return (found[1] or found[2]).lower() if found else ""
