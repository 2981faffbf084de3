"""Numbers and formatted strings that a JSON Schema accepts.

`variant` asks for another value of the same kind: 0 gives the best one, and a set of distinct
items counts upwards until it has enough.
"""

from __future__ import annotations

import math
from datetime import date, timedelta
from fractions import Fraction
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_HIGH = Fraction(9, 10)
"""Where in a range a number lies: near its top, so that a score rehearses a good answer."""
_STEPS = 64
"""Into how many parts a range of real numbers is cut for distinct values."""
_FIRST_DAY = date(2026, 1, 1)


def number(schema: Mapping[str, Any], *, whole: bool, variant: int) -> int | float:
    """Work out a number within a schema's bounds."""
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
    """Places to try, in order; the caller rounds them and drops what does not fit."""
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
    # Beyond 2**40 a step of one is lost in a float, so the step grows with the bound.
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
"""A string of each format, by variant. A format that is missing here puts no demand on a text."""


def fitted(text: str, *, shortest: int, longest: int | None) -> str:
    """Make a text as long as a schema demands, cut between words where that is possible."""
    if longest is not None and len(text) > longest:
        space = text.rfind(" ", max(shortest, longest // 2), longest + 1)
        text = text[: space if space > 0 else longest].rstrip()
    if len(text) < shortest:
        filler = (text or "x") + " "
        text = (filler * (shortest // len(filler) + 1))[:shortest]
    return text[:-1] + "." if text.endswith(" ") else text
