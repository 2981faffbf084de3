"""Who may use the nine endpoints, which models answer, and how an answer names its source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast, get_args

from fastapi import Depends, Request

from aideon_agents.access import flags
from aideon_agents.api import doors, problems
from aideon_agents.api.asking import asking, service_of
from aideon_agents.api.problems import Problem
from aideon_agents.ledger.costs import is_fallback
from aideon_agents.ledger.money import usd_text
from aideon_agents.models import catalog
from aideon_agents.state import ModelRequest, Use

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from aideon_agents.access.callers import Caller
    from aideon_agents.access.roles import Permission
    from aideon_agents.models.catalog import Catalog
    from aideon_agents.serving.completing import Completed
    from aideon_agents.serving.service import Service
    from aideon_agents.settings import Settings

Material: TypeAlias = Literal["text", "code", "vision"]
"""What a chat model works with."""
_NAMES: Mapping[str, tuple[str, str]] = {
    "together": ("together_ai", "Together AI"),
    "openai": ("openai", "OpenAI"),
    "huggingface": ("huggingface", "Hugging Face"),
    "local": ("local", "Local server"),
}
"""Providers as the documents name them: the id, and the name for people."""
_CODE = ("coding", "code")
"""Purposes for which a model for code is asked."""
_ERRORS = (400, 401, 403, 404, 413, 429, 500, 502, 503, 504)
ERRORS: dict[int | str, dict[str, Any]] = {
    **problems.answers(*_ERRORS),
    "default": problems.answers(500)[500],
}
"""What every endpoint may answer besides; `default` keeps FastAPI from declaring a 422."""
Route = doors.route_class(problems.response, doors.as_bad_request)


def gate(permission: Permission) -> Any:
    """The dependency of an endpoint: its caller, whom the permission and the feature flag let in."""
    known: Callable[[Request], Awaitable[Caller]] = asking(permission).dependency

    async def let_in(request: Request) -> Caller:
        caller, service = await known(request), service_of(request)
        if not flags.is_on(service.ledger, "together_ai_integration", caller.user):
            detail = "the feature flag together_ai_integration is off: these endpoints are closed"
            raise Problem(403, "feature_off", detail)
        is_free = permission == "models:call" and caller.tier == "free"
        if is_free and not is_free_tier_on(service, caller):
            raise Problem(403, "free_tier_off", "the tier free is switched off here")
        return caller

    cast("Any", let_in).permission = permission
    return Depends(let_in)


def is_free_tier_on(service: Service, caller: Caller) -> bool:
    """Whether users of the tier free may use the endpoints."""
    return flags.is_on(service.ledger, "together_ai_free_tier", caller.user)


def request_for(asked: Any, modality: Material) -> ModelRequest:
    """What is asked of a model: the largest of the tier, unless the purpose says otherwise."""
    purpose = asked.purpose
    return ModelRequest(
        role="creative",  # asks the largest model that the tier includes
        modality="code" if modality == "text" and purpose in _CODE else modality,
        use=cast("Use", purpose) if purpose in get_args(Use) else None,
        purpose=purpose,
        max_tokens=asked.max_tokens or _TOKENS,
        may_think=asked.max_tokens is None,
        temperature=getattr(asked, "temperature", None),
        vision=True if modality == "vision" else None,
    )


_TOKENS = 1024
"""The most tokens of an answer where a request does not say."""


def catalog_of(settings: Settings) -> Catalog:
    """The catalog that a caller's requests choose from."""
    return catalog.load(settings.catalog, settings.profile)


def source(service: Service, caller: Caller, done: Completed) -> dict[str, Any]:
    """The keys of an answer that say which model gave it."""
    call = done.call
    known = catalog_of(service.settings)
    name = f"{call.provider}:{call.requested_model}"
    return {
        "model_id": call.requested_model,
        "provider": provider_names(call.provider)[0],
        "model_source_indicator": indicator(
            service, caller, known, name, fallback=is_fallback(call)
        ),
    }


def indicator(
    service: Service, caller: Caller, known: Catalog, name: str, *, fallback: bool = False
) -> dict[str, Any] | None:
    """The source of a model for people; None: the feature flag says that it is not shown."""
    if not flags.is_on(service.ledger, "together_ai_ui_indicators", caller.user):
        return None
    provider_id, shown = provider_names(name.partition(":")[0])
    entry = known.entries.get(name)
    return {
        "provider_id": provider_id,
        "display_name": shown,
        "is_free_tier": (entry.tier if entry else caller.tier) == "free",
        "is_fallback": fallback,
    }


def provider_names(provider: str) -> tuple[str, str]:
    """The id of a provider and its name for people."""
    return _NAMES.get(provider, (provider, provider))


def usage(done: Completed) -> dict[str, int | None]:
    """The tokens of the answer; None: the provider did not say."""
    sent, got = done.call.input_tokens, done.call.output_tokens
    total = None if sent is None or got is None else sent + got
    return {"prompt_tokens": sent, "completion_tokens": got, "total_tokens": total}


def heads(done: Completed) -> dict[str, str]:
    """The headers of an answer."""
    return {
        "X-Aideon-Run": done.run_id,
        "X-Aideon-Cost-Usd": usd_text(done.cost.usd),
        "X-Aideon-Cost-Complete": str(done.cost.complete).lower(),
    }
