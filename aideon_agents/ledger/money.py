"""Amounts of money: whole nano-dollars in the ledger, decimal dollars in code, texts in JSON."""

from __future__ import annotations

from decimal import Decimal

NANO = 9
"""Decimal places of a dollar that the ledger keeps."""

OWN_PRICE = "own server"
"""The source of the price of a call to one's own server, which is 0."""


def usd(nanousd: int) -> Decimal:
    """Dollars, exactly."""
    return Decimal(nanousd).scaleb(-NANO)


def usd_text(amount: Decimal) -> str:
    """An amount for JSON: exact, without exponent, at least six decimal places."""
    whole, _, places = f"{amount:f}".partition(".")
    return f"{whole}.{places.rstrip('0').ljust(6, '0')}"
