"""Candidates whose answers are kept, and given again to the same question.

`Cached` comes before the guard: a question that was answered uses no breaker, rate limit, slot or
budget. The kept answer goes through LangChain's own layer as if the model gave it, so that callbacks and
streams see it, and the ledger gets its row.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import re
import time
from typing import TYPE_CHECKING, Any, cast

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, message_chunk_to_message
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langchain_core.utils.uuid import uuid7
from pydantic import Field, InstanceOf

from aideon_agents import errors
from aideon_agents.ledger import tags
from aideon_agents.ledger.calls import model_in
from aideon_agents.ledger.handler import recorders_in
from aideon_agents.models import strategies
from aideon_agents.models.bridge import blocking
from aideon_agents.models.caching.question import Kept, Question, question_to
from aideon_agents.models.candidates import (
    Attempt,
    Candidate,
    current_attempt,
    note_answer,
    of_attempt,
    simulators,
)
from aideon_agents.models.fallbacks import pass_of
from aideon_agents.models.features import SHAPE
from aideon_agents.models.guard import with_parent
from aideon_agents.models.protocol.calls import as_chunks
from aideon_agents.models.routing.policy import Policy, decide, default_policy
from aideon_agents.models.shape import parse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from langchain_core.callbacks import AsyncCallbackManagerForLLMRun
    from langchain_core.messages import BaseMessage

    from aideon_agents.models.fallbacks import Attempts
    from aideon_agents.state import Context, ModelRequest

_log = logging.getLogger("aideon_agents.models")

_PIECE = re.compile(r"\S*\s*")
"""What one chunk of a replayed stream holds: a word and the space after it."""
_NOT_OF_AN_ANSWER = frozenset(
    {"stream", "streaming", "stream_options", "max_tokens", "max_completion_tokens"}
)


class Cached(BaseChatModel):
    """Gives kept answers, and keeps new ones. Mixed in before a guarded model."""

    candidate: InstanceOf[Candidate] = Field(exclude=True, repr=False)
    policy: InstanceOf[Policy] = Field(default_factory=default_policy, exclude=True, repr=False)
    max_age: float = Field(exclude=True, repr=False)
    """Seconds for which an answer is used again; 0: it is only kept."""
    uses_old: bool = Field(exclude=True, repr=False)
    """Whether an answer of any age is used where all models of the chain fail."""

    async def ainvoke(
        self,
        input: LanguageModelInput,  # noqa: A002 - LangChain's name
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AIMessage:
        """The kept answer to a question, or a new one, which is kept."""
        attempts, options = pass_of(config, self.candidate), {**kwargs, "stop": stop}
        asked = self._asked(input, config, options, attempts)
        if asked is None:
            return await super().ainvoke(input, config, stop=stop, **kwargs)
        try:
            async with asked.answered_once(attempts, self.candidate) as kept:
                if kept is None:
                    answer = await super().ainvoke(input, config, stop=stop, **kwargs)
                    asked.keep(answer, simulated=self._is_simulated())
                    return answer
            attempt = self._replayed(kept, attempts, config, options)
        except errors.AllModelsFailed as failed:
            attempt = self._stale(failed, asked, attempts, config, options)
        return await self._given(input, attempt)

    async def astream(
        self,
        input: LanguageModelInput,  # noqa: A002 - LangChain's name
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[AIMessageChunk]:
        """The kept answer to a question, or a new one, as it comes."""
        attempts, options = pass_of(config, self.candidate), {**kwargs, "stop": stop}
        wanted: dict[str, Any] = {**kwargs, "stream": True}
        streams = self._should_stream(async_api=True, **wanted)
        asked = self._asked(input, config, options, attempts) if streams else None
        if asked is None:  # what does not stream is asked by `ainvoke`
            unkept = cast("Any", super().astream(input, config, stop=stop, **kwargs))
            async with contextlib.aclosing(unkept) as chunks_as_they_come:
                async for chunk in chunks_as_they_come:
                    yield chunk
            return
        chunks: list[AIMessageChunk] = []
        try:
            async with asked.answered_once(attempts, self.candidate) as kept:
                if kept is None:
                    source = cast("Any", super().astream(input, config, stop=stop, **kwargs))
                    async with contextlib.aclosing(source) as chunks_as_they_come:
                        async for chunk in chunks_as_they_come:
                            chunks.append(chunk)
                            yield chunk
                    whole = chunks[0].__add__(cast("Any", chunks[1:])) if chunks[1:] else chunks[0]
                    answer = cast("AIMessage", message_chunk_to_message(whole))
                    asked.keep(answer, simulated=self._is_simulated())
                    return
            attempt = self._replayed(kept, attempts, config, options)
        except errors.AllModelsFailed as failed:
            if chunks:
                raise
            attempt = self._stale(failed, asked, attempts, config, options)
        source = BaseChatModel.astream(self._without_limits(), input, **attempt.options)
        async with contextlib.aclosing(of_attempt(cast("Any", source), attempt)) as replayed:
            async for chunk in replayed:
                yield chunk

    def with_structured_output(
        self, schema: Any = None, **kwargs: Any
    ) -> Runnable[LanguageModelInput, Any]:
        """As the guard does. Where the last model's answers do not fit, an old one may be used."""
        asking = super().with_structured_output(schema, **kwargs)
        if not self.uses_old:
            return asking

        async def ask(prompt: LanguageModelInput, config: RunnableConfig) -> Any:
            try:
                return await asking.ainvoke(prompt, config)
            except errors.AllModelsFailed as failed:
                attempts, options = pass_of(config, self.candidate), {**kwargs, SHAPE: schema}
                asked = self._asked(prompt, config, options, attempts)
                if asked is None or not isinstance(failed.__cause__, errors.Malformed):
                    raise  # an old answer was looked for where the model failed
                attempt = self._stale(failed, asked, attempts, config, options)
            return parse(await self._given(prompt, attempt), schema)

        def ask_blocking(prompt: LanguageModelInput, config: RunnableConfig) -> Any:
            return blocking(ask(prompt, config))

        return RunnableLambda(ask_blocking, ask, name=f"shape {schema.__name__}")

    async def _given(self, prompt: LanguageModelInput, attempt: Attempt) -> AIMessage:
        """The kept answer of an attempt, through LangChain's layer."""
        current = current_attempt.set(attempt)
        try:
            # The guard and the wire are passed by: the question is not sent.
            return await BaseChatModel.ainvoke(self._without_limits(), prompt, **attempt.options)
        finally:
            current_attempt.reset(current)

    def _asked(
        self,
        prompt: LanguageModelInput,
        config: RunnableConfig | None,
        options: Mapping[str, Any],
        attempts: Attempts,
    ) -> Question | None:
        """The question as the cache knows it; None: its answer is not kept.

        A private one is neither looked up nor kept. Without a recorder there is no ledger.
        """
        recorders = recorders_in(with_parent(config))
        decide(self.policy, attempts, self.candidate, self.policy.kind_of_input(prompt, options))
        if attempts.private or not recorders:
            return None
        inner: Any = getattr(self, "inner", None)
        if inner is None:
            params: dict[str, Any] = getattr(self, "_default_params", None) or self.model_dump()
            room = getattr(self, "room_to_think", None) or cast("Any", self).max_tokens
            own = {name: value for name, value in params.items() if name not in _NOT_OF_AN_ANSWER}
            parameters = [self.candidate.address, own, room]
        else:
            # LangChain's own string has no fields of a class that is not serializable.
            own = {name: repr(value) for name, value in inner if name in inner.model_fields_set}
            parameters = [inner._get_llm_string(), own, cast("Any", self).max_tokens]  # noqa: SLF001 - as above
        return question_to(
            recorders[0].ledger.database,
            f"{self.candidate.provider}:{self.candidate.model}",
            parameters,
            self._convert_input(prompt).to_messages(),
            options,
            max_age=self.max_age,
        )

    def _replayed(
        self,
        kept: Kept,
        attempts: Attempts,
        config: RunnableConfig | None,
        options: Mapping[str, Any],
        *,
        stale_s: int | None = None,
    ) -> Attempt:
        """An attempt that a kept answer answers, which is noted for the agent that asks."""
        is_own = (one for one in attempts.candidates if f"{one.provider}:{one.model}" == kept.model)
        candidate = next(is_own, self.candidate)
        given = with_parent(config)
        metadata: dict[str, Any] = {
            **(given.get("metadata") or {}),
            tags.PROVIDER: candidate.provider,
            tags.MODEL: candidate.model,
            **attempts.place_of(candidate),
            tags.ATTEMPT: attempts.tries[candidate.name] + 1,
            tags.SIMULATED: kept.simulated,
            tags.SENDING: {"cached": True, "simulated": kept.simulated},
        }
        if stale_s is not None:
            why = {**json.loads(metadata[tags.CHOICE] or "{}"), "stale_s": stale_s}
            metadata[tags.CHOICE] = json.dumps(why)
        call_id = uuid7()
        name = f"{candidate.provider}:{model_in(kept.message.response_metadata) or candidate.model}"
        note_answer(name, truncated=False, stale_s=stale_s)
        return Attempt(
            call_id=call_id,
            seconds=0.0,
            options={**options, "config": {**given, "metadata": metadata, "run_id": call_id}},
            payload=None,
            kept=kept.message,
        )

    def _stale(
        self,
        failed: errors.AllModelsFailed,
        asked: Question,
        attempts: Attempts,
        config: RunnableConfig | None,
        options: Mapping[str, Any],
    ) -> Attempt:
        """An attempt that an old answer answers, because all models failed; else raises their error."""
        models = [f"{one.provider}:{one.model}" for one in attempts.candidates]
        kept = asked.newest(models) if self.uses_old else None
        if kept is None:
            raise failed
        stale_s = round(kept.age)
        _log.warning(
            "all models failed: an answer of %s is used that is %s s old", kept.model, stale_s
        )
        return self._replayed(kept, attempts, config, options, stale_s=stale_s)

    def _is_simulated(self) -> bool:
        return simulators.get(self.candidate.address, 0.0) > time.monotonic()

    def _without_limits(self) -> BaseChatModel:
        """A copy without what a given model has of LangChain: its rate limiter, its answer cache."""
        return self.model_copy(update={"rate_limiter": None, "cache": False})

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        kept = _kept_now()
        if kept is None:
            return await super()._agenerate(messages, stop, run_manager, **kwargs)
        return ChatResult(generations=[ChatGeneration(message=kept.model_copy(deep=True))])

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        kept = _kept_now()
        if kept is None:
            async for chunk in super()._astream(messages, stop, run_manager, **kwargs):
                yield chunk
            return
        for message in _pieces(kept):
            chunk = ChatGenerationChunk(message=message)
            if run_manager:
                await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk


def _kept_now() -> AIMessage | None:
    attempt = current_attempt.get()
    return attempt and attempt.kept


def _pieces(answer: AIMessage) -> Iterator[AIMessageChunk]:
    """A kept answer as the chunks of a stream, which add up to the same message."""
    content: Any = answer.content
    if isinstance(content, str):
        yield from (AIMessageChunk(content=one) for one in _PIECE.findall(content) if one)
        content = ""
    yield AIMessageChunk(
        content=content,
        additional_kwargs=answer.additional_kwargs,
        response_metadata=answer.response_metadata,
        tool_call_chunks=as_chunks(answer.tool_calls, []),
        usage_metadata=answer.usage_metadata,
        chunk_position="last",
    )


@functools.lru_cache
def _kind(kind: type[BaseChatModel]) -> type[BaseChatModel]:
    """A class of guarded models whose answers are kept."""
    return type(f"{kind.__name__}Cached", (Cached, kind), {"__module__": __name__})


def keeping(request: ModelRequest, context: Context) -> dict[str, Any]:
    """The fields of `Cached` where the request or the run asks for the cache; empty: neither does."""
    age = strategies.age_for(request, context)
    if age is None:
        return {}
    return {"max_age": age, "uses_old": strategies.CACHED in strategies.asked(request, context)}


def kept(kind: type[Any], fields: Mapping[str, Any]) -> type[Any]:
    """A class of guarded models, whose answers are kept if the fields of one say so."""
    return _kind(kind) if "max_age" in fields else kind
