"""From a request to a chain: the primary, and behind it the models that step in when it fails."""

from __future__ import annotations

import dataclasses
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
from aideon_agents.models.admission import purse_of
from aideon_agents.models.candidates import Attempts, Candidate
from aideon_agents.models.catalog import (
    ModelName,
    Provider,
    cheapest_first,
    choose,
    providers,
    resolve,
)
from aideon_agents.models.clients import Counted, shared_client, timeouts, unused_client
from aideon_agents.models.guard import HANDLED, LONGEST_ATTEMPT, Guard
from aideon_agents.models.health import Breakers, Paces, process_slots
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
"""How long a chain may take when its request does not say."""


class _Together(Guard, Counted, ChatTogether):
    """Together AI."""


class _OpenAI(Guard, Counted, ChatOpenAI):
    """OpenAI."""


class _Compatible(Guard, Counted):
    """Hugging Face and local servers: they know `max_tokens`, not `max_completion_tokens`."""


class _Rehearsed(Guard, RehearsalChatModel):
    """The model that would have answered, by rule."""


_CLIENTS: Mapping[str, type[BaseChatModel]] = {
    "together": _Together,
    "openai": _OpenAI,
    "huggingface": _Compatible,
    "local": _Compatible,
}


class Models:
    """Where nodes get their models from: a `ModelSource` over Settings."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._catalog = catalog.load(settings.catalog, settings.profile)
        self._slots = process_slots(settings.model_concurrency)
        self._said: set[str] = set()

    def chat(
        self, request: ModelRequest, context: Context
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """The chain of chat models that answers `request`."""
        names, known = self._names(request, context)
        attempts = Attempts(request.timeout or _CHAIN_SECONDS, self._slots, self._said)
        chain = list(enumerate(self._served(names, known)))
        for rank, name in cheapest_first(chain, request) if _is_nearly_out() else chain:
            place = len(attempts.line)
            candidate = _candidate(place, name, known[name.provider], self._slots.limit)
            attempts.line.append(dataclasses.replace(candidate, rank=rank))
        primary = next(one.position for one in attempts.line if one.rank == 0)
        attempts.line[:primary] = [
            dataclasses.replace(one, economized=True) for one in attempts.line[:primary]
        ]
        wants = _wants(request, context)
        first, *others = (
            self._rehearsed(candidate, attempts, wants, longest=context.longest)
            if candidate.rehearsed
            else self._guarded(candidate, known[candidate.provider], attempts, wants)
            for candidate in attempts.line
        )
        return first.with_fallbacks(others, exceptions_to_handle=HANDLED)

    def window(self, request: ModelRequest, context: Context) -> int | None:
        """Tokens that every model of the chain for `request` can take."""
        return min((size for size in self._sizes(request, context) if size), default=None)

    def roomiest(self, request: ModelRequest, context: Context) -> int | None:
        """Tokens that the largest model of the chain for `request` can take."""
        sizes = self._sizes(request, context)
        return None if None in sizes else max(size or 0 for size in sizes)

    def _sizes(self, request: ModelRequest, context: Context) -> list[int | None]:
        names, _ = self._names(request, context)
        return [context_window(name.provider, name.model) for name in names]

    def _names(
        self, request: ModelRequest, context: Context
    ) -> tuple[Sequence[ModelName], Mapping[str, Provider]]:
        """Who is asked, and where they are; in a rehearsal, the one that would have answered."""
        rehearse = context.rehearse or self._settings.offline
        known = providers(self._settings, pretend=rehearse)
        names = choose(request, context.tier, self._catalog, known)
        return (names[:1] if rehearse else names), known

    def _served(
        self, names: Sequence[ModelName], known: Mapping[str, Provider]
    ) -> Iterator[ModelName]:
        """The names, `local:any` resolved; a server that is off stops nobody who has others."""
        for name in names:
            provider = known[name.provider]
            try:
                yield name if provider.pretend else resolve(name, provider)
            except ModelNameError as off:
                if len(names) == 1:
                    raise
                if str(off) not in self._said:
                    self._said.add(str(off))
                    _log.warning("%s", off)

    def _rehearsed(
        self, candidate: Candidate, attempts: Attempts, wants: dict[str, Any], *, longest: bool
    ) -> BaseChatModel:
        """A model of a chain that answers by rule, guarded as well."""
        options = _options(candidate, attempts, wants)
        return _Rehearsed(provider=candidate.provider, longest=longest, **options)

    def _guarded(
        self, candidate: Candidate, provider: Provider, attempts: Attempts, wants: dict[str, Any]
    ) -> BaseChatModel:
        """One model of a chain, guarded."""
        options = _options(candidate, attempts, wants)
        if str(candidate) in self._catalog.reasoning:
            options["temperature"] = None
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


_BREAKERS = Breakers()
_PACES = Paces()
"""The process's: what one run learned of a provider that is dead or busy holds for the next."""


def _candidate(position: int, name: ModelName, provider: Provider, most: int) -> Candidate:
    key = provider.key.get_secret_value() if provider.key else ""
    place = (provider.base_url, provider.pretend, hash(key))
    return Candidate(
        position=position,
        rank=position,
        economized=False,
        provider=name.provider,
        model=name.model,
        key_variable=provider.key_variable,
        rehearsed=provider.pretend,
        window=context_window(name.provider, name.model),
        model_breaker=_BREAKERS.of(*place, name.model),
        key_breaker=_BREAKERS.of(*place),
        pace=_PACES.of(most, *place),
    )


def _options(candidate: Candidate, attempts: Attempts, wants: dict[str, Any]) -> dict[str, Any]:
    """What every model is built with."""
    return {**wants, "candidate": candidate, "attempts": attempts, "model": candidate.model}


def _wants(request: ModelRequest, context: Context) -> dict[str, Any]:
    """What every candidate is asked for alike."""
    return {
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        # Explicit either way: a viewer that listens must not turn streaming on.
        "streaming": context.stream,
    }


def _is_nearly_out() -> bool:
    """Whether a budget of whoever asks, as far as a recorder is listening, is nearly used up."""
    purse = purse_of(ensure_config())
    return purse is not None and purse.is_nearly_spent()


@functools.lru_cache(maxsize=1)
def default_models() -> Models:
    """What a graph uses that is invoked bare: the environment's models, read at the first call."""
    return Models(environment.load())
