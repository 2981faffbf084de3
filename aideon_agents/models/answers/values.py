"""Numbers, formatted strings and texts for a pattern that a JSON Schema accepts.

`variant` selects another value of the same kind: 0 is the best one, and a set of distinct items
counts upwards until it has enough.

A pattern is read once, left to right: the first alternative, few repetitions, the first character
that fits. `re` then checks the result against the pattern, so a construct that is read too simply (a
lookahead, a back reference) ends as an error and never as a wrong answer.
"""

from __future__ import annotations

import math
import re
import string
from datetime import date, timedelta
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


_HIGH = Fraction(9, 10)
"""The place of a number in its range: near the top, so that a score rehearses a good answer."""
_STEPS = 64
"""The number of parts of a real range, for distinct values."""
_FIRST_DAY = date(2026, 1, 1)


def number(schema: Mapping[str, Any], *, whole: bool, variant: int) -> int | float:
    """A number within the bounds of a schema; ValueError: there is none."""
    for value in _candidates(schema, whole=whole, variant=variant):
        if _fits(schema, value):
            return value
    raise ValueError(f"no number fits {dict(schema)}")


def _exact(value: float | None) -> Fraction | None:
    return None if value is None else Fraction(str(value))


def _bounds(schema: Mapping[str, Any]) -> tuple[Fraction | None, Fraction | None]:
    lows = [_exact(schema.get(key)) for key in ("minimum", "exclusiveMinimum")]
    highs = [_exact(schema.get(key)) for key in ("maximum", "exclusiveMaximum")]
    low = max((value for value in lows if value is not None), default=None)
    high = min((value for value in highs if value is not None), default=None)
    return low, high


def _candidates(schema: Mapping[str, Any], *, whole: bool, variant: int) -> Iterator[int | float]:
    multiple = _exact(schema.get("multipleOf"))
    grid = multiple or Fraction(1 if whole else 0)
    if whole and grid.denominator != 1:
        grid = Fraction(grid.numerator)
    for point in _points(*_bounds(schema), grid, variant):
        rounded = [math.floor(point / grid) * grid, math.ceil(point / grid) * grid] if grid else []
        for value in rounded or [point]:
            yield int(value) if whole else float(value)


def _points(
    low: Fraction | None, high: Fraction | None, grid: Fraction, variant: int
) -> Iterator[Fraction]:
    """Values to try, in order; the caller rounds them and drops those that do not fit."""
    if low is not None and high is not None:
        step = grid or (high - low) / _STEPS
        if variant:
            yield from (low + (variant - 1) * step, low + variant * step)
        else:
            yield from (low + (high - low) * _HIGH, (low + high) / 2, low, high)
        return
    sign = -1 if high is not None else 1
    start = low if low is not None else high
    step = grid or Fraction(1)
    if start is None:
        yield step * (1 + variant)
        return
    # Above 2**40 a float may lose a step of one, so the step grows with the bound.
    far = max(step, abs(start) / 2**40)
    for nth in (variant, variant + 1):
        yield start + sign * nth * far


def _fits(schema: Mapping[str, Any], value: float) -> bool:
    exact = Fraction(str(value))
    multiple = _exact(schema.get("multipleOf"))
    tests = (
        ("minimum", exact.__ge__),
        ("exclusiveMinimum", exact.__gt__),
        ("maximum", exact.__le__),
        ("exclusiveMaximum", exact.__lt__),
    )
    within = all(key not in schema or test(Fraction(str(schema[key]))) for key, test in tests)
    return within and not (multiple and isinstance(value, int) and exact % multiple)


def _uuid(version: int) -> Callable[[int], str]:
    return lambda nth: f"00000000-0000-{version}000-8000-{nth + 1:012d}"


def _day(nth: int) -> str:
    return str(_FIRST_DAY + timedelta(days=nth))


FORMATS: Mapping[str, Callable[[int], str]] = {
    "date": _day,
    "date-time": lambda nth: f"{_day(nth)}T09:00:00Z",
    "time": lambda nth: f"{9 + nth % 12:02d}:{nth // 12 % 60:02d}:00Z",
    "duration": lambda nth: f"PT{nth + 1}H",
    **{f"uuid{version}": _uuid(version) for version in (1, 3, 5, 6, 7, 8)},
    "uuid": _uuid(4),
    "uuid4": _uuid(4),
    "email": lambda nth: f"reader{nth + 1}@example.com",
    "idn-email": lambda nth: f"reader{nth + 1}@example.com",
    "name-email": lambda nth: f"Reader <reader{nth + 1}@example.com>",
    "uri": lambda nth: f"https://example.com/{nth + 1}",
    "url": lambda nth: f"https://example.com/{nth + 1}",
    "uri-reference": lambda nth: f"https://example.com/{nth + 1}",
    "multi-host-uri": lambda nth: f"postgresql://example.com/{nth + 1}",
    "hostname": lambda nth: f"host{nth + 1}.example.com",
    "ipv4": lambda nth: f"192.0.2.{nth % 256}",
    "ipv6": lambda nth: f"2001:db8::{nth + 1:x}",
    "ipvanyaddress": lambda nth: f"192.0.2.{nth % 256}",
    "ipv4network": lambda nth: f"10.{nth % 256}.0.0/16",
    "ipv6network": lambda nth: f"2001:db8:{nth + 1:x}::/48",
    "ipvanynetwork": lambda nth: f"10.{nth % 256}.0.0/16",
    "ipv4interface": lambda nth: f"192.0.2.{nth % 256}/24",
    "ipv6interface": lambda nth: f"2001:db8::{nth + 1:x}/64",
    "ipvanyinterface": lambda nth: f"192.0.2.{nth % 256}/24",
    "base64": lambda _nth: "ZGlnZXN0",
    "base64url": lambda _nth: "ZGlnZXN0",
    "json-string": lambda nth: str(nth + 1),
    "regex": lambda nth: "a" * (nth + 1),
}
"""A string of each format, by variant. A format that is missing here does not restrict a text."""


def fitted(text: str, *, shortest: int, longest: int | None) -> str:
    """Make a text as long as a schema requires, cut between words if possible."""
    if longest is not None and len(text) > longest:
        space = text.rfind(" ", max(shortest, longest // 2), longest + 1)
        text = text[: space if space > 0 else longest].rstrip()
    if len(text) < shortest:
        filler = (text or "x") + " "
        text = (filler * (shortest // len(filler) + 1))[:shortest]
    return text[:-1] + "." if text.endswith(" ") else text


_ALPHABET = string.ascii_lowercase + string.digits + string.ascii_uppercase + "-_.:/@#+,;=!?() "
_REPETITIONS = (1, 0, 2, 3, 4, 5, 8, 12, 16, 24, 32, 64, 128, 256)
_LONGEST = 10_000
_SIMPLE_COUNTS = {"*": (0, _LONGEST), "+": (1, _LONGEST), "?": (0, 1)}
_COUNTS = re.compile(r"\{(\d+)(,?)(\d*)\}")
_LOOKAROUND = re.compile(r"\(\?<?[=!]")
_GROUP = re.compile(r"\((\?(:|P?<\w+>))?")
_ANCHOR = re.compile(r"\^|\$|\\[AbBzZ]")
_ONE = re.compile(r"\[\^?\]?(?:\\.|[^\]\\])*\]|\\.|[^()|]", re.DOTALL)


def matching(pattern: str, *, shortest: int, longest: int | None, variant: int) -> str:
    """A text that a pattern accepts; ValueError: simple means find none."""
    for repetitions in _REPETITIONS:
        try:
            text = _Reader(pattern, repetitions, variant).alternatives()
            found = re.search(pattern, text)
        except (re.error, RecursionError) as error:
            raise ValueError(f"the pattern {pattern!r} cannot be read: {error}") from error
        if found and shortest <= len(text) and (longest is None or len(text) <= longest):
            return text
    raise ValueError(f"no text that matches the pattern {pattern!r} was found by simple means")


@lru_cache(maxsize=256)
def _characters(single: str) -> str:
    """The characters that a class, an escape or a literal accepts."""
    accepted = re.compile(single, re.DOTALL)
    return "".join(char for char in _ALPHABET + single if accepted.fullmatch(char))


class _Reader:
    """Reads a pattern and builds a text for it."""

    def __init__(self, pattern: str, repetitions: int, variant: int) -> None:
        self._pattern = pattern
        self._repetitions = repetitions
        self._variant = variant
        self._at = 0

    def alternatives(self) -> str:
        first = self._sequence()
        while self._peek() == "|":
            self._at += 1
            self._sequence()
        return first

    def _sequence(self) -> str:
        written = ""
        while self._peek() not in {"", "|", ")"}:
            written += self._repeated()
            if len(written) > _LONGEST:
                raise ValueError(f"the pattern {self._pattern!r} asks for too long a text")
        return written

    def _repeated(self) -> str:
        start, variant = self._at, self._variant
        once = self._atom()
        least, most = self._counts()
        end = self._at
        wanted = min(max(least, self._repetitions), most)
        if wanted == 0:
            self._variant = variant
            return ""
        written = once
        while wanted > 1 and len(written) <= _LONGEST:
            self._at = start
            written += self._atom()
            wanted -= 1
        self._at = end
        return written

    def _atom(self) -> str:
        looking = _LOOKAROUND.match(self._pattern, self._at)
        group = looking or _GROUP.match(self._pattern, self._at)
        if group:
            variant = self._variant
            self._at = group.end()
            inside = self.alternatives()
            self._at += 1
            if looking:
                self._variant = variant
            return "" if looking else inside
        anchor = _ANCHOR.match(self._pattern, self._at)
        if anchor:
            self._at = anchor.end()
            return ""
        return self._one()

    def _one(self) -> str:
        single = _ONE.match(self._pattern, self._at)
        accepted = _characters(single.group()) if single else ""
        if single is None or not accepted:
            rest = self._pattern[self._at :]
            raise ValueError(f"no plain character fits where the pattern continues with {rest!r}")
        self._at = single.end()
        self._variant, choice = divmod(self._variant, len(accepted))
        return accepted[choice]

    def _counts(self) -> tuple[int, int]:
        exact = _COUNTS.match(self._pattern, self._at)
        simple = _SIMPLE_COUNTS.get(self._peek())
        if exact:
            self._at = exact.end()
            least = int(exact[1])
            counts = least, int(exact[3] or _LONGEST) if exact[2] else least
        elif simple:
            self._at += 1
            counts = simple
        else:
            return 1, 1
        if self._peek() in {"?", "+"}:  # lazy and possessive accept the same texts
            self._at += 1
        return counts

    def _peek(self) -> str:
        return self._pattern[self._at : self._at + 1]
