"""Our models for Pydantic AI."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from aideon_agents.connect.openai import async_client

if TYPE_CHECKING:
    from aideon_agents.agents.chat_model import Size


def model(name: Size | str = "small", **options: Any) -> OpenAIChatModel:
    """A model for `pydantic_ai.Agent(...)`.

    Args:
        name: A size, or `provider:model`.
        **options: As `chat_model` takes them.
    """
    return OpenAIChatModel(name, provider=OpenAIProvider(openai_client=async_client(**options)))
