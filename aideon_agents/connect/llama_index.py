"""Our models for LlamaIndex; its query engines, retrievers and workflows as nodes and tools."""

# pyright: reportUntypedFunctionDecorator=none
from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, cast

from llama_index.core.base.llms import generic_utils
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    LLMMetadata,
)
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import ToolSelection
from pydantic import Field, PrivateAttr

from aideon_agents.agents import chat_model
from aideon_agents.connect.llama_index_messages import calls_in, converted, response_of
from aideon_agents.connect.llama_index_nodes import node, tool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Sequence


__all__ = ["LLM", "node", "tool"]


class LLM(FunctionCallingLLM):
    """A model for `Settings.llm`, agents and query engines.

    Args:
        model: A size, or `provider:model`.
        context_window: The tokens that a prompt is cut to.
        **options: As `chat_model` takes them.
    """

    model: str = "small"
    context_window: int = Field(default=32_768, gt=0)
    _chat: Any = PrivateAttr()

    def __init__(
        self, model: str = "small", *, context_window: int = 32_768, **options: Any
    ) -> None:
        super().__init__(model=model, context_window=context_window)
        self._chat = chat_model(cast("Any", model), **options)

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(
            model_name=self.model,
            context_window=self.context_window,
            is_chat_model=True,
            is_function_calling_model=True,
        )

    @llm_chat_callback()
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        return response_of(self._asked(kwargs).invoke(converted(messages)))

    @llm_chat_callback()
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        return response_of(await self._asked(kwargs).ainvoke(converted(messages)))

    @llm_chat_callback()
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Any:
        def parts() -> Generator[ChatResponse]:
            whole: Any = None
            for chunk in self._asked(kwargs).stream(converted(messages)):
                whole = chunk if whole is None else whole + chunk
                yield response_of(whole, str(chunk.text))

        return parts()

    @llm_chat_callback()
    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> Any:
        async def parts() -> AsyncGenerator[ChatResponse]:
            whole: Any = None
            source = self._asked(kwargs).astream(converted(messages))
            async with contextlib.aclosing(source) as chunks:
                async for chunk in chunks:
                    whole = chunk if whole is None else whole + chunk
                    yield response_of(whole, str(chunk.text))

        return parts()

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        return generic_utils.chat_to_completion_decorator(self.chat)(prompt, **kwargs)

    @llm_completion_callback()
    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        return await generic_utils.achat_to_completion_decorator(self.achat)(prompt, **kwargs)

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        return generic_utils.stream_chat_to_completion_decorator(self.stream_chat)(prompt, **kwargs)

    @llm_completion_callback()
    async def astream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        asked = generic_utils.astream_chat_to_completion_decorator(self.astream_chat)
        return await asked(prompt, **kwargs)

    def get_tool_calls_from_response(
        self, response: ChatResponse, error_on_no_tool_call: bool = True, **_: Any
    ) -> list[ToolSelection]:
        calls = calls_in(response.message)
        if error_on_no_tool_call and not calls:
            raise ValueError("the answer calls no tool")
        return [
            ToolSelection(tool_id=one["id"] or "", tool_name=one["name"], tool_kwargs=one["args"])
            for one in calls
        ]

    def _prepare_chat_with_tools(
        self,
        tools: Sequence[Any],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,
        allow_parallel_tool_calls: bool = False,
        tool_required: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        messages = [*(chat_history or ()), *([user_msg] if user_msg is not None else ())]
        asked = [ChatMessage(one) if isinstance(one, str) else one for one in messages]
        sent: dict[str, Any] = {"tools": [one.metadata.to_openai_tool() for one in tools]}
        if tools and not allow_parallel_tool_calls:
            sent["parallel_tool_calls"] = False
        if tools and tool_required:
            sent["tool_choice"] = "any"
        return {"messages": asked, **sent, **kwargs}

    def _asked(self, given: dict[str, Any]) -> Any:
        tools = given.pop("tools", None)
        return self._chat.bind_tools(tools, **given) if tools else self._chat.bind(**given)
