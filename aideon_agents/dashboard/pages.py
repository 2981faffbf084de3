"""What every page shares: its visitor, its frame, its files, and its errors."""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
from importlib.resources import files
from typing import TYPE_CHECKING, Annotated, Any, cast

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException

from aideon_agents.access.callers import Caller
from aideon_agents.api import problems
from aideon_agents.api.asking import by_of, caller_of, service_of
from aideon_agents.api.passing import OWN_FORMS
from aideon_agents.api.problems import Problem
from aideon_agents.dashboard import words
from aideon_agents.drawing.page.document import colours
from aideon_agents.errors import AideonError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from aideon_agents.access.audit import By
    from aideon_agents.access.roles import Permission
    from aideon_agents.serving.service import Service

ROOT = "/ui"
SIGN_IN = f"/sign-in?next={ROOT}/"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self';"
    " connect-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'none'"
)
_TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml", "woff2": "font/woff2"}

NAVIGATION: tuple[tuple[str, str, Permission], ...] = (
    ("Ask", "ask", "runs:write"),
    ("Runs", "runs", "runs:own"),
    ("Approvals", "approvals", "runs:write"),
    ("Batches", "batches", "runs:own"),
    ("Usage", "usage", "usage:own"),
    ("Quotas", "quotas", "usage:own"),
    ("Keys", "keys", "keys:own"),
    ("Provider keys", "provider-keys", "provider-keys:own"),
    ("Providers", "providers", "usage:own"),
    ("Users", "users", "users"),
    ("Flags", "flags", "flags"),
    ("Alerts", "alerts", "budgets"),
    ("Success", "success", "usage:any"),
    ("Audit", "audit", "audit"),
)
"""The pages: what they are called, their address, and the permission that they need."""


@functools.cache
def _environment() -> Environment:
    found = Environment(
        loader=PackageLoader("aideon_agents.dashboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= words.FILTERS
    return found


@dataclasses.dataclass(frozen=True, slots=True)
class Visit:
    """A request for a page, by a caller who may see it."""

    request: Request
    caller: Caller
    service: Service
    form: FormData

    @property
    def by(self) -> By:
        """Who does something here, for the audit log."""
        return by_of(self.request, self.caller)

    def text(self, name: str) -> str:
        """A field of the form, without spaces around it; empty: it was not filled in."""
        given = self.form.get(name, "")
        return given.strip() if isinstance(given, str) else ""

    def page(self, template: str, title: str, **values: Any) -> Response:
        """A page for this visit."""
        shown: dict[str, Any] = {
            "title": title,
            "caller": self.caller,
            "csrf": getattr(self.request.state, "csrf", None) or "",
            "pages": [(name, at) for name, at, need in NAVIGATION if self.caller.may(need)],
            "here": self.request.url.path.removeprefix(f"{ROOT}/").partition("/")[0],
            "done": words.DONE.get(self.request.query_params.get("done", "")),
            "query": dict(self.request.query_params),
            **values,
        }
        return rendered(template, **shown)


def rendered(template: str, status: int = 200, **values: Any) -> Response:
    """A template as an answer."""
    text = _environment().get_template(template).render(root=ROOT, **values)
    content = text.encode("utf-8", "replace")
    return HTMLResponse(content, status, {"Content-Security-Policy": _POLICY, **OWN_FORMS})


def day(text: str) -> dt.date | None:
    """A day that a form has given; None: it gave none."""
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        return None


def to(address: str, done: str | None = None) -> Response:
    """Go to a page after something was done; `done` is the word of what it then says."""
    asked = f"{'&' if '?' in address else '?'}done={done}" if done else ""
    return RedirectResponse(f"{ROOT}/{address}{asked}", 303)


async def _form(request: Request) -> AsyncGenerator[FormData]:
    """The fields of a form, and its files until it is answered."""
    if request.method != "POST":
        yield FormData()
        return
    async with request.form() as form:
        yield form


def visiting(permission: Permission | None) -> Any:
    """The dependency that each page has: its visit, by a caller who must have a permission."""

    def allowed(request: Request, form: Annotated[FormData, Depends(_form)]) -> Visit:
        caller = caller_of(request, csrf=str(form.get("csrf", "")))
        if permission is not None and not caller.may(permission):
            detail = f"this page needs the permission {permission}, which your role lacks"
            raise Problem(403, "forbidden", detail)
        return Visit(request, caller, service_of(request), form)

    cast("Any", allowed).permission = permission
    cast("Any", allowed).others = ()
    return Depends(allowed)


def static(name: str) -> Response:
    """A file that the pages use."""
    kind = name.rpartition(".")[2]
    if name == "dash.css":
        content = (colours() + _read("dashboard", "static", name).decode()).encode()
    elif kind == "woff2":
        content = _read("drawing", "fonts", name)
    else:
        content = _read("dashboard", "static", name)
    heads = {"Cache-Control": "public, max-age=3600"}
    return Response(content, media_type=_TYPES[kind], headers=heads)


@functools.cache
def _read(room: str, folder: str, name: str) -> bytes:
    place = files("aideon_agents") / room / folder
    known = {one.name for one in place.iterdir()}
    if name not in known or name.rpartition(".")[2] not in _TYPES:
        raise Problem(404, "not_found", f"there is no file {name}")
    return (place / name).read_bytes()


def install(app: FastAPI) -> None:
    """Let the pages answer an error with a page."""

    async def known(request: Request, error: Any) -> Response:
        problem = problems.of(error, request)
        request.state.error = error
        if problem.status == 401 and request.method == "GET":  # noqa: PLR2004 - HTTP's
            return RedirectResponse(SIGN_IN, 303)
        return rendered("problem.html", problem.status, problem=problem)

    for kind in (AideonError, Problem, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, known)
