"""OpenAI's API over the service: a workflow is a model there, and every client of it connects."""

from __future__ import annotations

from fastapi import APIRouter

from aideon_agents.api.asking import SECURITY
from aideon_agents.api.openai import chat, responses


def router() -> APIRouter:
    """The endpoints."""
    made = APIRouter(prefix="/v1", dependencies=SECURITY, tags=["openai"])
    for one in (chat, responses):
        made.include_router(one.router)
    return made
