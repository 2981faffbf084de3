"""The clock of a simulated provider: what takes hours there takes a test no time."""

from __future__ import annotations

import threading
import time


class Clock:
    """Real time, moved on by hand. Jobs, batches and links that expire go by it."""

    def __init__(self) -> None:
        self._ahead = 0.0
        self._lock = threading.Lock()

    def now(self) -> float:
        """Seconds since 1970."""
        with self._lock:
            return time.time() + self._ahead

    def advance(self, seconds: float) -> None:
        """Let so many seconds pass."""
        with self._lock:
            self._ahead += seconds
