"""Our models for smolagents, and its agents as nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from smolagents import OpenAIModel

from aideon_agents.connect.openai import client

if TYPE_CHECKING:
    from collections.abc import Callable

    from smolagents import MultiStepAgent

    from aideon_agents.agents.chat_model import Size
    from aideon_agents.state import State


class Model(OpenAIModel):
    """A model for `smolagents.ToolCallingAgent(...)` and the other agents.

    Args:
        name: A size, or `provider:model`.
        **options: As `chat_model` takes them.
    """

    def __init__(self, name: Size | str = "small", **options: Any) -> None:
        self.options = options
        super().__init__(model_id=name, retry=False)

    def create_client(self) -> Any:
        """The client that our models answer."""
        return client(**self.options)


def node(agent: MultiStepAgent) -> Callable[[State], str]:
    """An agent as a node: it works on the task, and its last answer is the output."""

    def run(state: State) -> str:
        return str(agent.run(state["task"]))

    run.__name__ = agent.name or "agent"
    return run
