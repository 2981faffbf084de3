"""Which of our error classes a provider's refusal is.

Servers that speak OpenAI's protocol refuse in many forms: an error document, FastAPI's `detail`, one
line of text, a web page. First the form is read into three things: texts, codes and parameters. Then
the rules are tried in order. Codes and parameters count first, because they are part of an interface.
Words count where a server sends nothing else, so each pattern is specific.

What concerns a model, its window, its features, its account or its deployment goes to the next
candidate. What would be wrong anywhere is the caller's error. A refusal that no rule knows goes to
the next candidate.
"""

from __future__ import annotations

import functools
import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from importlib import resources
from typing import Any, NamedTuple, cast

from aideon_agents import errors

Kind = type[errors.ProviderError]


class Report(NamedTuple):
    """What a refusal says, whatever its form."""

    text: str
    """For people; empty: it says nothing."""
    codes: frozenset[str]
    """Error codes and types, in lower case."""
    params: tuple[str, ...]
    """The parts of the request that it names."""
    is_page: bool = False
    """Whether it is a web page, of a proxy or of another server."""


_TEXTS = frozenset(
    {"message", "msg", "detail", "error", "error_description", "raw", "status_msg", "title"}
)
_CODES = frozenset(
    {"code", "type", "type_", "error_type", "error_code", "errorcode", "reason"}
    | {"status", "status_code", "http_status"}
)
_OF_THE_CALLER = frozenset({"input", "ctx", "failed_generation", "flagged_input", "url", "headers"})
"""What repeats the request: its words say nothing about the refusal."""
_DEEPEST = 8
_MOST_TEXTS = 5
_IN_PYTHON = re.compile(r"""'loc': \(([^)]*)\)|'msg': ("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')""")
"""Parts of validation errors that were written with Python's `repr`."""
_PAGE_TITLE = re.compile(r"<(?:title|message|h1)>\s*(.*?)\s*</", re.IGNORECASE | re.DOTALL)


def report_of(sent: object) -> Report:
    """What an error says: a body, or the value of `error` in an answer."""
    if isinstance(sent, bytes):
        sent = sent.decode("utf-8", "replace").strip().removeprefix("data:").strip()
    if isinstance(sent, str) and sent.startswith("<"):
        title = _PAGE_TITLE.search(sent)
        return Report(title[1] if title else "", frozenset(), (), is_page=True)
    found: list[tuple[str, str]] = []
    _collect(sent, "message", 0, found)
    texts, codes, params = ([text for kind, text in found if kind == one] for one in _PARTS)
    text = "; ".join(dict.fromkeys(texts[:_MOST_TEXTS]))
    if not text and sent and not isinstance(sent, str):
        text = json.dumps(sent, default=str)
    return Report(text, frozenset(codes), tuple(params))


_PARTS = ("text", "code", "param")


def _collect(value: object, name: str, depth: int, found: list[tuple[str, str]]) -> None:
    """Add what a value says, and everything in it; `name` is its key."""
    if depth > _DEEPEST or name in _OF_THE_CALLER:
        return
    if isinstance(value, Mapping):
        for key, inner in cast("Mapping[str, object]", value).items():
            _collect(inner, str(key).lower(), depth + 1, found)
    elif isinstance(value, list):
        parts = cast("list[object]", value)
        if name == "loc":
            found.append(("param", _parameter(str(part) for part in parts)))
            return
        for inner in parts[:_MOST_TEXTS]:
            _collect(inner, name, depth + 1, found)
    elif name == "param" and isinstance(value, str):
        found.append(("param", value))
    elif name in _CODES and isinstance(value, str | int):
        found.append(("code", str(value).lower()))
    elif name in _TEXTS and isinstance(value, str) and value.strip():
        _collect_text(value.strip(), depth, found)


def _collect_text(value: str, depth: int, found: list[tuple[str, str]]) -> None:
    """Add a text, which may hold a whole error document as JSON, or as Python writes it."""
    if value.startswith(("{", "[")):
        try:
            inner: object = json.loads(value)
        except (ValueError, RecursionError):
            inner = None
        if inner is not None:
            _collect(inner, "message", depth + 1, found)
            return
    errors_of_python = list(_IN_PYTHON.finditer(value)) if "'loc': (" in value else []
    for one in errors_of_python:
        loc = _parameter(part.strip(" '\"") for part in (one[1] or "").split(","))
        found.append(("text", one[2][1:-1]) if one[2] else ("param", loc))
    if not errors_of_python:
        found.append(("text", value))
        if " " not in value:
            found.append(("code", value.lower()))


def _parameter(parts: Iterable[str]) -> str:
    return ".".join(part for part in parts if part not in {"body", ""})


_BY_STATUS: Mapping[int, Kind] = {
    401: errors.KeyRejected,
    402: errors.OutOfCredit,
    403: errors.KeyRejected,
    404: errors.ModelGone,
    408: errors.Transient,
    409: errors.Transient,
    410: errors.ModelGone,
    413: errors.ContextTooLong,
    415: errors.CallerError,
    424: errors.Transient,
    425: errors.Transient,
    429: errors.RateLimited,
    498: errors.Transient,
    499: errors.Transient,
}
_CERTAIN = frozenset({402, 408, 409, 410, 413, 415, 425, 498, 499})
"""Statuses that mean one thing, whatever the words."""
_REDIRECTED, _FIRST, _SERVER, _LAST = 300, 400, 500, 599
_NOT_VALID = 422


class _Rule(NamedTuple):
    """One rule of refusals.toml."""

    kind: Kind
    codes: frozenset[str]
    words: re.Pattern[str] | None
    params: re.Pattern[str] | None
    unless: re.Pattern[str] | None
    only: frozenset[int]
    exempt: frozenset[int]
    is_of_servers: bool

    def applies(self, status: int, report: Report) -> bool:
        """Whether it decides about a refusal."""
        if status in self.exempt or (self.only and status not in self.only):
            return False
        if status >= _SERVER and not self.is_of_servers:
            return False
        if self.unless and self.unless.search(report.text):
            return False
        if not (self.codes or self.words or self.params):
            return True
        return bool(
            self.codes & report.codes
            or (self.words and self.words.search(report.text))
            or (self.params and any(self.params.search(one) for one in report.params))
        )


@functools.cache
def _rules() -> tuple[_Rule, ...]:
    text = (resources.files("aideon_agents.models.faults") / "refusals.toml").read_text("utf-8")
    return tuple(
        _Rule(
            kind=getattr(errors, rule["kind"]),
            codes=frozenset(rule.get("codes", ())),
            words=_any_of(rule.get("words")),
            params=_any_of(rule.get("params")),
            unless=_any_of([rule["unless"]] if "unless" in rule else None),
            only=frozenset(rule.get("only", ())),
            exempt=frozenset(rule.get("except", ())),
            is_of_servers=rule.get("server", False),
        )
        for rule in tomllib.loads(text)["rule"]
    )


def _any_of(patterns: list[str] | None) -> re.Pattern[str] | None:
    return re.compile("|".join(patterns), re.IGNORECASE | re.DOTALL) if patterns else None


def kind_of(status: int | None, report: Report) -> Kind | None:
    """The class of a refusal; None: no rule knows it. `status` is None where none was sent."""
    known = status or 0
    if _REDIRECTED <= known < _FIRST:
        return errors.NotThisModel
    if known in _CERTAIN or (known and report.is_page):
        return _by_status(known)
    # llama-cpp-python answers 500 to what its validation refuses, and names the parameter.
    is_validation = known >= _SERVER and bool(report.params)
    rule_status = _NOT_VALID if is_validation else known
    for rule in _rules():
        if rule.applies(rule_status, report):
            return rule.kind
    return None if is_validation else _by_status(known)


def _by_status(status: int) -> Kind | None:
    return _BY_STATUS.get(status) or (errors.Transient if status >= _SERVER else None)


_NAMED: Mapping[str, int] = {
    "invalid_request_error": 400,
    "invalid_argument": 400,
    "badrequesterror": 400,
    "bad_request": 400,
    "validation": 422,
    "permission_error": 403,
    "permission_denied": 403,
    "not_found_error": 404,
    "notfounderror": 404,
    "not_found": 404,
    "overloaded_error": 529,
    "unavailable": 503,
}


def status_in(report: Report) -> int | None:
    """The HTTP status that the codes of an error stand for; None: they name none."""
    numbers = [int(one) for one in sorted(report.codes) if one.isascii() and one.isdigit()]
    named = [_NAMED[one] for one in sorted(report.codes) if one in _NAMED]
    known = [one for one in (*numbers, *named) if _FIRST <= one <= _LAST]
    return known[0] if known else None


def causes_of(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and what it was raised from."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def status_of(error: BaseException) -> int | None:
    """The HTTP status that an error carries; None: it carries none."""
    response = getattr(error, "response", None)
    if isinstance(response, Mapping):  # botocore
        metadata: Any = cast("Mapping[str, Any]", response).get("ResponseMetadata") or {}
        places: tuple[Any, ...] = (metadata.get("HTTPStatusCode"),)
    else:
        places = (
            getattr(error, "status_code", None),
            getattr(error, "code", None),
            getattr(error, "status", None),
            getattr(error, "http_status", None),
            getattr(response, "status_code", None),
        )
    return next((int(one) for one in places if isinstance(one, int) and 200 <= one < 600), None)  # noqa: PLR2004 - the range of HTTP


def headers_of(chain: tuple[BaseException, ...]) -> Mapping[str, str]:
    for one in chain:
        response = getattr(one, "response", None)
        headers: Any = getattr(response, "headers", None) or getattr(one, "headers", None)
        if isinstance(headers, Mapping):
            given = cast("Mapping[str, Any]", headers)
            # Clients look names up in any case; a plain mapping does not.
            return {str(name).title(): str(value) for name, value in given.items()}
    return {}


def body_of(chain: tuple[BaseException, ...]) -> bytes:
    """What the provider said, as the bytes of an answer."""
    for one in chain:
        response = getattr(one, "response", None)
        for sent in (
            getattr(one, "body", None),
            getattr(one, "details", None),
            response if isinstance(response, Mapping) else None,
        ):
            if isinstance(sent, Mapping | list | str) and sent:
                return json.dumps(sent, default=str).encode()
    return json.dumps({"error": {"message": str(chain[0])}}).encode()
