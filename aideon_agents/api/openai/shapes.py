"""What OpenAI's clients send, and the errors that they understand.

Unknown fields are ignored. A value that asks for another form of answer is refused.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from fastapi.responses import JSONResponse
from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    model_validator,
    with_config,
)
from typing_extensions import TypedDict

from aideon_agents.api import doors
from aideon_agents.api.problems import Problem
from aideon_agents.ledger.redaction import without_keys
from aideon_agents.serving.launching import Dollars
from aideon_agents.state import ReasoningEffort, Tier


class Extra(BaseModel):
    """What a workflow takes besides, as `aideon` of a request (the SDK's `extra_body`)."""

    model_config = ConfigDict(extra="forbid")

    inputs: dict[str, JsonValue] = {}
    budget: Dollars | None = None
    timeout: Annotated[float, Field(gt=0, le=86_400)] | None = None
    tier: Tier | None = None


class StreamOptions(BaseModel):
    """How an answer is streamed."""

    include_usage: bool = False


_open = with_config(ConfigDict(extra="allow"))


@_open
class _Function(TypedDict):
    name: Annotated[str, Field(min_length=1)]
    parameters: NotRequired[dict[str, Any]]


@_open
class _Tool(TypedDict):
    type: Literal["function"]
    function: _Function


@_open
class _Schema(TypedDict):
    schema: NotRequired[dict[str, Any]]


@_open
class _Form(TypedDict, total=False):
    type: str
    json_schema: _Schema


class Asked(BaseModel):
    """A chat completion."""

    model: Annotated[str, Field(min_length=1, max_length=300)]
    """`workflow:NAME`, or `provider:model`."""
    messages: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=2000)]
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    max_tokens: int | None = Field(
        None, ge=1, validation_alias=AliasChoices("max_completion_tokens", "max_tokens")
    )
    stop: str | list[str] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    seed: int | None = None
    reasoning_effort: ReasoningEffort | None = None
    response_format: _Form = {}
    tools: list[_Tool] = []
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    metadata: dict[str, Any] = {}
    aideon: Extra = Extra()
    n: Literal[1] = 1
    logprobs: Literal[False] = False
    modalities: list[Literal["text"]] = []
    functions: Annotated[list[Any], Field(max_length=0)] = []

    @model_validator(mode="before")
    @classmethod
    def _given(cls, sent: Any) -> Any:
        is_known = isinstance(sent, dict)
        return {name: one for name, one in sent.items() if one is not None} if is_known else sent


def to_door(problem: Problem) -> Problem:
    """A problem as OpenAI's clients know it. What another try would only pay again is not retried."""
    problem = doors.as_bad_request(problem)
    if problem.code in ("budget_exceeded", "quota_exceeded"):
        problem.status, problem.code = 429, "insufficient_quota"
    if problem.code == "insufficient_quota" or problem.status >= _SERVER:
        problem.headers["x-should-retry"] = "false"
    return problem


_SERVER = 500
_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


def error(problem: Problem) -> dict[str, Any]:
    """A problem in OpenAI's form."""
    kind = "server_error" if problem.status >= _SERVER else "invalid_request_error"
    if problem.status in _TYPES:
        kind = problem.code if problem.code == "insufficient_quota" else _TYPES[problem.status]
    more = dict(problem.more)
    wrong = more.pop("errors", [{"field": None}])[0]["field"]
    shown = {"message": without_keys(problem.detail), "type": kind, "code": problem.code}
    return {"error": {**more, **shown, "param": wrong and wrong.removeprefix("body.")}}


def _answer(problem: Problem, request_id: str | None) -> JSONResponse:
    del request_id  # it is in the head X-Request-Id
    return JSONResponse(error(problem), problem.status, problem.headers)


Route = doors.route_class(_answer, to_door)
