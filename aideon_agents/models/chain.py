"""The chain of chat models for a request: the primary, and its fallbacks."""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING, Any, cast

from langchain_core.runnables import ensure_config
from langchain_openai import ChatOpenAI
from langchain_together import ChatTogether

from aideon_agents import settings as environment
from aideon_agents.errors import ModelNameError
from aideon_agents.ledger.pricing import context_window
from aideon_agents.models import catalog
from aideon_agents.models.admission import run_budget_of
from aideon_agents.models.candidates import LONGEST_ATTEMPT, Attempts, Candidate
from aideon_agents.models.catalog import (
    ModelName,
    Provider,
    cheapest_first,
    choose,
    providers,
    resolve,
)
from aideon_agents.models.clients import UsageFixes, shared_client, timeouts, unused_client
from aideon_agents.models.guard import HANDLED, Guard
from aideon_agents.models.health import breaker_for, pace_for, process_slots
from aideon_agents.models.rehearsal import RehearsalChatModel
from aideon_agents.settings import Settings
from aideon_agents.state import Context, ModelRequest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from langchain_core.language_models import BaseChatModel, LanguageModelInput
    from langchain_core.messages import AIMessage
    from langchain_core.runnables import Runnable


_log = logging.getLogger("aideon_agents.models")

_CHAIN_SECONDS = 300.0
"""How long a chain may take if its request has no timeout."""


class _Together(Guard, UsageFixes, ChatTogether):
    """Together AI."""


class _OpenAI(Guard, UsageFixes, ChatOpenAI):
    """OpenAI."""


class _Compatible(Guard, UsageFixes):
    """Hugging Face and local servers: they know `max_tokens`, not `max_completion_tokens`."""


class _Rehearsed(Guard, RehearsalChatModel):
    """The model that would have been asked, answering by rule."""


_CLIENTS: Mapping[str, type[BaseChatModel]] = {
    "together": _Together,
    "openai": _OpenAI,
    "huggingface": _Compatible,
    "local": _Compatible,
}


class Models:
    """Where nodes get their models from: a `ModelSource` built from Settings."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._catalog = catalog.load(settings.catalog, settings.profile)
        self._slots = process_slots(settings.model_concurrency)
        self._logged: set[str] = set()

    def chat(
        self, request: ModelRequest, context: Context
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """The chain of chat models for `request`, which takes tools and schemas like one model."""
        names, known = self._names(request, context)
        attempts = Attempts(request.timeout or _CHAIN_SECONDS, self._slots, self._logged)
        chain = list(enumerate(self._resolved(names, known)))
        budget = run_budget_of(ensure_config())
        if budget and budget.is_nearly_spent():
            chain = cheapest_first(chain, request)
        primary = next(position for position, (rank, _) in enumerate(chain) if rank == 0)
        for position, (rank, name) in enumerate(chain):
            provider = known[name.provider]
            key = provider.key.get_secret_value() if provider.key else ""
            identity = (provider.base_url, provider.pretend, hash(key))
            candidate = Candidate(
                position=position,
                rank=rank,
                economized=position < primary,
                provider=name.provider,
                model=name.model,
                key_variable=provider.key_variable,
                rehearsed=provider.pretend,
                window=context_window(name.provider, name.model),
                # The process's: what one run learns of a provider holds for the next.
                model_breaker=breaker_for(*identity, name.model),
                key_breaker=breaker_for(*identity),
                pace=pace_for(self._slots.limit, *identity),
            )
            attempts.candidates.append(candidate)
        first, *others = (
            self._model(candidate, attempts, known[candidate.provider], request, context)
            for candidate in attempts.candidates
        )
        return first.with_fallbacks(others, exceptions_to_handle=HANDLED)

    def window(self, request: ModelRequest, context: Context) -> int | None:
        """Tokens of prompt and answer that every model of the chain for `request` can take.

        Models of unknown size are left out; None: no size is known.
        """
        return min((size for size in self._sizes(request, context) if size), default=None)

    def roomiest(self, request: ModelRequest, context: Context) -> int | None:
        """Tokens of prompt and answer that the largest model can take; None: a size is unknown."""
        sizes = self._sizes(request, context)
        return None if None in sizes else max(size or 0 for size in sizes)

    def _sizes(self, request: ModelRequest, context: Context) -> list[int | None]:
        names, _ = self._names(request, context)
        return [context_window(name.provider, name.model) for name in names]

    def _names(
        self, request: ModelRequest, context: Context
    ) -> tuple[Sequence[ModelName], Mapping[str, Provider]]:
        """The models to ask and their providers; in a rehearsal only the primary."""
        rehearse = context.rehearse or self._settings.offline
        known = providers(self._settings, pretend=rehearse)
        names = choose(request, context.tier, self._catalog, known)
        return (names[:1] if rehearse else names), known

    def _resolved(
        self, names: Sequence[ModelName], known: Mapping[str, Provider]
    ) -> Iterator[ModelName]:
        """The names, with `local:any` replaced; without its server, if there are other models."""
        for name in names:
            provider = known[name.provider]
            try:
                yield name if provider.pretend else resolve(name, provider)
            except ModelNameError as off:
                if len(names) == 1:
                    raise
                if str(off) not in self._logged:
                    self._logged.add(str(off))
                    _log.warning("%s", off)

    def _model(
        self,
        candidate: Candidate,
        attempts: Attempts,
        provider: Provider,
        request: ModelRequest,
        context: Context,
    ) -> BaseChatModel:
        """The guarded chat model of a candidate."""
        is_reasoning = str(candidate) in self._catalog.reasoning
        options: dict[str, Any] = {
            "candidate": candidate,
            "attempts": attempts,
            "model": candidate.model,
            "max_tokens": request.max_tokens,
            "temperature": None if is_reasoning else request.temperature,
            # Explicit either way: a viewer that listens must not turn streaming on.
            "streaming": context.stream,
        }
        if candidate.rehearsed:
            return _Rehearsed(provider=candidate.provider, longest=context.longest, **options)
        return cast("Any", _CLIENTS[candidate.provider])(
            **options,
            api_key=provider.key,
            base_url=provider.base_url,
            http_client=unused_client(),
            http_async_client=shared_client(),
            timeout=timeouts(LONGEST_ATTEMPT),
            max_retries=0,
            stream_usage=True,
        )


@functools.lru_cache(maxsize=1)
def default_models() -> Models:
    """The models of a graph that is invoked directly: the environment's, read at the first call."""
    return Models(environment.load())
