"""Whether a hold is refused: the worst case of a call, and what the limits leave."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from aideon_agents.ledger.budgets.accounts import LimitState

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclasses.dataclass(frozen=True)
class Refusal:
    """The worst case of a call does not fit."""

    by: LimitState
    """The tightest limit."""
    needed: int | None
    """The worst case in nano-dollars; None: it has no known price."""
    waits: bool
    """True: it would fit if nothing were held, so another call's settlement may make room."""


def refusal(limits: Iterable[LimitState], amount: int | None) -> Refusal | None:
    """Why an amount does not fit some limits; None: it fits. An amount of 0 always fits."""
    if amount == 0:
        return None
    enforced = [one for one in limits if not one.warns]
    if amount is None:
        by = min(enforced, key=lambda one: one.left, default=None)
        return Refusal(by, None, waits=False) if by else None
    never = [one for one in enforced if one.spent + amount > one.limit]
    if never:
        return Refusal(min(never, key=lambda one: one.limit - one.spent), amount, waits=False)
    not_now = [one for one in enforced if one.spent + one.held + amount > one.limit]
    return Refusal(min(not_now, key=lambda one: one.left), amount, waits=True) if not_now else None
