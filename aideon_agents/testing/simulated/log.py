"""Every request that reached the simulated provider, and how many were there at once."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SeenRequest:
    """One request, refused ones included."""

    request_id: str
    at: float
    """When it had arrived, in seconds since the epoch."""
    method: str
    path: str
    headers: Mapping[str, str]
    """With lower-case names, without the key."""
    body: Any = None
    """The JSON that was sent; None when there was none."""
    model: str | None = None
    """The model asked for; None when none was named."""
    outcome: str = "open"
    """open while it is worked on, then ok, the fault's kind, the status of a refusal, or gone
    when the caller left first."""


class RequestLog:
    """Safe to read while the provider serves."""

    def __init__(self) -> None:
        self._seen: dict[str, SeenRequest] = {}
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self.in_flight = 0
        """Chat requests being worked on."""
        self.max_in_flight = 0
        """The most there ever were at once."""

    def next_id(self) -> str:
        """A request id that was not given before."""
        return f"req-{next(self._numbers):06d}"

    def add(self, request: SeenRequest) -> None:
        """Write a request down as it arrives."""
        with self._lock:
            self._seen[request.request_id] = request

    def close(self, request_id: str, outcome: str) -> None:
        """Say how a request ended."""
        with self._lock:
            seen = self._seen[request_id]
            self._seen[request_id] = dataclasses.replace(seen, outcome=outcome)

    @property
    def requests(self) -> list[SeenRequest]:
        """All of them, in the order of arrival."""
        with self._lock:
            return list(self._seen.values())

    @contextlib.contextmanager
    def working(self) -> Generator[None]:
        """Count a request as in flight."""
        with self._lock:
            self.in_flight += 1
            self.max_in_flight = max(self.max_in_flight, self.in_flight)
        try:
            yield
        finally:
            with self._lock:
                self.in_flight -= 1
