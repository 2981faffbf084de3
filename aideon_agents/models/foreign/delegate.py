"""A chat model that asks another one, which is not ours, so that the guard can stand before it.

LangChain's own layer (callbacks, cache, rate limiter) is that of this model; of the other one only the
steps inside are called.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from secrets import token_hex
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, cast
from weakref import WeakKeyDictionary

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    ToolMessage,
    convert_to_openai_messages,
)
from langchain_core.runnables import Runnable, RunnableBinding
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_openai.chat_models.base import BaseChatOpenAI
from pydantic import Field, InstanceOf, PrivateAttr, SecretStr

from aideon_agents import errors
from aideon_agents.ledger.pricing import context_window
from aideon_agents.models.answers.rehearsal import InProcessChatModel
from aideon_agents.models.bridge import blocking
from aideon_agents.models.candidates import UNLISTED, Candidate, breaker_names, fingerprint
from aideon_agents.models.faults import translated
from aideon_agents.models.features import (
    FOR_TRACERS,
    SHAPE,
    Features,
    Rung,
    closed_schema,
    in_words,
    shape_name,
)
from aideon_agents.models.foreign import (
    ReceivedStream,
    always_says,
    in_this_loop,
    room_of,
    set_up,
    whole,
    with_room,
)
from aideon_agents.models.health import Breaker
from aideon_agents.models.limits.pace import Pace
from aideon_agents.settings.providers import ProviderRow

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Generator, Mapping, Sequence

    from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
    from langchain_core.language_models import LangSmithParams
    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import ChatGenerationChunk, ChatResult
    from pydantic import BaseModel

    from aideon_agents.state import Context, GivenModel, ModelRequest


class Question(NamedTuple):
    """A question in the form that a model takes."""

    model: Any
    messages: list[BaseMessage]
    options: dict[str, Any]
    sent: dict[str, Any]
    """What may be refused, in the names of OpenAI's protocol."""


def question(
    inner: BaseChatModel,
    messages: list[BaseMessage],
    given: Mapping[str, Any],
    *,
    asked: str,
    features: Features,
) -> Question:
    """A question for a model; Unsupported: it cannot be asked so."""
    options = {name: value for name, value in given.items() if name not in FOR_TRACERS}
    shape = cast("type[BaseModel] | None", options.pop(SHAPE, None))
    tools: list[Any] = list(options.pop("tools", None) or ())
    choice = options.pop("tool_choice", None)
    if room := options.pop("max_tokens", None):
        inner = with_room(inner, room)
    rung: Rung | None = None
    if shape is not None:
        rung = "tool" if features.rung != "words" and _takes_tools(inner) else "words"
        choice = shape_name(shape) if rung == "tool" else choice
    if shape is not None and rung == "tool":
        described = {
            "name": shape_name(shape),
            "description": "Gives the answer.",
            "parameters": closed_schema(shape),
        }
        tools.append({"type": "function", "function": described})
        if "tool_choice" in features.refused:
            messages = _saying(messages, f"Answer by calling the function {choice}.")
            choice = None
    elif shape is not None:
        messages = _saying(messages, in_words(shape))
    sent = {"tools": tools, "tool_choice": choice, SHAPE: rung}
    if not tools:
        return Question(inner, messages, options, sent)
    bound, of_tools = _bound(inner, tools, choice, asked)
    return Question(bound, messages, {**of_tools, **options}, sent)


def _takes_tools(inner: BaseChatModel) -> bool:
    return type(inner).bind_tools is not BaseChatModel.bind_tools


def _bound(
    inner: BaseChatModel, tools: list[Any], choice: object, asked: str
) -> tuple[BaseChatModel, dict[str, Any]]:
    """A model and the options with which it may call tools, in the form of its own integration."""
    if not _takes_tools(inner):
        raise errors.Unsupported(
            f"{asked} cannot call tools: its class has no bind_tools", billed=False
        )
    options = _choice_of(inner, choice)
    bound: Any = None
    if options:
        # Some integrations refuse a choice, or a choice beside what else they are asked for.
        with contextlib.suppress(NotImplementedError, TypeError, ValueError):
            bound = inner.bind_tools(tools, **options)
    if bound is None:
        try:
            bound = inner.bind_tools(tools)
        except (NotImplementedError, TypeError, ValueError) as error:
            raise errors.Unsupported(
                f"{asked} cannot be given these tools: {error}", billed=False
            ) from None
    found: dict[str, Any] = {}
    while isinstance(bound, RunnableBinding):
        binding = cast("Any", bound)
        found = {**binding.kwargs, **found}
        bound = binding.bound
    if not isinstance(bound, BaseChatModel):
        raise errors.Unsupported(
            f"{asked} cannot be given tools: its bind_tools is no model", billed=False
        )
    return bound, found


def _choice_of(inner: BaseChatModel, choice: object) -> dict[str, Any]:
    if choice is None:
        return {}
    if choice != "none":
        return {"tool_choice": choice}
    # Only some integrations know a word for it; others take it for the name of a tool.
    module = type(inner).__module__
    if module.startswith("langchain_anthropic"):
        return {"tool_choice": {"type": "none"}}
    knows = isinstance(inner, BaseChatOpenAI) or module.startswith("langchain_google")
    return {"tool_choice": "none"} if knows else {}


def _saying(messages: Sequence[BaseMessage], words: str) -> list[BaseMessage]:
    """A conversation with words at the end of what a person or a tool said last."""
    *before, last = messages
    if not isinstance(last, HumanMessage | ToolMessage):
        return [*messages, HumanMessage(words)]
    content: Any = (
        f"{last.content}\n\n{words}"
        if isinstance(last.content, str)
        else [*last.content, {"type": "text", "text": words}]
    )
    return [*before, last.model_copy(update={"content": content})]


def with_tools(
    self: BaseChatModel, tools: Any, *, tool_choice: Any = None, **kwargs: Any
) -> Runnable[LanguageModelInput, AIMessage]:
    """The model, which may call `tools`, in OpenAI's form."""
    choice = {} if tool_choice is None else {"tool_choice": tool_choice}
    bound = self.bind(tools=[tool_for(one) for one in tools], **choice, **kwargs)
    return cast("Runnable[LanguageModelInput, AIMessage]", bound)


class Delegate(BaseChatModel):
    """Asks `inner`. Its own fields are what LangChain and the guard read."""

    tells_sending: ClassVar[bool] = False
    """Whether it says when it sends a request, as `tags.SENDING` describes."""
    inner: InstanceOf[BaseChatModel] = Field(exclude=True, repr=False)
    candidate: InstanceOf[Candidate] = Field(exclude=True, repr=False)
    streaming: bool = False
    """Whether `invoke` streams inside. It is set, so that no viewer changes it."""
    max_tokens: int | None = None
    """The most tokens of an answer; None: nothing bounds them."""

    _by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, BaseChatModel] = PrivateAttr(
        default_factory=WeakKeyDictionary[asyncio.AbstractEventLoop, BaseChatModel]
    )

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        asked = await self._question(messages, kwargs)
        with self._learning(asked):
            result = await asked.model._agenerate(  # noqa: SLF001 - LangChain's own step
                asked.messages, stop=stop, run_manager=run_manager, **asked.options
            )
        return whole(result)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        asked = await self._question(messages, kwargs)
        received = ReceivedStream(self.candidate.provider)
        with self._learning(asked):
            source = asked.model._astream(asked.messages, stop=stop, **asked.options)  # noqa: SLF001 - as above
            async with contextlib.aclosing(cast("AsyncGenerator[Any]", source)) as chunks:
                async for chunk in chunks:
                    if (shown := received.take(chunk)) is not None:
                        await _report(shown, run_manager)
                        yield shown
        features = self.candidate.features
        if received.reason is not None:
            features.gives_reasons = True
        elif features.gives_reasons or always_says(self.candidate.provider):
            raise errors.Partial(f"{self.candidate} stopped without saying why")
        last = received.end(received.reason or "stop")
        await _report(last, run_manager)
        yield last

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002 - LangChain's
        **kwargs: Any,
    ) -> ChatResult:
        return blocking(self._agenerate(messages, stop, **kwargs))

    bind_tools = with_tools  # the integration turns them into its own form when it is asked

    async def _question(self, messages: list[BaseMessage], options: dict[str, Any]) -> Question:
        candidate, loop = self.candidate, asyncio.get_running_loop()
        if (inner := self._by_loop.get(loop)) is None:
            inner = self._by_loop[loop] = await in_this_loop(self.inner)
        return question(inner, messages, options, asked=str(candidate), features=candidate.features)

    @contextlib.contextmanager
    def _learning(self, asked: Question) -> Generator[None]:
        """Raise what ends an attempt as ours, without its cause, which may hold a key."""
        with self.candidate.features.learning(asked.sent):
            try:
                yield
            except Exception as error:
                if (ours := translated(error, str(self.candidate))) is error:
                    raise
                raise ours from None

    def _get_request_payload(
        self, input_: LanguageModelInput, *, stop: list[str] | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """What is sent, as far as it is known: admission bounds its tokens."""
        messages = self._convert_input(input_).to_messages()
        shape = kwargs.pop(SHAPE, None)
        payload: dict[str, Any] = {
            "messages": convert_to_openai_messages(messages),
            "max_tokens": self.max_tokens,
            **kwargs,
            "stop": stop,
        }
        if shape is not None:  # as a tool, or in words
            payload["functions"] = in_words(shape)
        return payload

    def _should_stream(self, *, async_api: bool, run_manager: Any = None, **kwargs: Any) -> bool:
        kind = type(self.inner)
        if kind._stream is BaseChatModel._stream and kind._astream is BaseChatModel._astream:  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - LangChain's own sign
            return False
        return super()._should_stream(async_api=async_api, run_manager=run_manager, **kwargs)

    def _get_llm_string(self, stop: list[str] | None = None, **kwargs: Any) -> str:
        """The key in an answer cache: that of the other model."""
        return self.inner._get_llm_string(stop, **kwargs)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - its settings are part of it

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = self.inner._get_ls_params(stop=stop, **kwargs)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - as above
        named = {"ls_provider": self.candidate.provider, "ls_model_name": self.candidate.model}
        return cast("LangSmithParams", {**params, **named})

    @property
    def _llm_type(self) -> str:
        return self.inner._llm_type  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - as above


def delegated(
    inner: BaseChatModel, candidate: Candidate, request: ModelRequest, context: Context
) -> dict[str, Any]:
    """The fields of a Delegate that asks a model for a request, with what LangChain reads of it."""
    copy = set_up(inner, candidate.provider, request)
    return {
        **{field: getattr(inner, field) for field in _OF_LANGCHAIN},
        "inner": copy,
        "candidate": candidate,
        "streaming": context.stream,
        "max_tokens": room_of(copy),
    }


_OF_LANGCHAIN = (
    "cache",
    "callbacks",
    "custom_get_token_ids",
    "disable_streaming",
    "metadata",
    "output_version",
    "rate_limiter",
    "tags",
    "verbose",
)


_IN_PROCESS = ProviderRow(name="in-process", private=True)
"""Of the models that answer in this process, for tests."""


@functools.lru_cache(maxsize=256)
def given_candidate(name: GivenModel, limit: int, rehearsed: bool) -> Candidate:  # noqa: FBT001 - part of a key
    """The candidate of a model that was given; what it learns holds as long as the model is used."""
    profile: Any = getattr(name.inner, "profile", None) or {}
    held: Mapping[str, Any] = getattr(name.inner, "__dict__", {})
    keys = [one.get_secret_value() for one in held.values() if isinstance(one, SecretStr)]
    key_name = f"key {fingerprint(keys[0])[:8]}" if keys else None
    named = functools.partial(breaker_names, name.provider, key_name=key_name, key=token_hex())
    return Candidate(
        name=str(name),
        provider=name.provider,
        model=name.model,
        key_variable=None,
        address_variable="",
        rehearsed=rehearsed,
        row=_IN_PROCESS if isinstance(name.inner, InProcessChatModel) else UNLISTED,
        window=context_window(name.provider, name.model) or profile.get("max_input_tokens"),
        model_breaker=Breaker(named=named(name.model)),
        key_breaker=Breaker(named=named("")),
        pace=Pace(limit, name.provider),
        features=Features("tool"),
        sees=profile.get("image_inputs"),
    )


def tool_for(tool: Any) -> Any:
    """A tool in OpenAI's form."""
    try:
        return convert_to_openai_tool(tool)
    except ValueError:
        if not isinstance(tool, dict):
            raise
        return cast("Any", tool)  # one that the provider runs itself


async def _report(
    chunk: ChatGenerationChunk, run_manager: AsyncCallbackManagerForLLMRun | None
) -> None:
    if run_manager:
        await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
