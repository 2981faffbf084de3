"""An OpenAI-compatible provider on the loopback interface, in its own thread.

A request is checked, worked on, charged, and answered as its fault lets it.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import inspect
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import h11
from pydantic import BaseModel

from aideon_agents.models.answers import Answer, Ask, limited, reply
from aideon_agents.testing.simulated.batches import BatchPlan, BatchRoutes
from aideon_agents.testing.simulated.bill import (
    Bill,
    BilledCall,
    Rate,
    RequestLog,
    SeenRequest,
    seen_of,
)
from aideon_agents.testing.simulated.clock import Clock
from aideon_agents.testing.simulated.dialects import DialectName, dialect_of
from aideon_agents.testing.simulated.dialects.dialect import TOO_LONG, Dialect, Refused
from aideon_agents.testing.simulated.faults import Delivery, Fault, Plan, draw, refusal_of
from aideon_agents.testing.simulated.listening import Listener
from aideon_agents.testing.simulated.protocol import ChatRequest, Reply, UsageDetails, read_chat
from aideon_agents.testing.simulated.wire import CallerGone, Wire

if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Self

    from aideon_agents.testing.simulated.media.kept import MediaPlan
    from aideon_agents.testing.simulated.media.routes import MediaRoutes


SentAnswer: TypeAlias = Answer | str | BaseModel | Mapping[str, Any]
Answering: TypeAlias = Callable[[ChatRequest], SentAnswer | Awaitable[SentAnswer]]
"""Answers a request: with text, with something that is sent as JSON, or with a whole `Answer`."""

SIMULATED = "x-aideon-simulated"
"""The header that announces a simulated provider; `models.transport` reads it."""

_OK = 200
_WITHIN_STREAMS = frozenset({TOO_LONG, 500})
"""Refusals that come when the answer has begun, where a server begins it early."""
_CHAT = frozenset({"/v1/models", "/v1/chat/completions"})
_TAIL = 4


class SimulatedProvider:
    """Serves `/v1/chat/completions`, `/v1/models` and the addresses of media over real HTTP.

    Answers are made by rule from the last user message, valid for the schema or the tools of the
    request. Tokens are counted by `aideon_agents.models.answers.estimate_tokens`: UTF-8 bytes
    divided by four, rounded up for each text. Use it as a context manager, synchronous or
    asynchronous, or call `start` and `close`.

    Args:
        faults: What goes wrong and when: a fault for every request, one entry per request, a
            mapping from model to either, a function, or `RandomFaults`.
        answer: Answers instead of the rules; a plain function must not block, a coroutine
            function may wait. An exception in it is answered with status 500.
        keys: The keys that are accepted; None accepts any that is not blank.
        models: What `/v1/models` lists; any other model is answered as well.
        aliases: Models that are redirected, and to which.
        blind: Models that take no pictures. Others read PNG, JPEG, GIF and WebP, as this server does,
            and answers by rule name their kind and size.
        rates: What models cost, for a bill in money.
        details: Cached and reasoning tokens to report.
        dialect: What this server accepts and sends: a `Dialect`, or the name of a real server
            (together, openai, huggingface, llama-cpp-python, llama-server, ollama, vllm, lmstudio,
            tgi). None: the plain protocol.
        announce: Say in a header of every answer that this is a simulated provider. The costs of
            its calls then count in their own runs and batches, but in no report, and in no budget
            of a day, a month or a user. False: answer as a real provider, to test these.
        port: 0 takes a free one.
        batches: How long batches take, what they save, and what goes wrong with them.
        media: How long jobs and links last, and what is listed, for the addresses of media.
        clock: The time, for what takes hours at a provider; None: real time.
    """

    def __init__(
        self,
        *,
        faults: Plan = (),
        answer: Answering | None = None,
        keys: Collection[str] | None = None,
        models: Collection[str] = ("simulated",),
        aliases: Mapping[str, str] | None = None,
        blind: Collection[str] = (),
        rates: Mapping[str, Rate] | None = None,
        details: UsageDetails | None = None,
        dialect: Dialect | DialectName | None = None,
        announce: bool = True,
        port: int = 0,
        batches: BatchPlan | None = None,
        media: MediaPlan | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.bill = Bill(rates)
        """What this provider would charge."""
        self.clock = clock or Clock()
        """Its time, which a test moves on."""
        self._plan = media
        self._log = RequestLog()
        self._draw = draw(faults)
        self._answering = answer
        self._keys = keys
        self._models = models
        self._aliases = aliases or {}
        self._blind = blind
        self._details = details or UsageDetails()
        self._dialect = dialect_of(dialect)
        self._announced = {SIMULATED: "1"} if announce else {}
        self._turn = asyncio.Lock()
        self._waiting = 0
        self.batches = BatchRoutes(batches or BatchPlan(), self.clock, self._line, self.bill.charge)
        self._listener = Listener(self._connected, port)

    @property
    def base_url(self) -> str:
        """The address for clients, `/v1` included."""
        return f"http://127.0.0.1:{self._listener.port}/v1"

    @property
    def port(self) -> int:
        """The port on which it listens; 0 before the start if any port may be used."""
        return self._listener.port

    @property
    def requests(self) -> list[SeenRequest]:
        """Every request that it received, refused ones included."""
        return self._log.requests

    @property
    def in_flight(self) -> int:
        """The number of chat requests in progress."""
        return self._log.in_flight

    @property
    def max_in_flight(self) -> int:
        """The highest number of chat requests in progress at once."""
        return self._log.max_in_flight

    def start(self) -> Self:
        """Begin to serve.

        Returns:
            This provider, listening.

        Raises:
            OSError: The port is taken.
            RuntimeError: It was started before.
        """
        self._listener.start()
        return self

    def close(self) -> None:
        """Stop serving; requests that hang are dropped. Closing twice is harmless."""
        self._listener.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self.start()

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.close)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = Wire(reader, writer, self._announced)
        try:
            while await wire.receive():
                await self._handle(wire)
        except h11.RemoteProtocolError:
            refused = self._dialect.invalid("This is not an HTTP/1.1 request.")
            with contextlib.suppress(CallerGone, h11.LocalProtocolError):
                await wire.send(400, {"connection": "close"}, self._dialect.body(refused))
        except CallerGone:
            pass
        except asyncio.CancelledError:
            # Only closing cancels. Python 3.11's streams log a connection that ends cancelled.
            wire.drop()
        finally:
            writer.close()

    async def _handle(self, wire: Wire) -> None:
        """Answer one request."""
        request_id = self._log.next_id()
        seen = seen_of(wire, request_id)
        self._log.add(seen)
        try:
            await self._route(wire, seen)
        except Refused as refused:
            self._log.close(request_id, str(refused.status))
            await self._refuse(wire, request_id, refused)
        except CallerGone:
            self._log.close(request_id, "gone")

    @functools.cached_property
    def _media(self) -> MediaRoutes:
        # Imported when it is first asked for: who asks for chats alone need not wait for it.
        from aideon_agents.testing.simulated.media.routes import MediaRoutes  # noqa: PLC0415

        return MediaRoutes(
            self._plan,
            self.clock,
            draw=self._draw,
            bill=self.bill,
            log=self._log,
            dialect=self._dialect,
            keys=self._keys,
        )

    async def _route(self, wire: Wire, seen: SeenRequest) -> None:
        if wire.path not in _CHAT and await self._media.serve(wire, seen.request_id):
            return
        is_upload = wire.path.startswith("/uploads/")
        key, request_id = "" if is_upload else self._key(wire), seen.request_id
        match wire.method, wire.path:
            case "GET", "/v1/models":
                self._log.close(request_id, "ok")
                entry = {"object": "model", "owned_by": "simulated"}
                models = [{"id": model, **entry} for model in self._models]
                body = json.dumps({"object": "list", "data": models}).encode()
                await wire.send(200, self._json_headers(request_id), body)
            case "POST", "/v1/chat/completions":
                known = {"request_id": request_id, "key": key, "blind": self._blind}
                request = read_chat(seen.body, self._dialect, **cast("Any", known))
                async with self._its_turn():
                    with self._log.working():
                        await self._complete(wire, request)
            case method, path:
                known = await self.batches.route(wire, key)
                if known is None:
                    raise Refused(404, "not_found", f"There is no {method} {path}.")
                self._log.close(request_id, "ok")
                headers = {**self._json_headers(request_id), **known.headers}
                await wire.send(known.status, headers, known.body)

    def _key(self, wire: Wire) -> str:
        scheme, _, key = wire.headers.get("authorization", "").partition(" ")
        key = key.strip()
        worded = self._dialect.worded(401, "", "")
        if self._keys is not None and key and key not in self._keys:
            usual = f"Incorrect API key: *{key[-_TAIL:]}."
            raise worded or Refused(401, "invalid_api_key", usual)
        is_given = scheme.lower() == "bearer" and key
        if not is_given and (self._dialect.needs_key or self._keys is not None):
            raise worded or Refused(401, "invalid_api_key", "You didn't provide an API key.")
        return key

    @contextlib.asynccontextmanager
    async def _its_turn(self) -> AsyncGenerator[None]:
        """Wait until the request may be worked on."""
        if not self._dialect.one_at_a_time:
            yield
            return
        self._waiting += 1
        try:
            await self._turn.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._turn.release()

    async def _complete(self, wire: Wire, request: ChatRequest) -> None:
        try:
            fault = self._draw(request)
        except Exception as error:
            raise _failed(error) from error
        call = BilledCall(
            request_id=request.request_id,
            key_tail=request.key[-_TAIL:],
            model=self._aliases.get(request.model, request.model),
            fault=fault.kind if fault else None,
            streamed=request.stream,
        )
        refused = refusal_of(fault, self._dialect, request.model) if fault else None
        self._log.close(request.request_id, str(fault.kind) if fault else "ok")
        if refused:
            in_stream = request.stream and fault and fault.kind in _WITHIN_STREAMS
            event = self._dialect.event(refused) if in_stream else None
            status = refused.status if event is None else _OK
            self.bill.charge(dataclasses.replace(call, status=status))
            if event is None:
                await self._refuse(wire, request.request_id, refused)
            else:
                headers = {**self._dialect.headers, "content-type": "text/event-stream"}
                await wire.send(_OK, headers, event)
        elif fault and fault.kind == "reset_before":
            self.bill.charge(call)
            wire.reset()
        else:
            await self._work(wire, request, call, fault)

    async def _work(
        self, wire: Wire, request: ChatRequest, call: BilledCall, fault: Fault | None
    ) -> None:
        made = await self._reply(request, fault)
        charged = dataclasses.replace(
            call,
            input_tokens=made.input_tokens,
            cache_read_tokens=made.cache_read_tokens,
            reasoning_tokens=made.reasoning_tokens,
        )
        self.bill.charge(charged)
        amend = functools.partial(self.bill.amend, request.request_id)
        headers = {"x-request-id": request.request_id, **self._dialect.headers}
        delivery = Delivery(wire, made, fault, amend, headers, lambda: bool(self._waiting))
        await delivery.run()

    async def _line(self, body: object, request_id: str, key: str) -> Reply:
        """The answer to a line of a batch."""
        known: Any = {"request_id": request_id, "key": key, "blind": self._blind}
        return await self._reply(read_chat(body, self._dialect, **known), None)

    async def _reply(self, request: ChatRequest, fault: Fault | None) -> Reply:
        return Reply(
            request=request,
            model=self._aliases.get(request.model, request.model),
            answer=await self._answer(request, fault),
            details=self._details,
            dialect=self._dialect,
        )

    async def _answer(self, request: ChatRequest, fault: Fault | None) -> Answer:
        ask = request.ask
        if ask.max_tokens is not None:
            # Reasoning counts against the limit, and may leave no tokens for the answer.
            room = max(0, ask.max_tokens - self._details.reasoning_tokens)
            ask = dataclasses.replace(ask, max_tokens=room)
        try:
            sent = self._answering(request) if self._answering else reply(ask)
            answer = _answer_of(await sent if inspect.isawaitable(sent) else sent, ask)
        except Exception as error:
            raise _failed(error) from error
        if fault and fault.kind == "content_filtered":
            half = answer.text[: len(answer.text) // 2]
            return Answer(text=half, finish_reason="content_filter")
        return answer

    async def _refuse(self, wire: Wire, request_id: str, refused: Refused) -> None:
        body = self._dialect.body(refused)
        headers = {**self._json_headers(request_id), **refused.headers}
        if not body.startswith(b"{"):
            headers["content-type"] = "text/plain; charset=utf-8"
        await wire.send(refused.status, headers, body)

    def _json_headers(self, request_id: str) -> dict[str, str]:
        json_type = {"content-type": "application/json", "x-request-id": request_id}
        return {**json_type, **self._dialect.headers}


def _failed(error: Exception) -> Refused:
    """A function of the test raised an error: report it to the caller."""
    return Refused(500, "internal_error", f"{type(error).__name__}: {error}")


def _answer_of(sent: SentAnswer, ask: Ask) -> Answer:
    if isinstance(sent, Answer):
        return sent
    if isinstance(sent, BaseModel):
        return limited(sent.model_dump_json(), ask)
    return limited(sent if isinstance(sent, str) else json.dumps(sent, ensure_ascii=False), ask)
