"""What each role and each scope of a key permits. This is code: no row or request can widen it."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, TypeAlias

from aideon_agents.errors import UserError, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Role: TypeAlias = Literal["viewer", "member", "admin"]
Permission: TypeAlias = Literal[
    "usage:own",
    "runs:own",
    "runs:write",
    "models:call",
    "keys:own",
    "provider-keys:own",
    "quota:ask",
    "context:own",
    "users",
    "quotas",
    "flags",
    "keys:any",
    "provider-keys:system",
    "usage:any",
    "audit",
    "budgets",
]
Scope: TypeAlias = Literal["runs", "models", "usage", "keys", "admin"]

_VIEWER = frozenset[Permission](("usage:own", "runs:own"))
_MEMBER = _VIEWER | frozenset[Permission](
    ("runs:write", "models:call", "keys:own", "provider-keys:own", "quota:ask", "context:own")
)
_MANAGEMENT = frozenset[Permission](
    (
        *("users", "quotas", "flags", "keys:any", "provider-keys:system"),
        *("usage:any", "audit", "budgets"),
    )
)

ROLES: Mapping[Role, frozenset[Permission]] = MappingProxyType(
    {"viewer": _VIEWER, "member": _MEMBER, "admin": _MEMBER | _MANAGEMENT}
)
"""The permissions of each role."""

SCOPES: Mapping[Scope, frozenset[Permission]] = MappingProxyType(
    {
        "runs": frozenset({"runs:own", "runs:write", "context:own"}),
        "models": frozenset({"models:call"}),
        "usage": frozenset({"usage:own"}),
        "keys": frozenset({"keys:own", "provider-keys:own", "quota:ask"}),
        "admin": _MANAGEMENT,
    }
)
"""The permissions that a key with a scope can use, as far as its user's role has them."""

ALL_SCOPES: frozenset[Scope] = frozenset(SCOPES)


def scopes_of(role: Role) -> list[Scope]:
    """The scopes that have an effect for a role."""
    return [scope for scope, allowed in SCOPES.items() if allowed & ROLES[role]]


def checked_scopes(given: Iterable[str]) -> frozenset[Scope]:
    """Scopes as a key may have them: known ones, at least one, and `admin` only alone.

    A key that manages the service calls no model, so a stolen one cannot spend.
    """
    found = frozenset(given)
    for one in sorted(found - ALL_SCOPES):
        raise UserError(f"{shown(one)} is no scope of a key: use {', '.join(SCOPES)}")
    if not found:
        raise UserError(f"a key needs a scope: use {', '.join(SCOPES)}")
    if "admin" in found and len(found) > 1:
        raise UserError("the scope admin is for a key of its own: make a second key for the others")
    return frozenset(scope for scope in SCOPES if scope in found)


def checked_role(given: str) -> Role:
    """A role by its name."""
    for role in ROLES:
        if role == given:
            return role
    raise UserError(f"{shown(given)} is no role: use {', '.join(ROLES)}")
