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
import math
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from langchain_core.callbacks import BaseCallbackManager
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage
from langchain_core.prompt_values import PromptValue
from langchain_core.runnables import Runnable, RunnableConfig, ensure_config
from langchain_core.runnables.config import var_child_runnable_config
from langchain_core.utils.uuid import uuid7
from pydantic import Field, InstanceOf

from aideon_agents import errors
from aideon_agents.ledger import tags
from aideon_agents.ledger.calls import is_truncated, model_in
from aideon_agents.models import bridge, direct
from aideon_agents.models.admission import admission_for, claim
from aideon_agents.models.answers.reply import estimate_tokens
from aideon_agents.models.candidates import (
    LONGEST_ATTEMPT,
    Attempt,
    Candidate,
    announce_restart,
    current_attempt,
    note_answer,
    of_attempt,
)
from aideon_agents.models.fallbacks import Attempts, pass_of
from aideon_agents.models.faults import (
    empty_answer,
    has_calls,
    may_be_empty,
    refused,
    translate,
    unsent,
    validated,
)
from aideon_agents.models.features import SHAPE
from aideon_agents.models.health import Permit
from aideon_agents.models.pictures.blocks import pictures_in
from aideon_agents.models.protocol.thoughts import Spoken
from aideon_agents.models.routing.policy import Policy, decide, default_policy
from aideon_agents.models.shape import cut_off, shaped

if TYPE_CHECKING:
    from langchain_core.callbacks import AsyncCallbackManagerForLLMRun
    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import ChatGenerationChunk, ChatResult

    Chunks = AsyncGenerator[AIMessageChunk]

_log = logging.getLogger("aideon_agents.models")


class Guard(BaseChatModel):
    """Guards a candidate of a chain. Mixed in before a LangChain chat model."""

    candidate: InstanceOf[Candidate] = Field(exclude=True, repr=False)
    policy: InstanceOf[Policy] = Field(default_factory=default_policy, exclude=True, repr=False)

    async def ainvoke(
        self,
        input: LanguageModelInput,  # noqa: A002 - LangChain's name
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AIMessage:
        """Ask until the model answers, or the tries or the time are used up."""
        attempts = pass_of(config, self.candidate)
        question = self._convert_input(input)
        self._check(attempts, question, kwargs)
        while True:
            permit = await attempts.permitted(self.candidate)
            options = {**kwargs, "stop": stop}
            try:
                async with self._attempt(attempts, permit, config, question, options) as attempt:
                    answer = await self._answer(question, attempt)
            except (errors.ProviderError, errors.BudgetExceeded, errors.QuotaExceeded) as error:
                room = self._more_room(question, options)
                await attempts.go_on(self.candidate, error, config, room)
            else:
                if _is_filtered(answer):
                    raise self._filtered()
                cut = cut_off(answer, kwargs.get(SHAPE))
                if cut is None or not attempts.make_room(
                    self.candidate, cut, self._more_room(question, options)
                ):
                    self._note(answer)
                    return answer
                announce_restart(config)

    async def _answer(self, question: LanguageModelInput, attempt: Attempt) -> AIMessage:
        """The answer to one attempt, by the shortest way that lets everyone listen who does."""
        current = current_attempt.set(attempt)
        try:
            listeners = direct.recorders(attempt.options["config"])
            if listeners is not None and direct.is_ordinary(self, attempt.options):
                return await direct.answer(self, question, attempt, listeners)
            return await super().ainvoke(question, **attempt.options)
        finally:
            current_attempt.reset(current)

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
        attempts = pass_of(config, self.candidate)
        self._check(attempts, self._convert_input(input), kwargs)
        while True:
            permit = await attempts.permitted(self.candidate)
            options = {**kwargs, "stop": stop}
            shown, is_filtered, spoken = False, False, Spoken()
            try:
                async with self._attempt(attempts, permit, config, input, options) as attempt:
                    source = cast("Chunks", super().astream(input, **attempt.options))
                    async with contextlib.aclosing(of_attempt(source, attempt)) as chunks:
                        # Nothing is shown of an answer that may turn out to be empty.
                        held: list[AIMessageChunk] = []
                        async for chunk in chunks:
                            is_filtered = is_filtered or _is_filtered(chunk)
                            held.append(chunk)
                            shown = spoken.take(chunk.text) or shown or has_calls(chunk)
                            while shown and held:
                                yield held.pop(0)
                    for chunk in held:
                        yield chunk
            except (errors.ProviderError, errors.BudgetExceeded, errors.QuotaExceeded) as error:
                if shown:
                    raise
                await attempts.go_on(self.candidate, error, config, self._more_room(input, options))
            else:
                if is_filtered:
                    raise self._filtered()
                return

    invoke = bridge.invoke
    stream = bridge.stream

    def with_structured_output(
        self, schema: Any = None, *, include_raw: bool = False, **kwargs: Any
    ) -> Runnable[LanguageModelInput, Any]:
        """Ask for an answer that fits `schema`; after a wrong one, ask once more."""
        if include_raw:
            raise errors.UserError("include_raw hides a wrong answer from the chain: leave it out")
        return shaped(self, schema, **kwargs)

    async def _agenerate_with_cache(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        """Report the end of a cancelled call, as LangChain does not, and never cache a private one."""
        attempt = current_attempt.get()
        if attempt and attempt.private and self.cache is not False:
            uncached = self.model_copy(update={"cache": False})
            return await uncached._agenerate_with_cache(messages, stop, run_manager, **kwargs)  # noqa: SLF001 - its own
        try:
            return await super()._agenerate_with_cache(messages, stop, run_manager, **kwargs)
        except asyncio.CancelledError as cancelled:
            if run_manager is not None:
                await run_manager.on_llm_error(cancelled)
            raise

    @direct.signed
    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        try:
            attempt = current_attempt.get()
            async with asyncio.timeout(attempt.seconds if attempt else LONGEST_ATTEMPT):
                result = await super()._agenerate(messages, stop, run_manager, **kwargs)
            return validated(result, str(self.candidate), self._room(kwargs))
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
        refusal = ""
        has_begun = says_something = False
        spoken = Spoken()
        last_reason: str | None = None
        source = super()._astream(messages, stop, run_manager, **kwargs)
        try:
            async with contextlib.aclosing(cast("AsyncGenerator[Any]", source)) as chunks:
                async for chunk in chunks:
                    has_begun = True
                    refusal += chunk.message.additional_kwargs.get("refusal") or ""
                    reason = (chunk.generation_info or {}).get("finish_reason")
                    last_reason = reason or last_reason
                    spoken.take(chunk.message.text)
                    says_something = (
                        says_something or may_be_empty(reason) or has_calls(chunk.message)
                    )
                    yield chunk
        except Exception as error:
            if (ours := self._ours(error, has_begun=has_begun)) is error:
                raise
            raise ours from error
        if not has_begun:
            raise errors.Transient(f"{self.candidate} sent an empty stream")
        if refusal:
            raise refused(str(self.candidate), refusal)
        if not last_reason:
            raise errors.Partial(f"{self.candidate} stopped without saying why")
        if spoken.has_thoughts:
            self.candidate.features.thinks = True
        if not says_something and spoken.was_only_thoughts():
            empty = empty_answer(str(self.candidate), last_reason, self._room(kwargs))
            empty.shown = spoken.has_text
            raise empty

    def _more_room(self, question: LanguageModelInput, options: dict[str, Any]) -> tuple[int, int]:
        """The most tokens that an answer to a question may have: as asked, and with more room."""
        room, window = self._room(options) or 0, self.candidate.window
        if self.candidate.rehearsed or window is None:
            return room, room if self.candidate.rehearsed else room * 2
        return room, min(
            room * 2, window - estimate_tokens(self._convert_input(question).to_string())
        )

    def _check(self, attempts: Attempts, question: PromptValue, options: Mapping[str, Any]) -> None:
        """Refuse a prompt that may not leave, or is too long for this model."""
        window, policy = self.candidate.window, self.policy
        messages = question.to_messages()
        is_plain = all(type(one) in _PLAIN and isinstance(one.content, str) for one in messages)
        if policy.looks_for != "nothing":
            # One question of plain text, as most are, needs no function of the policy.
            is_short = is_plain and not options and [type(one) for one in messages[:-1]] in _SHORT
            text = "\n".join(str(one.content) for one in messages) if is_short else "\u00e4"
            lowered = text.lower()
            if (
                not text.isascii()
                or any(mark.search(text) for mark in policy.rules.marks)
                or any(stem in lowered for stem in policy.rules.stems)
            ):
                decide(policy, attempts, self.candidate, policy.kind(messages, options))
        # No more tokens than characters: most prompts need no estimate.
        size = sum(len(one.content) + _LABEL for one in messages) if is_plain else math.inf
        of_pictures = 0 if is_plain else pictures_in(messages, attempts, self.candidate)
        if window is None or size <= window:
            return
        tokens = estimate_tokens(question.to_string()) + of_pictures
        if tokens > window:
            attempts.give_up(
                self.candidate,
                errors.ContextTooLong(
                    f"{self.candidate} takes {window:,} tokens and the prompt has about {tokens:,}",
                    billed=False,
                ),
            )

    @contextlib.asynccontextmanager
    async def _attempt(
        self,
        attempts: Attempts,
        permit: Permit,
        config: RunnableConfig | None,
        question: LanguageModelInput,
        options: dict[str, Any],
    ) -> AsyncGenerator[Attempt]:
        """Hold a slot and the money for one attempt, and record how it ends.

        Its run id is the call id of its row.
        """
        candidate, given = self.candidate, config
        attempts.tries[candidate.name] += 1
        if not (given and isinstance(given.get("callbacks"), BaseCallbackManager)):
            given = with_parent(config)
        metadata = {
            **(given.get("metadata") or {}),
            tags.PROVIDER: candidate.provider,
            tags.MODEL: candidate.model,
            tags.ATTEMPT: attempts.tries[candidate.name],
            tags.REHEARSED: candidate.rehearsed,
            **attempts.place_of(candidate),
        }
        least, most = attempts.room.get(candidate.name, (0, None))
        options = {**options, "max_tokens": most} if most else options
        if SHAPE in options and not candidate.rehearsed:
            metadata[tags.FEATURE] = candidate.features.rung
        call_id = uuid7()
        configured = cast("RunnableConfig", {**given, "metadata": metadata, "run_id": call_id})
        admission = payload = None
        if not candidate.rehearsed:
            try:
                admission, payload = admission_for(
                    self, attempts.candidates, configured, question, options, least=least
                )
            except Exception as error:
                permit.give_back()
                raise unsent(str(candidate), error) from error
        try:
            async with claim(attempts, candidate, permit, admission) as grant:
                money = {tags.HELD_AT: grant.at, tags.SHORTENED: grant.max_tokens is not None}
                room = {} if grant.max_tokens is None else {"max_tokens": grant.max_tokens}
                sending = {tags.SENDING: {} if getattr(self, "tells_sending", True) else None}
                final = {**configured, "metadata": {**metadata, **money, **sending}}
                yield Attempt(
                    call_id=call_id,
                    seconds=attempts.seconds_for(candidate),
                    options={**options, **room, "config": final},
                    payload=None if room else payload,
                    private=bool(attempts.private),
                )
        except BaseException as error:
            is_unrelated = isinstance(error, errors.Unsent) or getattr(error, "adapted", False)
            if is_unrelated or attempts.starts_in(candidate, error) is not None:
                permit.give_back()  # and what is recorded after that changes nothing
            permit.record(error)
            raise
        permit.record(None)

    def _room(self, options: Mapping[str, Any]) -> int | None:
        """The most tokens that an answer may have; None: that is not limited."""
        return options.get("max_tokens") or getattr(self, "max_tokens", None)

    def _ours(self, error: Exception, *, has_begun: bool = False) -> BaseException:
        """A provider's error as one of ours; any other error as it is."""
        ours = translate(error, asked=str(self.candidate))
        attempt = current_attempt.get()
        if attempt and attempt.private and isinstance(ours, errors.ProviderError):
            ours.withhold_words(str(self.candidate))
        if has_begun and isinstance(ours, errors.Transient):
            why = str(ours).replace(f"{self.candidate} ", "it ", 1)
            return errors.Partial(f"{self.candidate} broke off in the middle: {why}")
        if has_begun and isinstance(ours, errors.ProviderError):
            ours.billed = None  # what it had sent until then may be charged
        return ours

    def _note(self, answer: AIMessage) -> None:
        """Tell the agent that asked which model has answered, named as in its row."""
        model = model_in(answer.response_metadata) or self.candidate.model
        truncated = is_truncated(answer.response_metadata)
        note_answer(f"{self.candidate.provider}:{model}", truncated=truncated)

    def _filtered(self) -> errors.Refused:
        """The error for an answer that the provider's content filter removed. It is paid for."""
        return errors.Refused(f"{self.candidate} withheld its answer: content filter")


_PLAIN = (SystemMessage, HumanMessage)
_SHORT = ([], [SystemMessage])
_LABEL = len("System: \n")


def _is_filtered(answer: AIMessage) -> bool:
    return answer.response_metadata.get("finish_reason") == "content_filter"


def with_parent(config: RunnableConfig | None) -> RunnableConfig:
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
