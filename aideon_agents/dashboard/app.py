"""The pages as one app below `/ui`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, FastAPI, Response
from fastapi.responses import RedirectResponse

from aideon_agents.access import sessions
from aideon_agents.api.asking import by_of
from aideon_agents.dashboard import (
    accounts,
    batches,
    operations,
    pages,
    provider_keys,
    runs,
    success,
    usage,
)
from aideon_agents.dashboard.pages import ROOT, Visit, visiting

router = APIRouter()


@router.get("/")
def home() -> Response:
    """Go to the first page."""
    return pages.to("runs")


@router.get("/static/{name}")
def static(name: str) -> Response:
    """A file of the pages."""
    return pages.static(name)


@router.post("/sign-out")
def sign_out(visit: Annotated[Visit, visiting(None)]) -> Response:
    """End the session."""
    if visit.caller.session:
        ledger = visit.service.ledger
        sessions.end(ledger, visit.caller.session, by_of(visit.request, visit.caller))
    answer = RedirectResponse(pages.SIGN_IN, 303)
    answer.delete_cookie(sessions.COOKIE, secure=True, httponly=True, samesite="lax")
    return answer


def mount(app: FastAPI) -> None:
    """Put the pages into the service's app."""
    own = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    own.state = app.state
    for one in (router, runs.router, batches.router, usage.router, accounts.router):
        own.include_router(one)
    for one in (provider_keys.router, operations.router, success.router):
        own.include_router(one)
    pages.install(own)
    app.mount(ROOT, own)
    for path in ("/", ROOT):
        app.add_api_route(path, lambda: RedirectResponse(f"{ROOT}/", 303), include_in_schema=False)
