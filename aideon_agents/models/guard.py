"""Around every attempt at a model: a slot, a time limit, our error classes, retries.

The guard is a mixin on LangChain's chat models. It overrides the four ways to ask a model and loops
over `super()`, so that each attempt is a LangChain run of its own and callbacks see it; and the two
ways in which a model answers, so that what reaches callbacks is already one of our errors. The
client libraries' own retries are off: there is one layer of retries, and it is this one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NoReturn, cast

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.runnables import Runnable, RunnableConfig, ensure_config
from langchain_core.utils.uuid import uuid7
from pydantic import Field, InstanceOf

from aideon_agents import errors
from aideon_agents.ledger import tags
from aideon_agents.models.admission import Held, affording_for, turn
from aideon_agents.models.answers.reply import estimate_tokens
from aideon_agents.models.bridge import blocking, blocking_stream, nested
from aideon_agents.models.candidates import Admission, Attempts, Candidate, announce_restart
from aideon_agents.models.faults import checked, is_empty, may_be_empty, translate
from aideon_agents.models.shape import REPAIR, shaped

if TYPE_CHECKING:
    from langchain_core.callbacks import AsyncCallbackManagerForLLMRun
    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import ChatGenerationChunk, ChatResult

    Chunks = AsyncGenerator[AIMessageChunk]

_log = logging.getLogger("aideon_agents.models")

HANDLED = (
    errors.Transient,
    errors.RateLimited,
    errors.OutOfCredit,
    errors.KeyRejected,
    errors.ModelGone,
    errors.ContextTooLong,
    errors.TooDear,
    errors.Malformed,
    errors.Partial,
)
"""Errors after which the next candidate is asked. Everything else is raised as it is.

After `Partial` too, but never silently: whoever shows tokens is told that the answer begins again.
"""

CALL_HEADER = "X-Aideon-Call"
"""Carries the call's id in the ledger to the provider."""

_LOUD = (errors.OutOfCredit, errors.KeyRejected, errors.ModelGone)
_RETRIES: Mapping[type[errors.ProviderError], int] = {errors.Transient: 2, errors.RateLimited: 1}
_FIRST_PAUSE = 0.25  # seconds, doubled with each retry, full jitter
LONGEST_ATTEMPT = 120.0  # seconds
_LOOK_AGAIN = 0.05  # seconds, while somebody else probes


class Guard(BaseChatModel):
    """What every candidate of a chain has in common. Mixed in before a real chat model."""

    candidate: InstanceOf[Candidate] = Field(exclude=True, repr=False)
    attempts: InstanceOf[Attempts] = Field(exclude=True, repr=False)

    async def ainvoke(
        self,
        input: LanguageModelInput,  # noqa: A002 - LangChain's name
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AIMessage:
        """Ask until answered, out of tries, or out of time."""
        self._enter(input, config)
        while True:
            leave = await self._admitted()
            attempt = self._tagged(config)
            try:
                async with self._turn(leave, attempt, input, {**kwargs, "stop": stop}) as given:
                    answer = await super().ainvoke(input, **given)
            except errors.ProviderError as error:
                await self._pause_or_raise(error, config)
            else:
                self._refuse(is_filtered=_is_filtered(answer))
                return answer

    async def astream(
        self,
        input: LanguageModelInput,  # noqa: A002 - LangChain's name
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[AIMessageChunk]:
        """Stream an answer; only a stream that broke before its first token is tried again."""
        wanted: dict[str, Any] = {**kwargs, "stream": True}
        if not self._should_stream(async_api=True, **wanted):
            # LangChain would ask in one piece too, inside an attempt that is held for already.
            yield cast("AIMessageChunk", await self.ainvoke(input, config, stop=stop, **kwargs))
            return
        self._enter(input, config)
        while True:
            leave = await self._admitted()
            attempt = self._tagged(config)
            shown = is_filtered = False
            try:
                async with self._turn(leave, attempt, input, {**kwargs, "stop": stop}) as given:
                    source = cast("Chunks", super().astream(input, **given))
                    async with contextlib.aclosing(source):
                        async for chunk in source:
                            shown, is_filtered = True, is_filtered or _is_filtered(chunk)
                            yield chunk
            except errors.ProviderError as error:
                if shown:
                    raise
                await self._pause_or_raise(error, config)
            else:
                self._refuse(is_filtered=is_filtered)
                return

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
        source = self.astream(input, ensure_config(config), stop=stop, **kwargs)
        return blocking_stream(cast("Chunks", source))

    def with_structured_output(
        self, schema: Any = None, *, include_raw: bool = False, **kwargs: Any
    ) -> Runnable[LanguageModelInput, Any]:
        """Ask for an answer of a shape; a wrong one is complained about once."""
        if include_raw:
            raise errors.UserError("include_raw hides a wrong answer from the chain: leave it out")
        return shaped(self, schema, self._complain, **kwargs)

    async def _agenerate_with_cache(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        """The way that plain and streamed answers share, where LangChain knows the run."""
        try:
            return await super()._agenerate_with_cache(messages, stop, run_manager, **kwargs)
        except asyncio.CancelledError as cancelled:
            if run_manager is not None:  # a cancelled call otherwise has a start and no end
                await run_manager.on_llm_error(cancelled)
            raise

    def _get_llm_string(self, stop: list[str] | None = None, **kwargs: Any) -> str:
        """What LangChain caches by: everything but the call's name, which is new each time."""
        kwargs.pop("extra_headers", None)
        return super()._get_llm_string(stop, **kwargs)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        try:
            async with asyncio.timeout(self._seconds()):
                result = await super()._agenerate(messages, stop, run_manager, **kwargs)
            return checked(result, str(self.candidate))
        except Exception as error:
            if (ours := self._ours(error)) is error:
                raise
            raise ours from error

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        has_begun = finished = says_something = False
        source = super()._astream(messages, stop, run_manager, **kwargs)
        try:
            async with contextlib.aclosing(_within(source, self._seconds())) as chunks:
                async for chunk in chunks:
                    has_begun = True
                    reason = (chunk.generation_info or {}).get("finish_reason")
                    finished = finished or bool(reason)
                    says_something = (
                        says_something or may_be_empty(reason) or not is_empty(chunk.message)
                    )
                    yield chunk
        except Exception as error:
            if (ours := self._ours(error, has_begun=has_begun)) is error:
                raise
            raise ours from error
        if not has_begun:
            raise errors.Transient(f"{self.candidate} sent an empty stream")
        if not finished:
            raise errors.Partial(f"{self.candidate} stopped without saying why")
        if not says_something:
            raise errors.Transient(f"{self.candidate} sent an empty answer")

    def _enter(self, question: LanguageModelInput, config: RunnableConfig | None) -> None:
        """Begin a pass if this is the primary; pass on a question that is too long."""
        repairing = ((config or {}).get("metadata") or {}).get(REPAIR)
        if self.candidate.position == 0 and not repairing:
            self.attempts.begin()
        window = self.candidate.window
        if window is None:
            return
        tokens = estimate_tokens(self._convert_input(question).to_string())
        if tokens > window:
            self._give_up(
                errors.ContextTooLong(
                    f"{self.candidate} takes {window:,} tokens and the prompt has about {tokens:,}",
                    billed=False,
                )
            )

    async def _admitted(self) -> Admission:
        """Wait for leave to ask, or hand on: a model that keeps failing is left alone."""
        while True:
            early = self.attempts.soonest_back(self.candidate)
            if leave := self.candidate.admit(early=early):
                return leave
            waits = early or self.attempts.is_waited_for(self.candidate)
            if not waits or not self.attempts.time_left():
                rest, why = self.candidate.rest_left(), self.candidate.why_resting()
                skipped = f"{self.candidate} was not asked, it rests another {rest:.0f} s"
                is_told = any(why in failure for failure in self.attempts.failures)
                told = skipped if is_told else f"{skipped}: {why}"
                self._give_up(errors.Transient(told, billed=False))
            await asyncio.sleep(_LOOK_AGAIN)  # somebody else is finding out whether it is back

    @contextlib.asynccontextmanager
    async def _turn(
        self,
        leave: Admission,
        attempt: RunnableConfig,
        question: LanguageModelInput,
        kwargs: dict[str, Any],
    ) -> AsyncGenerator[dict[str, Any]]:
        """Hold a slot and the money for one attempt, and tell the breakers how it ended.

        Gives what the attempt is made with: its config, and what else the model is told.
        """
        affording = None
        if not self.candidate.rehearsed:
            affording = affording_for(self, self.attempts.line, attempt, question, kwargs)
        try:
            async with turn(self.attempts, self.candidate, leave, affording) as held:
                yield _told(attempt, kwargs, held)
        except BaseException as error:
            leave.heard(error)
            raise
        leave.heard(None)

    def _seconds(self) -> float:
        return min(LONGEST_ATTEMPT, self.attempts.share(self.candidate))

    def _tagged(self, config: RunnableConfig | None) -> RunnableConfig:
        """The caller's config, saying which attempt this is; its run id is the row's call id."""
        given = nested(config)
        place = {
            tags.PROVIDER: self.candidate.provider,
            tags.MODEL: self.candidate.model,
            tags.CANDIDATE: self.candidate.rank,
            tags.ATTEMPT: self.attempts.next_try(self.candidate),
            tags.REHEARSED: self.candidate.rehearsed,
            tags.ECONOMIZED: self.candidate.economized,
        }
        metadata = {**(given.get("metadata") or {}), **place}
        return cast("RunnableConfig", {**given, "metadata": metadata, "run_id": uuid7()})

    def _ours(self, error: Exception, *, has_begun: bool = False) -> BaseException:
        """A provider's error as one of ours; what is no provider's doing as it is."""
        variable = self.candidate.key_variable
        ours = translate(error, asked=str(self.candidate), key_variable=variable)
        if has_begun and isinstance(ours, errors.Transient):
            return errors.Partial(f"{self.candidate} broke off in the middle: {ours}")
        return ours

    def _refuse(self, *, is_filtered: bool) -> None:
        """Refuse an answer that the provider's content filter took away. It is paid for."""
        if is_filtered:
            raise errors.Refused(f"{self.candidate} withheld its answer: content filter")

    async def _pause_or_raise(
        self, error: errors.ProviderError, config: RunnableConfig | None
    ) -> None:
        """Wait before another try of this candidate, or give it up."""
        pause = self._pause(error)
        if pause is not None:
            self.attempts.failed(error)
            await asyncio.sleep(pause)
            return
        if isinstance(error, errors.Partial) and not self.attempts.is_last(self.candidate):
            announce_restart(config)
        self._give_up(error)

    def _pause(self, error: errors.ProviderError) -> float | None:
        """Seconds until the next try of this candidate; None: do not try it again."""
        attempt = self.attempts.tries[self.candidate.position]
        if error.timed_out or attempt > _RETRIES.get(type(error), 0):
            return None
        jitter = random.uniform(0, _FIRST_PAUSE * 2**attempt)  # noqa: S311 - not a secret
        pause = error.retry_after
        if pause is None:  # a model whose rate is limited also rests for a moment
            pause = max(
                jitter, self.candidate.rest_left() if type(error) is errors.RateLimited else 0
            )
        return pause if pause < self.attempts.time_left() else None

    def _complain(self, error: errors.Malformed, *, is_last: bool) -> None:
        """Note an answer of a wrong shape; after the last one, hand on."""
        named = errors.Malformed(f"{self.candidate}: {error}")
        if is_last:
            self._give_up(named)
        self.attempts.failed(named)

    def _give_up(self, error: errors.ProviderError) -> NoReturn:
        """Hand on to the next candidate, or say that there is none."""
        self.attempts.failed(error)
        if isinstance(error, _LOUD) and str(error) not in self.attempts.said:
            self.attempts.said.add(str(error))
            _log.warning("%s", error)
        if self.attempts.is_last(self.candidate) and isinstance(error, HANDLED):
            raise errors.AllModelsFailed(self.attempts.failures) from error
        raise error


def _is_filtered(answer: AIMessage) -> bool:
    return answer.response_metadata.get("finish_reason") == "content_filter"


async def _within(
    source: AsyncIterator[ChatGenerationChunk], seconds: float
) -> AsyncGenerator[ChatGenerationChunk]:
    """Pass a stream on until its time is up."""
    deadline = asyncio.get_running_loop().time() + seconds
    async with contextlib.aclosing(cast("AsyncGenerator[ChatGenerationChunk]", source)):
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    chunk = await anext(source)
            except StopAsyncIteration:
                return
            yield chunk


def _told(attempt: RunnableConfig, kwargs: Mapping[str, Any], held: Held) -> dict[str, Any]:
    """What an attempt is made with.

    A header names the row, so that a provider's support can find the call.
    """
    headers = {**(kwargs.get("extra_headers") or {}), CALL_HEADER: str(attempt.get("run_id"))}
    money = {tags.HELD_AT: held.at, tags.SHORTENED: held.max_tokens is not None}
    metadata = {**(attempt.get("metadata") or {}), **money}
    room = {} if held.max_tokens is None else {"max_tokens": held.max_tokens}
    config = {**attempt, "metadata": metadata}
    return {**kwargs, "extra_headers": headers, **room, "config": config}
