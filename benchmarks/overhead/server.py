"""A server of OpenAI's protocol that answers at once, so that only the client's work is measured."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

_TEXT = "Heat pumps move heat from cold air into a warm house, with a third of the power. "


def _chunk(delta: dict[str, Any], reason: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    body = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return b"data: " + json.dumps({**body, "choices": [choice], **more}).encode() + b"\n\n"


_USAGE = {"prompt_tokens": 50, "completion_tokens": 60, "total_tokens": 110}
_MESSAGE = {"role": "assistant", "content": _TEXT * 3}
_CHOICE = {"index": 0, "message": _MESSAGE, "finish_reason": "stop"}
_BODY = json.dumps(
    {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [_CHOICE],
        "usage": _USAGE,
    }
).encode()
WHOLE = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    + f"Content-Length: {len(_BODY)}\r\n\r\n".encode()
    + _BODY
)
_EVENTS = [
    *(_chunk({"content": f"word {number} "}) for number in range(20)),
    _chunk({}, "stop"),
    b"data: " + json.dumps({"choices": [], "model": "m", "usage": _USAGE}).encode() + b"\n\n",
    b"data: [DONE]\n\n",
]
_STREAM = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    + b"".join(b"%x\r\n%s\r\n" % (len(event), event) for event in _EVENTS)
    + b"0\r\n\r\n"
)


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self._received = b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = self._received[:end].lower()
            _, _, length = head.partition(b"content-length:")
            begin = end + 4
            size = int(length.split(b"\r\n", 1)[0]) if length else 0
            if len(self._received) < begin + size:
                return
            body = self._received[begin : begin + size]
            self._received = self._received[begin + size :]
            is_stream = b'"stream":true' in body.replace(b" ", b"")
            self._transport.write(_STREAM if is_stream else WHOLE)


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(_Connection, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    sys.exit(asyncio.run(_serve()))
