"""An attempt's turn: a place among the calls in flight, and the money for it.

The place first, then the money, so that nothing is held for a call that stands in line; and
whoever has to wait for money gives the place up, so that those who have it can go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import time
import weakref
from typing import TYPE_CHECKING

from aideon_agents import errors
from aideon_agents.models.affording import Held, exceeded
from aideon_agents.models.slots import Slots

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from aideon_agents.ledger.budgets.holds import Refusal
    from aideon_agents.ledger.budgets.purse import Budgets
    from aideon_agents.models.affording import Affording
    from aideon_agents.models.attempts import Admission, Attempts, Candidate

_log = logging.getLogger("aideon_agents.models")

_LOOK = 0.01
"""Seconds between two looks whether something was settled in this process."""

_ELSEWHERE = 0.25
"""Seconds after which another process may have settled something."""


@contextlib.asynccontextmanager
async def turn(
    attempts: Attempts, candidate: Candidate, leave: Admission, affording: Affording | None
) -> AsyncGenerator[Held]:
    """Hold a place and the money for the length of an attempt."""
    line = _Line(attempts, candidate)
    async with contextlib.aclosing(line):
        if affording and (ahead := line.ahead(affording)):
            await line.wait(affording.purse.budgets, ahead)
        while True:
            # The provider's first: who waits for one provider must not hold up the others'.
            async with candidate.pace.one(), attempts.slots.one():
                line.check_time(leave)
                held = affording.hold(candidate) if affording else Held()
                if isinstance(held, Held):
                    try:
                        await line.aclose()
                        with candidate.pace.heard():
                            yield held
                    finally:
                        _let_go(affording)
                    return
            assert affording is not None  # noqa: S101 - nothing else refuses
            await line.wait(affording.purse.budgets, held)


class _Line:
    """Where a call waits for money: behind those of this process that wait for the same budget.

    The first of a line alone looks again when something is settled, so that a thousand who wait
    cost no more than one. Whoever comes later stands behind it even where there is room: else small
    calls would take what a large one waits for, for ever.
    """

    def __init__(self, attempts: Attempts, candidate: Candidate) -> None:
        self._attempts = attempts
        self._candidate = candidate
        self._refused: Refusal | None = None
        self._at: str | None = None
        self._place = contextlib.AsyncExitStack()

    def check_time(self, leave: Admission) -> None:
        """Ask nobody when the wait has used the chain's time up."""
        if self._attempts.time_left():
            return
        leave.returned()
        if self._refused:
            raise exceeded(self._refused, self._candidate)
        late = f"{self._candidate} was not asked: the chain's time was up"
        raise errors.Transient(late, billed=False, timed_out=True)

    def ahead(self, affording: Affording) -> Refusal | None:
        """Why a call that comes now has to stand behind others; None: nobody is there."""
        if not _firsts:  # as nearly always, and then it costs nothing to know
            return None
        budgets = affording.purse.budgets
        return affording.behind(self._candidate, lambda account: _first(budgets, account).held > 0)

    async def wait(self, budgets: Budgets, refused: Refusal) -> None:
        """Wait until another call's end may have made room."""
        self._refused = refused
        try:
            async with asyncio.timeout(self._attempts.time_left()):
                if self._at != refused.by.account.key:
                    await self.aclose()
                    self._at = refused.by.account.key
                    first = _first(budgets, self._at)
                    await self._place.enter_async_context(first.one())
                    return
                seen, until = budgets.settlements, time.monotonic() + _ELSEWHERE
                while budgets.settlements == seen and time.monotonic() < until:  # noqa: ASYNC110 - what is settled is said by any thread, and in other processes not at all
                    await asyncio.sleep(_LOOK)
        except TimeoutError:
            raise exceeded(refused, self._candidate) from None

    async def aclose(self) -> None:
        """Leave the line: whoever is next may look."""
        self._at = None
        await self._place.aclose()


_firsts: weakref.WeakValueDictionary[tuple[int, str], Slots] = weakref.WeakValueDictionary()
"""The first place in each line, by ledger and account, for as long as anybody stands there."""


def _first(budgets: Budgets, account: str) -> Slots:
    return _firsts.setdefault((id(budgets), account), Slots(1))


def _let_go(affording: Affording | None) -> None:
    """The attempt is over; what it was answered must not be lost to a ledger that fails now."""
    if affording is None:
        return
    told = isinstance(sys.exception(), errors.LedgerError)
    try:
        affording.purse.budgets.let_go(affording.call_id)
    except errors.LedgerError as refused:
        if not told:
            _log.warning("the hold of call %s stays: %s", affording.call_id, refused)
