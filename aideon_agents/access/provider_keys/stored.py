"""The rows of providers' keys in a ledger, and what is shown of them: never a secret."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aideon_agents.access.provider_keys import sealing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aideon_agents.ledger.database import Row, Statements
    from aideon_agents.ledger.store import Ledger

SYSTEM = "system"
"""The owner of the keys that the service itself calls with; those of a user are of `user:NAME`."""
ENTER_AGAIN = "needs to be entered again"


def active(tx: Ledger | Statements, owner: str, provider: str) -> list[Row]:
    """The rows that an owner has of a provider, the newest first."""
    where = "owner = :owner AND provider = :provider AND retired_at IS NULL"
    values = {"owner": owner, "provider": provider}
    return list(tx.select(f"{ROWS} WHERE {where} ORDER BY created_at DESC, row_id DESC", values))


def place(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Where a row is, which its seal covers."""
    return "provider_keys", row["row_id"], row["owner"], row["provider"]


def opened(ring: Mapping[str, bytes], row: Mapping[str, Any]) -> str | None:
    """The secret in a row; None: the ring does not open it."""
    return sealing.opened(ring, place(row), row) if ring else None


def document(row: Row, ring: Mapping[str, bytes]) -> dict[str, Any]:
    """A key as commands and the API show it: its last four characters, and whether it works."""
    shown_ = ("provider", "share", "last4", "created_by", "created_at", "proven_at")
    if not ring:
        state = "needs AIDEON_KEY_RING"
    elif opened(ring, row) is None:
        state = ENTER_AGAIN
    else:
        state = "rejected" if row["refused_at"] else "active"
    values = {name: row[name] for name in (*shown_, "refused_at")}
    return {
        "key_id": row["row_id"],
        "user": None if row["owner"] == SYSTEM else row["owner"].removeprefix("user:"),
        **values,
        "may_fall_back": bool(row["may_fall_back"]),
        "state": state,
    }


_COLUMNS = (
    "row_id, owner, provider, share, ring_id, wrapped, sealed, last4, may_fall_back, created_by,"
    " created_at, share_since, proven_at, refused_at, retired_at"
)
ROWS = f"SELECT {_COLUMNS} FROM provider_keys"  # noqa: S608 - our names
