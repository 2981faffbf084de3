"""What a provider's errors and empty answers mean, as our error classes.

The class of an error decides what follows (retry, next candidate, stop), so no other module looks at
a status or a message. The error also says whether the attempt may have been charged: a provider that
answered with an error status, or was never reached, charged nothing; in all other cases it is
unknown.

An answer without content is paid for like any other. So its error carries the tokens that the
provider reported, and the row of the attempt gets its cost.
"""

from __future__ import annotations

import contextlib
import email.utils
import json
import math
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from aideon_agents import errors
from aideon_agents.ledger.pricing import Usage, usage_of
from aideon_agents.ledger.redaction import one_line, quoted

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import ChatResult


_TOO_LONG = (
    "context_length",
    "context length",
    "maximum context",
    "context window",
    "too long",
    "reduce the length",
    "`max_new_tokens` must be <=",
)
_OUT_OF_CREDIT = ("insufficient_quota", "exceeded your current quota", "out of credit", "no credit")
_GONE = ("decommissioned", "deprecated", "no longer available", "model_not_found", "does not exist")
_FILTERED = ("content_filter", "content_policy", "content management policy")
_OVERLOADED = 529
_LONGEST_MESSAGE = 200


_WHAT: Mapping[type[errors.ProviderError], str] = {
    errors.KeyRejected: "{asked} rejected {key} ({status}): set a valid one",
    errors.OutOfCredit: "{asked} has no credit left for {key} ({status}): top it up",
    errors.ModelGone: "{asked} is not to be had ({status}): name another with --model",
}
"""What only the user can fix, and how; the provider's message follows."""


def translate(error: BaseException, *, asked: str) -> BaseException:
    """What ended an attempt, as one of our provider errors; an error that is not a provider's as it is."""
    if isinstance(error, TimeoutError):
        return errors.Transient(
            f"{asked} gave no answer in time", billed=_billed(error), timed_out=True
        )
    return error


def unreadable(asked: str, why: object) -> errors.Transient:
    """The error for an answer that is no chat completion."""
    return errors.Transient(f"{asked} sent an answer that cannot be read{quoted(_short(why))}")


def refusal(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    asked: str,
    key_variable: str | None,
) -> errors.ProviderError:
    """The error for an HTTP status that is not a success."""
    try:
        sent: object = json.loads(body)
    except ValueError:
        sent = body.decode("utf-8", "replace")
    inner: Any = sent
    if isinstance(inner, dict) and inner.get("error"):
        inner = inner["error"]
    return _refusal(status, retry_after(headers), inner, asked, key_variable)


def refusal_in_answer(
    error: object, *, asked: str, key_variable: str | None
) -> errors.ProviderError:
    """The error that a provider reports inside an answer with status 200, or inside a stream."""
    known = cast("Mapping[str, Any]", error) if isinstance(error, Mapping) else {}
    codes = (known.get(name) for name in ("status", "status_code", "http_status", "code"))
    status = next((int(str(code)) for code in codes if _is_status(code)), None)
    if status is None:
        words = " ".join(str(known.get(name) or "") for name in ("message", "code", "type"))
        status = _status_of_words((words if known else str(error)).lower())
    refused = _refusal(status, None, error, asked, key_variable)
    refused.billed = None if status >= 500 else refused.billed  # noqa: PLR2004 - HTTP
    return refused


def _is_status(code: object) -> bool:
    return str(code).isascii() and str(code).isdigit() and 400 <= int(str(code)) <= 599  # noqa: PLR2004 - HTTP


def _status_of_words(words: str) -> int:
    """The HTTP status that an error without one would have had."""
    if "rate limit" in words or "rate_limit" in words or "too many requests" in words:
        return 429
    if any(word in words for word in (*_TOO_LONG, *_FILTERED, *_GONE, "invalid_request")):
        return 400
    return 500


def _refusal(
    status: int, pause: float | None, sent: object, asked: str, key_variable: str | None
) -> errors.ProviderError:
    known = cast("Mapping[str, Any]", sent) if isinstance(sent, Mapping) else {}
    text = str(known.get("message") or json.dumps(known)) if known else str(sent or "")
    make = _class_for(status, f"{text} {known.get('code') or ''} {known.get('type') or ''}".lower())
    what = _WHAT.get(make, f"{{asked}} answered {status}").format(
        asked=asked,
        status=status,
        key=f"the key in {key_variable}" if key_variable else "the call without a key",
    )
    words = "" if make is errors.KeyRejected else f": {_short(text)}"
    return make(f"{what}{words}", billed=False, status=status, retry_after=pause)


def _class_for(status: int, message: str) -> type[errors.ProviderError]:
    def mentions(words: tuple[str, ...]) -> bool:
        return any(word in message for word in words)

    by_words: tuple[tuple[type[errors.ProviderError], bool], ...] = (
        (errors.ContextTooLong, status in {400, 413, 422} and mentions(_TOO_LONG)),
        (errors.Refused, status in {400, 403} and mentions(_FILTERED)),
        (errors.OutOfCredit, status == 429 and mentions(_OUT_OF_CREDIT)),  # noqa: PLR2004 - HTTP
        (errors.ModelGone, status == 400 and mentions(_GONE)),  # noqa: PLR2004 - HTTP
    )
    for make, applies in by_words:
        if applies:
            return make
    return _BY_STATUS.get(status) or (
        errors.Transient if status >= 500 else errors.CallerError  # noqa: PLR2004 - HTTP
    )


_BY_STATUS: Mapping[int, type[errors.ProviderError]] = {
    401: errors.KeyRejected,
    402: errors.OutOfCredit,
    403: errors.KeyRejected,
    404: errors.ModelGone,
    408: errors.Transient,
    409: errors.Transient,
    410: errors.ModelGone,
    413: errors.ContextTooLong,
    429: errors.RateLimited,
    _OVERLOADED: errors.Transient,
}


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a Retry-After header asks to wait: a number, or a date."""
    value = headers.get("retry-after")
    if value is None:
        return None
    with contextlib.suppress(ValueError):
        seconds = float(value)
        return max(0.0, seconds) if math.isfinite(seconds) else None
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def _billed(error: BaseException) -> bool | None:
    """False: the request was never sent. None: unknown."""
    cause: BaseException | None = error
    while cause is not None:
        if getattr(cause, "billed", None) is False:
            return False
        cause = cause.__cause__
    return None


def _short(what: object) -> str:
    text = one_line(str(what))
    return text if len(text) <= _LONGEST_MESSAGE else text[: _LONGEST_MESSAGE - 1] + "…"


_MAY_BE_EMPTY = ("length", "content_filter")
"""Finish reasons of answers without text."""


def validated(result: ChatResult, asked: str) -> ChatResult:
    """The answer, if it has content; raises Transient or Refused if not."""
    if not result.generations:
        raise _paid(errors.Transient(f"{asked} sent no answer"), result, _usage_beside(result))
    message: Any = result.generations[0].message
    info = result.generations[0].generation_info or {}
    if message.additional_kwargs.get("refusal"):
        refusal = f"{asked} refused{quoted(str(message.additional_kwargs['refusal']))}"
        raise _paid(errors.Refused(refusal), result, usage_of(message))
    if is_empty(message) and not may_be_empty(info.get("finish_reason")):
        empty = errors.Transient(f"{asked} sent an empty answer")
        raise _paid(empty, result, usage_of(message))
    return result


def may_be_empty(finish_reason: str | None) -> bool:
    """Whether an answer with this finish reason may have no text."""
    return finish_reason in _MAY_BE_EMPTY


def is_empty(message: BaseMessage) -> bool:
    """Whether a message or a chunk has no text and no tool call."""
    calls = ("tool_calls", "invalid_tool_calls", "tool_call_chunks")
    return not (message.text.strip() or any(getattr(message, name, None) for name in calls))


def _paid(
    error: errors.ProviderError, result: ChatResult, usage: Usage | None
) -> errors.ProviderError:
    error.usage = usage
    error.response_model = (result.llm_output or {}).get("model_name")
    return error


def _usage_beside(result: ChatResult) -> Usage | None:
    """The usage of a body without a message."""
    counts: Any = (result.llm_output or {}).get("token_usage") or {}
    if not counts:
        return None
    return Usage(input_tokens=counts["prompt_tokens"], output_tokens=counts["completion_tokens"])
