"""`/v1/chat/completions`."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Response
from fastapi.responses import JSONResponse

from aideon_agents.api import doors
from aideon_agents.api.openai import shapes
from aideon_agents.api.openai.answering import Answer, Door
from aideon_agents.errors import RunError
from aideon_agents.ledger.identity import now

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from aideon_agents.api.openai.answering import Pieces
    from aideon_agents.api.problems import Problem

router = APIRouter(route_class=shapes.Route)

Open = Annotated[Door, Depends()]


@router.post("/chat/completions")
async def complete(body: shapes.Asked, door: Open) -> Response:
    """Answer a conversation, by a workflow or a model."""
    return await answer(door, body, Completion)


async def answer(door: Door, body: shapes.Asked, form: type[Completion]) -> Response:
    """Answer a request, whole or as a stream, in the form of an API."""
    run_id, source = await door.answered(body)
    made, heads = form(body, run_id), {"X-Aideon-Run": run_id}
    if body.stream:
        begun = await doors.begun(door.request, source)
        return doors.events(made.lines(begun), heads, made.failed)
    done = await doors.unless_gone(door.request, _whole(source))
    return JSONResponse(made.document(done) | {"aideon": done.about}, headers=heads)


async def _whole(source: Pieces) -> Answer:
    async with contextlib.aclosing(source):
        async for piece in source:
            if isinstance(piece, Answer):
                return piece
    raise RunError("the answer has no end")


class Completion:
    """A chat completion."""

    def __init__(self, body: shapes.Asked, run_id: str) -> None:
        self.body = body
        self.run_id = run_id
        self.created = int(now().timestamp())

    def document(self, done: Answer) -> dict[str, Any]:
        """The whole completion."""
        message = {"role": "assistant", "content": done.text or None, **_tool_calls(done)}
        choice = self._choice(done.finish_reason, message=message)
        return self._shown([choice], usage=_usage(done))

    async def lines(self, source: Pieces) -> AsyncGenerator[str]:
        """The completion as chunks. Its usage is in one of its own where that was asked for."""
        yield self._chunk({"role": "assistant", "content": ""})
        async for piece in source:
            if isinstance(piece, dict):
                yield self._chunk(piece)
                continue
            if piece.tool_calls:
                yield self._chunk(_tool_calls(piece))
            usage, about = {"usage": _usage(piece)}, {"aideon": piece.about}
            is_apart = self.body.stream_options.include_usage
            yield self._chunk({}, piece.finish_reason, **about, **({} if is_apart else usage))
            if is_apart:
                yield doors.data(self._shown([], ".chunk", **usage, **about))
        yield doors.DONE

    def failed(self, problem: Problem) -> str:
        """An error among the chunks."""
        return doors.data(shapes.error(shapes.to_door(problem)))

    def _chunk(self, delta: dict[str, Any], reason: str | None = None, **more: Any) -> str:
        return doors.data(self._shown([self._choice(reason, delta=delta)], ".chunk", **more))

    def _choice(self, reason: str | None, **content: Any) -> dict[str, Any]:
        return {"index": 0, **content, "logprobs": None, "finish_reason": reason}

    def _shown(self, choices: list[Any], kind: str = "", **more: Any) -> dict[str, Any]:
        about = {"id": f"chatcmpl-{self.run_id}", "object": f"chat.completion{kind}"}
        return {
            **about,
            "created": self.created,
            "model": self.body.model,
            "choices": choices,
            **more,
        }


def _usage(done: Answer) -> dict[str, Any] | None:
    return done.usage("prompt_tokens", "completion_tokens")


def _tool_calls(done: Answer) -> dict[str, Any]:
    calls = [
        {
            "index": nth,
            "id": one["id"],
            "type": "function",
            "function": {"name": one["name"], "arguments": json.dumps(one["args"])},
        }
        for nth, one in enumerate(done.tool_calls)
    ]
    return {"tool_calls": calls} if calls else {}
