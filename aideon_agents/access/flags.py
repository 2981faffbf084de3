"""The feature flags: four that the service knows, on for all users, for a share of them, or off.

A share is sticky: a user who is in the first 10 % is also in the first 50 %. A flag that was never set
has its value in `[tool.aideon.flags]` of ./pyproject.toml, and is on without one.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from aideon_agents.access import audit
from aideon_agents.errors import Changed, NotFound, UserError, shown
from aideon_agents.ledger.identity import now, utc_text
from aideon_agents.settings.deployments import FILE, table

if TYPE_CHECKING:
    from aideon_agents.access.audit import By
    from aideon_agents.ledger.database import Row, Statements
    from aideon_agents.ledger.store import Ledger

Flag: TypeAlias = Literal[
    "together_ai_integration",
    "together_ai_free_tier",
    "together_ai_fallback",
    "together_ai_ui_indicators",
    "user_provider_keys",
]
MEANINGS: dict[Flag, str] = {
    "together_ai_integration": "the endpoints below /api/v1/together answer",
    "together_ai_free_tier": "users of the tier free may use the service",
    "together_ai_fallback": "the next candidate answers when a model fails",
    "together_ai_ui_indicators": "answers and pages name the source of a model",
    "user_provider_keys": "users may store keys of providers for their own calls",
}
"""What each flag does where it is on."""

_FIRST_OFF = ("user_provider_keys",)
"""The flags that an administrator has to switch on."""
_ALL = "SELECT name, is_on, share, changed_by, changed_at FROM flags"
_ONE = f"{_ALL} WHERE name = :name"
_SET = """
INSERT INTO flags (name, is_on, share, changed_by, changed_at)
VALUES (:name, :on, :share, :changed_by, :changed_at)
ON CONFLICT (name) DO UPDATE SET is_on = excluded.is_on, share = excluded.share,
    changed_by = excluded.changed_by, changed_at = excluded.changed_at
"""
_EVERYONE = 100


@dataclasses.dataclass(frozen=True, slots=True)
class FlagState:
    """How a flag is set."""

    name: Flag
    on: bool
    share: int | None = None
    """The percentage of users whom it is on for; None: all."""
    changed_by: str | None = None
    """None: it has its first value."""
    changed_at: str | None = None

    def is_on_for(self, user: str) -> bool:
        """Whether it is on for a user."""
        return self.on and (self.share is None or _place(self.name, user) < self.share)


def is_on(ledger: Ledger, name: Flag, user: str) -> bool:
    """Whether a flag is on for a user now. It is read from the ledger each time."""
    return find(ledger, name).is_on_for(user)


def find(ledger: Ledger | Statements, name: str) -> FlagState:
    """How a flag is set."""
    known = checked_flag(name)
    found = ledger.select(_ONE, {"name": known})
    return _state(found[0]) if found else first_values()[known]


def listed(ledger: Ledger) -> list[FlagState]:
    """All flags, in the order in which they are documented."""
    return list(
        (first_values() | {row["name"]: _state(row) for row in ledger.select(_ALL)}).values()
    )


def change(
    ledger: Ledger,
    name: str,
    by: By,
    *,
    is_on: bool,
    share: int | None = None,
    seen: FlagState | None = None,
) -> FlagState:
    """Set a flag. With `seen`, nothing is changed unless it still is as it was read."""
    known = checked_flag(name)
    if share is not None and not (is_on and 0 <= share <= _EVERYONE):
        what = "is a whole percentage from 0 to 100, and the flag is on"
        raise UserError(f"the share of a flag {what}")
    with ledger.database.transaction() as tx:
        before = find(tx, known)
        if seen is not None and seen != before:
            raise Changed(f"the flag {known} was changed in the meantime: read it again")
        some = None if share == _EVERYONE else share
        after = FlagState(known, is_on, some, by.actor, utc_text(now()))
        tx.write(_SET, dataclasses.asdict(after))
        old, new = ({"on": one.on, "share": one.share} for one in (before, after))
        audit.record(tx, by, "flag.changed", known, before=old, after=new)
    return after


def checked_flag(name: str) -> Flag:
    """A flag by its name."""
    for flag in get_args(Flag):
        if flag == name:
            return flag
    near = difflib.get_close_matches(name, get_args(Flag), n=1)
    hint = f"did you mean {near[0]}?" if near else f"the flags are {', '.join(get_args(Flag))}"
    raise NotFound(f"there is no flag {shown(name)}: {hint}")


def first_values() -> dict[Flag, FlagState]:
    """What the flags are until they are set."""
    values: dict[Flag, FlagState] = {
        name: FlagState(name, on=name not in _FIRST_OFF) for name in get_args(Flag)
    }
    for name, value in table("flags").items():
        try:
            known = checked_flag(name)
        except NotFound as error:
            raise UserError(f"{FILE}: tool.aideon.flags: {error}") from None
        if isinstance(value, bool):
            values[known] = FlagState(known, value)
        elif isinstance(value, int) and 0 <= value <= _EVERYONE:
            values[known] = FlagState(known, on=True, share=value)
        else:
            raise UserError(
                f"{FILE}: tool.aideon.flags.{name} must be true, false or a percentage from 0 to 100,"
                f" not {shown(value)}"
            )
    return values


def _state(row: Row) -> FlagState:
    on = bool(row["is_on"])
    return FlagState(row["name"], on, row["share"], row["changed_by"], row["changed_at"])


def _place(name: str, user: str) -> int:
    """Where a user is among 100, the same each time, and another for each flag."""
    digest = hashlib.sha256(f"{name}\n{user}".encode()).digest()
    return int.from_bytes(digest[:8]) % _EVERYONE
