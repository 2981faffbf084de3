"""Texts, code, the next message of a conversation, and what a picture shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from langchain_core.messages import HumanMessage, SystemMessage, convert_to_messages

from aideon_agents.access.callers import Caller
from aideon_agents.api import doors, problems
from aideon_agents.api.asking import Serving
from aideon_agents.api.together import sources
from aideon_agents.api.together.shapes import (
    Analysis,
    AnalysisAsked,
    ChatAsked,
    Chatted,
    CodeAsked,
    TextAsked,
    Written,
)
from aideon_agents.serving.completing import Ask, Completed, complete, pieces
from aideon_agents.serving.service import Service

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from langchain_core.messages import BaseMessage

    from aideon_agents.ledger.budgets.units import Feature

router = APIRouter(route_class=sources.Route)

Member = Annotated[Caller, sources.gate("models:call")]
_CODE = (
    "Continue the code that you are given. Answer with what follows it and nothing else: no "
    "explanation, no code fence, and nothing of what is there already."
)


def _streams(model: Any) -> dict[int | str, dict[str, Any]]:
    event = {"type": "object", "properties": {"data": {"type": "string"}}, "required": ["data"]}
    return {200: {"model": model, "content": {"text/event-stream": {"itemSchema": event}}}}


@router.post("/text/completions", responses=_streams(Written))
async def text(asked: TextAsked, caller: Member, service: Serving, request: Request) -> Response:
    """Write a text."""
    kind = "text", "text_generation"
    return await _answered(asked, [HumanMessage(asked.prompt)], kind, caller, service, request)


@router.post("/chat/completions", responses=_streams(Chatted))
async def chat(asked: ChatAsked, caller: Member, service: Serving, request: Request) -> Response:
    """Write the next message of a conversation."""
    messages = convert_to_messages([one.model_dump() for one in asked.messages])
    kind = "text", "text_generation"
    return await _answered(asked, messages, kind, caller, service, request)


@router.post("/code/completions", responses=_streams(Written))
async def code(asked: CodeAsked, caller: Member, service: Serving, request: Request) -> Response:
    """Continue code."""
    language = f" The language is {asked.language}." if asked.language else ""
    messages = [SystemMessage(_CODE + language), HumanMessage(asked.prompt)]
    return await _answered(asked, messages, ("code", "code_generation"), caller, service, request)


@router.post("/images/analysis", responses={200: {"model": Analysis}})
async def analysis(
    asked: AnalysisAsked, caller: Member, service: Serving, request: Request
) -> Response:
    """Answer a question about a picture."""
    parts: list[Any] = [
        {"type": "text", "text": asked.prompt},
        await doors.picture(asked.image_url),
    ]
    messages = [HumanMessage(parts)]
    return await _answered(asked, messages, ("vision", "vision_analysis"), caller, service, request)


async def _answered(  # noqa: PLR0917 - the parts of a request
    asked: Any,
    messages: Sequence[BaseMessage],
    kind: tuple[sources.Material, Feature],
    caller: Caller,
    service: Service,
    request: Request,
) -> Response:
    modality, feature = kind
    ask = Ask(
        feature=feature,
        request=sources.request_for(asked, modality),
        messages=messages,
        request_id=doors.request_id(request),
    )

    def document(done: Completed) -> dict[str, Any]:
        message = {"role": "assistant", "content": done.text}
        answer = {"message": message} if isinstance(asked, ChatAsked) else {"text": done.text}
        used = {} if modality == "vision" else {"usage": sources.usage(done)}
        return {**answer, **used, **sources.source(service, caller, done)}

    if not getattr(asked, "stream", False):
        done = await doors.unless_gone(request, complete(service, caller, ask))
        return JSONResponse(document(done), headers=sources.heads(done))
    begun = await doors.begun(request, pieces(service, caller, ask))
    heads = {"X-Aideon-Run": ask.run_id}

    def failed(problem: problems.Problem) -> str:
        shown = problems.document(doors.as_bad_request(problem), ask.request_id)
        return doors.data({"error": shown}) + doors.DONE

    return doors.events(_lines(begun, document), heads, failed)


async def _lines(
    source: AsyncGenerator[str | Completed], document: Callable[[Completed], dict[str, Any]]
) -> AsyncGenerator[str]:
    async for piece in source:
        if isinstance(piece, str):
            yield doors.data({"text": piece})
        else:
            yield doors.data(document(piece))
    yield doors.DONE
