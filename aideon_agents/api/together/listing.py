"""The models that one may use, what is left of one's quotas, and what does not exist yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, get_args

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse
from pydantic.json_schema import SkipJsonSchema

from aideon_agents.access import quotas
from aideon_agents.access.callers import Caller
from aideon_agents.access.tiers import limits
from aideon_agents.api import problems
from aideon_agents.api.asking import Serving
from aideon_agents.api.problems import Problem
from aideon_agents.api.together import sources
from aideon_agents.api.together.shapes import (
    FeatureQuota,
    ImageAsked,
    Modality,
    Models,
    SpeechAsked,
    TranscriptionAsked,
)
from aideon_agents.models.choosing.pool import entries_for
from aideon_agents.models.providers import providers
from aideon_agents.state import Tier

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aideon_agents.ledger.budgets.units import Feature
    from aideon_agents.models.catalog.entries import Entry
    from aideon_agents.serving.service import Service

router = APIRouter(route_class=sources.Route)

Member = Annotated[Caller, sources.gate("models:call")]
Reader = Annotated[Caller, sources.gate("usage:own")]
_MATERIALS = ("text", "code", "vision")


@router.get("/models", responses={200: {"model": Models}})
def models(
    caller: Member,
    service: Serving,
    modality: Annotated[
        Modality | SkipJsonSchema[None], Query(description="Only models for this.")
    ] = None,
) -> JSONResponse:
    """List the models that one's tier includes, as far as they can be asked now."""
    known = sources.catalog_of(service.settings)
    listed = [
        {
            "id": entry.id,
            "name": (entry.id or "").rpartition("/")[2].replace("-", " "),
            "modality": kind,
            "indicator": sources.indicator(service, caller, known, entry.name),
        }
        for kind, entry in _callable(service, caller)
        if modality in (None, kind)
    ]
    shown = {
        "user_tier": caller.tier,
        "free_tier_enabled": sources.is_free_tier_on(service, caller),
    }
    return JSONResponse({"models": listed, **shown})


def _callable(service: Service, caller: Caller) -> Iterator[tuple[str, Entry]]:
    """The models that a caller may ask, each for what it can be asked."""
    known, launcher = sources.catalog_of(service.settings), service.launcher
    settings = launcher.settings_for(caller)
    reachable = providers(settings, pretend=launcher.rehearse or not settings.can_call)
    tiers = get_args(Tier)
    for kind in _MATERIALS:
        entries = entries_for(known, kind)
        if kind == "vision" and known.profile != "seed":  # models for text may see as well
            entries += [one for one in entries_for(known, "text") if one.capabilities.vision]
        for entry in entries:
            is_allowed = tiers.index(entry.tier) <= tiers.index(caller.tier)
            if is_allowed and not known.is_gone(entry) and reachable[entry.provider].available:
                yield kind, entry


@router.get("/quota", responses={200: {"model": dict[str, FeatureQuota]}})
def quota(caller: Reader, service: Serving) -> JSONResponse:
    """Show what one has used today of each feature, and what one may use."""
    used = quotas.used(service.ledger, caller.user, caller.tier)
    return JSONResponse({feature: _shown(feature, given) for feature, given in used.items()})


def _shown(feature: Feature, given: dict[str, Any]) -> dict[str, Any]:
    """The units that the documents count a feature in, and others that have a quota."""
    units = [one for one in ("requests", "tokens", "minutes") if f"{one}_used" in given]
    kept = [one for one in units if one in limits("free", feature) or f"{one}_limit" in given]
    names = [f"{unit}_{end}" for unit in kept for end in ("used", "limit")]
    return {name: given[name] for name in names if name in given}


def _missing(what: str) -> Problem:
    return Problem(501, "not_implemented", f"the service does not {what} yet")


_MISSING: dict[int | str, dict[str, Any]] = problems.answers(501)


@router.post("/images/generations", responses=_MISSING, status_code=501)
def image(asked: ImageAsked, caller: Member) -> None:
    """Make a picture. This is not there yet."""
    del asked, caller
    raise _missing("make pictures")


@router.post("/audio/transcriptions", responses=_MISSING, status_code=501)
def transcription(asked: TranscriptionAsked, caller: Member) -> None:
    """Write down a recording. This is not there yet."""
    del asked, caller
    raise _missing("write down recordings")


@router.post("/audio/speech", responses=_MISSING, status_code=501)
def speech(asked: SpeechAsked, caller: Member) -> None:
    """Speak a text. This is not there yet."""
    del asked, caller
    raise _missing("speak texts")
