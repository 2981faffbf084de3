"""How the pages write amounts, times and states."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from aideon_agents.access.audit import change
from aideon_agents.ledger.money import usd

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_TONES = {
    "completed": "good",
    "closed": "good",
    "approved": "good",
    "on": "good",
    "proven": "good",
    "rejected": "bad",
    "running": "busy",
    "waiting": "warning",
    "half_open": "warning",
    "open": "bad",
    "failed": "bad",
    "crashed": "bad",
    "declined": "bad",
    "blocked": "bad",
}

DONE: Mapping[str, str] = {
    "answered": "The answer was given, and the run continues.",
    "answered-all": "The answers were given, and the runs continue.",
    "cancelled": "The run is being cancelled.",
    "resumed": "The run continues.",
    "deleted": "What was kept of the run is deleted. What it cost stays.",
    "rated": "Thank you. The rating is recorded.",
    "batch-cancelled": "The batch starts no more items.",
    "revoked": "The key is revoked. It has ended at once.",
    "provider-key-store": "The key is stored. Runs use it from now on.",
    "provider-key-remove": "The key is removed. What was sealed is erased.",
    "provider-key-proven": "The provider takes the key.",
    "provider-key-rotate": "The rotation has begun with 10 % of the runs.",
    "provider-key-next": "The rotation has taken its next step.",
    "provider-key-back": "The rotation is taken back: all runs use the old key.",
    "asked": "Your request was sent. An admin decides on it.",
    "decided": "The decision is recorded.",
    "quota": "The quota applies from the next request on.",
    "user": "The user is changed from the next request on.",
    "flag": "The flag applies from the next request on.",
    "budget": "The budget applies from the next call on.",
}
"""What a page says after something was done."""


_HINT = re.compile(r": (GET /api/|`aideon |[^:]*`aideon |give each with -p ).*$")
_TEN, _CENT = Decimal(10), Decimal("0.01")
NONE = "\N{EN DASH}"


def tone(state: str) -> str:
    """The class of a state's badge."""
    return _TONES.get(state, "quiet")


def money(amount: str | Decimal | None) -> str:
    """US dollars for people: six places below a cent, four below ten dollars, else two; `?`: unknown."""
    if amount is None:
        return "?"
    value = Decimal(amount)
    places = 2 if abs(value) >= _TEN else 4 if abs(value) >= _CENT or not value else 6
    return f"${value:,.{places}f}"


def number(value: float | None, unit: str = "") -> str:
    """A number with its unit; a dash where there is none."""
    if value is None:
        return NONE
    return f"{value:,.1f}{unit}" if isinstance(value, float) else f"{value:,}{unit}"


def percent(value: float | None) -> str:
    """A share as a percentage; a dash where there is none."""
    return NONE if value is None else f"{100 * value:.1f} %"


def seconds(milliseconds: int | None) -> str:
    """Milliseconds as seconds; a dash where there are none."""
    return NONE if milliseconds is None else f"{milliseconds / 1000:.2f} s"


def plain(text: str) -> str:
    """An error without its hint for people who use the API or the command line."""
    return _HINT.sub("", text)


def moment(text: str | None) -> str:
    """A time in UTC, to the minute."""
    return NONE if not text else f"{text[:10]} {text[11:16]}"


def nanousd(amount: int) -> str:
    """Nano-dollars as US dollars, exactly: `$5.00`, `$0.0123`."""
    value = usd(amount)
    return f"${value.quantize(_CENT) if value == value.quantize(_CENT) else value.normalize():,f}"


FILTERS: dict[str, Callable[..., Any]] = {
    one.__name__: one
    for one in (change, tone, money, nanousd, number, percent, plain, seconds, moment)
}
