"""Takes and settles holds with the functions that a server has, in one statement each.

The functions read every limit that applies to a call, so none is kept here: a limit that another
process sets counts from the next call on.
"""

from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING, Any, TypeAlias

from aideon_agents.ledger.budgets import accounts
from aideon_agents.ledger.budgets.accounts import THRESHOLDS
from aideon_agents.ledger.budgets.limits import (
    Account,
    CallDimensions,
    LimitState,
    Refusal,
    Scope,
    own_accounts,
    refusal,
    standing_accounts,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aideon_agents.ledger.database import Database


_Places: TypeAlias = "tuple[Mapping[str, Account], tuple[list[str], str]]"
"""The accounts of a call by key; and as the functions take them: the keys of those that can have
their own limit, and as JSON the keys of accounts by the scope of a standing limit."""


def take(
    database: Database,
    function: Callable[..., Any],
    call: CallDimensions,
    hold: Mapping[str, Any],
    begun: Mapping[str, Any] | None,
    *,
    queues: bool,
) -> tuple[list[LimitState], Refusal | None]:
    """Take a hold, and write the row of its call; returns the limits, and why it was not taken.

    `queues`: if it may fit later, it gets a ticket, and calls that ask later wait behind it.
    """
    known, sent = _places(call, call.at[: len("2026-11-21")])
    asked = ["aideon_take", hold, begun, queues]
    if call.uses:
        needed = {use.counter: {"amount": use.amount, "most": use.most} for use in call.uses}
        asked = ["aideon_take_units", hold, begun, queues, needed]
    while not (answer := function(*asked, *sent)):
        with database.transaction() as tx:  # an account was missing
            accounts.limit_states(tx, call)
    if lacking := answer.get("lacking"):
        name, used, held = lacking
        return [], next(use for use in call.uses if use.counter == name).refusal(used, held)
    found: list[list[Any]] = answer["limits"] or []
    limits = [_state(call, known, row) for row in found]
    if answer["is_held"]:
        return limits, None
    amount = hold["amount_nanousd"]
    refused = refusal(limits, amount)
    if refused is None:
        ahead = [state for state, row in zip(limits, found, strict=True) if row[-1]]
        refused = Refusal(min(ahead, key=lambda one: one.left), amount, waits=True)
    return limits, refused


def settle(
    function: Callable[..., Any],
    call_id: str,
    end: Mapping[str, Any],
    call: CallDimensions,
    *spent: int | None,
) -> tuple[list[LimitState], bool] | None:
    """Settle a hold, and complete the row of its call; `spent` is what it has used of quotas.

    Returns the limits, and whether one has passed a threshold without an alert. None: nothing was
    done, because the call has ended, or its hold was given up as lost.
    """
    known, sent = _places(call, call.at[: len("2026-11-21")])
    asked = ["aideon_settle", call_id, end]
    if spent:
        asked = ["aideon_settle_units", call_id, end, {"amount": spent[0]}]
    found: list[list[Any]] | None = function(*asked, *sent)
    if found is None:
        return None
    limits = [_state(call, known, row) for row in found]
    return limits, any(_is_due(one, row[-1]) for one, row in zip(limits, found, strict=True))


def _is_due(limit: LimitState, sent: int | None) -> bool:
    """Whether a limit has passed a threshold above the last one that an alert was sent for."""
    passed = [percent for percent in THRESHOLDS if limit.spent * 100 >= limit.limit * percent]
    return bool(limit.spent and passed and passed[-1] > (sent or 0))


@functools.lru_cache(maxsize=1024)
def _places(call: CallDimensions, _day: str) -> _Places:
    """Cached, because each call needs them twice; the accounts of a call change with the day."""
    own = own_accounts(call)
    known = {key: account for key, (_, account) in own.items()}
    standing: dict[str, list[str]] = {}
    for scope, account in standing_accounts(call):
        known[account.key] = account
        standing.setdefault(scope, []).append(account.key)
    return known, ([*own], json.dumps(standing).replace(r"\u0000", r"\ufffd"))


def _state(call: CallDimensions, known: Mapping[str, Account], row: list[Any]) -> LimitState:
    key, scope, limit, warns, spent, held, _ = row
    return LimitState(
        scope=own_accounts(call)[key][0] if scope is None else Scope.parse(scope),
        account=known[key],
        limit=limit,
        warns=warns,
        spent=spent,
        held=held,
    )
