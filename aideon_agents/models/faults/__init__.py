"""What a provider's errors and empty answers mean, as our error classes.

The class of an error decides what follows (retry, next candidate, stop), so no other module looks at
a status or a message. The error also says whether the attempt may have been charged: a provider that
answered with an error status, or was never reached, charged nothing; in all other cases it is
unknown.

An answer without content is paid for like any other. So its error carries the tokens that the
provider reported, and the row of the attempt gets its cost.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urljoin

from langchain_core import exceptions as langchain

from aideon_agents import errors
from aideon_agents.ledger import tags
from aideon_agents.ledger.calls import usage_of
from aideon_agents.ledger.pricing import Usage
from aideon_agents.ledger.redaction import one_line, quoted, without_keys
from aideon_agents.models.faults.kinds import (
    Report,
    body_of,
    causes_of,
    headers_of,
    kind_of,
    report_of,
    status_in,
    status_of,
)
from aideon_agents.models.limits import stated
from aideon_agents.models.protocol.thoughts import MARKED, only_thoughts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import ChatResult


_LONGEST_MESSAGE = 200
_REDIRECTS = range(300, 400)
_FORBIDDEN, _NOT_FOUND = 403, 404
_SERVER, _UNAVAILABLE = 500, 503
_PATH = "/chat/completions"

_WHAT: Mapping[type[errors.ProviderError], str] = {
    errors.KeyRejected: "{asked} rejected {key}{status}: set a valid one",
    errors.OutOfCredit: "{asked} has no credit left for {key}{status}: top it up",
    errors.ModelGone: "{asked} is not to be had{status}: name another with --model",
    errors.ContextTooLong: "the request is too long for {asked}{status}",
    errors.Unsupported: "{asked} lacks a feature that the request needs{status}",
    errors.NotThisModel: "{asked} cannot be used for this request or by this account{status}",
    errors.CallerError: "{asked} says that the request itself is wrong{status}",
}
"""What happened, and what the user can do about it; the provider's message follows."""

_LOADING = re.compile(
    r"\b(is|still|currently) (being loaded|loading|starting)\b|^\W*loading model", re.IGNORECASE
)
"""What servers say while they load a model: Hugging Face, llama.cpp, text-generation-inference."""
_REGION = re.compile(r"\b(country|region|territory|location)\b", re.IGNORECASE)
_ROUTE = re.compile(
    r"^\W*(404 )?(page |file )?not found\W*$|^invalid url|^cannot post|unexpected endpoint"
    r"|unknown request url|no route matched|^$",
    re.IGNORECASE,
)
"""What servers say of an address that they do not know."""


def translate(error: BaseException, *, asked: str) -> BaseException:
    """What ended an attempt, as one of our provider errors; an error that is not a provider's as it is."""
    if isinstance(error, TimeoutError):
        return errors.Transient(
            f"{asked} gave no answer in time", billed=_billed(error), timed_out=True
        )
    return error


def unreadable(asked: str, why: object, sent: bytes = b"") -> errors.Transient:
    """The error for an answer that is no chat completion."""
    report = report_of(sent)
    if report.is_page:
        return errors.Transient(f"{asked} sent {_page(report, 'the base URL')}")
    return errors.Transient(f"{asked} sent an answer that cannot be read{quoted(_short(why))}")


def unsent(asked: str, error: Exception) -> Exception:
    """What kept a request from being made, as Unsent; an error of ours as it is."""
    if isinstance(error, errors.AideonError):
        return error
    why = _short(f"{type(error).__name__}: {error}")
    return errors.Unsent(f"{asked} was not asked: the request cannot be made ({why})", billed=False)


def refused(asked: str, words: str) -> errors.Refused:
    """The error for an answer in which the model says that it refuses."""
    return errors.Refused(f"{asked} refused{quoted(words)}")


def refusal(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    asked: str,
    key_variable: str | None,
    address: str = "",
    address_variable: str = "",
) -> errors.ProviderError:
    """The error for an HTTP status that is not a success.

    `address` is where the request was sent, `address_variable` the variable that sets it.
    """
    place = asked, key_variable, address, address_variable
    return _limited(_error(status, report_of(body), headers, place), headers, body)


def refusal_in_answer(
    error: object,
    *,
    asked: str,
    key_variable: str | None,
    address: str = "",
    address_variable: str = "",
) -> errors.ProviderError:
    """The error that a provider reports inside an answer with status 200, or inside a stream."""
    report = report_of(error)
    status = status_in(report)
    if status is None and report.text and _ROUTE.search(report.text):
        status = _NOT_FOUND  # LM Studio answers 200 at an address that it does not know
    found = _error(status, report, {}, (asked, key_variable, address, address_variable))
    if isinstance(found, errors.Transient):
        found.billed = None  # a server that fails may have begun an answer
    return _limited(found, {}, error)


def _error(
    status: int | None,
    report: Report,
    headers: Mapping[str, str],
    place: tuple[str, str | None, str, str],
) -> errors.ProviderError:
    asked, key_variable, address, variable = place
    make = kind_of(status, report) or (None if status else errors.Transient)
    set_it = f"{variable} (now {address.removesuffix(_PATH)})" if variable else "the base URL"
    if status is not None and status in _REDIRECTS:
        where = _moved(status, urljoin(address, headers.get("Location", "")), set_it)
    else:
        where = _place(status or 0, report, make, address, set_it)
    message = f"{asked} {where}" if where else _message(make, status, report, asked, key_variable)
    error = (make or errors.NotThisModel)(message, billed=False, status=status)
    error.words = without_keys(report.text)
    error.param = ", ".join(report.params) or None
    return error


def _message(
    make: type[errors.ProviderError] | None,
    status: int | None,
    report: Report,
    asked: str,
    key_variable: str | None,
) -> str:
    """What a refusal is, what to do, and the provider's own words."""
    words = f": {_short(report.text)}" if report.text else ""
    answered = f"answered {status}" if status else "reported an error in its answer"
    if make is None:
        return f"{asked} refused for a reason that is not known here: it {answered}{words}"
    what = _WHAT.get(make, f"{{asked}} {answered}")
    if make is errors.KeyRejected and status == _FORBIDDEN:
        what = "{asked} does not allow this with {key}{status}: check what the key may do"
        if _REGION.search(report.text):
            what = "{asked} is not offered in your country or region{status}"
    elif make is errors.KeyRejected:
        words = ""  # providers repeat keys there
    key = f"the key in {key_variable}" if key_variable else "the call without a key"
    return what.format(asked=asked, key=key, status=f" ({status})" if status else "") + words


def _moved(status: int, target: str, set_it: str) -> str:
    """What is wrong with an address that redirects."""
    target = _short(target.partition("?")[0])
    return (
        f"answered {status}, a redirect to {target}, which is not followed because it would send the "
        f"key there: set {set_it} to {target.removesuffix(_PATH)} if that address is right"
    )


def _place(
    status: int, report: Report, make: type[errors.ProviderError] | None, address: str, set_it: str
) -> str:
    """What is wrong with the address that was asked; empty: nothing is known to be."""
    if report.is_page and status < _SERVER:
        return f"answered {status} with {_page(report, set_it)}"
    if make is errors.ModelGone and status == _NOT_FOUND and _ROUTE.search(report.text):
        if address and "/v1" not in address:
            return f"answered {status}: there is nothing at {address}; end {set_it} with /v1"
        return f"answered {status}: check {set_it} and the name of the model"
    return ""


def _limited(
    error: errors.ProviderError, headers: Mapping[str, str], sent: object
) -> errors.ProviderError:
    """An error that may pass, with what the provider says about when."""
    if isinstance(error, errors.RateLimited | errors.Transient):
        limit = stated(headers, sent)
        error.retry_after = limit.wait
        is_named = _LOADING.search(error.words) or "estimated_time" in str(sent)
        error.loading = error.status == _UNAVAILABLE and bool(is_named)
        if isinstance(error, errors.RateLimited):
            error.limit = limit
    return error


def _page(report: Report, set_it: str) -> str:
    title = f" ({_short(report.text)})" if report.text else ""
    return (
        f"a web page{title} instead of an answer: it comes from a proxy, a firewall or another "
        f"server; check {set_it} and the proxy settings"
    )


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


def validated(result: ChatResult, asked: str, max_tokens: int | None = None) -> ChatResult:
    """The answer, if it has content; raises Transient or Refused if not."""
    if not result.generations:
        raise _paid(errors.Transient(f"{asked} sent no answer"), result, _usage_beside(result))
    message: Any = result.generations[0].message
    info = result.generations[0].generation_info or {}
    if message.additional_kwargs.get("refusal"):
        answer = refused(asked, str(message.additional_kwargs["refusal"]))
        raise _paid(answer, result, usage_of(message))
    if is_empty(message) and not may_be_empty(info.get("finish_reason")):
        empty = empty_answer(asked, info.get("finish_reason"), max_tokens)
        raise _paid(empty, result, usage_of(message))
    return result


def empty_answer(
    asked: str, finish_reason: str | None, max_tokens: int | None
) -> errors.ProviderError:
    """The error for an answer that says nothing; thoughts alone say nothing."""
    if finish_reason != "length":
        return errors.Transient(f"{asked} sent an empty answer")
    error = errors.Transient(
        f"{asked} sent an empty answer: it met max_tokens ({max_tokens}), perhaps by its thoughts"
    )
    error.met_max_tokens = True
    return error


def may_be_empty(finish_reason: str | None) -> bool:
    """Whether an answer with this finish reason may have no text."""
    return finish_reason == "content_filter"


def is_empty(message: BaseMessage) -> bool:
    """Whether a message has no text but thoughts, and no tool call."""
    text = message.text.strip()
    if text and not (MARKED.search(text) and only_thoughts(text)):
        return False
    return not has_calls(message)


def has_calls(message: BaseMessage) -> bool:
    """Whether a message or a chunk has a tool call."""
    calls = ("tool_calls", "invalid_tool_calls", "tool_call_chunks")
    return any(getattr(message, name, None) for name in calls)


def _paid(
    error: errors.ProviderError, result: ChatResult, usage: Usage | None
) -> errors.ProviderError:
    error.usage = usage
    error.response_model = (result.llm_output or {}).get("model_name")
    if result.generations:
        info = result.generations[0].generation_info or {}
        error.finish_reason = info.get("finish_reason")
        error.is_estimated = info.get(tags.USAGE_SOURCE) == "estimated"
        error.response_model = error.response_model or info.get("model_name")
    return error


def _usage_beside(result: ChatResult) -> Usage | None:
    """The usage of a body without a message."""
    counts: Any = (result.llm_output or {}).get("token_usage") or {}
    if not counts:
        return None
    return Usage(input_tokens=counts["prompt_tokens"], output_tokens=counts["completion_tokens"])


_STATUS: tuple[tuple[type[Exception], int], ...] = (
    (langchain.ModelAuthenticationError, 401),
    (langchain.ModelPermissionDeniedError, 403),
    (langchain.ModelNotFoundError, 404),
    (langchain.ModelRateLimitError, 429),
    (langchain.ModelInvalidRequestError, 400),
    (langchain.ModelAPIError, 500),
)
_FIRST_ERROR = 400
_NOT_REACHED = ("ConnectError", "ConnectTimeout", "PoolTimeout", "NameResolutionError")
"""Errors of HTTP clients before anything was sent, by the names of their classes."""
_LATE = ("TimeoutException", "APITimeoutError", "ReadTimeoutError", "DeadlineExceeded", "Timeout")
_LOST = (
    "TransportError",
    "APIConnectionError",
    "ClientConnectionError",
    "ClientPayloadError",
    "HTTPClientError",
    "ServiceUnavailable",
    "RequestException",
)
_NO_KEY = ("api key", "api_key", "credentials", "authentication")
_OF_GIVEN = "the given model"


def translated(error: Exception, asked: str) -> Exception:
    """An error of a model as one of ours; one that says nothing about the model as it is."""
    if isinstance(error, errors.AideonError):
        return error
    if isinstance(error, UnicodeError):
        return unsent(asked, error)
    chain = tuple(causes_of(error))
    if isinstance(error, langchain.ContextOverflowError):
        return errors.ContextTooLong(f"the request is too long for {asked}", billed=False)
    status = next((code for kind, code in _STATUS if isinstance(error, kind)), None)
    found = next((code for one in chain if (code := status_of(one))), None)
    if (status or found or 0) >= _FIRST_ERROR:
        return refusal(
            found if found and found >= _FIRST_ERROR else cast("int", status),
            headers_of(chain),
            body_of(chain),
            asked=asked,
            key_variable=_OF_GIVEN,
        )
    if found:  # the provider reports an error inside an answer with status 200
        return refusal_in_answer(body_of(chain), asked=asked, key_variable=_OF_GIVEN)
    return _unanswered(error, chain, asked)


def _unanswered(error: Exception, chain: tuple[BaseException, ...], asked: str) -> Exception:
    """The error of a request that got no answer; any other error as it is."""
    names = {kind.__name__ for one in chain for kind in type(one).__mro__}
    why = one_line(without_keys(f"{type(error).__name__}: {error}"))
    if names.intersection(_NOT_REACHED):
        return errors.Transient(f"{asked} cannot be reached ({why})", billed=False)
    if isinstance(error, langchain.ModelTimeoutError | TimeoutError) or names.intersection(_LATE):
        return errors.Transient(f"{asked} gave no answer in time", timed_out=True)
    if isinstance(error, langchain.ModelConnectionError | ConnectionError) or names.intersection(
        _LOST
    ):
        is_refused = "ConnectionRefusedError" in names or "gaierror" in names
        return errors.Transient(
            f"the connection to {asked} was lost ({why})", billed=False if is_refused else None
        )
    if isinstance(error, TypeError | ValueError) and any(one in why.lower() for one in _NO_KEY):
        return errors.KeyRejected(f"{asked} was not asked: it has no key ({why})", billed=False)
    return error
