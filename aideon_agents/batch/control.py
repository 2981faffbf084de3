"""Ending a batch before its end: first nothing starts any more, then what runs is cut off."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aideon_agents.batch.result import StopReason
    from aideon_agents.runner.running import Running


class Control:
    """Whether a batch goes on, and what of it is in flight. For one event loop."""

    def __init__(self) -> None:
        self.reason: StopReason | None = None
        """Why nothing starts any more; None: it does, or something broke."""
        self.error: Exception | None = None
        """What broke; None: nothing."""
        self.in_flight: set[Running] = set()
        self.outside = 0
        """Items that workers run elsewhere."""
        self.is_cut_off = False
        """Whether what is in flight is not waited for."""

    @property
    def count(self) -> int:
        """How many items are in flight, here or elsewhere."""
        return len(self.in_flight) + self.outside

    @property
    def is_over(self) -> bool:
        """Whether nothing starts any more."""
        return self.reason is not None or self.error is not None

    def drain(self, reason: StopReason = "interrupted") -> None:
        """Start nothing any more; what is in flight comes to its end."""
        self.reason = self.reason or reason

    def cancel(self) -> None:
        """Cut off what is in flight as well. It can go on later."""
        self.drain()
        self.is_cut_off = True
        for running in self.in_flight:
            running.interrupt()

    def broke(self, error: Exception) -> None:
        """Start nothing any more, because something is wrong with the ledger, OUT, or ourselves."""
        self.error = self.error or error
