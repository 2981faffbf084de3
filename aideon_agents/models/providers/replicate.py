"""Text models on Replicate, which has no chat protocol: a prediction is made, and its output is read.

A prediction takes a prompt and a system prompt, so a conversation is written into these. It knows no
tools and no schemas: a request with one is refused here, before anything is sent, and the next
candidate of the chain is asked. Replicate need not report tokens, which are then estimated.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

import aiohttp
import orjson
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import Field, InstanceOf, SecretStr
from yarl import URL

from aideon_agents import errors
from aideon_agents.ledger import tags
from aideon_agents.models import faults
from aideon_agents.models.answers.reply import estimate_tokens
from aideon_agents.models.candidates import LONGEST_ATTEMPT, Candidate, current_attempt
from aideon_agents.models.features import SHAPE
from aideon_agents.models.pictures.blocks import parts
from aideon_agents.models.protocol.ways import authorization, below
from aideon_agents.models.transport import LONGEST_BODY, LONGEST_ERROR, Answer, broken_off, post
from aideon_agents.models.wire import CALL_HEADER, object_in

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

    from langchain_core.callbacks import AsyncCallbackManagerForLLMRun
    from langchain_core.language_models import LanguageModelInput
    from langchain_core.messages import BaseMessage
    from langchain_core.runnables import Runnable

_HELD_OPEN = 5
"""Seconds for which Replicate holds the first request open. Nothing can be cancelled in that time."""
_LOOK_AGAIN, _LONGEST_PAUSE = 0.25, 4.0
"""Seconds until a prediction is looked at again, doubled each time."""
_MOST_FAILURES = 4
"""Reads that fail in a row, after which a prediction is given up."""
_CANCEL_SECONDS = 5.0
_COUNT_SECONDS = 5.0
"""Seconds for which the counts of a prediction are waited for whose output was streamed."""
_ENDED = frozenset({"succeeded", "failed", "canceled", "aborted"})
_SPEAKERS = {"human": "User", "ai": "Assistant"}


class ReplicateChatModel(BaseChatModel):
    """A text model on Replicate, named `owner/name`."""

    candidate: InstanceOf[Candidate] = Field(exclude=True, repr=False)
    model: str
    api_key: SecretStr = Field(exclude=True, repr=False)
    base_url: str = Field(exclude=True, repr=False)
    max_tokens: int | None = None
    """The most tokens of an answer; None: the model's own limit."""
    temperature: float | None = None
    """None: the model's own."""
    streaming: bool = False
    """Whether `invoke` streams inside. It is set, so that no viewer changes it."""

    @property
    def _llm_type(self) -> str:
        return "replicate"

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        raise NotImplementedError  # the guard makes synchronous calls of the asynchronous ones

    def bind_tools(
        self, tools: Sequence[Any], **kwargs: Any
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """The model, which refuses each request with tools."""
        return cast("Any", self.bind(tools=tools, **kwargs))

    def _get_request_payload(
        self, input_: LanguageModelInput, *, stop: list[str] | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """The input of a prediction; Unsupported: Replicate cannot be asked so."""
        messages = self._convert_input(input_).to_messages()
        asked = {
            "tools": kwargs.get("tools")
            or any(one.type == "tool" or getattr(one, "tool_calls", None) for one in messages),
            "typed answers": kwargs.get(SHAPE) or kwargs.get("response_format"),
            "pictures or files": any(parts(one.content) for one in messages),
            "stop words": stop,
        }
        if lacks := [name for name, value in asked.items() if value]:
            raise errors.Unsupported(
                f"{self.candidate} has no {', '.join(lacks)}: Replicate takes a prompt",
                billed=False,
            )
        room = kwargs.get("max_tokens") or self.max_tokens
        # Models call it by one of two names, and pass over the other.
        refused = self.candidate.features.refused
        values = _prompts(messages, has_system="system_prompt" not in refused)
        values |= {"max_tokens": room, "max_new_tokens": room}
        values["temperature"] = kwargs.get("temperature", self.temperature)
        return {key: one for key, one in values.items() if one is not None and key not in refused}

    def _payload(
        self, messages: list[BaseMessage], stop: list[str] | None, options: dict[str, Any]
    ) -> dict[str, Any]:
        """The input as admission has made it, or made now."""
        known = (attempt := current_attempt.get()) and attempt.payload
        return known or self._get_request_payload(messages, stop=stop, **options)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,  # noqa: ARG002 - LangChain's
        **kwargs: Any,
    ) -> ChatResult:
        payload = self._payload(messages, stop, kwargs)
        with self.candidate.features.learning(payload):
            async with self._prediction(payload) as made:
                ended = await self._ended(made)
        text = _text(ended.get("output"))
        message = AIMessage(content=text, **self._about(payload, text, ended))
        about = message.response_metadata
        return ChatResult(generations=[ChatGeneration(message=message, generation_info=about)])

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        payload, attempt, text = self._payload(messages, stop, kwargs), current_attempt.get(), ""
        clock = asyncio.get_running_loop().time
        until = clock() + (attempt.seconds if attempt else LONGEST_ATTEMPT)
        with self.candidate.features.learning(payload):
            async with self._prediction(payload, until) as made:
                ended, url = made, URL(str((made.get("urls") or {}).get("stream") or ""))
                if made.get("status") in _ENDED or not self._is_here(url):
                    async with asyncio.timeout_at(until):
                        ended = await self._ended(made)
                else:
                    async with contextlib.aclosing(self._pieces(url, until)) as pieces:
                        async for piece in pieces:
                            text += piece
                            chunk = ChatGenerationChunk(message=AIMessageChunk(content=piece))
                            if run_manager:
                                await run_manager.on_llm_new_token(piece, chunk=chunk)
                            yield chunk
                    # It may end, and be counted, a moment after its stream. Its output is whole.
                    with contextlib.suppress(errors.ProviderError, TimeoutError):
                        async with asyncio.timeout_at(min(until, clock() + _COUNT_SECONDS)):
                            ended = await self._ended(await self._read(made))
        whole = text or _text(ended.get("output"))
        last = AIMessageChunk(content=whole[len(text) :], **self._about(payload, whole, ended))
        yield ChatGenerationChunk(message=last, generation_info=dict(last.response_metadata))

    def _about(self, payload: dict[str, Any], text: str, ended: dict[str, Any]) -> dict[str, Any]:
        """What is known of an answer: its tokens, as Replicate counts them or estimated, and its end."""
        metrics: Any = ended.get("metrics") or {}
        counts: list[Any] = [metrics.get(f"{one}_token_count") for one in ("input", "output")]
        about: dict[str, Any] = {"model_name": self.model, "finish_reason": "stop"}
        if not all(type(one) is int and one >= 0 for one in counts):
            prompt = f"{payload.get('system_prompt', '')}{payload['prompt']}"
            counts = [estimate_tokens(prompt), estimate_tokens(text)]
            about[tags.USAGE_SOURCE] = "estimated"
        elif counts[1] >= payload.get("max_tokens", payload.get("max_new_tokens", math.inf)):
            about["finish_reason"] = "length"
        usage = UsageMetadata(
            input_tokens=counts[0], output_tokens=counts[1], total_tokens=sum(counts)
        )
        return {"usage_metadata": usage, "response_metadata": about}

    @contextlib.asynccontextmanager
    async def _prediction(
        self, payload: dict[str, Any], until: float | None = None
    ) -> AsyncGenerator[dict[str, Any]]:
        """A prediction that was made; it is cancelled if the block ends before it does.

        One that is to be streamed is waited for `until` a time of the event loop.
        """
        headers = {} if until else {"Prefer": f"wait={_HELD_OPEN}"}
        if attempt := current_attempt.get():  # where this process ends before it can cancel
            headers["Cancel-After"] = f"{max(5, round(attempt.seconds))}s"
        name, _, version = self.model.partition(":")
        sent = {"input": payload, **({"version": version} if version else {})}
        sent |= {"stream": True} if until else {}
        path = "predictions" if version else f"models/{name}/predictions"
        async with asyncio.timeout_at(until):
            made = await self._asked(path, orjson.dumps(sent), headers)
        try:
            yield made
        except BaseException as error:
            if isinstance(error, errors.ProviderError):
                error.billed = None  # it was made, so it may be charged
            await asyncio.shield(self._cancel(made))
            raise

    async def _ended(self, made: dict[str, Any]) -> dict[str, Any]:
        """A prediction at its end; raises the error of one that failed."""
        pause, failures = _LOOK_AGAIN, 0
        while (status := made.get("status")) not in _ENDED:
            await asyncio.sleep(pause)
            pause = min(_LONGEST_PAUSE, pause * 2)
            try:
                made, failures = await self._read(made), 0
            except (errors.Transient, errors.RateLimited):  # it continues, and is paid
                failures += 1
                if failures >= _MOST_FAILURES:
                    raise
        if status == "succeeded":
            return made
        why = {"message": made.get("error") or f"the prediction was {status}"}
        raise faults.refusal_in_answer(why, **self._who)

    async def _pieces(self, url: URL, until: float) -> AsyncGenerator[str]:
        """The output as it comes."""
        async with asyncio.timeout_at(until):
            answer = await self._sent(url, headers={"Accept": "text/event-stream"})
        end = answer.end_at(until - asyncio.get_running_loop().time())
        try:
            async for data in answer.events():
                if answer.event == b"output":
                    yield data.decode("utf-8", "replace")
                elif answer.event == b"error" or (answer.event == b"done" and b"reason" in data):
                    raise faults.refusal_in_answer(data, **self._who)
                elif answer.event == b"done":
                    return
        except aiohttp.ClientError as error:
            raise broken_off(error, str(self.candidate)) from error
        finally:
            end.cancel()
            answer.close()
        raise errors.Transient(f"{self.candidate} stopped without saying why")

    async def _read(self, made: dict[str, Any]) -> dict[str, Any]:
        # The addresses in an answer are not used: the key goes to the server of the user alone.
        return {**made, **await self._asked(f"predictions/{made.get('id')}")}

    async def _cancel(self, made: dict[str, Any]) -> None:
        """Cancel a prediction. That it fails changes nothing: it has a limit on its time as well."""
        if made.get("status") not in _ENDED:
            with contextlib.suppress(errors.AideonError, TimeoutError):
                async with asyncio.timeout(_CANCEL_SECONDS):
                    await self._asked(f"predictions/{made.get('id')}/cancel", b"")

    @property
    def _base(self) -> str:
        return f"{self.base_url.rstrip('/').removesuffix('/v1')}/v1"

    def _is_here(self, url: URL) -> bool:
        """Whether an address is on the server that the user chose, or on another one of its domain."""
        base = URL(self._base)
        domain = f".{(base.host or '').removeprefix('api.')}"
        is_of_it = url.scheme == "https" and (url.host or "").endswith(domain)
        return url.is_absolute() and (is_of_it or url.origin() == base.origin())

    async def _asked(
        self, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        """A prediction as the server says it is."""
        answer = await self._sent(below(self._base, path), body, headers)
        try:
            return object_in(await answer.read(LONGEST_BODY), str(self.candidate), {})
        except aiohttp.ClientError as error:
            raise broken_off(error, str(self.candidate)) from error
        finally:
            answer.close()

    async def _sent(
        self, url: URL, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """The answer to a request; `body` is None to read, and the first request names the call."""
        key = authorization(self.base_url, self.api_key.get_secret_value())
        known = {"Accept": "application/json", "User-Agent": "aideon-agents", "Authorization": key}
        known |= headers or {}
        sending: dict[str, Any] | None = None
        if body and (attempt := current_attempt.get()):
            known[CALL_HEADER] = str(attempt.call_id)
            sending = attempt.options["config"]["metadata"].get(tags.SENDING)
        answer = await post(url, body, known, str(self.candidate), sending)
        if sending is not None:
            sending["simulated"] = answer.is_simulated
        if HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
            return answer
        start = await answer.read_start(LONGEST_ERROR)
        answer.close()
        raise faults.refusal(answer.status, answer.headers, start, **self._who)

    @property
    def _who(self) -> dict[str, Any]:
        return {
            "asked": str(self.candidate),
            "key_variable": self.candidate.key_variable,
            "address": self._base,
            "address_variable": self.candidate.address_variable,
        }


def _prompts(messages: Sequence[BaseMessage], *, has_system: bool) -> dict[str, Any]:
    """A conversation as a prompt and a system prompt; a model without the latter gets one text."""
    of_system = "\n\n".join(one.text for one in messages if one.type == "system")
    turns = [one for one in messages if one.type != "system"]
    lines = [f"{_SPEAKERS.get(one.type, one.type)}: {one.text}" for one in turns]
    is_one = [one.type for one in turns] == ["human"]
    prompt = turns[0].text if is_one else "\n\n".join([*lines, "Assistant:"])
    if of_system and has_system:
        return {"prompt": prompt, "system_prompt": of_system}
    return {"prompt": f"{of_system}\n\n{prompt}" if of_system else prompt}


def _text(output: object) -> str:
    """The output of a prediction, which is a text or its pieces."""
    if isinstance(output, list):
        return "".join(map(_text, cast("list[object]", output)))
    if output is None or isinstance(output, str):
        return output or ""
    return json.dumps(output, ensure_ascii=False)
