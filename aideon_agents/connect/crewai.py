"""Our models for CrewAI, and a crew as a node.

CrewAI asks for older versions of openai, pydantic and jiter than this package, and works with newer ones:
uv installs both with `override-dependencies`. Without that, use the service: `LLM(base_url=...)`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from crewai import BaseLLM
from pydantic import PrivateAttr

from aideon_agents.connect.openai import async_client, client

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from crewai import Crew
    from pydantic import BaseModel

    from aideon_agents.state import State


class LLM(BaseLLM):
    """A model for `Agent(llm=...)`.

    Args:
        model: A size, or `provider:model`.
        **options: As `chat_model` takes them.
    """

    _client: Any = PrivateAttr()
    _async_client: Any = PrivateAttr()

    def __init__(self, model: str = "small", **options: Any) -> None:
        super().__init__(model=model)
        self._client = client(**options)
        self._async_client = async_client(**options)

    def call(
        self,
        messages: Any,
        tools: Any = None,
        callbacks: Any = None,
        available_functions: dict[str, Callable[..., Any]] | None = None,
        from_task: Any = None,
        from_agent: Any = None,
        response_model: type[BaseModel] | None = None,
    ) -> Any:
        """The answer: a text, the object that was asked for, or the calls of tools."""
        asked = self._asked(messages, tools, response_model)
        answer = self._client.chat.completions.create(**asked)
        return self._read(answer, available_functions, response_model)

    async def acall(
        self,
        messages: Any,
        tools: Any = None,
        callbacks: Any = None,
        available_functions: dict[str, Callable[..., Any]] | None = None,
        from_task: Any = None,
        from_agent: Any = None,
        response_model: type[BaseModel] | None = None,
    ) -> Any:
        asked = self._asked(messages, tools, response_model)
        answer = await self._async_client.chat.completions.create(**asked)
        return self._read(answer, available_functions, response_model)

    def supports_function_calling(self) -> bool:
        """Every model of ours is given tools in its own way."""
        return True

    def _asked(
        self, messages: Any, tools: Any, response_model: type[BaseModel] | None
    ) -> dict[str, Any]:
        text = [{"role": "user", "content": messages}] if isinstance(messages, str) else messages
        asked: dict[str, Any] = {"model": self.model, "messages": text}
        if tools:
            asked["tools"] = tools
        elif response_model:
            schema = {"name": response_model.__name__, "schema": response_model.model_json_schema()}
            asked["response_format"] = {"type": "json_schema", "json_schema": schema}
        if self.stop:
            asked["stop"] = self.stop
        return asked

    def _read(self, answer: Any, functions: Any, response_model: type[BaseModel] | None) -> Any:
        if answer.usage:
            self._track_token_usage_internal(answer.usage.model_dump())
        message = answer.choices[0].message
        if message.tool_calls and not functions:
            return message.tool_calls
        for one in message.tool_calls or ():
            if work := functions.get(one.function.name):
                return work(**json.loads(one.function.arguments or "{}"))
        text = message.content or ""
        return response_model.model_validate_json(text) if response_model else text


def node(agents: Crew, name: str = "crew") -> Callable[[State], Awaitable[str]]:
    """A crew as a node: it is started with the task as its input `task`, and its output is the node's."""

    async def run(state: State) -> str:
        return (await agents.akickoff(inputs={"task": state["task"]})).raw

    run.__name__ = name
    return run
