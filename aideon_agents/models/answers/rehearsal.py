"""The chat model of a rehearsal, which answers by rule, and the base class it shares with the doubles.

It answers from the material in the prompt, at once and free, in the name of the model that would have
been asked. Its token counts are marked as estimates.

Rehearsal and the doubles in `testing` differ only in where an answer comes from. What LangChain
requires of every chat model (sync, async, streams, tools, schemas) is in `InProcessChatModel`.
"""

from __future__ import annotations

import dataclasses
import json
import re
from abc import abstractmethod
from collections.abc import Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any, cast

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.messages.tool import invalid_tool_call, tool_call, tool_call_chunk
from langchain_core.output_parsers import JsonOutputParser, PydanticOutputParser
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableMap, RunnablePassthrough
from langchain_core.utils.function_calling import convert_to_json_schema, convert_to_openai_tool
from pydantic import BaseModel

from aideon_agents.errors import Malformed
from aideon_agents.ledger import tags
from aideon_agents.models.answers import Answer, Ask, Turn, reply, text_of
from aideon_agents.models.features import SHAPE, response_format
from aideon_agents.models.pictures.blocks import seen
from aideon_agents.models.pictures.sight import Size, bound, estimate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

    from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
    from langchain_core.language_models import LangSmithParams
    from langchain_core.messages import BaseMessage


_CHUNK = re.compile(r"\s*\S{1,40}\s*|\s+")


class InProcessChatModel(BaseChatModel):
    """A chat model whose whole answer is known at once; a subclass provides it."""

    streaming: bool = False
    """Whether `invoke` streams inside, as in LangChain's clients. It is set, so that no viewer changes it."""

    @abstractmethod
    def answer_to(self, messages: list[BaseMessage], options: dict[str, Any]) -> AIMessage:
        """The whole answer, with its usage and finish reason; `options` are what was bound or passed."""

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
            reason = chunk.response_metadata.get("finish_reason")
            ended = {"finish_reason": reason} if reason else None  # clients put it here as well
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
        options = {key: kwargs[key] for key in ("tools", "tool_choice") if key in kwargs}
        form = {"type": "json_schema", "json_schema": asked}
        model = self.bind(response_format=form, **options)
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
    """The message word by word; usage, tool calls and finish reason come with the last chunk."""
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


_ROLES = (
    (HumanMessage, "human"),
    (AIMessage, "ai"),
    (SystemMessage, "system"),
    (ToolMessage, "tool"),
)


class RehearsalChatModel(InProcessChatModel):
    """Answers in place of a model: valid answers by rule, without network and cost."""

    provider: str
    """The provider that would have been asked."""
    model: str
    """The model that would have been asked."""
    max_tokens: int | None = None
    """The most output tokens, by estimate; None: no limit."""
    longest: bool = False
    """True: each answer is as long and as expensive as possible."""

    @property
    def _llm_type(self) -> str:
        return "rehearsal"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"provider": self.provider, "model": self.model, "max_tokens": self.max_tokens}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        return {**params, "ls_provider": self.provider, "ls_model_name": self.model}

    def tokens_of(self, size: Size) -> int:
        """The tokens of a picture: about, or at most."""
        candidate: Any = getattr(self, "candidate", None)
        most = bound(candidate, size) if candidate and self.longest else None
        return most or estimate(self.provider, self.model, size)

    def answer_to(self, messages: list[BaseMessage], options: dict[str, Any]) -> AIMessage:
        """Answer by rule; Malformed: the schema has no instance that simple means can find."""
        asked = ask_of(messages, {"max_tokens": self.max_tokens, **options})
        sizes = [one.size for turn in asked.turns for one in turn.pictures]
        tokens = sum(self.tokens_of(size) for size in sizes)
        ask = dataclasses.replace(asked, longest=self.longest, picture_tokens=tokens)
        try:
            answer = reply(ask)
        except ValueError as error:
            raise Malformed(
                f"{self.provider}:{self.model} cannot be rehearsed here: {error}", billed=False
            ) from error
        message = message_of(answer, ask, self.model)
        message.response_metadata[tags.USAGE_SOURCE] = "estimated"
        return message


def ask_of(messages: Sequence[BaseMessage], options: Mapping[str, Any]) -> Ask:
    """What LangChain passes to a chat model, as an `Ask`."""
    extra = options.get("extra_body") or {}
    shape = options.get(SHAPE)
    typed = response_format(shape) if shape else None
    stop = options.get("stop") or ()
    return Ask(
        turns=tuple(_turn(message) for message in messages),
        tools=tuple(options.get("tools") or ()),
        tool_choice=options.get("tool_choice"),
        response_format=typed or options.get("response_format") or extra.get("response_format"),
        max_tokens=options.get("max_completion_tokens") or options.get("max_tokens"),
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
    )


def _turn(message: BaseMessage) -> Turn:
    role = next((name for kind, name in _ROLES if isinstance(message, kind)), message.type)
    made = message.tool_calls if isinstance(message, AIMessage) else ()
    calls = tuple((call["name"], json.dumps(call["args"], ensure_ascii=False)) for call in made)
    return Turn(role, text_of(message.content), calls, tuple(seen(message.content)))


def message_of(answer: Answer, ask: Ask, model: str) -> AIMessage:
    """An answer as a LangChain message; arguments that were cut off become an invalid tool call."""
    given = max(answer.output_tokens, ask.max_tokens or 0) if ask.longest else answer.output_tokens
    message = AIMessage(
        content=answer.text,
        usage_metadata={
            "input_tokens": ask.input_tokens,
            "output_tokens": given,
            "total_tokens": ask.input_tokens + given,
        },
        response_metadata={"model_name": model, "finish_reason": answer.finish_reason},
    )
    if answer.tool is not None:
        identity = f"call_{len(ask.turns)}"
        try:
            arguments = json.loads(answer.arguments)
        except json.JSONDecodeError as error:
            broken = invalid_tool_call(
                name=answer.tool, args=answer.arguments, id=identity, error=str(error)
            )
            message.invalid_tool_calls.append(broken)
        else:
            message.tool_calls.append(tool_call(name=answer.tool, args=arguments, id=identity))
    return message
