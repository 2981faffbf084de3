"""HTTP for every chat model: one session for each event loop, with limits on what is read.

A connection belongs to the event loop that opened it, so each running loop has a session of its own.
It is closed with its loop. Redirects are never followed: they would send the prompt and the key to an
address that the user did not choose. Cookies are not kept.

A proxy is looked up once per origin and loop, from the usual environment variables. aiohttp's own
lookup takes a thread per request.
"""

from __future__ import annotations

import asyncio
import codecs
import functools
import socket
import weakref
import zlib
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

import aiohttp
import aiohttp.abc
from yarl import URL

from aideon_agents import errors
from aideon_agents.ledger.redaction import one_line
from aideon_agents.models.bridge import in_own_thread
from aideon_agents.models.protocol.ways import (
    WANTS_PASSWORD,
    behind_proxy,
    is_loopback,
    proxy_for,
    refused_by_proxy,
    tls_context,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping

    from aiohttp.abc import AbstractStreamWriter

LONGEST_BODY = 64 * 2**20
"""Bytes of one answer, after decompression."""

LONGEST_EVENT = 16 * 2**20
"""Bytes of one server-sent event."""

LONGEST_ERROR = 2**16
"""Bytes that are read of the body of an error."""

_CONNECT_SECONDS = 10.0
_KEPT_OPEN = 4.0
"""Seconds that an unused connection is kept. Servers close theirs after 5, and lose what is sent then."""
_BUFFER = 2**16
"""Bytes that are read ahead; a cancellation waits until they are processed."""
_PART = 2**20
"""Bytes that are decompressed at once."""
_MOST_SHOWN = 200

SIMULATED = "X-Aideon-Simulated"
"""The header in which a simulated provider says that it is one."""

watchers: list[Callable[[str], None]] = []
"""Called with the host before each request. A test's plugin refuses real providers here."""


class _Body(aiohttp.Payload):
    """The bytes of a request, which knows whether they were handed to the network."""

    def __init__(self, content: bytes, sending: dict[str, bool] | None) -> None:
        super().__init__(content, content_type="application/json")
        self._content = content
        self._size = len(content)
        self.is_sent = False
        self._sending = {} if sending is None else sending
        self._transport: asyncio.WriteTransport | None = None

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return self._content.decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        await self.write_with_length(writer, None)

    async def write_with_length(
        self,
        writer: AbstractStreamWriter,
        content_length: int | None,  # noqa: ARG002 - it is ours
    ) -> None:
        if not self._sending.setdefault("sent", True):
            raise aiohttp.ClientError("its end was recorded before it was sent")
        self.is_sent = True
        self._transport = getattr(writer, "transport", None)
        await writer.write(self._content)

    def broken_off(self, error: Exception, asked: str) -> BaseException:
        """The error for a request that failed: a cancellation if its end was recorded before."""
        if self._sending.get("sent") is False:
            return asyncio.CancelledError("its run has ended")
        return broken_off(error, asked, is_sent=self.is_sent)

    def met_simulated(self, answer: Mapping[str, str]) -> bool:
        """Whether the headers of its answer are those of a simulated provider on this machine."""
        if SIMULATED not in answer or self._transport is None:
            return False
        there = self._transport.get_extra_info("peername")
        return isinstance(there, tuple) and is_loopback(str(cast("Any", there)[0]))

    def abort(self) -> None:
        """Break the connection off: closing it would wait until all that is left was sent."""
        if self._transport is not None:
            self._transport.abort()


class Answer:
    """A provider's answer: its status and headers, and its body, which is read within limits."""

    def __init__(self, response: aiohttp.ClientResponse, asked: str) -> None:
        self._response = response
        self._asked = asked
        encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in {*_COMPRESSED, "identity", ""}:
            response.close()
            raise errors.Transient(f"{asked} sent a body in the encoding {encoding[:20]!r}")
        # With 32, a header says whether it is gzip or zlib.
        made = encoding in _COMPRESSED and zlib.decompressobj(zlib.MAX_WBITS | 32)
        self._decoder = made or None
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self.event = self._name = (
            b""  # the name of the event that `events` gave last, and of the next
        )
        self.is_simulated = False
        """Whether a simulated provider on this machine gave it."""

    def close(self) -> None:
        """End the exchange. The connection is used again if the body was read to its end."""
        self._response.release()

    def end_at(self, seconds: float) -> asyncio.TimerHandle:
        """Let reading fail with TimeoutError after so many seconds, even while data keeps coming."""
        loop = asyncio.get_running_loop()
        return loop.call_later(seconds, self._response.content.set_exception, TimeoutError())

    async def read(self, most: int) -> bytes:
        """The whole body; Transient: it is longer than `most` bytes."""
        parts, size = list[bytes](), 0
        async for part in self.parts():
            size += len(part)
            parts.append(part)
            if size > most:
                self._response.close()
                raise errors.Transient(f"{self._asked} sent more than {most // 2**20} MB")
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def read_start(self, most: int) -> bytes:
        """The first `most` bytes of the body; whatever is wrong with it, no error is raised."""
        start = b""
        try:
            async for part in self.parts():
                start += part
                if len(start) > most:
                    self._response.close()
                    break
        except (errors.Transient, aiohttp.ClientError, OSError):
            pass
        return start[:most]

    async def parts(self) -> AsyncIterator[bytes]:
        """The body as it comes, decompressed in parts of a limited size."""
        content = self._response.content
        while data := await content.readany():
            if self._decoder is None:
                yield data
                continue
            while data:
                try:
                    part = self._decoder.decompress(data, _PART)
                except zlib.error as error:
                    raise errors.Transient(
                        f"{self._asked} sent a body that cannot be decompressed ({error})"
                    ) from None
                data = self._decoder.unconsumed_tail
                if part:
                    yield part

    async def events(self) -> AsyncIterator[bytes]:
        """The data of each server-sent event, until the body ends."""
        buffer, data = b"", list[bytes]()
        is_first, size = True, 0
        async for part in self.parts():
            buffer += part
            size += len(part)
            if size > LONGEST_EVENT:
                self._response.close()
                most = LONGEST_EVENT // 2**20
                raise errors.Transient(f"{self._asked} sent an event of more than {most} MB")
            # A line may end with \r\n, and its \n may come later.
            end = max(buffer.rfind(b"\n"), buffer.rfind(b"\r", 0, len(buffer) - 1)) + 1
            lines, buffer = buffer[:end].splitlines(), buffer[end:]
            if is_first and lines:
                lines[0] = lines[0].removeprefix(codecs.BOM_UTF8)
                is_first = False
            for event in self._events_in(lines, data):
                yield event
                size = len(buffer)
            if len(part) > _BUFFER // 4:
                await asyncio.sleep(0)  # a cancellation is delivered here
        for event in self._events_in([*buffer.splitlines(), b""], data):
            yield event  # a server that closes without the last empty line

    def _events_in(self, lines: list[bytes], data: list[bytes]) -> Iterator[bytes]:
        """The events that end in some lines; `data` holds the one that continues after them."""
        for line in lines:
            if line.startswith(b"data:"):
                data.append(line[5:].removeprefix(b" "))
            elif line.startswith(b"event:"):
                self._name = line[6:].strip()
            elif line.startswith(b"error:"):  # older versions of llama.cpp
                data.append(b'{"error":' + line[6:] + b"}")
            elif not line and data:
                self.event, self._name = self._name, b""
                yield b"\n".join(data)
                data.clear()


_COMPRESSED = frozenset({"gzip", "x-gzip", "deflate"})


async def post(
    url: URL,
    content: bytes | None,
    headers: Mapping[str, str],
    asked: str,
    sending: dict[str, bool] | None = None,
    *,
    method: str | None = None,
) -> Answer:
    """Send a request, a GET if it has no content; `sending` is that of `tags.SENDING`.

    Returns at the head of the answer. Raises Transient if there is none. What was raised before the
    request was sent, a cancellation or a time limit too, gets the attribute `billed` with the value False.
    """
    for watch in watchers:
        watch(url.host or "")
    body = _Body(content or b"", sending)
    method = method or ("GET" if content is None else "POST")
    try:
        connections = await _connections()
        way = connections.ways.get((url.scheme, url.authority))
        if way is None:
            way = connections.way_to(url)
        response = await connections.session.request(
            method, url, data=content and body, headers=headers, allow_redirects=False, **way
        )
    except aiohttp.ClientHttpProxyError as error:
        raise refused_by_proxy(error.status, url, asked) from error
    except aiohttp.ClientError as error:
        raise body.broken_off(error, behind_proxy(error, asked, url)) from error
    except errors.UserError as error:
        error.billed = False  # type: ignore[attr-defined] # as below
        raise
    except (asyncio.CancelledError, TimeoutError) as stopped:
        if isinstance(stopped, aiohttp.ServerTimeoutError):
            raise broken_off(stopped, asked, is_sent=body.is_sent) from stopped
        body.abort()
        if not body.is_sent:
            stopped.billed = False  # type: ignore[union-attr] # the row of the call says so
        raise
    if response.status == WANTS_PASSWORD and "proxy" in way:
        response.close()
        raise refused_by_proxy(response.status, url, asked)
    answer = Answer(response, asked)
    # Elsewhere, or through a proxy, it could be a provider that charges.
    answer.is_simulated = "proxy" not in way and body.met_simulated(response.headers)
    return answer


async def get(address: str, headers: Mapping[str, str], seconds: float) -> bytes:
    """The body at an address, within a time; a redirect, like any status but 200, is an error."""
    url = URL(address)
    for watch in watchers:
        watch(url.host or "")
    try:
        async with asyncio.timeout(seconds):
            connections = await _connections()
            response = await connections.session.get(
                url, headers=headers, allow_redirects=False, **connections.way_to(url)
            )
            answer = Answer(response, "it")
            try:
                if answer.status != HTTPStatus.OK:
                    where = response.headers.get("Location", "").partition("?")[0]
                    to = f", a redirect to {where}, which is not followed" if where else ""
                    status = answer.status
                    raise errors.Transient(one_line(f"it answered {status}{to}"), status=status)
                return await answer.read(LONGEST_BODY)
            finally:
                answer.close()
    except TimeoutError as error:
        raise errors.Transient(f"it gave no answer within {seconds:.0f} s") from error
    except aiohttp.ClientError as error:
        raise broken_off(error, "it", is_sent=False) from error


def broken_off(error: Exception, asked: str, *, is_sent: bool = True) -> errors.Transient:
    """The error for a connection that could not be made, or was lost."""
    if isinstance(error, aiohttp.ClientConnectorError) and error.os_error:
        why = str(error.os_error.strerror or error.os_error)
    elif isinstance(error, aiohttp.ClientPayloadError) and "not completed" in str(error):
        why = "the end of the answer is missing"
    else:
        why = str(error)
    why = one_line(why or type(error).__name__)[:_MOST_SHOWN]
    what = "broke the connection off" if is_sent else "cannot be reached"
    return errors.Transient(
        f"{asked} {what} ({why})",
        billed=None if is_sent else False,
        timed_out=isinstance(error, TimeoutError),
    )


class _Resolver(aiohttp.abc.AbstractResolver):
    """Looks a host up in a thread of its own: asyncio waits for its threads when a loop ends."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[aiohttp.abc.ResolveResult]:
        find = functools.partial(
            socket.getaddrinfo,
            host,
            port,
            family=family,
            type=socket.SOCK_STREAM,
            flags=socket.AI_ADDRCONFIG,
        )
        return [
            {
                "hostname": host,
                "host": str(address[0]),
                "port": int(address[1]),
                "family": of_family,
                "proto": protocol,
                "flags": socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            }
            for of_family, _, protocol, _, address in await in_own_thread(find)
        ]

    async def close(self) -> None:
        """Nothing is kept open."""


class _Connections:
    """The session of one event loop, and the proxy of each origin."""

    def __init__(self) -> None:
        connector = aiohttp.TCPConnector(
            limit=0, keepalive_timeout=_KEPT_OPEN, resolver=_Resolver()
        )
        self.session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            read_bufsize=_BUFFER,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS),
        )
        self.ways: dict[tuple[str, str], dict[str, Any]] = {}

    def way_to(self, url: URL) -> dict[str, Any]:
        """Aiohttp's arguments for the origin of an address: its proxy and its TLS settings, if any."""
        secure = {"ssl": tls_context()} if url.scheme == "https" else {}
        way = self.ways[url.scheme, url.authority] = {**proxy_for(url.origin()), **secure}
        return way


_by_loop: weakref.WeakKeyDictionary[
    asyncio.AbstractEventLoop, tuple[_Connections, AsyncGenerator[None]]
] = weakref.WeakKeyDictionary()


async def _connections() -> _Connections:
    loop = asyncio.get_running_loop()
    known = _by_loop.get(loop)
    if known is None:
        made = _Connections()
        closer = _close_with_loop(loop, made)
        known = _by_loop[loop] = made, closer
        await anext(closer)
    return known[0]


async def _close_with_loop(
    loop: asyncio.AbstractEventLoop, connections: _Connections
) -> AsyncGenerator[None]:
    """Wait in a generator, because `asyncio.run` closes generators before it closes the loop."""
    try:
        yield
    finally:
        del _by_loop[loop]  # the session refers to its loop: the entry would keep both alive
        await connections.session.close()
