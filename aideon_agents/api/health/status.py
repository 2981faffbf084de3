"""How the providers and their models do, over all users and processes of the ledger."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict

from aideon_agents.access.callers import Caller
from aideon_agents.api.asking import Serving, asking
from aideon_agents.ledger.identity import now, utc_text
from aideon_agents.ledger.models.status import statuses

router = APIRouter(prefix="/status", tags=["status"])

Reader = Annotated[Caller, asking("usage:own", "usage:any")]
Hours = Annotated[int, Query(ge=1, le=168, description="Count the calls of so many last hours.")]


class StatusDocument(BaseModel):
    """How a model or a provider does."""

    model_config = ConfigDict(extra="allow")

    provider: str
    state: Literal["closed", "half_open", "open"]
    """The circuit breaker's, the worst of all processes and models: while it is open, others are asked."""
    rests_until: str | None
    calls: int
    failed_calls: int
    success_rate: float | None
    """From 0 to 1; null: no call has ended."""
    p50_ms: int | None
    p95_ms: int | None
    tokens_per_second: float | None


class StatusPage(BaseModel):
    """How models or providers do, the worst first."""

    since: str
    items: list[StatusDocument]
    next: str | None


@router.get("/{of}", responses={200: {"model": StatusPage}})
def status(
    of: Literal["providers", "models"], caller: Reader, service: Serving, hours: Hours = 6
) -> JSONResponse:
    """Show how each provider or model does: its state, its share of failed calls, and its speed."""
    since = now() - dt.timedelta(hours=hours)
    items = statuses(service.ledger, since, by="provider" if of == "providers" else "model")
    for one in items:
        if of == "providers":
            del one["model"]
        if caller.may("usage:any"):
            continue
        # Processes are the operator's business, and words of an error may be another user's.
        del one["breakers"]
        if one["last_error"]:
            del one["last_error"]["message"]
    return JSONResponse({"since": utc_text(since), "items": items, "next": None})
