"""A chat model whose whole answer is known at once, in this process.

Rehearsal and the doubles differ only in where their answer comes from. What LangChain asks of
every chat model (sync, async, streamed, with tools, with a schema) is written here once.
"""

from __future__ import annotations

import json
import re
from abc import abstractmethod
from collections.abc import Sequence  # noqa: TC003 - fallbacks resolve the hints of bind_tools
from operator import itemgetter
from typing import TYPE_CHECKING, Any, cast

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.output_parsers import JsonOutputParser, PydanticOutputParser
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableMap, RunnablePassthrough
from langchain_core.utils.function_calling import convert_to_json_schema, convert_to_openai_tool
from pydantic import BaseModel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
    from langchain_core.messages import BaseMessage

_CHUNK = re.compile(r"\s*\S{1,40}\s*|\s+")


class InProcessChatModel(BaseChatModel):
    """Answers without waiting for anybody; a subclass says what."""

    streaming: bool = False
    """Whether `invoke` streams inside, as in LangChain's clients: said aloud, no viewer changes it."""

    @abstractmethod
    def answer_to(self, messages: list[BaseMessage], options: dict[str, Any]) -> AIMessage:
        """The whole answer to the messages."""

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002 - LangChain reports the tokens itself
        **kwargs: Any,
    ) -> ChatResult:
        message = self.answer_to(messages, {**kwargs, "stop": stop})
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,  # noqa: ARG002 - LangChain reports the tokens itself
        **kwargs: Any,
    ) -> ChatResult:
        return self._generate(messages, stop, **kwargs)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002 - LangChain reports the tokens itself
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        for chunk in _chunks(self.answer_to(messages, {**kwargs, "stop": stop})):
            said = chunk.response_metadata.get("finish_reason")
            ended = {"finish_reason": said} if said else None  # where clients put it as well
            yield ChatGenerationChunk(message=chunk, generation_info=ended)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,  # noqa: ARG002 - LangChain reports the tokens itself
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in self._stream(messages, stop, **kwargs):
            yield chunk

    def bind_tools(
        self, tools: Sequence[Any], *, tool_choice: Any = None, **kwargs: Any
    ) -> Runnable[LanguageModelInput, AIMessage]:
        formatted = [convert_to_openai_tool(tool) for tool in tools]
        choice = {} if tool_choice is None else {"tool_choice": tool_choice}
        bound = self.bind(tools=formatted, **choice, **kwargs)
        return cast("Runnable[LanguageModelInput, AIMessage]", bound)

    def with_structured_output(
        self, schema: Any, *, include_raw: bool = False, **kwargs: Any
    ) -> Runnable[LanguageModelInput, Any]:
        if kwargs.get("method") == "function_calling":
            return super().with_structured_output(schema, include_raw=include_raw, **kwargs)
        json_schema = convert_to_json_schema(schema)
        name = json_schema.get("title", "answer")
        asked = {"name": name, "schema": json_schema, "strict": True}
        model = self.bind(response_format={"type": "json_schema", "json_schema": asked})
        is_model = isinstance(schema, type) and issubclass(schema, BaseModel)
        parser: Any = (
            PydanticOutputParser(pydantic_object=schema) if is_model else JsonOutputParser()
        )
        if not include_raw:
            return model | parser
        parsed = RunnablePassthrough.assign(
            parsed=itemgetter("raw") | parser, parsing_error=lambda _: None
        )
        failed = RunnablePassthrough.assign(parsed=lambda _: None)
        return RunnableMap(raw=model) | parsed.with_fallbacks(
            [failed], exception_key="parsing_error"
        )


def _chunks(message: AIMessage) -> Iterator[AIMessageChunk]:
    """The message word by word; what is known only at the end comes with the last chunk."""
    if isinstance(message.content, str):
        for piece in _CHUNK.findall(message.content):
            yield AIMessageChunk(content=piece, id=message.id)
    else:
        yield AIMessageChunk(content=message.content, id=message.id)
    valid = [(call, json.dumps(call["args"], ensure_ascii=False)) for call in message.tool_calls]
    broken = [(call, call["args"]) for call in message.invalid_tool_calls]
    yield AIMessageChunk(
        content="",
        id=message.id,
        tool_call_chunks=[
            tool_call_chunk(name=call["name"], args=arguments, id=call["id"], index=nth)
            for nth, (call, arguments) in enumerate([*valid, *broken])
        ],
        usage_metadata=message.usage_metadata,
        response_metadata=message.response_metadata,
        chunk_position="last",
    )
