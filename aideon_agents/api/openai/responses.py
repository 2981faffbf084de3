"""`/v1/responses`: a response is a chat completion in other words."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Response
from pydantic import model_validator

from aideon_agents.api import doors
from aideon_agents.api.openai import shapes
from aideon_agents.api.openai.answering import Answer
from aideon_agents.api.openai.chat import Completion, Open, answer
from aideon_agents.api.problems import Problem
from aideon_agents.errors import InputError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from aideon_agents.api.openai.answering import Pieces

router = APIRouter(route_class=shapes.Route)

_TEXTS = ("input_text", "output_text", "text")
_OBJECTS = ("reasoning", "text")
_NOT_HERE = ("previous_response_id", "conversation", "background", "prompt")


class ResponseAsked(shapes.Asked):
    """A request for a response, read as one for a chat completion."""

    @model_validator(mode="before")
    @classmethod
    def _as_chat(cls, sent: Any) -> Any:
        if not isinstance(sent, dict):
            return sent
        if named := [name for name in _NOT_HERE if sent.get(name)]:
            detail = f"{named[0]}: responses are not kept here, so send the whole conversation"
            raise Problem(400, "unsupported", detail)
        if wrong := [name for name in _OBJECTS if not isinstance(sent.get(name) or {}, dict)]:
            raise InputError(f"{wrong[0]}: it must be an object")
        items: Any = sent.get("input")
        items = [{"role": "user", "content": items}] if isinstance(items, str) and items else items
        if not isinstance(items, list) or not items:
            raise InputError("input: it must be a text or a list of items, and not empty")
        if system := sent.get("instructions"):
            items = [{"role": "system", "content": system}, *items]
        form = dict((sent.get("text") or {}).get("format") or {"type": "text"})
        choice = sent.get("tool_choice")
        return {
            **sent,
            "messages": [message for one in items for message in _messages(one)],
            "max_tokens": sent.get("max_output_tokens"),
            "tools": [_function(one) for one in sent.get("tools") or ()],
            "tool_choice": _function(choice) if isinstance(choice, dict) else choice,
            "reasoning_effort": (sent.get("reasoning") or {}).get("effort"),
            "response_format": {"type": form.get("type"), "json_schema": form},
        }


def _function(tool: Any) -> dict[str, Any]:
    """A tool, or the choice of one."""
    if not isinstance(tool, dict) or tool.get("type") != "function":
        raise InputError("tools: only functions can be called here")
    about = {key: one for key, one in tool.items() if key != "type"}
    return {"type": "function", "function": about}


def _messages(item: Any) -> list[dict[str, Any]]:
    """An item of an input as messages of a chat completion."""
    item = item if isinstance(item, dict) else {"type": type(item).__name__}
    kind, content = item.get("type", "message"), item.get("content")
    if kind == "message":
        parts = [_part(one) for one in content] if isinstance(content, list) else content
        return [{"role": item.get("role"), "content": parts}]
    if kind == "function_call":
        function = {"name": item.get("name"), "arguments": item.get("arguments")}
        call = {"id": item.get("call_id"), "type": "function", "function": function}
        return [{"role": "assistant", "tool_calls": [call]}]
    if kind == "function_call_output":
        output = item.get("output")
        text = output if isinstance(output, str) else json.dumps(output)
        return [{"role": "tool", "tool_call_id": item.get("call_id"), "content": text}]
    if kind == "reasoning":
        return []
    raise InputError(f"input: an item of the type {kind!r} cannot be sent here")


def _part(part: Any) -> Any:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind in _TEXTS:
        return {"type": "text", "text": part.get("text")}
    if kind == "input_image":
        return {"type": "image_url", "image_url": {"url": part.get("image_url") or ""}}
    raise InputError(f"input: a part of the type {kind!r} cannot be sent here")


@router.post("/responses")
async def respond(body: ResponseAsked, door: Open) -> Response:
    """Answer an input, by a workflow or a model."""
    return await answer(door, body, _Response)


def _text(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


class _Response(Completion):
    """A response."""

    def __init__(self, body: shapes.Asked, run_id: str) -> None:
        super().__init__(body, run_id)
        self._numbers = itertools.count()
        asked = ("model", "metadata", "temperature", "top_p")
        self._head: dict[str, Any] = {
            "id": f"resp_{run_id}",
            "object": "response",
            "created_at": self.created,
            **dict.fromkeys(("error", "incomplete_details", "instructions", "usage")),
            **{name: getattr(body, name) for name in asked},
            "tools": [],
            "tool_choice": "auto",
            "parallel_tool_calls": True,
            "status": "in_progress",
            "output": [],
        }

    def document(self, done: Answer, text: str | None = None) -> dict[str, Any]:
        """The whole response; `text` is what was streamed, None: nothing was."""
        output: list[dict[str, Any]] = []
        if done.text or text or not done.tool_calls:
            output.append(self._message([_text(done.text if text is None else text)]))
        for nth, one in enumerate(done.tool_calls):
            item = {"id": f"fc_{self.run_id}_{nth}", "type": "function_call", "status": "completed"}
            call = {"name": one["name"], "arguments": json.dumps(one["args"])}
            output.append({**item, "call_id": one["id"], **call})
        usage = done.usage("input_tokens", "output_tokens")
        if usage:
            usage["input_tokens_details"] = {"cached_tokens": 0, "cache_write_tokens": 0}
            usage["output_tokens_details"] = {"reasoning_tokens": 0}
        ended: dict[str, Any] = {"status": "completed"}
        if done.finish_reason == "length":
            reason = {"reason": "max_output_tokens"}
            ended = {"status": "incomplete", "incomplete_details": reason}
        return {**self._head, **ended, "output": output, "usage": usage}

    async def lines(self, source: Pieces) -> AsyncGenerator[str]:
        """The response as events. What inner nodes write is in none of them."""
        place = {"item_id": f"msg_{self.run_id}", "output_index": 0, "content_index": 0}
        yield self._event("created", response=self._head)
        yield self._event("in_progress", response=self._head)
        text: str | None = None
        async for piece in source:
            if isinstance(piece, Answer):
                shown: dict[str, Any] = {**self.document(piece, text), "aideon": piece.about}
                for index, item in enumerate(shown["output"]):
                    if item["type"] == "message" and text is not None:
                        yield self._event("output_text.done", **place, text=text, logprobs=[])
                        yield self._event("content_part.done", **place, part=_text(text))
                    else:
                        begun = {**item, "status": "in_progress"}
                        yield self._event("output_item.added", output_index=index, item=begun)
                    yield self._event("output_item.done", output_index=index, item=item)
                yield self._event(shown["status"], response=shown)
            elif delta := piece.get("content"):
                if text is None:
                    item = self._message([], "in_progress")
                    yield self._event("output_item.added", output_index=0, item=item)
                    yield self._event("content_part.added", **place, part=_text(""))
                text = (text or "") + delta
                yield self._event("output_text.delta", **place, delta=delta, logprobs=[])

    def failed(self, problem: Problem) -> str:
        """The event of a response that fails."""
        found = shapes.error(shapes.to_door(problem))["error"]
        error = {"code": found["code"], "message": found["message"]}
        return self._event("failed", response={**self._head, "status": "failed", "error": error})

    def _event(self, kind: str, **more: Any) -> str:
        kind = f"response.{kind}"
        shown = {"type": kind, "sequence_number": next(self._numbers), **more}
        return f"event: {kind}\n{doors.data(shown)}"

    def _message(self, content: list[dict[str, Any]], status: str = "completed") -> dict[str, Any]:
        item = {"id": f"msg_{self.run_id}", "type": "message", "role": "assistant"}
        return {**item, "status": status, "content": content}
