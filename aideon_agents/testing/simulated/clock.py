"""The clock of a simulated provider: what takes hours there takes a test no time."""

from __future__ import annotations

import threading
import time


class Clock:
    """The time for jobs, batches and links that expire, moved on by hand.

    Args:
        at: Seconds since 1970 at which it is, and remains until it is moved on; None: real time.
    """

    def __init__(self, at: float | None = None) -> None:
        self._at = at
        self._ahead = 0.0
        self._lock = threading.Lock()

    def now(self) -> float:
        """The time.

        Returns:
            Seconds since 1970.
        """
        with self._lock:
            return (time.time() if self._at is None else self._at) + self._ahead

    def advance(self, seconds: float) -> None:
        """Let time pass.

        Args:
            seconds: How much.
        """
        with self._lock:
            self._ahead += seconds
