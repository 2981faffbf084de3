"""Errors as problem documents (RFC 9457), and their declaration in the OpenAPI document.

A problem says what is wrong and what to do, as every error of this package does. It never repeats
what was sent: a key may be in it.
"""

from __future__ import annotations

import logging
import math
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route

from aideon_agents.errors import (
    AideonError,
    BudgetExceeded,
    Changed,
    Conflict,
    Declined,
    LedgerError,
    LimitError,
    NoModel,
    NotAllowed,
    NotFound,
    QuotaExceeded,
    RateLimitReached,
    RunError,
    UnreadableState,
    UserError,
)
from aideon_agents.ledger.redaction import one_line, safe_text, without_keys

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi import FastAPI, Request

_log = logging.getLogger("aideon_agents.api")

MEDIA_TYPE = "application/problem+json"


class WrongField(BaseModel):
    """A part of a request that is not as it must be."""

    field: str
    """Where it is, such as `body.task`."""
    message: str


class ProblemDocument(BaseModel):
    """What is wrong with a request, or with the service."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    code: str
    """For programs: it does not change."""
    detail: str
    """For people: what is wrong, and what to do."""
    request_id: str | None = None
    errors: list[WrongField] | None = None


class Problem(Exception):  # noqa: N818 - it is the answer to a request
    """A problem that a door raises itself."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = dict(headers or {})
        self.more = more


KNOWN: dict[type[AideonError], tuple[int, str]] = {
    NotFound: (404, "not_found"),
    NotAllowed: (403, "forbidden"),
    Conflict: (409, "conflict"),
    Changed: (412, "changed"),
    UnreadableState: (409, "unreadable_state"),
    LedgerError: (503, "ledger_unavailable"),
    NoModel: (503, "no_model"),
    UserError: (422, "invalid"),
    BudgetExceeded: (403, "budget_exceeded"),
    RateLimitReached: (429, "rate_limited"),
    QuotaExceeded: (429, "quota_exceeded"),
    Declined: (409, "declined"),
    LimitError: (504, "limit_reached"),
    RunError: (502, "run_failed"),
    AideonError: (500, "internal"),
}
"""The status and the code of each kind of error. A room that has errors of its own adds them."""

_TITLES = {status.value: status.phrase for status in HTTPStatus} | {
    413: "Content Too Large",  # Python's names of these two depend on its version
    422: "Unprocessable Content",
}


def problem_of(error: AideonError) -> Problem:
    """The problem that an error is for a caller."""
    kind = next(one for one in type(error).__mro__ if one in KNOWN)
    status, code = KNOWN[kind]
    headers = {}
    if isinstance(error, RateLimitReached):
        headers["Retry-After"] = str(round(float(str(error.value))) + 1)
    more: dict[str, Any] = {}
    if isinstance(error, QuotaExceeded):
        names = ("feature", "unit", "used", "limit", "reset_at", "upgrade", "own_key", "cheaper")
        more = {name: getattr(error, name) for name in names}
        left = datetime.fromisoformat(error.reset_at) - datetime.now(UTC)
        headers["Retry-After"] = str(max(1, math.ceil(left.total_seconds())))
    return Problem(status, code, one_line(safe_text(error)), headers=headers, **more)


def of(error: Exception, request: Request | None = None) -> Problem:
    """The problem that an error is, which answering a request has raised. What is no answer is logged."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, AideonError):
        return problem_of(error)
    if isinstance(error, RequestValidationError):
        return _invalid(error)
    if isinstance(error, HTTPException):
        return _of_http(error, request)
    where = f"{request.method} {request.url.path}" if request else "a stream"
    _log.error("%s failed", where, exc_info=error)
    detail = "the service has failed: its log has the error under this request id"
    return Problem(500, "internal", detail)


def _of_http(error: HTTPException, request: Request | None) -> Problem:
    if error.status_code == HTTPStatus.BAD_REQUEST:  # FastAPI's for a body in no known encoding
        limits = (
            "in UTF-8, without NaN, infinite numbers and half surrogates, at most 100 levels deep"
        )
        return Problem(422, "invalid", f"the body cannot be read: it must be JSON {limits}")
    if error.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        detail = "the body is too large: 1 MB is the most, and 28 MB where pictures can be in it"
        return Problem(413, "content_too_large", detail)
    where = f"{request.method} {request.url.path}: " if request else ""
    code = _TITLES.get(error.status_code, "error").lower().replace(" ", "_")
    detail = f"{where}{str(error.detail).lower()}"
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED and request:
        headers["Allow"] = _allowed(request)
    return Problem(error.status_code, code, detail, headers=headers)


def _allowed(request: Request) -> str:
    """The methods of a path; a router names only those of its first route."""
    found: set[str] = set()
    for route in request.app.routes:
        scope = {**request.scope, "method": "OPTIONS"}
        if isinstance(route, Route) and route.matches(scope)[0] is not Match.NONE:
            found |= route.methods or set()
    return ", ".join(sorted(found))


def document(problem: Problem, request_id: str | None) -> dict[str, Any]:
    """A problem as JSON values."""
    return {
        "type": f"urn:aideon:problem:{problem.code}",
        "title": _TITLES.get(problem.status, "Error"),
        "status": problem.status,
        "code": problem.code,
        "detail": without_keys(problem.detail),
        "request_id": request_id,
        **problem.more,
    }


def response(problem: Problem, request_id: str | None) -> JSONResponse:
    """A problem as the answer to a request."""
    shown = document(problem, request_id)
    return JSONResponse(shown, problem.status, problem.headers, media_type=MEDIA_TYPE)


def answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Declares problems with these statuses in the OpenAPI document, as `responses`."""
    schema = {"$ref": "#/components/schemas/ProblemDocument"}
    return {
        status: {"description": _TITLES[status], "content": {MEDIA_TYPE: {"schema": schema}}}
        for status in statuses
    }


def install(app: FastAPI) -> None:
    """Let an app answer every error with a problem document."""

    async def known(request: Request, error: Any) -> JSONResponse:
        request.state.error = error  # for the metrics
        return response(of(error, request), getattr(request.state, "request_id", None))

    for kind in (AideonError, Problem, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, known)
    plain = app.openapi

    def described() -> dict[str, Any]:
        found = plain()
        own = ProblemDocument.model_json_schema(ref_template="#/components/schemas/{model}")
        parts = own.pop("$defs")
        found["components"]["schemas"] |= {**parts, "ProblemDocument": own}
        return found

    app.openapi = described


def _invalid(error: RequestValidationError) -> Problem:
    """The fields of a request that are wrong, without what was sent."""
    messages: dict[str, str] = {}
    for one in error.errors():
        messages.setdefault(_field(one), one["msg"])  # a field of several types has several
    wrong = [{"field": field, "message": text} for field, text in messages.items()]
    first = wrong[0]
    detail = f"{first['field']}: {first['message']}"
    return Problem(422, "invalid", one_line(detail), errors=wrong)


def _field(error: Mapping[str, Any]) -> str:
    """Where a request is wrong, without the position in a text and the types that were tried."""
    if error["type"] == "json_invalid":
        return "body"
    parts = [str(part) for part in error["loc"]]
    return without_keys(".".join(part for part in parts if part != "none" and "[" not in part))
