"""One form of time for every row: ISO-8601 in UTC, with milliseconds and `Z`.

All texts have the same length, so that comparing them as text compares them as times, and the
first ten characters are the UTC day by which budgets and reports count.
"""

from __future__ import annotations

from datetime import UTC, datetime


def now() -> datetime:
    """The current time in UTC."""
    return datetime.now(UTC)


def utc_text(moment: datetime) -> str:
    """The text that a row holds for a time."""
    known = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return known.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
