"""The users of the service. A user has no password, and an e-mail address identifies none."""

from __future__ import annotations

import dataclasses
import difflib
import shlex
from typing import TYPE_CHECKING, Any

from aideon_agents.access import audit
from aideon_agents.access.roles import Role, checked_role
from aideon_agents.access.tiers import checked_tier
from aideon_agents.errors import Changed, Conflict, NotFound, UserError, shown
from aideon_agents.ledger.identity import now, utc_text
from aideon_agents.state import Tier

if TYPE_CHECKING:
    from aideon_agents.access.audit import By
    from aideon_agents.ledger.database import Row, Statements
    from aideon_agents.ledger.store import Ledger

_COLUMNS = "user_id, name, email, role, tier, created_at, blocked_at"
_ONE = f"SELECT {_COLUMNS} FROM users WHERE user_id = :user_id"  # noqa: S608 - our names
_PAGE = f"SELECT {_COLUMNS} FROM users WHERE user_id > :after ORDER BY user_id LIMIT :most"  # noqa: S608 - our names
_ADD = """
INSERT INTO users (user_id, name, email, role, tier, created_at, blocked_at)
VALUES (:user, :name, :email, :role, :tier, :created_at, :blocked_at)
ON CONFLICT DO NOTHING
"""
_SET = """
UPDATE users SET name = :name, email = :email, role = :role, tier = :tier, blocked_at = :blocked_at
WHERE user_id = :user
"""
_BY_TIER = """
SELECT tier, COUNT(*) AS users, COUNT(*) FILTER (WHERE created_at >= :since) AS added
FROM users WHERE blocked_at IS NULL GROUP BY tier ORDER BY 1
"""
_BY_EMAIL = "SELECT user_id FROM users WHERE email = :email"
_LONGEST = 200
"""Characters of a name."""


@dataclasses.dataclass(frozen=True, slots=True)
class User:
    """A row of the table of users."""

    user: str
    """What `runs.user` holds."""
    role: Role
    tier: Tier
    created_at: str
    name: str | None = None
    email: str | None = None
    blocked_at: str | None = None
    """None: the user is not blocked."""


def add(
    ledger: Ledger,
    user: str,
    by: By,
    *,
    role: str = "member",
    tier: str = "free",
    name: str | None = None,
    email: str | None = None,
) -> User:
    """Add a user."""
    at = utc_text(now())
    made = User(checked_name(user), checked_role(role), checked_tier(tier), at, name, email)
    with ledger.database.transaction() as tx:
        insert(tx, made, by)
    return made


def insert(tx: Statements, made: User, by: By) -> None:
    """Add a user inside a transaction."""
    _check_email(tx, made)
    if not tx.write(_ADD, dataclasses.asdict(made)):
        raise Conflict(f"there is a user {made.user!r} already: change it with `aideon users set`")
    audit.record(tx, by, "user.added", made.user, after=_changeable(made))


def find(ledger: Ledger | Statements, user_id: str) -> User:
    """The user with a name."""
    if found := ledger.select(_ONE, {"user_id": user_id}):
        return user_in(found[0])
    names = [row["user_id"] for row in ledger.select(_PAGE, {"after": "", "most": 1000})]
    near = difflib.get_close_matches(user_id, names, n=1)
    how = f"add one with `aideon users add {shlex.quote(user_id)}`"
    hint = f"did you mean {near[0]}?" if near else how
    raise NotFound(f"there is no user {shown(user_id)}: {hint}")


def listed(ledger: Ledger, *, after: str = "", most: int = 2**31) -> list[User]:
    """Users by name, from the one after a name."""
    return [user_in(row) for row in ledger.select(_PAGE, {"after": after, "most": most})]


def by_tier(ledger: Ledger, since: str) -> list[Row]:
    """How many users each tier has who are not blocked, and how many of them were added since a time."""
    return ledger.select(_BY_TIER, {"since": since})


def upgraded(ledger: Ledger) -> set[str]:
    """The users whose tier was changed from free to a higher one."""
    changes = audit.of_action(ledger, "user.changed")
    return {one["target"] for one in changes if (one["before"] or {}).get("tier") == "free"}


def change(
    ledger: Ledger, user_id: str, by: By, *, seen: User | None = None, **values: Any
) -> User:
    """Change a user's `role`, `tier`, `name`, `email` or `blocked`; what is not given stays.

    With `seen`, nothing is changed unless the user still is as it was read.
    """
    with ledger.database.transaction() as tx:
        before = find(tx, user_id)
        if seen is not None and seen != before:
            raise Changed(f"the user {user_id!r} was changed in the meantime: read it again")
        checked_role(values.get("role", before.role))
        checked_tier(values.get("tier", before.tier))
        if (is_blocked := values.pop("blocked", None)) is not None:
            values["blocked_at"] = before.blocked_at or utc_text(now()) if is_blocked else None
        after = dataclasses.replace(before, **values)
        if after != before:
            _check_email(tx, after)
            tx.write(_SET, dataclasses.asdict(after))
            old, new = _changeable(before), _changeable(after)
            audit.record(tx, by, "user.changed", user_id, before=old, after=new)
    return after


def checked_name(name: str) -> str:
    """A name as a user may have it: scopes, addresses and reports hold it."""
    is_right = name.strip() == name and 0 < len(name) <= _LONGEST and name.isprintable()
    if not is_right or "/" in name or ":" in name:
        raise UserError(
            f"{shown(name)} cannot be the name of a user: use at most {_LONGEST} letters, digits and"
            " signs, without / and : and without spaces at the ends"
        )
    return name


def user_in(row: Row) -> User:
    """The user in a row."""
    names = [field.name for field in dataclasses.fields(User) if field.name != "user"]
    return User(user=row["user_id"], **{name: row[name] for name in names})


def _check_email(tx: Statements, user: User) -> None:
    if user.email is None:
        return
    if "@" not in user.email.strip("@") or not user.email.isprintable() or " " in user.email:
        raise UserError(f"{shown(user.email)} is no e-mail address")
    taken = tx.select(_BY_EMAIL, {"email": user.email})
    if taken and taken[0]["user_id"] != user.user:
        raise Conflict(f"another user has the e-mail address {shown(user.email)}")


def _changeable(user: User) -> dict[str, Any]:
    """What the audit log says about a user."""
    names = ("name", "email", "role", "tier")
    return {name: getattr(user, name) for name in names} | {"blocked": user.blocked_at is not None}
