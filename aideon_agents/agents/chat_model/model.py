"""Our chains of models as one LangChain chat model, for code that is not made of our agents.

Each call asks a chain. Its attempts are the chat model runs that callbacks hear of, and the rows in the
ledger: `ChatModel` adds none. Inside a run, the run's context, ledger and budgets count; elsewhere those
of a `CostHandler` in the callbacks. Where there is none, each call is a run of its own.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import functools
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from langchain_core.callbacks import AsyncCallbackManager, BaseCallbackHandler
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda, ensure_config
from langchain_core.runnables.config import merge_configs, var_child_runnable_config
from langchain_core.utils.uuid import uuid7
from langgraph.runtime import get_runtime
from pydantic import Field, InstanceOf

from aideon_agents import settings as environment
from aideon_agents.agents import outputs
from aideon_agents.errors import AllModelsFailed, Malformed
from aideon_agents.ledger import tags
from aideon_agents.ledger.handler import CostHandler, context_in, recorders_in
from aideon_agents.ledger.rows import Run
from aideon_agents.ledger.store import Ledger
from aideon_agents.models import bridge
from aideon_agents.models.answers.reply import estimate_tokens
from aideon_agents.models.bridge import blocking, blocking_stream
from aideon_agents.models.chain import ModelChain, Models, models_for
from aideon_agents.models.foreign.delegate import tool_for, with_tools
from aideon_agents.settings import Settings
from aideon_agents.state import Complexity, Context, ModelRequest, Tier

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator, Iterator, Sequence

    from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
    from langchain_core.language_models import LangSmithParams
    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import LLMResult

SIZES: dict[str, Complexity] = {"small": "low", "medium": "medium", "large": "high"}
NAME = "chat_model"
_OF_TOOLS = ("tool_choice", "strict", "parallel_tool_calls")
_OWN = ("callbacks", "tags", "metadata")


class ChatModel(BaseChatModel):
    """A chain of models as one chat model."""

    request: ModelRequest = Field(exclude=True)
    tier: Tier | None = None
    settings: InstanceOf[Settings] | None = Field(default=None, exclude=True, repr=False)
    ledger: InstanceOf[Ledger] | str | Path | None = Field(default=None, exclude=True, repr=False)

    async def ainvoke(
        self,
        input: LanguageModelInput,  # noqa: A002 - LangChain's name
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AIMessage:
        """The answer of the first model of the chain that gives one."""
        with self._asking(config, kwargs) as (chain, begun, options):
            return await chain.ainvoke(input, begun, **options)

    async def astream(
        self,
        input: LanguageModelInput,  # noqa: A002 - LangChain's name
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[AIMessageChunk]:
        """The answer of the first model of the chain that begins one, as it comes."""
        with self._asking(config, {**kwargs, "stream": True}) as (chain, begun, options):
            source = chain.astream(input, begun, **options)
            async with contextlib.aclosing(source) as chunks:
                async for chunk in chunks:
                    yield chunk

    invoke = bridge.invoke
    stream = bridge.stream

    bind_tools = with_tools  # each model of the chain is sent them in its own form

    def with_structured_output(
        self, schema: Any, *, include_raw: bool = False, **kwargs: Any
    ) -> Runnable[LanguageModelInput, Any]:
        """The model, whose answers fit `schema`: a class, a TypedDict, or a JSON schema.

        The chain decides how each model is asked for it, so `method` and `strict` have no effect.
        """
        shape, becomes = outputs.asked_for(schema)
        of_tools = {key: kwargs[key] for key in ("tools", "tool_choice") if key in kwargs}
        if "tools" in of_tools:
            of_tools["tools"] = [tool_for(one) for one in of_tools["tools"]]

        async def ask(question: LanguageModelInput, config: RunnableConfig) -> Any:
            last = _LastAnswer()
            given = merge_configs(config, {"callbacks": [last]}) if include_raw else config
            parsed: Any = None
            wrong: Exception | None = None
            try:
                with self._asking(given, {}) as (chain, begun, _):
                    typed = chain.with_structured_output(shape, **of_tools)
                    parsed = await typed.ainvoke(question, begun)
                parsed = outputs.kept(parsed, becomes) if becomes else parsed
            except (Malformed, AllModelsFailed) as error:
                is_answer = isinstance(error, Malformed) or isinstance(error.__cause__, Malformed)
                if not (include_raw and is_answer and last.message):
                    raise
                wrong = error
            both = {"raw": last.message, "parsed": parsed, "parsing_error": wrong}
            return both if include_raw else parsed

        def ask_blocking(question: LanguageModelInput, config: RunnableConfig) -> Any:
            return blocking(ask(question, config))

        return RunnableLambda(ask_blocking, ask, name=f"{NAME} {shape.__name__}")

    def get_num_tokens(self, text: str) -> int:
        """An estimate: the models of a chain count differently."""
        return estimate_tokens(text)

    @contextlib.contextmanager
    def _asking(
        self, config: RunnableConfig | None, options: dict[str, Any]
    ) -> Generator[tuple[Any, RunnableConfig, dict[str, Any]]]:
        """The chain for a call, the config of the call, and the options that are left for it."""
        own: Any = {key: one for key in _OWN if (one := getattr(self, key))}
        given = merge_configs(own, ensure_config(config))
        outer: Any = var_child_runnable_config.get()
        if any(one not in recorders_in(given) for one in recorders_in(outer)):
            # Callbacks of the call would replace those around it, and with them its run.
            given = merge_configs(RunnableConfig(callbacks=outer["callbacks"]), given)
        callbacks: Any = given.get("callbacks") or ()
        listening: Sequence[Any] = getattr(callbacks, "handlers", callbacks)
        recorders = recorders_in(given)
        around = _context(given)
        settings = self.settings or environment.load()
        context = around or Context(tier=settings.tier, user=settings.user)
        # Inside a run, who watches it does not decide whether its calls stream.
        streams = context.stream or self._streams(() if around else listening, options)
        context = dataclasses.replace(context, tier=self.tier or context.tier, stream=streams)
        request = dataclasses.replace(
            self.request,
            purpose=self.request.purpose or context.purpose,
            model=context.model.get(self.request.role) or self.request.model,
        )
        models = context.models
        if models is None or (self.settings and isinstance(models, Models)):
            models = models_for(cast("Any", settings))
        left = {key: one for key, one in options.items() if key != "stream"}
        chain = _with_tools(models.chat(request, context), left)
        place = {tags.ROLE: request.role}
        if request.purpose:
            place[tags.PURPOSE] = request.purpose
        given["metadata"] = {**(given.get("metadata") or {}), **place}
        chain_id = given["run_id"] = given.get("run_id") or uuid7()
        name = given["run_name"] = given.get("run_name") or self.name or NAME
        with contextlib.ExitStack() as until_answered:
            if not recorders:
                rehearsed = context.rehearse or settings.rehearses
                start = Run(
                    workflow=name, user=context.user, tier=context.tier, rehearsed=rehearsed
                )
                new_run = CostHandler.for_run(_opened(self.ledger or settings.ledger), start)
                recorder = until_answered.enter_context(new_run)
                given = merge_configs(given, {"callbacks": [recorder]})
            try:
                yield chain, given, left
            except BaseException as error:
                # LangChain reports no end of a stream that is closed at its first chunk.
                for one in recorders:
                    one.on_chain_error(error, run_id=chain_id)
                raise

    def _streams(self, listening: Sequence[Any], options: dict[str, Any]) -> bool:
        """Whether a call streams: it was requested, or a handler shows tokens."""
        asked: Any = {"run_manager": SimpleNamespace(handlers=listening), **options}
        return self._should_stream(async_api=True, **asked) or self._should_use_protocol_streaming(
            async_api=True, **asked
        )

    # Code that calls a chat model below `ainvoke` and `astream`, such as `agenerate`, comes here. Its
    # callbacks receive events of this model as well, so recorders alone receive those of the attempts.

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        answer = await self.ainvoke(messages, _below(run_manager), stop=stop, **kwargs)
        return ChatResult(generations=[ChatGeneration(message=answer)])

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        source: Any = self.astream(messages, _below(run_manager), stop=stop, **kwargs)
        async with contextlib.aclosing(source) as chunks:
            async for one in chunks:
                is_chunk = isinstance(one, AIMessageChunk)  # some models do not stream
                whole = one if is_chunk else AIMessageChunk(**one.model_dump(exclude={"type"}))
                yield ChatGenerationChunk(message=whole)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return blocking(self._agenerate(messages, stop, cast("Any", run_manager), **kwargs))

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        source: Any = self._astream(messages, stop, cast("Any", run_manager), **kwargs)
        return blocking_stream(source)

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        named = {"ls_provider": "aideon", "ls_model_name": self._identifying_params["model"]}
        return cast("LangSmithParams", {**params, **named})

    @property
    def _llm_type(self) -> str:
        return tags.CHAIN

    @property
    def _identifying_params(self) -> dict[str, Any]:
        asked, sizes = self.request, {complexity: size for size, complexity in SIZES.items()}
        named = ", ".join(map(str, asked.model)) or sizes.get(asked.complexity or "", asked.role)
        asked_for = {"temperature": asked.temperature, "max_tokens": asked.max_tokens}
        return {"model": named, "role": asked.role, "tier": self.tier, **asked_for}


class _LastAnswer(BaseCallbackHandler):
    """Keeps the message of the last answer."""

    run_inline = True

    def __init__(self) -> None:
        self.message: BaseMessage | None = None

    def on_llm_end(self, response: LLMResult, **_: Any) -> None:
        """Keep it."""
        self.message = getattr(response.generations[0][0], "message", None)


def _context(config: RunnableConfig) -> Context | None:
    """What the run around a call was given; None: there is no run of ours."""
    with contextlib.suppress(RuntimeError, KeyError):  # outside a graph
        around: Any = getattr(get_runtime(), "context", None)
        if isinstance(around, Context):
            return around
    return context_in(config)


def _opened(ledger: Ledger | str | Path) -> Ledger:
    if isinstance(ledger, Ledger):
        return ledger
    opened = _opened_at(str(ledger), Path.cwd())
    if opened.path and not opened.path.exists():  # it was removed: rows would be lost
        _opened_at.cache_clear()
        opened = _opened_at(str(ledger), Path.cwd())
    return opened


@functools.lru_cache(maxsize=16)
def _opened_at(url: str, folder: Path) -> Ledger:  # noqa: ARG001 - a relative path is another file there
    """The ledger for calls that belong to no run, open until the process ends."""
    ledger = Ledger.from_url(url)
    atexit.register(ledger.close)
    return ledger


def _below(run_manager: Any) -> RunnableConfig | None:
    if run_manager is None:
        return None
    recorders = [one for one in run_manager.handlers if isinstance(one, CostHandler)]
    metadata: dict[str, Any] = run_manager.inheritable_metadata
    manager = AsyncCallbackManager(
        handlers=list(recorders),
        inheritable_handlers=list(recorders),
        parent_run_id=run_manager.run_id,
        metadata=metadata,
        inheritable_metadata=metadata,
    )
    return RunnableConfig(callbacks=manager)


def _with_tools(chain: Any, options: dict[str, Any]) -> Any:
    """A chain that may call the tools in `options`, which are removed there."""
    tools = options.pop("tools", None)
    if not tools:
        return chain
    of_tools = {key: options.pop(key) for key in _OF_TOOLS if key in options}
    if isinstance(chain, ModelChain) and chain.candidates[0].rehearsed:
        of_tools = {"tool_choice": _rehearsed_choice(tools, of_tools.get("tool_choice"))}
    return cast("Any", chain).bind_tools(tools, **of_tools)


def _rehearsed_choice(tools: Sequence[Any], choice: Any) -> Any:
    """The choice of a tool in a rehearsal: its caller would run it, with made-up arguments.

    None is called unless one must be: then the last, which is the answer in `create_agent`.
    """
    if choice in (None, "auto", False):
        return "none"
    last = tool_for(tools[-1]).get("function", {}).get("name")
    return last if choice in ("any", "required", True) and last else choice
