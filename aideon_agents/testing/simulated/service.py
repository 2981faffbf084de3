"""What the simulated provider does with a request: check it, work, charge, deliver.

How an answer reaches the caller, or does not.

The bill is settled before the last byte leaves, so that a caller with an answer finds it charged.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import itertools
import json
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, TypeAlias, cast

from pydantic import BaseModel

from aideon_agents.models.answers import Answer, Ask, limited, reply
from aideon_agents.testing.simulated.bill import Bill, BilledCall, RequestLog, SeenRequest
from aideon_agents.testing.simulated.faults import (
    STREAM_CUTS,
    ChatRequest,
    Draw,
    Fault,
    Kind,
    Refusal,
    Refused,
    read_chat,
    refusal_of,
)
from aideon_agents.testing.simulated.reply import DONE, Reply, UsageDetails
from aideon_agents.testing.simulated.wire import CallerGone, HttpRequest, Wire

_OK = 200
_SPOILED: dict[Kind, tuple[str, bytes]] = {
    "garbage": ("text/html", b"<html><body><h1>Something is not right here</h1></body></html>"),
    "no_choices": ("application/json", b'{"object": "chat.completion"}'),
    "empty": ("application/json", b""),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Delivery:
    """One answer, one connection, and what goes wrong between them."""

    wire: Wire
    reply: Reply
    fault: Fault | None
    amend: Callable[..., None]
    """Changes the call's line on the bill."""
    headers: dict[str, str]
    """What goes beside the body."""

    @property
    def _kind(self) -> Kind | None:
        return self.fault.kind if self.fault else None

    @property
    def _seconds(self) -> float:
        """How long each word takes."""
        slow = self.fault if self._kind == "slow" else None
        return slow.seconds or 0 if slow else 0

    async def run(self) -> None:
        """Deliver the answer as the fault lets it."""
        # Until more is known: the work is done and nothing has arrived.
        self.amend(output_tokens=self.reply.output_tokens)
        if self.fault and self._kind in {"hang", "delay"}:
            await self.wire.pause(self.fault.seconds)
        if self._kind == "reset_after":
            self.wire.reset()
        elif self._kind in _SPOILED:
            await self._spoiled(*_SPOILED[self._kind])
        elif self.reply.request.stream:
            await self._stream()
        else:
            await self._whole()

    async def _spoiled(self, content_type: str, body: bytes) -> None:
        self.amend(status=_OK)
        await self.wire.send(_OK, {**self.headers, "content-type": content_type}, body)

    async def _whole(self) -> None:
        headers = {**self.headers, "content-type": "application/json"}
        body = self.reply.whole(
            with_usage=self._kind != "no_usage", with_finish=self._kind != "no_finish_reason"
        )
        if self._seconds:
            await self.wire.pause(self._seconds * len(self.reply.words))
        if self._kind in STREAM_CUTS:
            self.amend(status=_OK)
            await self.wire.send_truncated(_OK, headers, body)
        else:
            self.amend(status=_OK, delivered=True)
            await self.wire.send(_OK, headers, body)

    async def _stream(self) -> None:
        words = self._words_to_send()
        self.amend(status=_OK, output_tokens=self.reply.output_tokens_after(words))
        self.wire.start(_OK, {**self.headers, "content-type": "text/event-stream"})
        if self._kind != "cut_before_first_token":
            self.wire.put(self.reply.opening())
            await self._send_words(words)
        if self._kind in STREAM_CUTS:
            await self.wire.break_off()
            return
        if self._kind != "no_finish_reason":
            self.amend(output_tokens=self.reply.output_tokens, delivered=True)
            self.wire.put(self._ending())
        await self.wire.finish()

    async def _send_words(self, words: int) -> None:
        chunks = self.reply.word_chunks(with_usage=self._kind == "cumulative_usage")
        sent = itertools.islice(chunks, words)
        if not self._seconds:
            self.wire.put(b"".join(sent))
            return
        for nth, chunk in enumerate(sent):
            self.amend(output_tokens=self.reply.output_tokens_after(nth))
            await self.wire.pause(self._seconds)
            self.wire.put(chunk)

    def _words_to_send(self) -> int:
        every = len(self.reply.words)
        asked = self.fault.after_tokens if self.fault else None
        if self._kind == "cut_before_first_token":
            return 0
        if self._kind == "cut_after_first_token":
            return 1 if asked is None else asked
        if self._kind == "truncated_body":
            return every // 2
        return asked if self._kind == "no_finish_reason" and asked is not None else every

    def _ending(self) -> bytes:
        wanted = self.reply.request.include_usage and self._kind != "no_usage"
        closing = self.reply.closing(with_usage=self._kind == "cumulative_usage")
        return closing + (self.reply.usage_chunk() if wanted else b"") + DONE


SentAnswer: TypeAlias = Answer | str | BaseModel | Mapping[str, Any]
Answering: TypeAlias = Callable[[ChatRequest], SentAnswer | Awaitable[SentAnswer]]
"""Answers a request: with text, with something that is said as JSON, or with a whole `Answer`."""

_TAIL = 4
_CHAT = ("POST", "/v1/chat/completions")
_MODELS = ("GET", "/v1/models")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Service:
    """Answers requests, on any number of connections of one event loop."""

    bill: Bill
    log: RequestLog
    draw: Draw
    """What goes wrong with a request."""
    answer: Answering | None
    """None: answers by rule."""
    keys: Collection[str] | None
    """The keys that are accepted; None: any."""
    models: Collection[str]
    """What /v1/models lists. Any other model is answered as well."""
    aliases: Mapping[str, str]
    """Models that another one answers for."""
    details: UsageDetails

    async def handle(self, wire: Wire, http: HttpRequest) -> None:
        """Answer one request."""
        request_id = self.log.next_id()
        self.log.add(_seen(http, request_id))
        try:
            await self._routed(wire, http, request_id)
        except Refused as error:
            self.log.close(request_id, str(error.refusal.status))
            await self._refuse(wire, request_id, error.refusal)
        except CallerGone:
            self.log.close(request_id, "gone")

    async def _routed(self, wire: Wire, http: HttpRequest, request_id: str) -> None:
        key = self._key(http)
        place = (http.method, http.path)
        if place == _MODELS:
            await self._list_models(wire, request_id)
        elif place == _CHAT:
            request = read_chat(http.body, request_id=request_id, key=key)
            with self.log.working():
                await self._complete(wire, request)
        else:
            raise Refused(Refusal(404, "not_found", f"There is no {http.method} {http.path}."))

    def _key(self, http: HttpRequest) -> str:
        scheme, _, key = http.headers.get("authorization", "").partition(" ")
        key = key.strip()
        if scheme.lower() != "bearer" or not key:
            raise Refused(Refusal(401, "invalid_api_key", "You didn't provide an API key."))
        if self.keys is not None and key not in self.keys:
            raise Refused(Refusal(401, "invalid_api_key", f"Incorrect API key: *{key[-_TAIL:]}."))
        return key

    async def _list_models(self, wire: Wire, request_id: str) -> None:
        models = [
            {"id": model, "object": "model", "owned_by": "simulated"} for model in self.models
        ]
        self.log.close(request_id, "ok")
        headers = {"content-type": "application/json", "x-request-id": request_id}
        await wire.send(200, headers, json.dumps({"object": "list", "data": models}).encode())

    async def _complete(self, wire: Wire, request: ChatRequest) -> None:
        try:
            fault = self.draw(request)
        except Exception as error:
            raise _failed(error) from error
        line = BilledCall(
            request_id=request.request_id,
            key_tail=request.key[-_TAIL:],
            model=self.aliases.get(request.model, request.model),
            fault=fault.kind if fault else None,
            streamed=request.stream,
        )
        refusal = refusal_of(fault) if fault else None
        self.log.close(request.request_id, str(fault.kind) if fault else "ok")
        if refusal:
            self.bill.charge(dataclasses.replace(line, status=refusal.status))
            await self._refuse(wire, request.request_id, refusal)
        elif fault and fault.kind == "reset_before":
            self.bill.charge(line)
            wire.reset()
        else:
            await self._work(wire, request, line, fault)

    async def _work(
        self, wire: Wire, request: ChatRequest, line: BilledCall, fault: Fault | None
    ) -> None:
        made = Reply(
            request=request,
            model=line.model,
            answer=await self._answer(request, fault),
            details=self.details,
        )
        charged = dataclasses.replace(
            line,
            input_tokens=made.input_tokens,
            cache_read_tokens=made.cache_read_tokens,
            reasoning_tokens=made.reasoning_tokens,
        )
        self.bill.charge(charged)
        amend = functools.partial(self.bill.amend, request.request_id)
        headers = {"x-request-id": request.request_id}
        await Delivery(wire, made, fault, amend, headers).run()

    async def _answer(self, request: ChatRequest, fault: Fault | None) -> Answer:
        ask = request.ask
        if ask.max_tokens is not None:
            # Thoughts count against the limit, and may leave nothing for the answer.
            room = max(0, ask.max_tokens - self.details.reasoning_tokens)
            ask = dataclasses.replace(ask, max_tokens=room)
        try:
            sent = self.answer(request) if self.answer else reply(ask)
            answer = _answer_of(await sent if inspect.isawaitable(sent) else sent, ask)
        except Exception as error:
            raise _failed(error) from error
        if fault and fault.kind == "content_filtered":
            half = answer.text[: len(answer.text) // 2]
            return Answer(text=half, finish_reason="content_filter")
        return answer

    async def _refuse(self, wire: Wire, request_id: str, refusal: Refusal) -> None:
        headers = {"content-type": "application/json", "x-request-id": request_id}
        await wire.send(refusal.status, {**headers, **refusal.headers}, refusal.body)


def _failed(error: Exception) -> Refused:
    """A test's own function has a bug: report it to the caller."""
    return Refused(Refusal(500, "internal_error", f"{type(error).__name__}: {error}"))


def _answer_of(sent: SentAnswer, ask: Ask) -> Answer:
    if isinstance(sent, Answer):
        return sent
    if isinstance(sent, BaseModel):
        return limited(sent.model_dump_json(), ask)
    return limited(sent if isinstance(sent, str) else json.dumps(sent, ensure_ascii=False), ask)


def _seen(http: HttpRequest, request_id: str) -> SeenRequest:
    try:
        body = json.loads(http.body)
    except (ValueError, RecursionError):
        body = None
    model = cast("dict[str, Any]", body).get("model") if isinstance(body, dict) else None
    return SeenRequest(
        request_id=request_id,
        at=time.time(),
        method=http.method,
        path=http.path,
        headers={name: value for name, value in http.headers.items() if name != "authorization"},
        body=body,
        model=model if isinstance(model, str) else None,
    )
