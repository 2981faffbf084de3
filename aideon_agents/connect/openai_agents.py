"""Our models for the OpenAI Agents SDK."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agents import OpenAIChatCompletionsModel

from aideon_agents.connect.openai import async_client

if TYPE_CHECKING:
    from aideon_agents.agents.chat_model import Size


def model(name: Size | str = "small", **options: Any) -> OpenAIChatCompletionsModel:
    """A model for `agents.Agent(model=...)`. Its traces go to OpenAI unless you switch them off there.

    Args:
        name: A size, or `provider:model`.
        **options: As `chat_model` takes them.
    """
    return OpenAIChatCompletionsModel(name, async_client(**options))
