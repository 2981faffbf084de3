"""Who may use the nine endpoints, and their answers: which model gives them, and what they cost."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Annotated, Any, Literal, cast, get_args

from fastapi import Depends, Request, Response
from fastapi.responses import JSONResponse
from langchain_core.messages import BaseMessage

from aideon_agents.access import flags
from aideon_agents.access.callers import Caller
from aideon_agents.access.roles import Permission
from aideon_agents.api import doors, problems
from aideon_agents.api.asking import asking, service_of
from aideon_agents.api.problems import Problem
from aideon_agents.api.together.shapes import ChatAsked
from aideon_agents.ledger.budgets.units import Feature
from aideon_agents.ledger.costs import Cost, is_fallback
from aideon_agents.ledger.money import usd_text
from aideon_agents.ledger.rows import Call
from aideon_agents.models.catalog.entries import Modality
from aideon_agents.serving import sources
from aideon_agents.serving.completing import Ask, Completed, complete, pieces
from aideon_agents.serving.service import Service
from aideon_agents.state import ModelRequest, Use

_TOKENS = 1024
"""The most tokens of an answer where a request does not say."""
MATERIALS: dict[Literal["text", "code", "vision"], Feature] = {
    "text": "text_generation",
    "code": "code_generation",
    "vision": "vision_analysis",
}
"""What a chat model works with, and what its requests count as."""
MODALITIES: dict[str, Modality] = {
    **{one: one for one in MATERIALS},
    "image": "image",
    "audio_tts": "tts",
    "audio_stt": "stt",
}
"""The catalog's word for each modality of the documents."""


def _gate(permission: Permission) -> Any:
    """The dependency of an endpoint: its caller, whom the permission and the feature flag let in."""
    known: Callable[[Request], Awaitable[Caller]] = asking(permission).dependency

    async def let_in(request: Request) -> Caller:
        caller = await known(request)
        if not flags.is_on(service_of(request).ledger, "together_ai_integration", caller.user):
            detail = "the feature flag together_ai_integration is off: these endpoints are closed"
            raise Problem(403, "feature_off", detail)
        return caller

    cast("Any", let_in).permission = permission
    return Depends(let_in)


MEMBER = _gate("models:call")
Member = Annotated[Caller, MEMBER]
Reader = Annotated[Caller, _gate("usage:own")]


async def answered(  # noqa: PLR0917 - the parts of a request
    request: Request,
    service: Service,
    caller: Caller,
    asked: Any,
    messages: Sequence[BaseMessage],
    material: Literal["text", "code", "vision"] = "text",
) -> Response:
    """Ask a model, and answer with its words, whole or streamed."""
    purpose = asked.purpose
    wanted = ModelRequest(
        role="creative",  # asks the largest model that the tier includes
        modality="code" if material == "text" and purpose in {"coding", "code"} else material,
        use=cast("Use", purpose) if purpose in get_args(Use) else None,
        purpose=purpose,
        max_tokens=asked.max_tokens or _TOKENS,
        may_think=asked.max_tokens is None,
        temperature=getattr(asked, "temperature", None),
        vision=True if material == "vision" else None,
    )
    request_id = doors.request_id(request)
    ask = Ask(feature=MATERIALS[material], request=wanted, messages=messages, request_id=request_id)

    def document(done: Completed) -> dict[str, Any]:
        is_chat = isinstance(asked, ChatAsked)
        answer: Any = {"role": "assistant", "content": done.text} if is_chat else done.text
        used = {} if material == "vision" else {"usage": _usage(done)}
        return {
            "message" if is_chat else "text": answer,
            **used,
            **source(service, caller, done.call),
        }

    if not getattr(asked, "stream", False):
        done = await doors.unless_gone(request, complete(service, caller, ask))
        return JSONResponse(document(done), headers=heads_of(done.run_id, done.cost))
    begun = await doors.begun(request, pieces(service, caller, ask))

    def failed(problem: Problem) -> str:
        shown = problems.document(doors.as_bad_request(problem), request_id)
        return doors.data({"error": shown}) + doors.DONE

    return doors.events(_lines(begun, document), {"X-Aideon-Run": ask.run_id}, failed)


async def _lines(
    source: AsyncGenerator[str | Completed], document: Callable[[Completed], dict[str, Any]]
) -> AsyncGenerator[str]:
    async for piece in source:
        yield doors.data({"text": piece} if isinstance(piece, str) else document(piece))
    yield doors.DONE


def heads_of(run_id: str, cost: Cost) -> dict[str, str]:
    """The heads of an answer that say what it cost."""
    return {
        "X-Aideon-Run": run_id,
        "X-Aideon-Cost-Usd": usd_text(cost.usd),
        "X-Aideon-Cost-Complete": str(cost.complete).lower(),
    }


def source(service: Service, caller: Caller, call: Call) -> dict[str, Any]:
    """The keys of an answer that say which model gave it."""
    given = service.ledger, service.settings, caller
    name = f"{call.provider}:{call.requested_model}"
    return {
        "model_id": call.requested_model,
        "provider": sources.provider_id(call.provider),
        "model_source_indicator": sources.indicator(*given, name, is_fallback=is_fallback(call)),
    }


def _usage(done: Completed) -> dict[str, int | None]:
    sent, got = done.call.input_tokens, done.call.output_tokens
    total = None if sent is None or got is None else sent + got
    return {"prompt_tokens": sent, "completion_tokens": got, "total_tokens": total}
