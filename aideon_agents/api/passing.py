"""What every request passes, as pure ASGI: its id, its host and its origin, and security heads.

Starlette's BaseHTTPMiddleware starts a task per request, which costs more than everything here.
"""

from __future__ import annotations

import contextvars
import re
import secrets
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException

from aideon_agents.api.problems import Problem, response

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

REQUEST_ID: contextvars.ContextVar[str | None] = contextvars.ContextVar("request_id", default=None)
"""The id of the request that is answered, for logs."""

MEGABYTE = 1024 * 1024

_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SAFE = ("GET", "HEAD", "OPTIONS")

LOOPBACK = ("localhost", "127.0.0.1", "::1")
"""The hosts that a request may name where only this machine reaches the service."""

_HEADS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Frame-Options": "SAMEORIGIN",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'self'",
    "Cache-Control": "no-store",
}
"""Added to every answer that does not say it differently."""


class Passing:
    """Gives each request an id, refuses foreign hosts and origins, and adds security heads.

    `largest` is how many bytes a body may have. `hosts` are the names that a request may ask for; empty: any. `origins` are those of web pages
    that may send requests which change something, besides the service's own.
    """

    def __init__(
        self,
        app: ASGIApp,
        hosts: Sequence[str] = (),
        origins: Sequence[str] = (),
        largest: int = MEGABYTE,
    ) -> None:
        self._app = app
        self._largest = largest
        self._hosts = frozenset(hosts)
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        heads = Headers(scope=scope)
        given = heads.get("x-request-id", "")
        request_id = given if _ID.fullmatch(given) else secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = request_id
        token = REQUEST_ID.set(request_id)

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                out = MutableHeaders(scope=message)
                out["X-Request-Id"] = request_id
                for name, value in _HEADS.items():
                    out.setdefault(name, value)
            await send(message)

        try:
            refused = self._refused(scope, heads)
            app: Any = response(refused, request_id) if refused else self._app
            await app(scope, self._limited(receive), sending)
        finally:
            REQUEST_ID.reset(token)

    def _limited(self, receive: Receive) -> Receive:
        """Receive a body, up to the limit; an app sees more as an error of HTTP."""
        size = 0

        async def receiving() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self._largest:
                raise HTTPException(413, f"the body has more than {self._largest:,} bytes")
            return message

        return receiving

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


_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^:\[\]/@]+))(?::[0-9]+)?", re.IGNORECASE)


def _name_of(host: str) -> str:
    """The name in a Host head, without its port; empty: it is not one."""
    found = _HOST.fullmatch(host)
    return (found[1] or found[2]).lower() if found else ""
