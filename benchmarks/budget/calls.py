"""Calls that cost something, a journal of what became of them, and how one is bought.

The journal knows nothing of the ledger: it says when each thing happened and what the provider
charged, and outlives the process that writes it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import random
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

from aideon_agents.ledger import rows
from aideon_agents.ledger.identity import now, utc_text

if TYPE_CHECKING:
    from pathlib import Path

    from aideon_agents import Ledger

UNKNOWN = 0.03
"""The share of calls whose cost nobody tells the ledger, though the provider charges it."""

LOOK = 0.002
"""Seconds between two looks of the first who waits for money."""


@dataclasses.dataclass(frozen=True)
class Call:
    """One call; amounts in nano-dollars."""

    number: int
    worst: int
    cost: int
    """What the provider charges, at most the worst case."""
    is_told: bool
    """Whether the ledger hears of the cost."""
    seconds: float
    """How long the provider takes."""
    dies: str | None
    """Where its process is killed: `held`, before its row, or `charged`, before it is settled."""


def drawn(count: int, seed: int, killed: float) -> list[Call]:
    """Draw calls.

    Args:
        count: How many.
        seed: The same seed gives the same calls.
        killed: The share whose process is killed in the middle, 0 to 1.

    Returns:
        The calls. Their worst cases are about twice what they cost.
    """
    chance = random.Random(seed)
    calls: list[Call] = []
    for number in range(count):
        worst = chance.randint(50_000, 150_000)
        calls.append(
            Call(
                number=number,
                worst=worst,
                cost=chance.randint(worst // 10, worst),
                is_told=chance.random() >= UNKNOWN,
                seconds=chance.uniform(0.001, 0.01),
                dies=chance.choice(("held", "charged")) if chance.random() < killed else None,
            )
        )
    return calls


class Journal:
    """Lines of what happened, each written at once.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def write(self, what: str, number: int, *values: int) -> None:
        """Write down that something happened to a call, and when."""
        words = (what, number, time.monotonic_ns(), *values)
        os.write(self._file, (" ".join(map(str, words)) + "\n").encode())

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


@dataclasses.dataclass
class Buyer:
    """Buys calls in one process, from one run's budget."""

    ledger: Ledger
    run_id: str
    journal: Journal
    doomed: bool = False
    """Whether calls may kill the process."""

    def __post_init__(self) -> None:
        self.budget = self.ledger.run_budget(self.run_id)
        self.first = asyncio.Lock()
        self.first_thread = threading.Lock()

    async def buy(self, call: Call) -> None:
        """Buy one call among others on an event loop."""
        refused = self.take(call)
        if refused and refused.waits:
            async with self.first:
                while (refused := self.take(call, waited=True)) and refused.waits:  # noqa: ASYNC110 - other processes tell no event
                    await asyncio.sleep(LOOK)
        if not refused:
            self.begin(call)
            await asyncio.sleep(call.seconds)
            self.end(call)

    def buy_in_a_thread(self, call: Call) -> None:
        """Buy one call in a thread beside others."""
        refused = self.take(call)
        if refused and refused.waits:
            with self.first_thread:
                while (refused := self.take(call, waited=True)) and refused.waits:
                    time.sleep(LOOK)
        if not refused:
            self.begin(call)
            time.sleep(call.seconds)
            self.end(call)

    def take(self, call: Call, *, waited: bool = False, queues: bool = False) -> Any:
        """Hold a call's worst case; returns the refusal, if any."""
        place = self.budget.dimensions("draft", "together", now())
        asked = time.monotonic_ns()
        refused = self.budget.budgets.take(self.name(call), place, call.worst, queues=queues)
        took = time.monotonic_ns() - asked
        if refused is None:
            self.journal.write("admitted", call.number, took, int(waited))
            self.die(call, "held")
        elif not refused.waits:
            self.journal.write("refused", call.number, took, refused.by.limit, refused.by.spent)
        return refused

    def begin(self, call: Call) -> None:
        """Write a call's row: from here on the provider may charge."""
        start = rows.Call(
            call_id=self.name(call),
            run_id=self.run_id,
            node_path="draft",
            role="creative",
            provider="together",
            requested_model="m",
            started_at=utc_text(now()),
        )
        self.ledger.start_call(start)

    def end(self, call: Call) -> None:
        """The provider charges, and then the ledger hears of it."""
        self.journal.write("charged", call.number)
        self.die(call, "charged")
        cost = call.cost if call.is_told else None
        end = rows.CallEnd(status="ok", duration_ms=1, cost_nanousd=cost)
        self.ledger.finish_call(self.name(call), end)
        self.budget.budgets.release(self.name(call))
        self.journal.write("settled", call.number)

    def name(self, call: Call) -> str:
        """The call's id in the ledger."""
        return f"{self.run_id}-{call.number}"

    def die(self, call: Call, where: str) -> None:
        """Kill this process, if that is the call's fate."""
        if self.doomed and call.dies == where:
            os.kill(os.getpid(), signal.SIGKILL)


class Naive(Buyer):
    """Looks whether there is money, and spends: what holds are there to prevent."""

    def take(self, call: Call, *, waited: bool = False, queues: bool = False) -> Any:  # noqa: ARG002 - the same shape
        """Look at what is spent; nothing is held."""
        place = self.budget.dimensions("draft", "together", now())
        (own,) = [one for one in self.budget.budgets.limit_states(place) if str(one.scope) == "run"]
        is_refused = own.spent + call.worst > own.limit
        self.journal.write("refused" if is_refused else "admitted", call.number, 0, 0, 0)
        return _NEVER if is_refused else None


@dataclasses.dataclass(frozen=True)
class _Never:
    waits: bool = False


_NEVER = _Never()
