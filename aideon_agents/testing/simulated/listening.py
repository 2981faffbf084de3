"""A server on the loopback interface, in its own thread."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_BACKLOG = 1024


class Listener:
    """Hands over every connection to its port, until it is closed."""

    def __init__(
        self,
        connected: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
        port: int,
    ) -> None:
        self.port = port
        """The port on which it listens; 0 before the start if any port may be used."""
        self._connected = connected
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing = asyncio.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to listen; OSError: the port is taken; RuntimeError: it was started before."""
        if self._thread is not None:
            raise RuntimeError("this provider was started before; make another one")
        listening: Future[int] = Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(listening)),
            name="simulated-provider",
            daemon=True,
        )
        self._thread.start()
        self.port = listening.result()

    def close(self) -> None:
        """Stop listening. Closing twice is harmless."""
        if self._loop is not None and self._thread is not None and self._thread.is_alive():
            # The loop may end between the check and the call.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._closing.set)
            self._thread.join()

    async def _serve(self, listening: Future[int]) -> None:
        self._loop = asyncio.get_running_loop()
        try:
            server = await asyncio.start_server(
                self._connected, "127.0.0.1", self.port, backlog=_BACKLOG
            )
        except OSError as error:
            listening.set_exception(error)
            return
        listening.set_result(server.sockets[0].getsockname()[1])
        await self._closing.wait()
        # Returning ends the loop, which cancels every connection that is still open.
        server.close()
