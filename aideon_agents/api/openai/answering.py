"""Answers for OpenAI's clients: of a workflow, or of a model, piece by piece."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_core.messages import convert_to_messages
from pydantic import ValidationError

from aideon_agents.access import flags
from aideon_agents.api import doors
from aideon_agents.api.openai.shapes import is_ui_task, text_of
from aideon_agents.api.problems import Problem
from aideon_agents.errors import Conflict, InputError, ModelNameError, NotFound, RunError
from aideon_agents.graphs.output import last_agent
from aideon_agents.ledger.documents import cost_document
from aideon_agents.ledger.redaction import one_line
from aideon_agents.models.pictures.blocks import is_picture, url_of
from aideon_agents.models.providers import ModelName
from aideon_agents.serving.completing import Ask, pieces
from aideon_agents.serving.events import ENDED
from aideon_agents.serving.launching import StartRun, may_ask
from aideon_agents.state import ModelRequest

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from aideon_agents.access.callers import Caller
    from aideon_agents.serving.completing import Completed
    from aideon_agents.serving.service import Service

WORKFLOW = "workflow:"
_TOKENS = 1024
_LEAVING = set[asyncio.Task[None]]()


class Piece(NamedTuple):
    """A piece of an answer."""

    text: str
    is_inner: bool = False
    """Whether it is of a node whose text is not the output."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """A whole answer."""

    text: str
    finish_reason: str
    input_tokens: int | None
    """None, as below: some provider did not say."""
    output_tokens: int | None
    about: dict[str, Any]
    """What `aideon` of an answer has: the run, its state, its cost and its questions."""
    tool_calls: Sequence[Any] = ()


class Asked(NamedTuple):
    """What both forms of a request have, in the form of chat completions."""

    body: Any
    messages: list[dict[str, Any]]
    max_tokens: int | None
    word: str | None
    """The head Idempotency-Key."""
    request_id: str | None


async def answered(
    service: Service, caller: Caller, asked: Asked
) -> tuple[str, AsyncGenerator[Piece | Answer]]:
    """The run that answers a request, and its pieces as they come, the whole answer last."""
    body = asked.body
    if caller.tier == "free" and not flags.is_on(
        service.ledger, "together_ai_free_tier", caller.user
    ):
        raise Problem(403, "free_tier_off", "the tier free is switched off here")
    if not body.model.startswith(WORKFLOW):
        check_model(service, caller, body.model)
        ask = await _ask(asked, (body.model,))
    elif is_ui_task(body, asked.messages):
        found_workflow(service, caller, body.model)
        ask = await _ask(asked, ())
        request = dataclasses.replace(ask.request, purpose="ui_task", complexity="low")
        ask = dataclasses.replace(ask, request=request, tier="free", options={})
    else:
        return await _of_workflow(service, caller, asked)
    return ask.run_id, _of_model(pieces(service, caller, ask))


def found_workflow(service: Service, caller: Caller, model: str) -> Any:
    """The workflow that a model's name means."""
    if not caller.may("runs:write"):
        raise Problem(403, "forbidden", "a workflow needs the permission runs:write")
    try:
        return service.workflows.find(caller, model.removeprefix(WORKFLOW))
    except NotFound as error:
        raise Problem(404, "model_not_found", str(error)) from None


def check_model(service: Service, caller: Caller, model: str) -> None:
    """Refuse a model that a caller may not name: an unknown one, or one above the caller's tier."""
    if not caller.may("models:call"):
        raise Problem(403, "forbidden", "a model needs the permission models:call")
    try:
        name = str(ModelName.parse(model))
    except ModelNameError as error:
        detail = f"{error}; or a workflow, as workflow:NAME: GET /v1/models lists both"
        raise Problem(404, "model_not_found", detail) from None
    if not may_ask(service.settings, caller, name):
        detail = f"{name} is not among the models of the tier {caller.tier}: see GET /v1/models"
        raise Problem(404, "model_not_found", detail)


async def _ask(asked: Asked, model: tuple[str, ...]) -> Ask:
    body = asked.body
    for message in asked.messages:
        parts: Any = message.get("content")
        if isinstance(parts, list):
            message["content"] = [
                await doors.picture(url_of(one) or "") if is_picture(one) else one for one in parts
            ]
    given: Any = [
        {"content": "", **{key: one for key, one in message.items() if one is not None}}
        for message in asked.messages
    ]
    try:
        messages = convert_to_messages(given)
    except (ValueError, TypeError, KeyError, NotImplementedError) as error:
        raise InputError(f"messages: {one_line(str(error))[:300]}") from None
    options = {"tools": body.tools, "tool_choice": body.tool_choice} if body.tools else {}
    stop = getattr(body, "stop", None)
    if stop:
        options["stop"] = [stop] if isinstance(stop, str) else stop
    request = ModelRequest(
        role="executor",
        model=model,
        max_tokens=asked.max_tokens or _TOKENS,
        may_think=asked.max_tokens is None,
        temperature=body.temperature,
        reasoning_effort=getattr(body, "reasoning_effort", None),
    )
    return Ask(
        feature="text_generation",
        request=request,
        messages=messages,
        tier=body.aideon.tier,
        options={key: one for key, one in options.items() if one is not None},
        request_id=asked.request_id,
    )


async def whole(source: AsyncGenerator[Piece | Answer]) -> Answer:
    """The whole answer, when it is there."""
    async with contextlib.aclosing(source):
        async for piece in source:
            if isinstance(piece, Answer):
                return piece
    raise RunError("the answer has no end")


async def _of_model(source: AsyncGenerator[str | Completed]) -> AsyncGenerator[Piece | Answer]:
    async with contextlib.aclosing(source):
        async for piece in source:
            if isinstance(piece, str):
                yield Piece(piece)
                continue
            calls = piece.message.tool_calls
            reason = "tool_calls" if calls else "length" if piece.call.truncated else "stop"
            cost = cost_document(piece.cost)
            yield Answer(
                text=piece.text,
                finish_reason=reason,
                input_tokens=piece.call.input_tokens,
                output_tokens=piece.call.output_tokens,
                about=_about(piece.run_id, "completed", cost),
                tool_calls=calls,
            )


def _about(run_id: str, status: str, cost: dict[str, Any], questions: Any = ()) -> dict[str, Any]:
    sums = {"usd": cost["usd"], "complete": cost["complete"]}
    return {"run_id": run_id, "status": status, **sums, "questions": list(questions)}


async def _of_workflow(
    service: Service, caller: Caller, asked: Asked
) -> tuple[str, AsyncGenerator[Piece | Answer]]:
    workflow = found_workflow(service, caller, asked.body.model)
    extra = asked.body.aideon.model_dump(exclude_none=True)
    try:
        start = StartRun(workflow=workflow.name, task=task_of(asked.messages), **extra)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, ("aideon", *first["loc"])))
        raise InputError(f"{where}: {first['msg']}") from None
    run_id = await service.start(caller, start, word=asked.word, stream=asked.body.stream)
    last = last_agent(workflow.target.graph)
    return run_id, _of_run(service, caller, run_id, last)


def task_of(messages: Sequence[dict[str, Any]]) -> str:
    """The task of a workflow: the last message, below what was written before it."""
    if any(is_picture(one) for message in messages for one in _parts(message)):
        raise InputError("a workflow takes text here, and a message has a picture in it")
    *before, last = messages
    system = [text_of(one) for one in before if one.get("role") in ("system", "developer")]
    earlier = [f"{one.get('role')}: {text_of(one)}" for one in before]
    earlier = [one for one in earlier if not one.startswith(("system: ", "developer: "))]
    if earlier:
        earlier = ["The conversation so far:", *earlier, "What is to be done now:"]
    return "\n\n".join([*system, *earlier, text_of(last)])


def _parts(message: dict[str, Any]) -> list[dict[str, Any]]:
    content: Any = message.get("content")
    return [one for one in content if isinstance(one, dict)] if isinstance(content, list) else []


async def _of_run(
    service: Service, caller: Caller, run_id: str, last: str | None
) -> AsyncGenerator[Piece | Answer]:
    """The pieces of a run. Closing it early cancels the run, because its client has gone."""
    sent, shown = "", None
    try:
        async for _, kind, document in service.events(run_id):
            if kind == ENDED:
                shown = service.show(caller, run_id)
            elif kind == "token" and document["node_path"] == last:
                sent += document["text"]
                yield Piece(document["text"])
            elif kind == "token":
                yield Piece(document["text"], is_inner=True)
    except (GeneratorExit, asyncio.CancelledError):
        if not service.live.is_draining:
            leaving = asyncio.ensure_future(_cancel(service, caller, run_id))
            _LEAVING.add(leaving)
            leaving.add_done_callback(_LEAVING.discard)
        raise
    if shown is None:
        detail = f"this process stops: another one continues the run, GET /api/v1/runs/{run_id}"
        raise Problem(503, "draining", detail, run_id=run_id)
    if shown["status"] not in ("completed", "waiting"):
        raise _failed(shown)
    asks = [one["question"] for one in shown["questions"]]
    text = "\n\n".join(map(str, asks)) if shown["status"] == "waiting" else shown["output"] or ""
    if rest := text[len(sent) :] if text.startswith(sent) else f"\n\n{text}":
        yield Piece(rest)
    cost = shown["cost"]
    yield Answer(
        text=text,
        finish_reason="stop",
        input_tokens=cost["input_tokens"],
        output_tokens=cost["output_tokens"],
        about=_about(run_id, shown["status"], cost, shown["questions"]),
    )


async def _cancel(service: Service, caller: Caller, run_id: str) -> None:
    with contextlib.suppress(Conflict):
        await service.cancel(caller, run_id)


_STOPPED = {"budget": (403, "budget_exceeded"), "timeout": (504, "limit_reached")}
_STOPPED["quota"] = (429, "quota_exceeded")


def _failed(shown: dict[str, Any]) -> Problem:
    run_id, reason = shown["run_id"], shown["stop_reason"]
    status, code = _STOPPED.get(reason, (502, "run_failed"))
    why = shown["error"] or reason or shown["status"]
    return Problem(status, code, f"run {run_id} did not complete: {why}", run_id=run_id)
