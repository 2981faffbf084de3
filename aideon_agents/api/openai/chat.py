"""`/v1/models` and `/v1/chat/completions`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import JSONResponse

from aideon_agents.access.callers import Caller
from aideon_agents.api import doors
from aideon_agents.api.asking import Serving, asking
from aideon_agents.api.openai import shapes
from aideon_agents.api.openai.answering import (
    WORKFLOW,
    Answer,
    Asked,
    Piece,
    answered,
    whole,
)
from aideon_agents.api.problems import Problem
from aideon_agents.ledger.identity import now
from aideon_agents.models import catalog
from aideon_agents.models.providers import providers
from aideon_agents.serving.launching import may_ask

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from aideon_agents.serving.service import Service

router = APIRouter(route_class=shapes.Route)

Known = Annotated[Caller, asking(None)]
Word = Annotated[str | None, Header(max_length=200)]


@router.get("/models")
def models(caller: Known, service: Serving) -> JSONResponse:
    """List the workflows that one may run, and the models that one may ask."""
    return JSONResponse({"object": "list", "data": _models(service, caller)})


@router.get("/models/{name:path}")
def model(name: str, caller: Known, service: Serving) -> JSONResponse:
    """Show one of them."""
    for one in _models(service, caller):
        if one["id"] == name:
            return JSONResponse(one)
    raise Problem(404, "model_not_found", f"there is no model {name}: GET /v1/models lists them")


def _models(service: Service, caller: Caller) -> list[dict[str, Any]]:
    names: list[tuple[str, str]] = []
    if caller.may("runs:write"):
        names += [(f"{WORKFLOW}{one.name}", "aideon") for one in service.workflows.of(caller)]
    if caller.may("models:call"):
        launcher = service.launcher
        settings = launcher.settings_for(caller)
        known = catalog.load(settings.catalog, settings.profile)
        reachable = providers(settings, pretend=launcher.rehearse or not settings.can_call)
        names += [
            (name, entry.provider)
            for name, entry in known.entries.items()
            if entry.modality in ("text", "code", "vision")
            and not known.is_gone(entry)
            and reachable[entry.provider].available
            and may_ask(settings, caller, name)
        ]
    return [{"id": name, "object": "model", "created": 0, "owned_by": by} for name, by in names]


@router.post("/chat/completions")
async def chat(
    body: shapes.ChatAsked,
    caller: Known,
    service: Serving,
    request: Request,
    idempotency_key: Word = None,
) -> Response:
    """Answer a conversation, by a workflow or a model."""
    if body.n not in (None, 1):
        raise Problem(400, "unsupported", "n: one answer is given at a time")
    most = body.max_completion_tokens or body.max_tokens
    asked = Asked(body, body.messages, most, idempotency_key, doors.request_id(request))
    run_id, source = await answered(service, caller, asked)
    head = {"id": f"chatcmpl-{run_id}", "created": int(now().timestamp()), "model": body.model}
    heads = {"X-Aideon-Run": run_id}
    if body.stream:
        usage = bool(body.stream_options and body.stream_options.include_usage)
        begun = await doors.begun(request, source)
        return doors.events(_chunks(begun, head, with_usage=usage), heads, _failed)
    done = await doors.unless_gone(request, whole(source))
    message = {"role": "assistant", "content": done.text or None, **_tool_calls(done)}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": done.finish_reason}
    shown = {**head, "object": "chat.completion", "choices": [choice], "usage": _usage(done)}
    return JSONResponse({**shown, "aideon": done.about}, headers=heads)


def _failed(problem: Problem) -> str:
    return doors.data(json.dumps(shapes.error(shapes.to_door(problem)), ensure_ascii=False))


def _usage(done: Answer) -> dict[str, int] | None:
    if done.input_tokens is None or done.output_tokens is None:
        return None
    return {
        "prompt_tokens": done.input_tokens,
        "completion_tokens": done.output_tokens,
        "total_tokens": done.input_tokens + done.output_tokens,
    }


def _tool_calls(done: Answer, **more: Any) -> dict[str, Any]:
    calls = [
        {
            **({"index": nth} if more else {}),
            "id": one["id"],
            "type": "function",
            "function": {"name": one["name"], "arguments": json.dumps(one["args"])},
        }
        for nth, one in enumerate(done.tool_calls)
    ]
    return {"tool_calls": calls} if calls else {}


async def _chunks(
    source: AsyncGenerator[Piece | Answer], head: dict[str, Any], *, with_usage: bool
) -> AsyncGenerator[str]:
    def chunk(delta: dict[str, Any] | None, reason: str | None = None, **more: Any) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        choices = [] if delta is None else [choice]
        shown = {**head, "object": "chat.completion.chunk", "choices": choices, **more}
        return doors.data(json.dumps(shown, ensure_ascii=False))

    yield chunk({"role": "assistant", "content": ""})
    async for piece in source:
        if isinstance(piece, Piece):
            key = "reasoning_content" if piece.is_inner else "content"
            yield chunk({key: piece.text})
            continue
        usage = _usage(piece)
        if piece.tool_calls:
            yield chunk(_tool_calls(piece, index=True))
        more = {} if with_usage else {"usage": usage}
        yield chunk({}, piece.finish_reason, aideon=piece.about, **more)
        if with_usage:
            yield chunk(None, usage=usage, aideon=piece.about)
    yield doors.DONE
