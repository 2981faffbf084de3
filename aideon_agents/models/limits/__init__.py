"""What a provider says about its limit, in headers and in words.

Every provider has its own forms. `Retry-After` is a number, a duration or a date; what remains of a
limit and when it resets are in headers whose names contain `ratelimit`; some answers repeat these
headers in their body, and some say the time only in a sentence.
"""

from __future__ import annotations

import contextlib
import dataclasses
import email.utils
import json
import math
import re
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias, cast

Kind: TypeAlias = Literal[
    "in_flight", "second", "minute", "hour", "day", "overloaded", "credit", "too_large", "unknown"
]
"""What is limited: calls at once, calls or tokens in a time, what a server can do at the moment, what
the account holds. `too_large`: one request exceeds the whole limit, so that waiting does not help."""


@dataclasses.dataclass(frozen=True)
class Limit:
    """What a provider says about its limit."""

    kind: Kind
    wait: float | None
    """Seconds until the next call may be answered; None: it does not say."""
    is_used_up: bool
    """Whether it says that nothing remains of the limit until then."""


_UNITS = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "μs": 1e-6,
    "ms": 1e-3,
    "milli": 1e-3,
    "s": 1.0,
    "sec": 1.0,
    "m": 60.0,
    "min": 60.0,
    "h": 3600.0,
    "hr": 3600.0,
    "hour": 3600.0,
    "d": 86400.0,
    "day": 86400.0,
}
_UNIT = (
    r"milliseconds?|millis|seconds?|secs?|minutes?|mins?|hours?|hrs?|days?|ns|us|µs|μs|ms|s|m|h|d"
)
_AMOUNT = rf"\d+(?:\.\d+)?\s*(?:{_UNIT})(?![a-z])"
_DURATION = rf"{_AMOUNT}(?:[\s,]*(?:and\s+)?{_AMOUNT})*"
_WHOLE = re.compile(rf"(?:pt)?\s*({_DURATION})", re.IGNORECASE)
_ONE = re.compile(rf"(\d+(?:\.\d+)?)\s*({_UNIT})(?![a-z])", re.IGNORECASE)
_IN_WORDS = re.compile(
    rf"(?:try again|retry|wait|resets?|available again)\b[^.\d]{{0,60}}?({_DURATION})",
    re.IGNORECASE,
)
_BARE_IN_WORDS = re.compile(
    r"(?:try again in|retry in|retry after|wait)\s*:?\s*(\d+(?:\.\d+)?)(?![\w:/.-]|\s*[\w:/-])",
    re.IGNORECASE,
)
_DATE_IN_WORDS = re.compile(
    r"(?:try again|retry|wait|resets?|available again)\b[^.\d]{0,60}?"
    r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?\s*(?:Z|UTC|GMT|[+-]\d\d:?\d\d)?)",
    re.IGNORECASE,
)
_EPOCH = 1e9
"""A number of seconds above this is a date."""
_EPOCH_MS = 1e12
_EPOCH_NS = 1e15
_YEAR = 366 * 86400.0


def seconds(value: object, *, in_ms: bool = False) -> float | None:
    """Seconds from now, of a number, a duration such as `1m30s`, or a date; None: it is none of these."""
    text = str(value).strip().strip('"')
    found = _number(text)
    if found is None:
        found = _duration(text)
    elif in_ms:
        found /= 1000
    elif found >= _EPOCH_NS:
        found = None
    elif found >= _EPOCH:
        found = (found / 1000 if found >= _EPOCH_MS else found) - time.time()
    if found is None:
        found = _date(text)
    return None if found is None or found > _YEAR else max(0.0, found)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _duration(text: str) -> float | None:
    whole = _WHOLE.fullmatch(text)
    if whole is None:
        return None
    parts = _ONE.findall(whole[1])
    return sum(float(amount) * _in_seconds(unit.lower()) for amount, unit in parts)


def _in_seconds(unit: str) -> float:
    """Seconds of a unit, which may be written in full."""
    if unit in _UNITS:
        return _UNITS[unit]
    return next(
        _UNITS[short]
        for short in ("milli", "sec", "min", "hr", "hour", "day")
        if unit.startswith(short)
    )


def _date(text: str) -> float | None:
    """Seconds until a date, which is in UTC if it names no zone."""
    try:
        at = email.utils.parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        try:
            at = datetime.fromisoformat(re.sub(r"\s*(?:UTC|GMT)$", "+00:00", text))
        except ValueError:
            return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    try:
        return at.timestamp() - time.time()
    except (ValueError, OverflowError):
        return None


def stated(headers: Mapping[str, str], sent: object = None) -> Limit:
    """What a refusal says: its headers, and its body or the error in it."""
    if isinstance(sent, bytes):
        sent = sent.decode("utf-8", "replace")
        with contextlib.suppress(ValueError, RecursionError):
            sent = json.loads(sent)
    known = {name.lower(): value for name, value in (*_headers_in(sent), *headers.items())}
    words = (sent if isinstance(sent, str) else json.dumps(sent, default=str)).lower()
    kind = _kind(words)
    remaining = _remaining(known)
    wait = _asked(known)
    if wait is None:
        wait = _in_words(words)
    if wait is None:
        wait = _until_reset(remaining, words)
    if kind == "credit" and wait is not None and "insufficient_quota" not in words:
        kind = "unknown"  # a quota that fills again by itself
    if wait is None and kind == "day":
        wait = _DAY - time.time() % _DAY
    return Limit(kind, wait, any(left == 0 for left, _ in remaining.values()))


def used_up(headers: Mapping[str, str]) -> float | None:
    """Seconds for which the headers of an answer say that nothing remains; None: they do not."""
    named = {name.lower(): value for name, value in headers.items() if "limit" in name.lower()}
    if not named:
        return None
    empty = [reset for left, reset in _remaining(named).values() if left == 0]
    return max((reset for reset in empty if reset is not None), default=None)


_DAY = 86400.0
_ASKED = (
    ("retry-after-ms", True),
    ("x-ms-retry-after-ms", True),
    ("retry_after_ms", True),
    ("retryafterms", True),
    ("retry-after", False),
    ("retry_after", False),
    ("retry_after_seconds", False),
    ("retryafter", False),
    ("retrydelay", False),
    ("retrydelay", False),
    ("retry_delay", False),
    ("x-retry-after", False),
    ("estimated_time", False),
)
"""Names of headers and of values in a body that say how long to wait, and whether in milliseconds."""


def _asked(known: Mapping[str, str]) -> float | None:
    waits = (seconds(known[name], in_ms=in_ms) for name, in_ms in _ASKED if name in known)
    return next((wait for wait in waits if wait is not None), None)


def _in_words(words: str) -> float | None:
    if found := _IN_WORDS.search(words):
        return _duration(found[1].strip())
    if bare := _BARE_IN_WORDS.search(words):
        return float(bare[1])
    dated = _DATE_IN_WORDS.search(words)
    return max(0.0, _date(dated[1].strip().upper()) or 0.0) if dated else None


def _headers_in(sent: object, depth: int = 5) -> Iterator[tuple[str, str]]:
    """Values in a body that are named like headers, at any depth."""
    if depth and isinstance(sent, list):
        for one in cast("list[object]", sent):
            yield from _headers_in(one, depth - 1)
    if not depth or not isinstance(sent, Mapping):
        return
    for name, value in cast("Mapping[str, Any]", sent).items():
        if isinstance(value, Mapping | list):
            yield from _headers_in(value, depth - 1)
        elif value is not None and not isinstance(value, bool):
            yield str(name), str(value)


_FIELD = re.compile(r"rate-?limit|tokenlimit")
_RESERVED = re.compile(r'\b(remaining|reset|r|t)\s*=\s*"?(\d+(?:\.\d+)?)')


def _remaining(known: Mapping[str, str]) -> dict[str, tuple[float | None, float | None]]:
    """What remains of each limit, and the seconds until it resets; None: not said."""
    left: dict[str, float | None] = {}
    resets: dict[str, float | None] = {}
    for name, value in known.items():
        if name in ("ratelimit", "x-ratelimit"):
            for nth, policy in enumerate(re.split(r',(?=\s*")', value)):
                fields = dict(_RESERVED.findall(policy))
                left[f"{name} {nth}"] = _number(fields.get("remaining") or fields.get("r") or "")
                resets[f"{name} {nth}"] = _number(fields.get("reset") or fields.get("t") or "")
        elif _FIELD.search(name):
            first = value.split(";")[0].strip()
            if "remaining" in name:
                number = _number(first.split(",")[0])
                left[name.replace("remaining", "")] = None if (number or 0) < 0 else number
            elif "reset" in name:
                in_ms = name.endswith(("-ms", "_ms"))
                wait = seconds(first, in_ms=in_ms)
                dimension = name.removesuffix("-ms").removesuffix("-after").replace("reset", "")
                resets[dimension] = seconds(first.split(",")[0]) if wait is None else wait
    return {name: (left.get(name), resets.get(name)) for name in left.keys() | resets.keys()}


def _until_reset(
    remaining: Mapping[str, tuple[float | None, float | None]], words: str
) -> float | None:
    """Seconds until the limit that refused resets: what is used up, else what the words name, else the least."""
    resets = {name: reset for name, (_, reset) in remaining.items() if reset is not None}
    if empty := [
        resets[name] for name, (left, _) in remaining.items() if left == 0 and name in resets
    ]:
        return max(empty)
    of_tokens = {name: reset for name, reset in resets.items() if "token" in name}
    if of_tokens and "token" in words:
        return max(of_tokens.values())
    return min(resets.values(), default=None)


_KINDS: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    ("credit", re.compile(r"insufficient_quota")),
    ("too_large", re.compile(r"request too large")),
    (
        "day",
        re.compile(
            r"\b(?:per|each|a)[ _-]?day\b|perday|\b[rt]pd\b|daily|/ ?d(?:ay)?\b|24 ?hours|per[ _-]?month|monthly"
        ),
    ),
    ("hour", re.compile(r"per[ _-]?hour|hourly|/ ?h(?:our)?\b")),
    ("minute", re.compile(r"per[ _-]?min|\b[rt]pm\b|/ ?min|perminute|\d[rt]pm\b")),
    ("second", re.compile(r"per[ _-]?sec|\b[rtq]ps\b|/ ?s(?:ec)?\b|persecond")),
    (
        "in_flight",
        re.compile(
            r"concurren|in[ _-]flight|simultaneous|parallel|at (?:once|the same time)|too many connections|max[ _-]?parallel"
        ),
    ),
    (
        "overloaded",
        re.compile(
            r"overload|\bbusy\b|capacity|high demand|peak load|queue|temporarily|currently loading|try a different model"
        ),
    ),
    (
        "credit",
        re.compile(r"current quota|\bcredits?\b|billing|balance|payment|spend(?:ing)? limit"),
    ),
)


_ADDRESS = re.compile(r"https?://\S+")


def _kind(words: str) -> Kind:
    text = _ADDRESS.sub("", words)
    for kind, pattern in _KINDS:
        if pattern.search(text):
            return kind
    return "unknown"
