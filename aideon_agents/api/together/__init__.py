"""The nine endpoints of the founding documents, with their keys and error codes."""

from __future__ import annotations

from fastapi import APIRouter

from aideon_agents.api.asking import SECURITY
from aideon_agents.api.together import listing, sources, texts

PREFIX = "/api/v1/together"


def router() -> APIRouter:
    """The endpoints."""
    made = APIRouter(dependencies=SECURITY, responses=sources.ERRORS, tags=["together"])
    for one in (texts.router, listing.router):
        made.include_router(one, prefix=PREFIX)
    return made
