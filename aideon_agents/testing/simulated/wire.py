"""One HTTP/1.1 connection: h11 for the protocol, asyncio's streams for the bytes.

To simulate failures, it does what server frameworks hide: it breaks off a body, resets the
connection, and notices at once that the caller has left.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING, Any

import h11

if TYPE_CHECKING:
    from collections.abc import Mapping

_READ = 65536
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER on, zero seconds: closing sends RST instead of FIN."""


class CallerGone(Exception):  # noqa: N818 - reads as what happened
    """The caller closed the connection before the answer was sent."""


class Wire:
    """A connection, and the request that it received last."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, headers: Mapping[str, str]
    ) -> None:
        self.method = self.path = self.query = ""
        self.headers: Mapping[str, str] = {}
        """With lower-case names."""
        self.body = b""
        self._reader = reader
        self._writer = writer
        self._headers = headers
        """Those of every response."""
        self._http = h11.Connection(h11.SERVER)

    async def receive(self) -> bool:
        """Wait for the next request; False: there is none."""
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
        if self._http.our_state is not h11.IDLE:
            return False
        body = bytearray()
        while True:
            event = await self._event()
            if isinstance(event, h11.Request):
                self._begin(event)
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                self.body = bytes(body)
                return True
            else:
                return False

    def _begin(self, head: h11.Request) -> None:
        self.method = head.method.decode("latin-1")
        self.path, _, self.query = head.target.decode("latin-1").partition("?")
        self.headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers
        }
        if self._http.they_are_waiting_for_100_continue:
            self._put(h11.InformationalResponse(status_code=100, headers=[]))

    async def send(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Send a whole response."""
        sized = {**headers, "content-length": str(len(body))}
        self._put(self._head(status, sized), h11.Data(data=body), h11.EndOfMessage())
        await self._drain()

    async def send_truncated(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Announce a body, send half of it, and close the connection."""
        sized = {**headers, "content-length": str(len(body))}
        self._put(self._head(status, sized), h11.Data(data=body[: len(body) // 2]))
        await self.break_off()

    def start(self, status: int, headers: Mapping[str, str]) -> None:
        """Begin a response whose length is not known."""
        self._put(self._head(status, headers))

    def put(self, data: bytes) -> None:
        """Add to the response that was begun."""
        if data:
            self._put(h11.Data(data=data))

    async def finish(self) -> None:
        """End the response that was begun."""
        self._put(h11.EndOfMessage())
        await self._drain()

    async def break_off(self) -> None:
        """Close within a response; what was written still arrives."""
        self._http.send_failed()
        await self._drain()
        self._writer.close()

    def reset(self) -> None:
        """Reset the connection: the caller gets RST."""
        self._http.send_failed()
        connection: Any = self._writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._writer.transport.abort()

    async def pause(self, seconds: float | None) -> None:
        """Wait; a caller who leaves ends the wait."""
        await self._drain()
        try:
            async with asyncio.timeout(seconds):
                while data := await self._read():
                    self._http.receive_data(data)
        except TimeoutError:
            return
        raise CallerGone

    def drop(self) -> None:
        """Close at once."""
        self._writer.transport.abort()

    async def _event(self) -> Any:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(await self._read())
        return event

    async def _read(self) -> bytes:
        try:
            return await self._reader.read(_READ)
        except ConnectionError as error:
            raise CallerGone from error

    async def _drain(self) -> None:
        try:
            await self._writer.drain()
        except ConnectionError as error:
            raise CallerGone from error

    def _put(self, *events: Any) -> None:
        self._writer.write(b"".join(self._http.send(event) or b"" for event in events))

    def _head(self, status: int, headers: Mapping[str, str]) -> h11.Response:
        return h11.Response(status_code=status, headers=[*headers.items(), *self._headers.items()])
