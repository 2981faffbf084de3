"""A chain of chat models, asked in order; and the place where a private prompt leaves it.

Each model of the chain refuses a private prompt itself (`Guard`), where it would leave. The chain then
asks the models that such a prompt may be sent to, without LangSmith. Where others listen than this
package's recorder, the chain refuses it first: LangChain reports a call before a model receives it.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable  # noqa: TC003 - pydantic reads it
from operator import methodcaller
from typing import TYPE_CHECKING, Any, cast

from langchain_core.language_models import LanguageModelInput
from langchain_core.runnables import Runnable, RunnableConfig, RunnableWithFallbacks, ensure_config
from pydantic import Field, InstanceOf

from aideon_agents.errors import AllModelsFailed, PrivacyRule
from aideon_agents.models.bridge import blocking, blocking_stream
from aideon_agents.models.candidates import Candidate
from aideon_agents.models.direct import recorders
from aideon_agents.models.fallbacks import PASS, Attempts, Patience
from aideon_agents.models.faults.effects import HANDLED
from aideon_agents.models.features import SHAPE
from aideon_agents.models.foreign.delegate import tool_for
from aideon_agents.models.health import Slots
from aideon_agents.models.routing.policy import (
    Policy,
    is_untraced,
    refuse,
    untraced,
    untraced_stream,
    without_tracers,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator

    from langchain_core.messages import AIMessage

_WHOLE = frozenset({"tags", "metadata", "callbacks", "recursion_limit", "configurable"})
"""The keys that `ensure_config` adds."""


class ModelChain(RunnableWithFallbacks[LanguageModelInput, Any]):
    """Chat models in the order in which they are asked. Each call begins a new pass over them."""

    candidates: tuple[InstanceOf[Candidate], ...] = Field(exclude=True, repr=False)
    ranks: tuple[int, ...] = Field(exclude=True, repr=False)
    choices: tuple[str, ...] = Field(exclude=True, repr=False)
    seconds: float
    patience: InstanceOf[Patience] = Field(exclude=True, repr=False)
    slots: InstanceOf[Slots] = Field(exclude=True, repr=False)
    logged: InstanceOf[set[str]] = Field(exclude=True, repr=False)
    attempts: InstanceOf[Attempts] | None = Field(default=None, exclude=True, repr=False)
    """The pass of the call that a copy was made for; None: it is no such copy."""
    exceptions_to_handle: tuple[type[BaseException], ...] = HANDLED
    policy: InstanceOf[Policy] = Field(exclude=True, repr=False)
    private: Callable[[PrivacyRule], Any] | None = Field(default=None, exclude=True, repr=False)
    """Gives the chain for private prompts, or raises the rule; None: it is this one."""
    options: dict[str, Any] = Field(default_factory=dict[str, Any], exclude=True, repr=False)
    """What each call is made with: tools, and a schema."""

    @property
    def runnables(self) -> Iterator[Runnable[LanguageModelInput, Any]]:
        """The models in their order; in a call, those that rested when their turn came follow again."""
        models = [self.runnable, *self.fallbacks]
        yield from models
        for candidate in self.attempts.last_resorts() if self.attempts else ():
            yield models[self.candidates.index(candidate)]

    def with_structured_output(
        self, schema: Any, **kwargs: Any
    ) -> Runnable[LanguageModelInput, Any]:
        """The chain, whose answers are instances of `schema`."""
        bound = methodcaller("with_structured_output", schema, **kwargs)
        return self._of(bound, {SHAPE: schema, **kwargs})

    def bind_tools(self, tools: Any, **kwargs: Any) -> Runnable[LanguageModelInput, AIMessage]:
        """The chain, whose models may call `tools`."""
        bound = methodcaller("bind_tools", tools, **kwargs)
        return self._of(bound, {"tools": [tool_for(one) for one in tools]})

    async def ainvoke(
        self,
        input: LanguageModelInput,  # noqa: A002 - LangChain's name
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Any:
        """The answer of the first model that gives one."""
        begun = self._begun(config)
        try:
            if recorders(begun) is None:
                self._refuse_to_show(input, kwargs)
                return await super(ModelChain, self._copy(begun)).ainvoke(input, begun, **kwargs)
            for model in (self.runnable, *self.fallbacks):
                with contextlib.suppress(*self.exceptions_to_handle):
                    return await model.ainvoke(input, begun, **kwargs)
            for model in itertools.islice(self._copy(begun).runnables, len(self.candidates), None):
                with contextlib.suppress(*self.exceptions_to_handle):
                    return await model.ainvoke(input, begun, **kwargs)
            raise AllModelsFailed(begun.get("configurable", {})[PASS].failures)
        except PrivacyRule as rule:
            chain, config = self.private(rule) if self.private else self, without_tracers(begun)
        with untraced(config):
            return await chain.ainvoke(input, config, **kwargs)

    async def astream(
        self,
        input: LanguageModelInput,  # noqa: A002 - LangChain's name
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[Any]:
        """The answer of the first model that begins one, as it comes."""
        begun = self._begun(config)
        try:
            if recorders(begun) is None:
                self._refuse_to_show(input, kwargs)
            chain = super(ModelChain, self._copy(begun))
            async for chunk in chain.astream(input, begun, **kwargs):
                yield chunk
        except PrivacyRule as rule:
            private, config = self.private(rule) if self.private else self, without_tracers(begun)
            source = private.astream(input, config, **kwargs)
        else:
            return
        async with contextlib.aclosing(untraced_stream(cast("Any", source), config)) as chunks:
            async for chunk in chunks:
                yield chunk

    def invoke(
        self,
        input: LanguageModelInput,  # noqa: A002 - LangChain's name
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Any:
        """`ainvoke` from synchronous code."""
        return blocking(self.ainvoke(input, ensure_config(config), **kwargs))

    def stream(
        self,
        input: LanguageModelInput,  # noqa: A002 - LangChain's name
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Iterator[Any]:
        """`astream` from synchronous code."""
        source = self.astream(input, ensure_config(config), **kwargs)
        return blocking_stream(cast("AsyncGenerator[Any]", source))

    def _refuse_to_show(self, given: LanguageModelInput, options: dict[str, Any]) -> None:
        """Raise PrivacyRule before those who listen hear of a private prompt, LangSmith among them."""
        if is_untraced.get():
            return
        if kind := self.policy.kind_of_input(given, {**self.options, **options}):
            refuse(kind)

    def _of(self, bound: Callable[[Any], Any], options: dict[str, Any]) -> ModelChain:
        first, *others = map(bound, self.runnables)
        private = self.private

        def for_private(rule: PrivacyRule) -> Any:
            return bound(private(rule)) if private else None

        changes = {
            "runnable": first,
            "fallbacks": others,
            "options": options,
            "private": private and for_private,
        }
        return self.model_copy(update=changes)

    def _copy(self, begun: RunnableConfig) -> ModelChain:
        """The chain for one call."""
        return self.model_copy(update={"attempts": begun.get("configurable", {}).get(PASS)})

    def _begun(self, config: RunnableConfig | None) -> RunnableConfig:
        """The config of a call, with a new pass."""
        attempts = Attempts(
            self.candidates,
            ranks=self.ranks,
            choices=self.choices,
            seconds=self.seconds,
            patience=self.patience,
            slots=self.slots,
            logged=self.logged,
        )
        known = config or RunnableConfig()
        if not known.keys() >= _WHOLE:  # LangGraph has completed that of a node
            known = ensure_config(config)
        configurable = {**known.get("configurable", {}), PASS: attempts}
        return cast("RunnableConfig", {**known, "configurable": configurable})
