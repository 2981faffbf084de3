"""The nine endpoints of the founding documents, with their keys and error codes."""

from __future__ import annotations

from typing import Annotated, Any, get_args

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage, convert_to_messages
from pydantic.json_schema import SkipJsonSchema

from aideon_agents.access import flags, quotas
from aideon_agents.access.tiers import limits
from aideon_agents.api import doors, problems
from aideon_agents.api.asking import SECURITY, Serving
from aideon_agents.api.together import making, shapes
from aideon_agents.api.together.answering import MODALITIES, Member, Reader, answered
from aideon_agents.ledger.budgets.units import Feature
from aideon_agents.models import catalog
from aideon_agents.models.choosing.pool import entries_for
from aideon_agents.models.providers import providers
from aideon_agents.serving import sources
from aideon_agents.state import Tier

PREFIX = "/api/v1/together"

_endpoints = APIRouter(route_class=doors.route_class(problems.response, doors.as_bad_request))
_CODE = (
    "Continue the code that you are given. Answer with what follows it and nothing else: no "
    "explanation, no code fence, and nothing of what is there already."
)
_STREAMED = {"text/event-stream": {"itemSchema": {"type": "object", "required": ["data"]}}}
_ERRORS: dict[int | str, dict[str, Any]] = {
    **problems.answers(400, 401, 403, 404, 413, 429, 500, 502, 503, 504),
    "default": problems.answers(500)[500],
}
"""What every endpoint may answer besides; `default` keeps FastAPI from declaring a 422."""


def router() -> APIRouter:
    """The endpoints."""
    made = APIRouter(dependencies=SECURITY, responses=_ERRORS, tags=["together"])
    made.include_router(_endpoints, prefix=PREFIX)
    return made


@_endpoints.post(
    "/text/completions", responses={200: {"model": shapes.Written, "content": _STREAMED}}
)
async def text(
    asked: shapes.TextAsked, caller: Member, service: Serving, request: Request
) -> Response:
    """Write a text."""
    return await answered(request, service, caller, asked, [HumanMessage(asked.prompt)])


@_endpoints.post(
    "/chat/completions", responses={200: {"model": shapes.Chatted, "content": _STREAMED}}
)
async def chat(
    asked: shapes.ChatAsked, caller: Member, service: Serving, request: Request
) -> Response:
    """Write the next message of a conversation."""
    messages = convert_to_messages([one.model_dump() for one in asked.messages])
    return await answered(request, service, caller, asked, messages)


@_endpoints.post(
    "/code/completions", responses={200: {"model": shapes.Written, "content": _STREAMED}}
)
async def code(
    asked: shapes.CodeAsked, caller: Member, service: Serving, request: Request
) -> Response:
    """Continue code."""
    language = f" The language is {asked.language}." if asked.language else ""
    messages: list[BaseMessage] = [SystemMessage(_CODE + language), HumanMessage(asked.prompt)]
    return await answered(request, service, caller, asked, messages, "code")


@_endpoints.post("/images/analysis", responses={200: {"model": shapes.Analysis}})
async def analysis(
    asked: shapes.AnalysisAsked, caller: Member, service: Serving, request: Request
) -> Response:
    """Answer a question about a picture."""
    picture = await doors.picture(asked.image_url)
    messages = [HumanMessage([{"type": "text", "text": asked.prompt}, picture])]
    return await answered(request, service, caller, asked, messages, "vision")


@_endpoints.post("/images/generations", responses={200: {"model": shapes.MadePicture}})
async def image(
    asked: shapes.ImageAsked, caller: Member, service: Serving, request: Request
) -> Response:
    """Make a picture."""
    return await making.picture(request, service, caller, asked)


@_endpoints.post("/audio/transcriptions", responses={200: {"model": shapes.Analysis}})
async def transcription(
    asked: shapes.TranscriptionAsked, caller: Member, service: Serving, request: Request
) -> Response:
    """Write a recording down."""
    return await making.transcription(request, service, caller, asked)


@_endpoints.post("/audio/speech", responses={200: {"model": shapes.MadeSound}})
async def speech(
    asked: shapes.SpeechAsked, caller: Member, service: Serving, request: Request
) -> Response:
    """Speak a text."""
    return await making.speech(request, service, caller, asked)


@_endpoints.get("/models", responses={200: {"model": shapes.Models}})
def models(
    caller: Member,
    service: Serving,
    modality: Annotated[
        shapes.Modality | SkipJsonSchema[None], Query(description="Only models for this.")
    ] = None,
) -> JSONResponse:
    """List the models that one's tier includes, as far as they can be asked now."""
    launcher, tiers = service.launcher, get_args(Tier)
    settings = launcher.settings_for(caller)
    known = catalog.load(settings.catalog, settings.profile)
    reachable = providers(settings, pretend=launcher.rehearse or not settings.can_call)
    listed: list[dict[str, Any]] = []
    for kind, named in MODALITIES.items():
        if modality not in {None, kind}:
            continue
        entries = entries_for(known, named)
        if kind == "vision" and known.profile != "seed":  # models for text may see as well
            entries += [one for one in entries_for(known, "text") if one.capabilities.vision]
        for entry in entries:
            at = reachable[entry.provider]
            is_open = at.own_key or tiers.index(entry.tier) <= tiers.index(caller.tier)
            if is_open and at.available and not known.is_gone(entry):
                source = sources.indicator(service.ledger, settings, caller, entry.name)
                names = {"id": entry.id, "name": _name(entry.id or ""), "modality": kind}
                listed.append({**names, "indicator": source})
    is_free_on = flags.is_on(service.ledger, "together_ai_free_tier", caller.user)
    shown = {"user_tier": caller.tier, "free_tier_enabled": is_free_on}
    return JSONResponse({"models": listed, **shown})


def _name(model_id: str) -> str:
    """A model's name for people: `Llama 3.1 8B Instruct` of `meta-llama/Meta-Llama-3.1-8B-Instruct-Turbo`."""
    name = model_id.rpartition("/")[2].removeprefix("Meta-").removesuffix("-Turbo")
    return name.replace("-", " ")


@_endpoints.get("/quota", responses={200: {"model": dict[str, shapes.FeatureQuota]}})
def quota(caller: Reader, service: Serving) -> JSONResponse:
    """Show what one has used today of each feature, and what one may use."""
    used = quotas.used(service.ledger, caller.user, caller.tier)
    return JSONResponse({feature: _units(feature, given) for feature, given in used.items()})


def _units(feature: Feature, given: dict[str, Any]) -> dict[str, Any]:
    """The units that the documents count a feature in, and others that have a quota."""
    shown: dict[str, Any] = {}
    for unit in ("requests", "tokens", "minutes"):
        if unit in limits("free", feature) or f"{unit}_limit" in given:
            names = (f"{unit}_used", f"{unit}_limit")
            shown |= {name: given[name] for name in names if name in given}
    return shown
