"""Periods as people write them: UTC days, UTC times, `today`, `last-month`, `7d`.

A day or a month named as an end is part of the period; a time is not.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING

from aideon_agents.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

Moment = dt.date | dt.datetime

WORDS = "today, yesterday, this-month, last-month, 7d or 24h"
"""What can be written besides a day and a time; the figures may be any."""


def period(
    since: str | None, until: str | None, now: dt.datetime
) -> tuple[Moment | None, Moment | None]:
    """Read the two ends of a period."""
    from aideon_agents.ledger.dimensions import (  # noqa: PLC0415 - help must not wait
        first_moment,
        moment_after,
    )

    first = None if since is None else _moment("--since", since, now)[0]
    last = None if until is None else _moment("--until", until, now)[1]
    if first is not None and last is not None and first_moment(first) >= moment_after(last):
        raise InputError(
            f"--since {since} --until {until}: the period ends before it begins, turn them round"
        )
    return first, last


def beginning(flag: str, text: str, now: dt.datetime) -> Moment:
    """Read a time as the beginning of something."""
    return _moment(flag, text, now)[0]


def _moment(flag: str, text: str, now: dt.datetime) -> tuple[Moment, Moment]:
    """What a text means as a beginning, and as an end."""
    named = _NAMED.get(text)
    if named:
        return named(now.date())
    try:
        if back := re.fullmatch(r"(\d+)([dh])", text):
            unit = "days" if back[2] == "d" else "hours"
            moment = now - dt.timedelta(**{unit: int(back[1])})
        elif "T" not in text and " " not in text:
            moment = dt.date.fromisoformat(text)
        else:
            written = dt.datetime.fromisoformat(text)
            moment = (written if written.tzinfo else written.replace(tzinfo=dt.UTC)).astimezone(
                dt.UTC
            )
    except (ValueError, OverflowError):
        raise InputError(
            f"{flag} {text}: write 2026-11-20, 2026-11-20T08:00, {WORDS} (all UTC)"
        ) from None
    return moment, moment


def _month(day: dt.date) -> tuple[dt.date, dt.date]:
    """The first and the last day of the month that a day lies in."""
    first = day.replace(day=1)
    return first, (first + dt.timedelta(days=31)).replace(day=1) - dt.timedelta(days=1)


def _day(day: dt.date) -> tuple[dt.date, dt.date]:
    return day, day


_NAMED: dict[str, Callable[[dt.date], tuple[dt.date, dt.date]]] = {
    "today": _day,
    "yesterday": lambda day: _day(day - dt.timedelta(days=1)),
    "this-month": _month,
    "last-month": lambda day: _month(day.replace(day=1) - dt.timedelta(days=1)),
}
