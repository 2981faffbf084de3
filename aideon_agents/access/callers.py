"""The caller of a request: a user, with what the key or the session lets that user do."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from aideon_agents.access.roles import ALL_SCOPES, ROLES, SCOPES, Permission, Role, Scope
from aideon_agents.state import Tier

if TYPE_CHECKING:
    from aideon_agents.ledger.store import Ledger


@dataclasses.dataclass(frozen=True, slots=True)
class Caller:
    """A user who was recognized. There is no secret in it."""

    user: str
    role: Role
    tier: Tier
    key_id: str | None = None
    """None: the request came with a session, or the service is open."""
    scopes: frozenset[Scope] = ALL_SCOPES
    workflows: frozenset[str] | None = None
    """The workflows that the key may run; None: all."""
    session: str | None = None
    """The digest of the session; None: there is none."""
    lineage: str | None = None
    """The first of the keys that replaced one another; counters use it, so a new key resets nothing."""
    expires_at: str | None = None
    """When the key ends, which a key made with it does as well; None: never."""

    def may(self, permission: Permission) -> bool:
        """Whether both the role and a scope permit it."""
        return permission in ROLES[self.role] and any(
            permission in SCOPES[scope] for scope in self.scopes
        )

    def may_run(self, workflow: str) -> bool:
        """Whether the caller may start a workflow."""
        return self.may("runs:write") and (self.workflows is None or workflow in self.workflows)


LOCAL = Caller("local", "admin", "premium")
"""Who asks where the service is open: on a loopback address, with a ledger as `is_open` wants it."""

_CREDENTIALS = """
SELECT 1 WHERE EXISTS (SELECT 1 FROM api_keys) OR EXISTS (SELECT 1 FROM sign_in_links)
    OR EXISTS (SELECT 1 FROM identities)
"""


def is_open(ledger: Ledger) -> bool:
    """Whether there never was a key or another way to sign in: revoking the last one opens nothing."""
    return not ledger.select(_CREDENTIALS)
