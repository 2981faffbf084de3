"""Tokens to a browser: `astream` in an ASGI app, as server-sent events.

In FastAPI, return `StreamingResponse(events(task), media_type="text/event-stream")`.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx

from aideon_agents import NodeEnded, RunEnded, Token, astream, creative, executor, sequential

graph = sequential(executor("facts"), creative("draft"))


async def events(task: str) -> AsyncIterator[bytes]:
    """Each token, what each node cost, and how it ended."""
    async for event in astream(graph, task, rehearse=True):
        if isinstance(event, Token):
            yield f"data: {json.dumps({'token': event.text})}\n\n".encode()
        elif isinstance(event, NodeEnded):
            yield f"data: {json.dumps({event.node_path: str(event.cost.usd)})}\n\n".encode()
        elif isinstance(event, RunEnded):
            yield f"event: end\ndata: {event.result.status}\n\n".encode()


async def app(scope: dict[str, Any], _receive: Any, send: Any) -> None:
    """Serve it with any ASGI server, for example `uvicorn`."""
    head = {"status": 200, "headers": [(b"content-type", b"text/event-stream")]}
    await send({"type": "http.response.start", **head})
    async for event in events(scope["query_string"].decode()):
        await send({"type": "http.response.body", "body": event, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


browser = httpx.AsyncClient(transport=httpx.ASGITransport(app))
print(asyncio.run(browser.get("http://app/?Heat-pumps-move-heat.")).text)
