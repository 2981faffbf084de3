"""What the users of a service are charged for a month: reported, never collected.

Calls with a user's own key use no credit. A user who has used a proven key of their own in the month is
charged 10 % less for the others.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from aideon_agents.errors import InputError, shown
from aideon_agents.ledger.identity import now, utc_text
from aideon_agents.ledger.money import NANO, usd, usd_text

if TYPE_CHECKING:
    from aideon_agents.ledger.store import Ledger

DISCOUNT = Decimal("0.1")
_MONTH = re.compile(r"[0-9]{4}-(?:0[1-9]|1[0-2])")


def charge_of(ledger: Ledger, user: str, month: str | None = None) -> dict[str, Any]:
    """What one user is charged for a UTC month; None: this one."""
    found = charges(ledger, month, user)
    given = found["users"][0] if found["users"] else _NONE
    return {"month": found["month"], **{name: given[name] for name in _NONE}}


def charges(ledger: Ledger, month: str | None = None, user: str | None = None) -> dict[str, Any]:
    """By user: what was spent in a UTC month, what of it uses credit, the discount, and the charge.

    None: this month, or all users. `complete` is False where the cost of a call is not known.
    """
    month = month or utc_text(now())[:7]
    if not _MONTH.fullmatch(month):
        raise InputError(f"{shown(month)} is no month: write one such as 2026-11")
    values = {"begins": month, "ends": f"{month}~"}
    rows = [row for row in ledger.select(_CHARGES, values) if user in {None, row["user"]}]
    found: list[dict[str, Any]] = []
    for row in rows:
        credit = usd(row["credit"])
        discount = (credit * DISCOUNT if row["own_keys"] else Decimal(0)).quantize(
            Decimal(10) ** -NANO
        )
        found.append(
            {
                "user": row["user"],
                "spent_usd": usd_text(usd(row["spent"])),
                "credit_usd": usd_text(credit),
                "discount_usd": usd_text(discount),
                "charge_usd": usd_text(credit - discount),
                "own_key_calls": row["own_calls"],
                "complete": not row["unknown"],
            }
        )
    return {"month": month, "users": found}


_NONE: dict[str, Any] = {
    **dict.fromkeys(
        ("spent_usd", "credit_usd", "discount_usd", "charge_usd"), usd_text(Decimal(0))
    ),
    "own_key_calls": 0,
    "complete": True,
}
"""The charge of a user without a call."""
_CHARGES = """
    SELECT COALESCE(runs."user", '') AS "user",
        COALESCE(SUM(calls.cost_nanousd), 0) AS spent,
        COALESCE(SUM(calls.cost_nanousd) FILTER (WHERE COALESCE(calls.key_source, '') <> 'user'), 0)
            AS credit,
        COUNT(*) FILTER (WHERE calls.key_source = 'user') AS own_calls,
        COUNT(*) FILTER (WHERE provider_keys.proven_at IS NOT NULL) AS own_keys,
        COUNT(*) FILTER (WHERE calls.cost_nanousd IS NULL) AS unknown
    FROM calls LEFT JOIN runs ON runs.run_id = calls.run_id
    LEFT JOIN provider_keys ON provider_keys.row_id = calls.provider_key_id
        AND calls.key_source = 'user' AND calls.status = 'ok'
    WHERE calls.started_at >= :begins AND calls.started_at < :ends AND calls.rehearsed = 0
        AND calls.simulated = 0
    GROUP BY COALESCE(runs."user", '') ORDER BY 1
"""
