"""The chat models that ask providers, by the dialect in a provider's row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_openai import ChatOpenAI
from langchain_together import ChatTogether

from aideon_agents.models.caching import kept
from aideon_agents.models.guard import Guard
from aideon_agents.models.providers.replicate import ReplicateChatModel
from aideon_agents.models.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Mapping


class _Together(Guard, Wire, ChatTogether):
    """Together AI."""


class _OpenAI(Guard, Wire, ChatOpenAI):
    """OpenAI."""


class _Compatible(Guard, Wire):
    """Other servers with OpenAI's protocol: they know `max_tokens`, not `max_completion_tokens`."""


class _Replicate(Guard, ReplicateChatModel):
    """Replicate."""


_CLIENTS: Mapping[str, type[Any]] = {
    "together": _Together,
    "openai": _OpenAI,
    "compatible": _Compatible,
    "replicate": _Replicate,
}
_NONE = object()
"""The place of a client that is never used."""


def client_of(
    dialect: str, *, room_to_think: int | None, effort: str | None, **options: Any
) -> Any:
    """A guarded chat model; `effort` is how much a reasoning model is to think."""
    client = kept(_CLIENTS[dialect], options)
    if not issubclass(client, Wire):
        return client(**options)
    if effort:
        options["reasoning_effort"] = effort
    return client(
        **options,
        room_to_think=room_to_think,
        stream_usage=True,
        use_responses_api=False,
        # The wire replaces the clients of the openai package: none is made.
        **dict.fromkeys(("client", "async_client", "root_client", "root_async_client"), _NONE),
        http_socket_options=(),
    )
