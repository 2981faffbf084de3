"""The guard around every attempt at a model: admission, a time limit, our error classes, retries.

The guard is a mixin on LangChain's chat models. It overrides the four public ways to call a model and
loops over `super()`, so that each attempt is one LangChain run that callbacks see; and the two
internal ones, so that callbacks receive our errors. The client libraries' own retries are off: there
is one layer of retries, and it is this one.
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
from langchain_core.runnables.config import var_child_runnable_config
from langchain_core.utils.uuid import uuid7
from pydantic import Field, InstanceOf

from aideon_agents import errors
from aideon_agents.ledger import tags
from aideon_agents.models.admission import admission_for, claim
from aideon_agents.models.answers.reply import estimate_tokens
from aideon_agents.models.bridge import blocking, blocking_stream
from aideon_agents.models.candidates import Attempts, Candidate, announce_restart
from aideon_agents.models.faults import is_empty, may_be_empty, translate, validated
from aideon_agents.models.health import Permit
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
    errors.TooExpensive,
    errors.Malformed,
    errors.Partial,
)
"""Errors after which the next candidate is asked. All others are raised as they are.

After `Partial` too, but with a `restart` event first, for clients that show tokens.
"""

CALL_HEADER = "X-Aideon-Call"
"""Names the row of the call, so that a provider's support can find it."""

_LOUD = (errors.OutOfCredit, errors.KeyRejected, errors.ModelGone)
_RETRIES: Mapping[type[errors.ProviderError], int] = {errors.Transient: 2, errors.RateLimited: 1}
_FIRST_PAUSE = 0.25  # seconds, doubled with each retry, full jitter
_LOOK_AGAIN = 0.05  # seconds, while another call probes


class Guard(BaseChatModel):
    """Guards a candidate of a chain. Mixed in before a LangChain chat model."""

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
        """Ask until the model answers, or the tries or the time are used up."""
        self._begin(input, config)
        while True:
            permit = await self._permitted()
            options = {**kwargs, "stop": stop}
            try:
                async with self._attempt(permit, config, input, options) as given:
                    answer = await super().ainvoke(input, **given)
            except errors.ProviderError as error:
                await self._pause_or_raise(error, config)
            else:
                if _is_filtered(answer):
                    raise self._filtered()
                return answer

    async def astream(
        self,
        input: LanguageModelInput,  # noqa: A002 - LangChain's name
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[AIMessageChunk]:
        """Stream an answer; a stream is tried again only if it breaks before its first token."""
        wanted: dict[str, Any] = {**kwargs, "stream": True}
        if not self._should_stream(async_api=True, **wanted):
            # LangChain would not stream either, but inside an attempt that already has its hold.
            yield cast("AIMessageChunk", await self.ainvoke(input, config, stop=stop, **kwargs))
            return
        self._begin(input, config)
        while True:
            permit = await self._permitted()
            options = {**kwargs, "stop": stop}
            shown = is_filtered = False
            try:
                async with self._attempt(permit, config, input, options) as given:
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
                if is_filtered:
                    raise self._filtered()
                return

    def invoke(
        self,
        input: LanguageModelInput,  # noqa: A002 - LangChain's name
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AIMessage:
        """`ainvoke` from synchronous code."""
        return blocking(self.ainvoke(input, ensure_config(config), stop=stop, **kwargs))

    def stream(
        self,
        input: LanguageModelInput,  # noqa: A002 - LangChain's name
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Iterator[AIMessageChunk]:
        """`astream` from synchronous code."""
        source = self.astream(input, ensure_config(config), stop=stop, **kwargs)
        return blocking_stream(cast("Chunks", source))

    def with_structured_output(
        self, schema: Any = None, *, include_raw: bool = False, **kwargs: Any
    ) -> Runnable[LanguageModelInput, Any]:
        """Ask for an answer that fits `schema`; after a wrong one, ask once more."""
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
        """Report the end of a cancelled call: LangChain would report its start and no end."""
        try:
            return await super()._agenerate_with_cache(messages, stop, run_manager, **kwargs)
        except asyncio.CancelledError as cancelled:
            if run_manager is not None:
                await run_manager.on_llm_error(cancelled)
            raise

    def _get_llm_string(self, stop: list[str] | None = None, **kwargs: Any) -> str:
        """LangChain's cache key, without the header that is different in each call."""
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
            async with asyncio.timeout(self.attempts.seconds_for(self.candidate)):
                result = await super()._agenerate(messages, stop, run_manager, **kwargs)
            return validated(result, str(self.candidate))
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
            seconds = self.attempts.seconds_for(self.candidate)
            async with contextlib.aclosing(_within(source, seconds)) as chunks:
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

    def _begin(self, question: LanguageModelInput, config: RunnableConfig | None) -> None:
        """Start a pass if this is the first candidate; refuse a prompt that is too long for it."""
        is_repair = ((config or {}).get("metadata") or {}).get(REPAIR)
        if self.candidate.position == 0 and not is_repair:
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

    async def _permitted(self) -> Permit:
        """Wait for a permit, or give the candidate up while it rests after failures."""
        while True:
            if permit := self.candidate.admit():
                return permit
            early = self.attempts.is_soonest_back(self.candidate)
            if early and (permit := self.candidate.admit(early=True)):
                return permit
            waits = early or self.attempts.waits_for(self.candidate)
            if not waits or not self.attempts.time_left():
                rest, why = self.candidate.rest_left(), self.candidate.why_resting()
                skipped = f"{self.candidate} was not asked, it rests another {rest:.0f} s"
                is_known = any(why in failure for failure in self.attempts.failures)
                message = skipped if is_known else f"{skipped}: {why}"
                self._give_up(errors.Transient(message, billed=False))
            await asyncio.sleep(_LOOK_AGAIN)  # another call finds out whether it is back

    @contextlib.asynccontextmanager
    async def _attempt(
        self,
        permit: Permit,
        config: RunnableConfig | None,
        question: LanguageModelInput,
        options: dict[str, Any],
    ) -> AsyncGenerator[dict[str, Any]]:
        """Hold a slot and the money for one attempt, and record how it ends.

        Yields the options that the attempt is made with. Its run id is the call id of its row.
        """
        candidate = self.candidate
        self.attempts.tries[candidate.position] += 1
        given = _with_parent(config)
        metadata = {
            **(given.get("metadata") or {}),
            tags.PROVIDER: candidate.provider,
            tags.MODEL: candidate.model,
            tags.CANDIDATE: candidate.rank,
            tags.ATTEMPT: self.attempts.tries[candidate.position],
            tags.REHEARSED: candidate.rehearsed,
            tags.ECONOMIZED: candidate.economized,
        }
        attempt = cast("RunnableConfig", {**given, "metadata": metadata, "run_id": uuid7()})
        admission = None
        if not candidate.rehearsed:
            admission = admission_for(self, self.attempts.candidates, attempt, question, options)
        try:
            async with claim(self.attempts, candidate, permit, admission) as grant:
                money = {tags.HELD_AT: grant.at, tags.SHORTENED: grant.max_tokens is not None}
                headers = {
                    **(options.get("extra_headers") or {}),
                    CALL_HEADER: str(attempt.get("run_id")),
                }
                room = {} if grant.max_tokens is None else {"max_tokens": grant.max_tokens}
                final = {**attempt, "metadata": {**metadata, **money}}
                yield {**options, "extra_headers": headers, **room, "config": final}
        except BaseException as error:
            permit.record(error)
            raise
        permit.record(None)

    def _ours(self, error: Exception, *, has_begun: bool = False) -> BaseException:
        """A provider's error as one of ours; any other error as it is."""
        variable = self.candidate.key_variable
        ours = translate(error, asked=str(self.candidate), key_variable=variable)
        if has_begun and isinstance(ours, errors.Transient):
            return errors.Partial(f"{self.candidate} broke off in the middle: {ours}")
        return ours

    def _filtered(self) -> errors.Refused:
        """The error for an answer that the provider's content filter removed. It is paid for."""
        return errors.Refused(f"{self.candidate} withheld its answer: content filter")

    async def _pause_or_raise(
        self, error: errors.ProviderError, config: RunnableConfig | None
    ) -> None:
        """Wait before the next try of this candidate, or give it up."""
        pause = self._pause(error)
        if pause is not None:
            self.attempts.failures.append(str(error))
            await asyncio.sleep(pause)
            return
        if isinstance(error, errors.Partial) and not self.attempts.is_last(self.candidate):
            announce_restart(config)
        self._give_up(error)

    def _pause(self, error: errors.ProviderError) -> float | None:
        """Seconds until the next try of this candidate; None: there is none."""
        attempt = self.attempts.tries[self.candidate.position]
        if error.timed_out or attempt > _RETRIES.get(type(error), 0):
            return None
        jitter = random.uniform(0, _FIRST_PAUSE * 2**attempt)  # noqa: S311 - not a secret
        pause = error.retry_after
        if pause is None:  # a rate limit also makes the model rest
            pause = max(
                jitter, self.candidate.rest_left() if type(error) is errors.RateLimited else 0
            )
        return pause if pause < self.attempts.time_left() else None

    def _complain(self, error: errors.Malformed, *, is_last: bool) -> None:
        """Record an answer that does not fit its schema; give up after the last one."""
        named = errors.Malformed(f"{self.candidate}: {error}")
        if is_last:
            self._give_up(named)
        self.attempts.failures.append(str(named))

    def _give_up(self, error: errors.ProviderError) -> NoReturn:
        """Raise an error, after which the next candidate is asked, if there is one."""
        self.attempts.failures.append(str(error))
        if isinstance(error, _LOUD) and str(error) not in self.attempts.logged:
            self.attempts.logged.add(str(error))
            _log.warning("%s", error)
        if self.attempts.is_last(self.candidate) and isinstance(error, HANDLED):
            raise errors.AllModelsFailed(self.attempts.failures) from error
        raise error


def _is_filtered(answer: AIMessage) -> bool:
    return answer.response_metadata.get("finish_reason") == "content_filter"


async def _within(
    source: AsyncIterator[ChatGenerationChunk], seconds: float
) -> AsyncGenerator[ChatGenerationChunk]:
    """The chunks of a stream, until its time is up."""
    deadline = asyncio.get_running_loop().time() + seconds
    async with contextlib.aclosing(cast("AsyncGenerator[ChatGenerationChunk]", source)):
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    chunk = await anext(source)
            except StopAsyncIteration:
                return
            yield chunk


def _with_parent(config: RunnableConfig | None) -> RunnableConfig:
    """A call's config, with the callbacks of the chain around it if those have the same handlers.

    LangChain's fallbacks give a model the callbacks that they were given. Outside a graph these are
    a plain list, and each attempt would be recorded as its own run, with its own budget.
    """
    given = ensure_config(config)
    listed: Any = given.get("callbacks")
    around: Any = (var_child_runnable_config.get() or {}).get("callbacks")
    known: list[Any] = getattr(around, "handlers", [])
    if isinstance(listed, list) and listed and all(one in known for one in listed):
        return cast("RunnableConfig", {**given, "callbacks": around})
    return given
