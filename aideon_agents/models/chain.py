"""From a request to a chain: the primary, and behind it the models that step in when it fails."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, cast

from langchain_openai import ChatOpenAI
from langchain_openai.chat_models.base import BaseChatOpenAI
from langchain_together import ChatTogether

from aideon_agents import settings as environment
from aideon_agents.models import catalog
from aideon_agents.models.attempts import Attempts
from aideon_agents.models.clients import shared_client, timeouts, unused_client
from aideon_agents.models.guard import HANDLED, LONGEST_ATTEMPT, Guard
from aideon_agents.models.providers import Provider, providers, resolve
from aideon_agents.models.rehearsal import RehearsalChatModel
from aideon_agents.models.selection import choose
from aideon_agents.models.slots import process_slots

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.language_models import BaseChatModel, LanguageModelInput
    from langchain_core.messages import AIMessage
    from langchain_core.runnables import Runnable

    from aideon_agents.models.catalog import ModelName
    from aideon_agents.settings import Settings
    from aideon_agents.state import Context, ModelRequest

_CHAIN_SECONDS = 300.0
"""How long a chain may take when its request does not say."""


class _Together(Guard, ChatTogether):
    """Together AI."""


class _OpenAI(Guard, ChatOpenAI):
    """OpenAI."""


class _Compatible(Guard, BaseChatOpenAI):
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
    """Where nodes get their models from: a `ModelSource` over Settings.

    Args:
        settings: Keys, addresses, tier and catalog.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._catalog = catalog.load(settings.catalog, settings.profile)
        self._slots = process_slots(settings.model_concurrency)
        self._said: set[str] = set()

    def chat(
        self, request: ModelRequest, context: Context
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """The chain of chat models that answers `request`.

        Args:
            request: What the node asks for.
            context: What the run is given.

        Returns:
            `primary.with_fallbacks(...)`; it takes tools and structured output like one model.

        Raises:
            ModelNameError: A name is unknown or retired.
            NoModel: Nobody can be asked.
        """
        rehearse = context.rehearse or self._settings.offline
        known = providers(self._settings, pretend=rehearse)
        names = choose(request, context.tier, self._catalog, known)
        if rehearse:
            names = names[:1]  # the one that would have answered
        attempts = Attempts(len(names), request.timeout or _CHAIN_SECONDS)
        first, *others = (
            self._candidate(index, name, known[name.provider], attempts, _wants(request, context))
            for index, name in enumerate(names)
        )
        return first.with_fallbacks(others, exceptions_to_handle=HANDLED)

    def _candidate(
        self,
        index: int,
        name: ModelName,
        provider: Provider,
        attempts: Attempts,
        wants: dict[str, Any],
    ) -> BaseChatModel:
        """One model of a chain, guarded."""
        name = name if provider.pretend else resolve(name, provider)
        guard: dict[str, Any] = {
            **wants,
            "provider": name.provider,
            "asked_model": name.model,
            "model": name.model,
            "candidate": index,
            "key_variable": provider.key_variable,
            "rehearsed": provider.pretend,
            "slots": self._slots,
            "attempts": attempts,
            "said": self._said,
        }
        if provider.pretend:
            return _Rehearsed(**guard)
        if str(name) in self._catalog.reasoning:
            guard["temperature"] = None
        return cast("Any", _CLIENTS[name.provider])(
            **guard,
            api_key=provider.key,
            base_url=provider.base_url,
            http_client=unused_client(),
            http_async_client=shared_client(),
            timeout=timeouts(LONGEST_ATTEMPT),
            max_retries=0,
            stream_usage=True,
        )


def _wants(request: ModelRequest, context: Context) -> dict[str, Any]:
    """What every candidate is asked for alike."""
    return {
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        # Explicit either way: a viewer that listens must not turn streaming on.
        "streaming": context.stream,
    }


@functools.lru_cache(maxsize=1)
def default_models() -> Models:
    """What a graph uses that is invoked bare: the environment's models, read at the first call."""
    return Models(environment.load())
