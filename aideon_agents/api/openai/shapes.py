"""What OpenAI's clients send, and the errors that they understand. Unknown fields are ignored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from aideon_agents.api import doors
from aideon_agents.api.problems import Problem
from aideon_agents.ledger.redaction import without_keys
from aideon_agents.state import ReasoningEffort, Tier

if TYPE_CHECKING:
    from collections.abc import Sequence

_UI_TASKS = (
    "### task:",
    "analyze this conversation and provide:",
    "provide a concise, 5-word-or-less title",
    "please generate a concise, 5-word-or-less title",
    "please generate a concise title",
)
"""How the prompts of Open WebUI and LibreChat for titles, tags and follow-ups begin."""


class Extra(BaseModel):
    """What a workflow takes besides, as `aideon` of a request (the SDK's `extra_body`)."""

    model_config = ConfigDict(extra="forbid")

    inputs: dict[str, Any] = Field(default_factory=dict)
    budget: str | None = None
    timeout: float | None = None
    tier: Tier | None = None


class _Asked(BaseModel):
    model: Annotated[str, Field(min_length=1, max_length=300)]
    """`workflow:NAME`, or `provider:model`."""
    stream: bool = False
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    tools: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]])
    tool_choice: str | dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    aideon: Extra = Field(default_factory=Extra)


class StreamOptions(BaseModel):
    """How an answer is streamed."""

    include_usage: bool = False


class ChatAsked(_Asked):
    """A chat completion."""

    messages: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=2000)]
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    stop: str | list[str] | None = None
    n: int | None = None
    reasoning_effort: ReasoningEffort | None = None


class ResponseAsked(_Asked):
    """A response."""

    input: str | list[dict[str, Any]]
    instructions: str | None = None
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    previous_response_id: str | None = None


def text_of(message: dict[str, Any]) -> str:
    """The text of a message."""
    content: Any = message.get("content")
    if isinstance(content, str):
        return content
    parts: list[Any] = content if isinstance(content, list) else []
    return "\n".join(
        one["text"] for one in parts if isinstance(one, dict) and isinstance(one.get("text"), str)
    )


def is_ui_task(asked: _Asked, messages: Sequence[dict[str, Any]]) -> bool:
    """Whether a chat UI asks for a title or the like, which no person has asked a workflow for."""
    last = text_of(messages[-1]).lstrip().lower()
    return bool((asked.metadata or {}).get("task")) or last.startswith(_UI_TASKS)


def to_door(problem: Problem) -> Problem:
    """A problem as OpenAI's clients know it. What another try would only pay again is not retried."""
    problem = doors.as_bad_request(problem)
    if problem.code in ("budget_exceeded", "quota_exceeded"):
        problem.status, problem.code = 429, "insufficient_quota"
    if problem.code == "insufficient_quota" or problem.status >= _SERVER:
        problem.headers["x-should-retry"] = "false"
    return problem


_SERVER = 500
_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
}


def error(problem: Problem) -> dict[str, Any]:
    """A problem in OpenAI's form."""
    kind = _TYPES.get(problem.status)
    if problem.code == "insufficient_quota":
        kind = problem.code
    if kind is None:
        kind = "server_error" if problem.status >= _SERVER else "invalid_request_error"
    message = without_keys(problem.detail)
    more = {key: one for key, one in problem.more.items() if key != "errors"}
    shown = {"message": message, "type": kind, "param": None, "code": problem.code}
    return {"error": {**more, **shown}}


def _answer(problem: Problem, request_id: str | None) -> JSONResponse:
    del request_id  # it is in the head X-Request-Id
    return JSONResponse(error(problem), problem.status, problem.headers)


Route = doors.route_class(_answer, to_door)
