"""Around every attempt at a model: a slot, a time limit, our error classes, retries.

The guard is a mixin on LangChain's chat models. It overrides the four ways to ask a model and loops
over `super()`, so that each attempt is a LangChain run of its own and callbacks see it; and the two
ways in which a model answers, so that what reaches callbacks is already one of our errors. The
client libraries' own retries are off: there is one layer of retries, and it is this one.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NoReturn, cast

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.runnables import Runnable, RunnableConfig, ensure_config
from langchain_core.utils.uuid import uuid7
from pydantic import Field

from aideon_agents import errors
from aideon_agents.ledger import tags
from aideon_agents.models.attempts import Attempts
from aideon_agents.models.bridge import blocking, blocking_stream
from aideon_agents.models.faults import translate
from aideon_agents.models.shape import REPAIR, shaped
from aideon_agents.models.slots import Slots

if TYPE_CHECKING:
    from langchain_core.callbacks import AsyncCallbackManagerForLLMRun
    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import ChatGenerationChunk, ChatResult

_log = logging.getLogger("aideon_agents.models")

HANDLED = (
    errors.Transient,
    errors.RateLimited,
    errors.OutOfCredit,
    errors.KeyRejected,
    errors.ModelGone,
    errors.ContextTooLong,
    errors.Malformed,
)
"""Errors after which the next candidate is asked. Everything else is raised as it is."""

_LOUD = (errors.OutOfCredit, errors.KeyRejected, errors.ModelGone)
_RETRIES: Mapping[type[errors.ProviderError], int] = {errors.Transient: 2, errors.RateLimited: 1}
_FIRST_PAUSE = 0.25  # seconds, doubled with each retry, full jitter
LONGEST_ATTEMPT = 120.0  # seconds


class Guard(BaseChatModel):
    """What every candidate of a chain has in common. Mixed in before a real chat model."""

    provider: str
    asked_model: str
    candidate: int = 0
    key_variable: str | None = None
    rehearsed: bool = False
    slots: Slots = Field(exclude=True, repr=False)
    attempts: Attempts = Field(exclude=True, repr=False)
    said: set[str] = Field(exclude=True, repr=False)
    """What was already said aloud: each thing once, however many calls it meets."""

    async def ainvoke(
        self,
        input: LanguageModelInput,  # noqa: A002 - LangChain's name
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AIMessage:
        """Ask until answered, out of tries, or out of time."""
        self._enter(config)
        while True:
            attempt = self.attempts.next_try(self.candidate)
            try:
                async with self.slots.one():
                    return await super().ainvoke(
                        input, self._tagged(config, attempt), stop=stop, **kwargs
                    )
            except errors.ProviderError as error:
                await self._pause_or_raise(error, attempt)

    async def astream(
        self,
        input: LanguageModelInput,  # noqa: A002 - LangChain's name
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[AIMessageChunk]:
        """Stream an answer; only a stream that broke before its first token is tried again."""
        self._enter(config)
        while True:
            attempt = self.attempts.next_try(self.candidate)
            shown = False
            try:
                async with self.slots.one():
                    async for chunk in super().astream(
                        input, self._tagged(config, attempt), stop=stop, **kwargs
                    ):
                        shown = True
                        yield chunk
                    return
            except errors.ProviderError as error:
                if shown:
                    raise
                await self._pause_or_raise(error, attempt)

    def invoke(
        self,
        input: LanguageModelInput,  # noqa: A002 - LangChain's name
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AIMessage:
        """The same from synchronous code."""
        return blocking(self.ainvoke(input, ensure_config(config), stop=stop, **kwargs))

    def stream(
        self,
        input: LanguageModelInput,  # noqa: A002 - LangChain's name
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Iterator[AIMessageChunk]:
        """The same from synchronous code."""
        return blocking_stream(self.astream(input, ensure_config(config), stop=stop, **kwargs))

    def with_structured_output(
        self, schema: Any = None, *, include_raw: bool = False, **kwargs: Any
    ) -> Runnable[LanguageModelInput, Any]:
        """Ask for an answer of a shape; a wrong one is complained about once.

        Args:
            schema: A pydantic model.
            include_raw: Not supported: it would hide a wrong shape from the chain.
            **kwargs: Bound to each call.

        Returns:
            A runnable whose answer is an instance of `schema`.
        """
        if include_raw:
            raise errors.UserError("include_raw hides a wrong answer from the chain: leave it out")
        return shaped(self, schema, self._give_up, **kwargs)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        try:
            async with asyncio.timeout(self._seconds()):
                return await super()._agenerate(messages, stop, run_manager, **kwargs)
        except asyncio.CancelledError as cancelled:
            await _tell(run_manager, cancelled)
            raise
        except Exception as error:
            raise self._ours(error) from error

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        last: ChatGenerationChunk | None = None
        finished = False
        source = super()._astream(messages, stop, run_manager, **kwargs)
        try:
            async for chunk in _within(source, self._seconds()):
                last = chunk
                finished = finished or bool((chunk.generation_info or {}).get("finish_reason"))
                yield chunk
        except asyncio.CancelledError as cancelled:
            await _tell(run_manager, cancelled)
            raise
        except Exception as error:
            ours = self._ours(error)
            if last is not None and isinstance(ours, errors.Transient):
                raise errors.Partial(f"{self._asked} broke off in the middle: {ours}") from error
            raise ours from error
        if last is None:
            raise errors.Transient(f"{self._asked} sent an empty stream")
        if not finished:
            raise errors.Partial(f"{self._asked} stopped without saying why")

    @property
    def _asked(self) -> str:
        return f"{self.provider}:{self.asked_model}"

    def _enter(self, config: RunnableConfig | None) -> None:
        """Begin a pass if this is the primary; refuse what is known to fail."""
        repairing = ((config or {}).get("metadata") or {}).get(REPAIR)
        if self.candidate == 0 and not repairing:
            self.attempts.begin()
        if self.provider in self.attempts.rejected:
            skipped = errors.KeyRejected(f"{self._asked} was not asked: same key", billed=False)
            self.said.add(str(skipped))  # the key's own rejection was said
            self._give_up(skipped)

    def _seconds(self) -> float:
        return min(LONGEST_ATTEMPT, self.attempts.share(self.candidate))

    def _tagged(self, config: RunnableConfig | None, attempt: int) -> RunnableConfig:
        """The caller's config, saying which attempt this is; its run id is the row's call id."""
        given = ensure_config(config)
        place = {
            tags.PROVIDER: self.provider,
            tags.MODEL: self.asked_model,
            tags.CANDIDATE: self.candidate,
            tags.ATTEMPT: attempt,
            tags.REHEARSED: self.rehearsed,
        }
        metadata = {**(given.get("metadata") or {}), **place}
        return cast("RunnableConfig", {**given, "metadata": metadata, "run_id": uuid7()})

    def _ours(self, error: BaseException) -> Any:
        return translate(error, asked=self._asked, key_variable=self.key_variable)

    async def _pause_or_raise(self, error: errors.ProviderError, attempt: int) -> None:
        """Wait before another try of this candidate, or give it up."""
        pause = self._pause(error, attempt)
        if pause is None:
            self._give_up(error)
        else:
            self.attempts.failed(error, self.provider)
            await asyncio.sleep(pause)

    def _pause(self, error: errors.ProviderError, attempt: int) -> float | None:
        """Seconds until the next try of this candidate; None: do not try it again."""
        if error.timed_out or attempt > _RETRIES.get(type(error), 0):
            return None
        jitter = random.uniform(0, _FIRST_PAUSE * 2**attempt)  # noqa: S311 - not a secret
        pause = jitter if error.retry_after is None else error.retry_after
        return pause if pause < self.attempts.time_left() else None

    def _give_up(self, error: errors.ProviderError) -> NoReturn:
        """Hand on to the next candidate, or say that there is none."""
        self.attempts.failed(error, self.provider)
        if isinstance(error, _LOUD) and str(error) not in self.said:
            self.said.add(str(error))
            _log.warning("%s", error)
        is_last = self.candidate == self.attempts.candidates - 1
        if is_last and isinstance(error, HANDLED):
            raise errors.AllModelsFailed(self.attempts.failures) from error
        raise error


async def _within(
    source: AsyncIterator[ChatGenerationChunk], seconds: float
) -> AsyncIterator[ChatGenerationChunk]:
    """Pass a stream on until its time is up."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        try:
            async with asyncio.timeout_at(deadline):
                chunk = await anext(source)
        except StopAsyncIteration:
            return
        yield chunk


async def _tell(
    run_manager: AsyncCallbackManagerForLLMRun | None, cancelled: asyncio.CancelledError
) -> None:
    """A cancelled call otherwise has a start and no end."""
    if run_manager is not None:
        await run_manager.on_llm_error(cancelled)
