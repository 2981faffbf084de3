"""An OpenAI-compatible provider on the loopback interface, in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING

import h11

from aideon_agents.testing.simulated.bill import Bill, Rate, RequestLog, SeenRequest
from aideon_agents.testing.simulated.faults import Plan, Refusal, draw
from aideon_agents.testing.simulated.reply import UsageDetails
from aideon_agents.testing.simulated.service import Answering, Service
from aideon_agents.testing.simulated.wire import CallerGone, Wire

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from typing import Self


_BACKLOG = 1024
_NOT_HTTP = Refusal(400, "invalid_request", "This is not an HTTP/1.1 request.")


class SimulatedProvider:
    """Serves `/v1/chat/completions` and `/v1/models` over real HTTP.

    Answers are worked out by rule from the last user message, valid for the schema or the tools
    that are asked for; tokens are counted by `aideon_agents.models.answers.estimate_tokens`: UTF-8
    bytes divided by four, rounded up for each text. Use it as a context manager, synchronous or
    not, or call `start` and `close`.

    Args:
        faults: What goes wrong and when: a fault for every request, one entry per request, a
            mapping from model to either, a function, or `RandomFaults`.
        answer: Answers instead of the rules; a plain function must not block, a coroutine
            function may wait. An exception in it is answered with status 500.
        keys: The keys that are accepted; None accepts any that is not blank.
        models: What `/v1/models` lists; any other model is answered as well.
        aliases: Models that are redirected, and to which.
        rates: What models cost, for a bill in money.
        details: Cached and reasoning tokens to report.
        port: 0 takes a free one.
    """

    def __init__(
        self,
        *,
        faults: Plan = (),
        answer: Answering | None = None,
        keys: Collection[str] | None = None,
        models: Collection[str] = ("simulated",),
        aliases: Mapping[str, str] | None = None,
        rates: Mapping[str, Rate] | None = None,
        details: UsageDetails | None = None,
        port: int = 0,
    ) -> None:
        self.bill = Bill(rates)
        """What this provider would charge."""
        self._log = RequestLog()
        self._service = Service(
            bill=self.bill,
            log=self._log,
            draw=draw(faults),
            answer=answer,
            keys=keys,
            models=models,
            aliases=aliases or {},
            details=details or UsageDetails(),
        )
        self._port = port
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing = asyncio.Event()
        self._thread: threading.Thread | None = None

    @property
    def base_url(self) -> str:
        """Where clients find it, `/v1` included."""
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def port(self) -> int:
        """The port it listens on, 0 before the start when any would do."""
        return self._port

    @property
    def requests(self) -> list[SeenRequest]:
        """Everything it was sent, refused requests included."""
        return self._log.requests

    @property
    def in_flight(self) -> int:
        """Chat requests it works on right now."""
        return self._log.in_flight

    @property
    def max_in_flight(self) -> int:
        """The most chat requests it ever had at once."""
        return self._log.max_in_flight

    def start(self) -> Self:
        """Begin to serve.

        Returns:
            This provider, listening.

        Raises:
            OSError: The port is taken.
            RuntimeError: It was started before.
        """
        if self._thread is not None:
            raise RuntimeError("this provider was started before; make another one")
        listening: Future[int] = Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(listening)),
            name="simulated-provider",
            daemon=True,
        )
        self._thread.start()
        self._port = listening.result()
        return self

    def close(self) -> None:
        """Stop serving; requests that hang are dropped. Closing twice is harmless."""
        if self._loop is not None and self._thread is not None and self._thread.is_alive():
            # The loop may end between the question and the call.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._closing.set)
            self._thread.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self.start()

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.close)

    async def _serve(self, listening: Future[int]) -> None:
        self._loop = asyncio.get_running_loop()
        try:
            server = await asyncio.start_server(
                self._connected, "127.0.0.1", self._port, backlog=_BACKLOG
            )
        except OSError as error:
            listening.set_exception(error)
            return
        listening.set_result(server.sockets[0].getsockname()[1])
        await self._closing.wait()
        # Returning ends the loop, which cancels every connection that is still open.
        server.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = Wire(reader, writer)
        try:
            while (http := await wire.request()) is not None:
                await self._service.handle(wire, http)
        except h11.RemoteProtocolError:
            with contextlib.suppress(CallerGone, h11.LocalProtocolError):
                await wire.send(_NOT_HTTP.status, {"connection": "close"}, _NOT_HTTP.body)
        except CallerGone:
            pass
        except asyncio.CancelledError:
            # Only closing cancels. Python 3.11's streams log a connection that ends cancelled.
            wire.drop()
        finally:
            writer.close()
