"""Error answers, in OpenAI's shape."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aideon_agents.testing.simulated.faults import Fault, Kind


@dataclasses.dataclass(frozen=True, slots=True)
class Refusal:
    """An answer with an error status. Nothing is charged for it."""

    status: int
    code: str | None
    message: str
    retry_after: float | None = None

    @property
    def headers(self) -> dict[str, str]:
        """What goes beside the body."""
        return {} if self.retry_after is None else {"retry-after": f"{self.retry_after:g}"}

    @property
    def body(self) -> bytes:
        """The error as JSON."""
        kind = _TYPES.get(self.status) or _type_of_class(self.status)
        error = {"message": self.message, "type": kind, "param": None, "code": self.code}
        return json.dumps({"error": error}).encode()


class Refused(Exception):  # noqa: N818 - reads as what happened
    """A request is answered with an error status."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
_SERVER_ERROR = 500


def _type_of_class(status: int) -> str:
    return "server_error" if status >= _SERVER_ERROR else "invalid_request_error"


_REFUSALS: Mapping[Kind, Refusal] = {
    400: Refusal(400, "invalid_request", "The request is wrong."),
    401: Refusal(401, "invalid_api_key", "The key is wrong."),
    402: Refusal(402, "payment_required", "The account is out of credit."),
    403: Refusal(403, "permission_denied", "The key may not use this model."),
    404: Refusal(404, "model_not_found", "The model does not exist."),
    408: Refusal(408, "request_timeout", "The request took too long."),
    409: Refusal(409, "conflict", "The request conflicts with another one."),
    410: Refusal(410, "model_decommissioned", "The model has been decommissioned."),
    413: Refusal(413, "context_length_exceeded", "The request exceeds the model's context length."),
    415: Refusal(415, "unsupported_media_type", "The content type is not supported."),
    422: Refusal(422, "unprocessable_entity", "The request cannot be processed."),
    429: Refusal(429, "rate_limit_exceeded", "The rate limit is reached."),
    500: Refusal(500, "internal_error", "The server had an error."),
    502: Refusal(502, "bad_gateway", "The gateway got no valid answer."),
    503: Refusal(503, "service_unavailable", "The service is unavailable."),
    504: Refusal(504, "gateway_timeout", "The gateway got no answer in time."),
    529: Refusal(529, "overloaded", "The service is overloaded."),
    "context_length_exceeded": Refusal(
        400, "context_length_exceeded", "The messages exceed this model's maximum context length."
    ),
    "insufficient_quota": Refusal(
        429, "insufficient_quota", "You exceeded your current quota, check your plan and billing."
    ),
    "content_filter": Refusal(
        400, "content_filter", "The response was filtered by the content management policy."
    ),
}


def refusal_of(fault: Fault) -> Refusal | None:
    """The error answer that a fault means, None when it means something else."""
    usual = _REFUSALS.get(fault.kind)
    if usual is None:
        return None
    message = fault.message or usual.message
    return dataclasses.replace(usual, message=message, retry_after=fault.retry_after)
