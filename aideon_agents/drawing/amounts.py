"""Money, tokens and times in as few characters as a card has room for."""

from __future__ import annotations

from decimal import Decimal

_PENNY = Decimal("0.01")
_MILLION = 1_000_000
_SECOND, _MINUTE, _HOUR = 1_000, 60_000, 3_600_000


def money(usd: Decimal | None, *, complete: bool = True) -> str:
    """An amount."""
    if usd is None:
        return "?"
    return _dollars(usd) if complete else f">= {_dollars(usd)}"


def tokens(count: int) -> str:
    """A number of tokens."""
    return f"{count:,} tok" if count < _MILLION else f"{count / _MILLION:,.1f}M tok"


def time(milliseconds: int | None) -> str:
    """A time."""
    if milliseconds is None:
        return ""
    if milliseconds < _MINUTE:
        return f"{milliseconds / _SECOND:.2f} s"
    if milliseconds < _HOUR:
        return f"{milliseconds // _MINUTE} min {milliseconds % _MINUTE // _SECOND} s"
    return f"{milliseconds // _HOUR:,} h {milliseconds % _HOUR // _MINUTE} min"


def percent(share: float) -> str:
    """A share."""
    return "< 1 %" if 0 < share < 0.005 else f"{share:.0%}".replace("%", " %")  # noqa: PLR2004


def counted(count: int, name: str) -> str:
    """A number of things."""
    return f"{count:,} {name}{'' if count == 1 else 's'}"


def _dollars(usd: Decimal) -> str:
    if usd >= 1:
        return f"${usd:,.2f}"
    if not usd:
        return "$0"
    if usd >= _PENNY:
        return f"${usd:.4f}"
    return f"${usd:.{max(6, -usd.adjusted())}f}"
