"""How long a worker may believe that its items are still its own.

Whoever gives no sign of life for some seconds loses them to others. A process that was stopped, or
cut off from the server, must find that out by its own clock before it asks any model again: what it
would go on with is run somewhere else by then.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from aideon_agents.batch.distributed import queue
from aideon_agents.errors import LimitError
from aideon_agents.ledger.store import Ledger

if TYPE_CHECKING:
    from aideon_agents.ledger.rows import CallStart

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Goes on while the machine sleeps, where there is such a clock."""


class Lease:
    """Time that is left until others may take what this worker has."""

    def __init__(self) -> None:
        self._until = _now() + queue.GONE - queue.BEAT

    @property
    def is_over(self) -> bool:
        """Whether others may have taken it."""
        return _now() > self._until

    def renewed(self, asked_at: float) -> None:
        """Count from when the sign of life was sent, not from when it was received."""
        self._until = asked_at + queue.GONE - queue.BEAT

    @staticmethod
    def clock() -> float:
        """Seconds; what they count from means nothing."""
        return _now()


class Away(LimitError):  # noqa: N818 - it says what happened
    """This worker gave no sign of life for too long, so its items are somebody else's.

    Its kind is that of an interrupted run: whoever still holds the item runs it again.
    """

    def __init__(self) -> None:
        super().__init__(
            "this worker gave no sign of life for too long: its items are run by others",
            kind="interrupted",
            value=None,
            limit=queue.GONE,
        )


class WorkersLedger(Ledger):
    """A ledger in which no call begins once the lease is over."""

    def __init__(self, place: Any, **more: Any) -> None:
        super().__init__(place, **more)
        self.lease = Lease()

    def start_call(self, start: CallStart, *, prompt: str | None = None) -> None:
        """Write a call's row, unless the call is not ours to make any more."""
        if self.lease.is_over:
            raise Away
        super().start_call(start, prompt=prompt)


def _now() -> float:
    return time.clock_gettime(_CLOCK)
