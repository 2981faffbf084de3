"""Where calls wait for money: in their order, one queue for each budget that lacks it."""

from __future__ import annotations

import asyncio
import contextlib
import time
import weakref
from typing import TYPE_CHECKING

from langgraph.errors import GraphBubbleUp

from aideon_agents import errors
from aideon_agents.ledger.money import usd
from aideon_agents.models.health import Slots

if TYPE_CHECKING:
    from aideon_agents.ledger.budgets.holds import Budgets
    from aideon_agents.ledger.budgets.limits import Refusal
    from aideon_agents.models.candidates import Candidate
    from aideon_agents.models.fallbacks import Attempts


_LOOK = 0.01
"""Seconds between two looks whether a call was settled in this process."""

_ELSEWHERE = 0.25
"""Seconds after which another process may have settled a call."""


class OutOfBudget(errors.BudgetExceeded, GraphBubbleUp):
    """Refused for lack of budget, as LangGraph's own stop: sibling branches finish first."""


class OutOfQuota(errors.QuotaExceeded, GraphBubbleUp):
    """Refused for lack of a quota, in the same way."""


def exceeded(
    refused: Refusal,
    candidate: Candidate,
    unknown: str = "its price",
    advice: str = "",
    *,
    left: int = 0,
) -> OutOfBudget | OutOfQuota:
    """The error for a call that does not fit its budget or its quota; `left` tokens would fit."""
    by = refused.by
    if refused.use:
        cheaper = {"max_tokens": left} if left > 0 else None
        return refused.use.exceeded(by.spent, OutOfQuota, asked=str(candidate), cheaper=cheaper)
    return OutOfBudget(
        scope=by.name,
        limit=usd(by.limit),
        spent=usd(by.spent),
        held=usd(by.held),
        needed=None if refused.needed is None else usd(refused.needed),
        asked=str(candidate),
        unknown=unknown,
        advice=advice,
    )


class Queue:
    """Where a call waits for money, behind the calls of this process that wait for the same budget.

    Only the first call in a queue looks again when a call is settled, so that a thousand waiting
    calls cost no more than one. A new call waits behind them even if there is room for it: small
    calls would otherwise take what a large one waits for, again and again.
    """

    def __init__(self, attempts: Attempts, candidate: Candidate, call_id: str = "") -> None:
        self._attempts = attempts
        self._candidate = candidate
        self._call_id = call_id
        self.is_first = False
        """It is the first of this process that waits for its budget."""
        self._budgets: Budgets | None = None
        """None: the call has not waited."""
        self._refused: Refusal | None = None
        self._account: str | None = None
        self._place = contextlib.AsyncExitStack()

    def out_of_time(self) -> Exception:
        """The error for a call that waited until the chain's time was up."""
        if self._refused:
            return exceeded(self._refused, self._candidate)
        late = f"{self._candidate} was not asked: the chain's time was up"
        return errors.Transient(late, billed=False, timed_out=True)

    async def wait(self, budgets: Budgets, refused: Refusal) -> None:
        """Wait until the end of another call may have made room."""
        self._refused, self._budgets = refused, budgets
        # With a ticket, a call stays in the first queue: another call of this process would
        # otherwise be behind its ticket and yet before it in a queue here.
        is_elsewhere = self._account != refused.by.account.key
        is_new = is_elsewhere and not (self._account and self._call_id in budgets.tickets.waiting)
        try:
            async with asyncio.timeout(self._attempts.time_left()):
                if is_new:
                    await self._place.aclose()
                    self._account = refused.by.account.key
                    await self._place.enter_async_context(first_place(budgets, self._account).one())
                    self.is_first = True
                    return
                seen, until = budgets.settlements, time.monotonic() + _ELSEWHERE
                while budgets.settlements == seen and time.monotonic() < until:  # noqa: ASYNC110 - any thread may settle a call, and so does the notice of a server
                    await asyncio.sleep(_LOOK)
        except TimeoutError:
            raise exceeded(refused, self._candidate) from None

    async def aclose(self) -> None:
        """Leave the queue: the next call may look."""
        self._account, self.is_first = None, False
        if self._budgets:
            self._budgets.tickets.leave(self._call_id)
        await self._place.aclose()


first_places: weakref.WeakValueDictionary[tuple[int, str], Slots] = weakref.WeakValueDictionary()
"""The first place in each queue, by ledger and account, for as long as a call is there."""


def first_place(budgets: Budgets, account: str) -> Slots:
    return first_places.setdefault((id(budgets), account), Slots(1))
