"""What happens between a chat model of LangChain and the network, for every OpenAI-compatible provider.

LangChain makes the body of a request (`_get_request_payload`) and reads an answer
(`_create_chat_result`, `_convert_chunk_to_generation_chunk`). Between these, the client of the openai
package is replaced: its errors would have to be interpreted, it has no limits on what it reads, and
it takes several times the CPU of everything else. A test compares both on the same server, so that a
change in LangChain is noticed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from typing import TYPE_CHECKING, Any, cast

import aiohttp
import orjson
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_openai.chat_models.base import BaseChatOpenAI
from pydantic import BaseModel, Field, InstanceOf

from aideon_agents import errors
from aideon_agents.ledger import tags
from aideon_agents.ledger.calls import usage_of
from aideon_agents.ledger.forks import lazily
from aideon_agents.models import faults
from aideon_agents.models.candidates import (
    LONGEST_ATTEMPT,
    SIMULATED_FOR,
    Candidate,
    current_attempt,
    simulators,
)
from aideon_agents.models.features import FOR_TRACERS, SHAPE
from aideon_agents.models.pictures.blocks import with_advice
from aideon_agents.models.protocol import conversation
from aideon_agents.models.protocol.calls import as_chunks
from aideon_agents.models.protocol.reading import (
    StreamedAnswer,
    error_in,
    from_json,
    keep_beside,
    keep_usage,
    normalized,
)
from aideon_agents.models.protocol.thoughts import THOUGHTS_BEGIN
from aideon_agents.models.protocol.ways import authorization, below
from aideon_agents.models.transport import LONGEST_BODY, LONGEST_ERROR, Answer, broken_off, post

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping

    from langchain_core.callbacks import AsyncCallbackManagerForLLMRun
    from langchain_core.language_models import LanguageModelInput
    from langchain_core.messages import BaseMessage
    from yarl import URL

CALL_HEADER = "X-Aideon-Call"
"""Names the row of the call, so that a provider's support can find it."""

_OPTIONS = ("extra_headers", "extra_query", "extra_body", "timeout")
"""Options of a call that are no part of its body."""
_SELLER = "X-Inference-Provider"
"""The header in which Hugging Face's router says which provider has answered."""


class Wire(BaseChatOpenAI):
    """Sends requests and reads answers. Mixed in before a chat model that speaks OpenAI's protocol."""

    candidate: InstanceOf[Candidate] = Field(exclude=True, repr=False)
    room_to_think: int | None = Field(default=None, exclude=True, repr=False)
    """Its `max_tokens` once it has shown that it thinks; None: they have the room already."""

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,  # noqa: ARG002 - LangChain's
        **kwargs: Any,
    ) -> ChatResult:
        payload = self._prepared(messages, stop, kwargs, {"stream": False})
        asked = self.candidate.name
        with self.candidate.features.learning(payload):
            answer = await self._send(payload)
            try:
                sent = await answer.read(LONGEST_BODY)
                body = object_in(sent, asked, answer.headers)
            except aiohttp.ClientError as error:
                raise broken_off(error, asked) from error
            finally:
                answer.close()
            return self._result(body, kwargs)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        *,
        stream_usage: bool | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        streaming: dict[str, Any] = {"stream": True}
        if self._should_stream_usage(stream_usage, **kwargs):
            streaming["stream_options"] = {"include_usage": True}
        payload = self._prepared(messages, stop, kwargs, streaming)
        attempt = current_attempt.get()
        seconds = attempt.seconds if attempt else LONGEST_ATTEMPT
        ends_at = time.monotonic() + seconds
        with self.candidate.features.learning(payload):
            async with asyncio.timeout(seconds):
                answer = await self._send(payload)
            end = answer.end_at(ends_at - time.monotonic())
            chunks = self._chunks(answer, kwargs)
            try:
                async with contextlib.aclosing(chunks):
                    async for chunk in chunks:
                        if run_manager:
                            await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                        yield chunk
            except aiohttp.ClientError as error:
                raise broken_off(error, str(self.candidate)) from error
            finally:
                end.cancel()
                answer.close()

    async def _chunks(
        self, answer: Answer, options: Mapping[str, Any]
    ) -> AsyncGenerator[ChatGenerationChunk]:
        """The chunks of a stream; the last one has the tool calls and the usage."""
        if answer.headers.get("Content-Type", "").startswith("application/json"):
            # The server does not stream, or has an error to report.
            body = object_in(await answer.read(LONGEST_BODY), str(self.candidate), answer.headers)
            yield _as_chunk(self._result(body, options))
            return
        state = StreamedAnswer()
        try:
            async for chunk in self._chunks_of_events(answer, state):
                yield chunk
        except BaseException as error:
            # What was reported before the end is paid, whatever ended it.
            error.usage = usage_of(self._last_chunk(state, options).message)  # type: ignore[attr-defined]
            error.response_model = state.model  # type: ignore[attr-defined] # its price counts
            raise
        yield self._last_chunk(state, options)

    async def _chunks_of_events(
        self, answer: Answer, state: StreamedAnswer
    ) -> AsyncGenerator[ChatGenerationChunk]:
        asked = self.candidate.name
        is_done = has_begun = False
        async for data in answer.events():
            if data == b"[DONE]":
                is_done = True
                break
            if not data.strip():
                continue
            has_begun = True
            sent = object_in(data, asked, answer.headers)
            if (error := error_in(sent)) is not None:
                raise self._refused(error)
            known = state.take(sent)
            if known is None:
                continue
            delta = known["choices"][0]["delta"]
            chunk = self._convert_chunk_to_generation_chunk(known, AIMessageChunk, None)
            if chunk is not None:
                state.thoughts = keep_beside(chunk.message, delta) or state.thoughts
                yield chunk
        if not has_begun:
            raise errors.Transient(f"{asked} sent an empty stream")
        if state.finish_reason is not None:
            self.candidate.features.gives_reasons = True
        elif not (is_done and state.has_text and self.candidate.may_give_no_reason()):
            raise errors.Partial(f"{asked} stopped without saying why")

    def _last_chunk(self, state: StreamedAnswer, options: Mapping[str, Any]) -> ChatGenerationChunk:
        usage = {"choices": [], "usage": state.usage}
        last = cast(
            "ChatGenerationChunk",
            self._convert_chunk_to_generation_chunk(usage, AIMessageChunk, None),
        )
        names = conversation.own_names(options.get("tools"))
        calls = as_chunks(*state.calls.sorted(state.finish_reason, names))
        if calls or state.thoughts:
            last.message = AIMessageChunk(
                content="",
                additional_kwargs=conversation.came_from(
                    self.candidate.provider, state.thoughts, state.calls, state.details
                ),
                tool_call_chunks=calls,
                usage_metadata=cast("AIMessageChunk", last.message).usage_metadata,
            )
        if state.finish_reason is None:
            last.generation_info = {"finish_reason": "stop"}
        if keep_usage(last.message, state.usage, state.service_tier) or state.thoughts:
            self.candidate.features.thinks = True
        return last

    def _get_request_payload(
        self, input_: LanguageModelInput, *, stop: list[str] | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """LangChain's request, in the way that this model takes it."""
        if self.room_to_think and self.candidate.features.thinks:
            self.max_tokens, self.room_to_think = self.room_to_think, None
            vars(self).pop("_params", None)
        shape = kwargs.pop(SHAPE, None)
        if kwargs.get("tools") and self.candidate.row.tools is False:
            raise errors.Unsupported(f"{self.candidate} calls no tools", billed=False)
        for name in FOR_TRACERS:
            kwargs.pop(name, None)
        question = self._convert_input(input_)
        payload = super()._get_request_payload(question, stop=stop, **kwargs)
        features, provider = self.candidate.features, self.candidate.provider
        payload = conversation.valid(payload, question.to_messages(), provider, features.refused)
        return features.fitted(payload, shape)

    def _prepared(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None,
        kwargs: dict[str, Any],
        streaming: dict[str, Any],
    ) -> dict[str, Any]:
        """A request, as admission has made it or made now."""
        attempt = current_attempt.get()
        payload = attempt and attempt.payload
        if not payload:
            try:
                payload = self._get_request_payload(messages, stop=stop, **kwargs)
            except Exception as error:
                raise faults.unsent(str(self.candidate), error) from error
        return self.candidate.features.fitted({**payload, **streaming})

    async def _send(self, payload: dict[str, Any]) -> Answer:
        """Send a request; raises the error of a refusal."""
        options = {name: payload.pop(name, None) for name in _OPTIONS}
        payload.update(options["extra_body"] or {})
        response_format = payload.get("response_format")
        if isinstance(response_format, type) and issubclass(response_format, BaseModel):
            payload["response_format"] = _json_schema(response_format)
        headers = {**self._headers, **(options["extra_headers"] or {})}
        sending = None
        if attempt := current_attempt.get():
            headers[CALL_HEADER] = str(attempt.call_id)
            sending = attempt.options["config"]["metadata"].get(tags.SENDING)
        url = self._url.update_query(added) if (added := options["extra_query"]) else self._url
        asked = self.candidate.name
        content = encoded({k: v for k, v in payload.items() if k != SHAPE}, asked)
        address, sending = self.candidate.address, {} if sending is None else sending
        try:
            async with asyncio.timeout(options["timeout"]):
                answer = await post(url, content, headers, asked, sending)
        except BaseException:
            if address not in simulators:  # else what was known at its start counts
                sending["simulated"] = False
            raise
        sending["simulated"] = answer.is_simulated
        if answer.is_simulated:
            simulators[address] = time.monotonic() + SIMULATED_FOR
        else:
            simulators.pop(address, None)
        if answer.status // 100 == 2:  # noqa: PLR2004 - any status of success
            self.candidate.pace.received(answer.headers)
            return answer
        body = await answer.read_start(LONGEST_ERROR)
        answer.close()
        refused = faults.refusal(answer.status, answer.headers, body, **self._place)
        raise with_advice(refused, payload, self.candidate)

    def _refused(self, error: object) -> errors.ProviderError:
        """An error inside an answer with status 200."""
        return faults.refusal_in_answer(error, **self._place)

    @lazily
    def _place(self) -> dict[str, Any]:
        """Who is asked and where, for the messages of errors."""
        return {
            "asked": str(self.candidate),
            "key_variable": self.candidate.key_variable,
            "address": str(self._url.with_query(None)),
            "address_variable": self.candidate.address_variable,
        }

    def _result(self, body: dict[str, Any], options: Mapping[str, Any]) -> ChatResult:
        """An answer as LangChain's result, with what its conversion leaves out."""
        if (error := error_in(body)) is not None:
            raise self._refused(error)
        names = conversation.own_names(options["tools"]) if options.get("tools") else {}
        try:
            result = self._create_chat_result(normalized(body))
            for choice, generation in zip(body["choices"], result.generations, strict=True):
                message: Any = generation.message
                found = keep_beside(message, choice["message"])
                if calls := choice.get("calls"):
                    known = calls.sorted(choice["finish_reason"], names)
                    message.tool_calls, message.invalid_tool_calls = known
                if found or calls:
                    origin = conversation.came_from(self.candidate.provider, found, calls)
                    message.additional_kwargs |= origin
                counted = keep_usage(message, body.get("usage"), body.get("service_tier"))
                if found or counted or THOUGHTS_BEGIN.match(message.content):
                    self.candidate.features.thinks = True
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as wrong:
            raise faults.unreadable(str(self.candidate), wrong) from wrong
        response_format = options.get("response_format")
        if isinstance(response_format, type) and issubclass(response_format, BaseModel):
            for generation in result.generations:
                with contextlib.suppress(ValueError):
                    parsed = response_format.model_validate_json(generation.message.text)
                    generation.message.additional_kwargs["parsed"] = parsed
        return result

    @property
    def _default_params(self) -> dict[str, Any]:
        return dict(self._params)

    @lazily
    def _params(self) -> dict[str, Any]:
        """What LangChain makes of the model's fields. They do not change, and it asks in each call."""
        return super()._default_params

    @lazily
    def _url(self) -> URL:
        return below(self._base, "chat/completions").update_query(
            cast("Any", self.default_query or {})
        )

    @property
    def _base(self) -> str:
        return str(getattr(self, "together_api_base", None) or self.openai_api_base)

    @lazily
    def _headers(self) -> dict[str, str]:
        key: Any = getattr(self, "together_api_key", None) or self.openai_api_key
        headers = {
            "Accept": "application/json, text/event-stream",
            "Accept-Encoding": "identity",
            "Authorization": authorization(self._base, key.get_secret_value()),
            "Content-Type": "application/json",
            "User-Agent": "aideon-agents",
        }
        if self.candidate.provider == "openai":
            of_account = {
                "OpenAI-Organization": self.openai_organization,
                "OpenAI-Project": os.environ.get("OPENAI_PROJECT_ID"),
            }
            headers |= {name: value for name, value in of_account.items() if value}
        return {**headers, **(self.default_headers or {})}


def encoded(payload: Mapping[str, Any], asked: str) -> bytes:
    """The JSON of a request; Unsent: it holds what JSON cannot express."""
    try:
        content = orjson.dumps(payload)
        if b"null" in content:  # orjson writes NaN as null
            json.dumps(payload, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise faults.unsent(asked, error) from None
    return content


def object_in(data: bytes, asked: str, headers: Mapping[str, str]) -> dict[str, Any]:
    """A JSON object of a provider, whose model is that of the seller that the headers name."""
    try:
        body = from_json(data)
    except (ValueError, RecursionError) as error:
        raise faults.unreadable(asked, error, data) from None
    if not isinstance(body, dict):
        raise faults.unreadable(asked, f"it is no JSON object: {data[:80]!r}")
    seller = headers.get(_SELLER)
    if seller and isinstance(model := body.get("model"), str) and ":" not in model:
        body["model"] = f"{model}:{seller}"
    return cast("dict[str, Any]", body)


def _as_chunk(result: ChatResult) -> ChatGenerationChunk:
    """A whole answer as the only chunk of a stream."""
    whole: Any = result.generations[0].message
    info = dict(result.generations[0].generation_info or {})
    if name := (result.llm_output or {}).get("model_name"):
        info["model_name"] = name
    message = AIMessageChunk(
        content=whole.content,
        additional_kwargs=whole.additional_kwargs,
        tool_call_chunks=as_chunks(whole.tool_calls, whole.invalid_tool_calls),
        usage_metadata=whole.usage_metadata,
    )
    return ChatGenerationChunk(message=message, generation_info=info)


def _json_schema(schema: type[BaseModel]) -> dict[str, Any]:
    """A pydantic model as the openai package sends it."""
    from openai.lib._parsing._completions import type_to_response_format_param  # noqa: PLC0415

    return cast("dict[str, Any]", type_to_response_format_param(schema))
