"""The app: routers, errors and what every request passes."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, FastAPI
from fastapi.responses import JSONResponse
from starlette.middleware.cors import CORSMiddleware

from aideon_agents.access.callers import Caller
from aideon_agents.api import (
    artifacts,
    batches,
    langgraph,
    openai,
    problems,
    runs,
    threads,
    together,
    usage,
    workflows,
)
from aideon_agents.api.accounts import admin, limits, me, provider_keys, quotas, signing_in
from aideon_agents.api.asking import SECURITY, Rates, Serving, asking
from aideon_agents.api.health import metrics, status
from aideon_agents.api.health.requests import Requests
from aideon_agents.api.passing import LOOPBACK, RATE_HEADS, Passing
from aideon_agents.api.shapes import Health
from aideon_agents.errors import UserError
from aideon_agents.ledger.identity import now, utc_text
from aideon_agents.runner.tracing import configured_provider

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, MutableMapping, Sequence

    from fastapi.telemetry import TelemetryConfig

    from aideon_agents.api.mcp import Door
    from aideon_agents.serving.service import Service
    from aideon_agents.settings import Settings

_EXPOSED = (
    *("Location", "Content-Location", "X-Request-Id", "Retry-After", "Preference-Applied"),
    *RATE_HEADS,
)

_health = APIRouter(tags=["health"])


@_health.get("/healthz", responses={200: {"model": Health}})
def healthz() -> JSONResponse:
    """Whether this process answers."""
    return JSONResponse({"status": "ok"})


@_health.get("/readyz", responses={200: {"model": Health}, **problems.answers(503)})
def readyz(service: Serving) -> JSONResponse:
    """Whether this process can start runs: it writes the ledger, opens stored keys, and does not drain."""
    service.check()
    try:
        service.launcher.keys.check_ring()
    except UserError as error:
        raise problems.Problem(503, "ring_unusable", str(error)) from None
    if service.live.is_draining:
        raise problems.Problem(503, "draining", "this process is stopping: ask another one")
    return JSONResponse({"status": "ok"})


def create_app(
    service: Service,
    *,
    hosts: Sequence[str] = (),
    origins: Sequence[str] = (),
    since: str | None = None,
    is_alone: bool = True,
    pages: Callable[[FastAPI], None] | None = None,
) -> FastAPI:
    """The app of a service.

    `hosts` are further names under which it answers; where only this machine reaches it, it answers
    under those of this machine. `origins` are web pages of other origins that may use it. `since` is
    when the service began, from which on metrics count calls; None: now. `is_alone`: no other
    process serves the same address. `pages` adds the pages for people.
    """
    door = _mcp(service, is_alone=is_alone)
    if service.settings.oidc_issuer:
        signing_in.provider(
            service.settings
        )  # its settings are wrong at once, not at the first sign-in

    app = FastAPI(
        title="Aideon Agents",
        version="1",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan(service, door),
        redirect_slashes=False,
        telemetry=_telemetry(service.settings),
    )
    app.state.service = service
    app.state.metrics = metrics.registry(service.ledger, since or utc_text(now()))
    app.state.rates = Rates()
    problems.install(app)
    _include(app, door)
    if pages:
        pages(app)
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(origins),
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=list(_EXPOSED),
        )
    app.add_middleware(Requests)
    answered = (*LOOPBACK, *hosts) if service.is_local else hosts
    app.add_middleware(Passing, hosts=answered, origins=origins)
    return app


def _include(app: FastAPI, door: Door | None) -> None:
    """Add the routes of every door."""
    own = APIRouter(
        prefix="/api/v1", dependencies=SECURITY, responses=problems.answers(401, 403, 413, 422)
    )
    accounts = (me, admin, quotas, limits, provider_keys, signing_in)
    for one in (workflows, runs, artifacts, batches, threads, usage, status, *accounts):
        own.include_router(one.router)
    app.include_router(own)
    app.include_router(together.router())
    app.include_router(openai.router(), include_in_schema=False)  # its SDKs describe it
    app.include_router(_health)
    app.include_router(metrics.router, dependencies=SECURITY, responses=problems.answers(401, 403))
    app.include_router(signing_in.doors)
    app.include_router(langgraph.router, include_in_schema=False)  # its SDKs describe it
    if door:
        app.include_router(door.router, include_in_schema=False)
    app.add_api_route("/api/v1/openapi.json", _described(app), include_in_schema=False)


def _lifespan(
    service: Service, door: Door | None
) -> Callable[[FastAPI], contextlib.AbstractAsyncContextManager[None]]:
    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        await service.open()
        sessions = asyncio.create_task(door.serve()) if door else None
        try:
            yield
        finally:
            await service.drain()
            if sessions:
                await sessions

    return lifespan


def _telemetry(settings: Settings) -> TelemetryConfig:
    """A span for each request, where runs are traced."""
    return {
        "tracing": settings.otel is not False,
        "tracer_provider": configured_provider() if settings.otel else None,
        "logs": False,  # of what was sent, and of the words of errors
        "operation_spans": False,
        "exclude": _is_secret,
    }


def _is_secret(scope: MutableMapping[str, Any]) -> bool:
    """Whether the path of a request, which its span would have, signs a person in."""
    return scope["path"].startswith("/sign-in")


def _mcp(service: Service, *, is_alone: bool) -> Door | None:
    """The MCP server; None: the extra `mcp` is not installed."""
    if importlib.util.find_spec("mcp") is None:
        return None
    from aideon_agents.api.mcp import Door  # noqa: PLC0415 - an extra

    return Door(service, keeps_sessions=is_alone)


def _described(app: FastAPI) -> Callable[..., JSONResponse]:
    def openapi(caller: Annotated[Caller, asking(None)]) -> JSONResponse:
        """The OpenAPI document."""
        del caller
        return JSONResponse(app.openapi())

    return openapi
