"""`/v1/responses`."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import JSONResponse

from aideon_agents.access.callers import Caller
from aideon_agents.api import doors
from aideon_agents.api.asking import Serving, asking
from aideon_agents.api.openai import shapes
from aideon_agents.api.openai.answering import Answer, Asked, Piece, answered, whole
from aideon_agents.api.problems import Problem
from aideon_agents.errors import InputError
from aideon_agents.ledger.identity import now

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

router = APIRouter(route_class=shapes.Route)

Known = Annotated[Caller, asking(None)]
_TEXTS = ("input_text", "output_text", "text")


@router.post("/responses")
async def respond(
    body: shapes.ResponseAsked,
    caller: Known,
    service: Serving,
    request: Request,
    idempotency_key: Annotated[str | None, Header(max_length=200)] = None,
) -> Response:
    """Answer an input, by a workflow or a model."""
    if body.previous_response_id:
        detail = "previous_response_id: responses are not kept here, so send the whole conversation"
        raise Problem(400, "unsupported", detail)
    body.tools = [_tool(one) for one in body.tools]
    if isinstance(body.tool_choice, dict) and "name" in body.tool_choice:
        body.tool_choice = {"type": "function", "function": {"name": body.tool_choice["name"]}}
    messages = [message for one in _items(body) for message in _messages(one)]
    id_of_request = doors.request_id(request)
    asked = Asked(body, messages, body.max_output_tokens, idempotency_key, id_of_request)
    run_id, source = await answered(service, caller, asked)
    head = _head(body, run_id)
    heads = {"X-Aideon-Run": run_id}
    if body.stream:
        begun = await doors.begun(request, source)
        return doors.events(_events(begun, head), heads, _failed)
    done = await doors.unless_gone(request, whole(source))
    return JSONResponse(_document(head, done), headers=heads)


def _items(body: shapes.ResponseAsked) -> list[dict[str, Any]]:
    first = [{"role": "system", "content": body.instructions}] if body.instructions else []
    given = [{"role": "user", "content": body.input}] if isinstance(body.input, str) else body.input
    if not given:
        raise InputError("input: it is empty")
    return [*first, *given]


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    if tool.get("type") != "function":
        raise InputError("tools: only functions can be called here")
    return {"type": "function", "function": {key: tool[key] for key in tool if key != "type"}}


def _messages(item: dict[str, Any]) -> list[dict[str, Any]]:
    """An item of an input as messages of a chat completion."""
    kind = item.get("type", "message")
    if kind == "message":
        content = item.get("content")
        parts = [_part(one) for one in content] if isinstance(content, list) else content
        return [{"role": item.get("role"), "content": parts}]
    if kind == "function_call":
        function = {"name": item.get("name"), "arguments": item.get("arguments")}
        call = {"id": item.get("call_id"), "type": "function", "function": function}
        return [{"role": "assistant", "content": "", "tool_calls": [call]}]
    if kind == "function_call_output":
        output: Any = item.get("output")
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


def _head(body: shapes.ResponseAsked, run_id: str) -> dict[str, Any]:
    return {
        "id": f"resp_{run_id}",
        "object": "response",
        "created_at": int(now().timestamp()),
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "instructions": body.instructions,
        "max_output_tokens": body.max_output_tokens,
        "metadata": body.metadata or {},
        "model": body.model,
        "output": [],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "temperature": body.temperature,
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
        "usage": None,
    }


def _message(run_id: str, text: str | None, status: str) -> dict[str, Any]:
    """The output item of a text; None: the text has not begun."""
    parts = [] if text is None else [_text(text)]
    return {
        "id": f"msg_{run_id}",
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": parts,
    }


def _text(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _document(head: dict[str, Any], done: Answer, text: str | None = None) -> dict[str, Any]:
    """The whole response; `text` is what was streamed, None: nothing was."""
    run_id = head["id"].removeprefix("resp_")
    output: list[dict[str, Any]] = []
    if done.text or text or not done.tool_calls:
        output.append(_message(run_id, done.text if text is None else text, "completed"))
    for nth, one in enumerate(done.tool_calls):
        call = {"type": "function_call", "id": f"fc_{run_id}_{nth}", "call_id": one["id"]}
        arguments = json.dumps(one["args"])
        output.append({**call, "name": one["name"], "arguments": arguments, "status": "completed"})
    usage = None
    if done.input_tokens is not None and done.output_tokens is not None:
        usage = {
            "input_tokens": done.input_tokens,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": done.output_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": done.input_tokens + done.output_tokens,
        }
    cut = done.finish_reason == "length"
    ends = {
        "status": "incomplete" if cut else "completed",
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
    }
    return {**head, **ends, "output": output, "usage": usage, "aideon": done.about}


def _failed(problem: Problem) -> str:
    found = shapes.error(shapes.to_door(problem))["error"]
    shown = {"type": "error", "code": found["code"], "message": found["message"], "param": None}
    return _event({**shown, "sequence_number": 0})


def _event(shown: dict[str, Any]) -> str:
    return f"event: {shown['type']}\n" + doors.data(json.dumps(shown, ensure_ascii=False))


async def _events(
    source: AsyncGenerator[Piece | Answer], head: dict[str, Any]
) -> AsyncGenerator[str]:
    numbers = itertools.count()
    run_id = head["id"].removeprefix("resp_")
    place = {"item_id": f"msg_{run_id}", "output_index": 0, "content_index": 0}

    def event(kind: str, **more: Any) -> str:
        return _event({"type": f"response.{kind}", "sequence_number": next(numbers), **more})

    yield event("created", response=head)
    yield event("in_progress", response=head)
    text: str | None = None
    async for piece in source:
        if isinstance(piece, Piece):
            if piece.is_inner:
                continue
            if text is None:
                text = ""
                item = _message(run_id, None, "in_progress")
                yield event("output_item.added", output_index=0, item=item)
                yield event("content_part.added", **place, part=_text(""))
            text += piece.text
            yield event("output_text.delta", **place, delta=piece.text, logprobs=[])
            continue
        whole_one = _document(head, piece, text)
        for index, item in enumerate(whole_one["output"]):
            if item["type"] == "message" and text is not None:
                yield event("output_text.done", **place, text=text, logprobs=[])
                yield event("content_part.done", **place, part=_text(text))
            else:
                begun = {**item, "status": "in_progress"}
                yield event("output_item.added", output_index=index, item=begun)
            yield event("output_item.done", output_index=index, item=item)
        ended = "incomplete" if piece.finish_reason == "length" else "completed"
        yield event(ended, response=whole_one)
