"""What servers send, as chat completions."""

from __future__ import annotations

import json
from typing import Any

STREAM = "text/event-stream"
USAGE = {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}


def whole(message: dict[str, Any], finish: str | None = "stop", **beside: Any) -> dict[str, Any]:
    """A body of chat completions."""
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    known = {"id": "x", "object": "chat.completion", "model": "m", "usage": USAGE}
    return {**known, "choices": [choice], **beside}


def chunk(delta: Any, finish: str | None = None, **beside: Any) -> dict[str, Any]:
    """One chunk of a stream."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    known = {"id": "x", "object": "chat.completion.chunk", "model": "m"}
    return {**known, "choices": [choice], **beside}


def events(*chunks: Any, done: bool = True) -> bytes:
    """A stream of chunks, as server-sent events."""
    lines = [f"data: {json.dumps(one)}\n\n" for one in chunks]
    return "".join([*lines, "data: [DONE]\n\n" if done else ""]).encode()
