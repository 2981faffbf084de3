"""What a provider works on for longer than a request: where it is follows from the clock."""

from __future__ import annotations

import dataclasses
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from aideon_agents.testing.simulated.dialects.dialect import Refused

if TYPE_CHECKING:
    from aideon_agents.testing.simulated.clock import Clock
    from aideon_agents.testing.simulated.media.exchange import MediaRequest
    from aideon_agents.testing.simulated.media.kept import Kept

Phase: TypeAlias = Literal[
    "queued", "throttled", "running", "unknown", "done", "failed", "cancelled", "aborted"
]
_QUEUED, _THROTTLED = 0.1, 0.25
"""The shares of its time after which a job is no longer in these phases."""
_FAILED = frozenset({"job_failed", "moderated"})


@dataclasses.dataclass(slots=True)
class Job:
    """One job, with the request that began it."""

    id: str
    request: MediaRequest
    seconds: float
    """How long it takes."""
    created: float
    clock: Clock
    kind: Literal["image", "sound", "video", "text"] = "video"
    length: float = 0
    """Seconds of the result."""
    cancelled: float | None = None
    """When it was cancelled; None: it was not."""
    links: list[str] = dataclasses.field(default_factory=list[str])
    """The addresses of its result, once it is done."""

    @property
    def share(self) -> float:
        """How much of it is done, from 0 to 1."""
        return min(1.0, (self.clock.now() - self.created) / self.seconds) if self.seconds else 1.0

    @property
    def phase(self) -> Phase:
        """Where it is by now."""
        fault = self.request.kind
        if self.cancelled is not None:
            return "cancelled"
        if self.share < _THROTTLED and (fault != "job_aborted" or self.share < _QUEUED):
            return "queued" if self.share < _QUEUED else "throttled"
        if fault == "job_aborted":
            return "aborted"
        if self.share < 1 or fault == "stuck":
            return "unknown" if fault == "unknown_state" else "running"
        return "failed" if fault in _FAILED else "done"

    @property
    def has_ended(self) -> bool:
        """Whether it changes no more."""
        return self.phase in {"done", "failed", "cancelled", "aborted"}

    @property
    def ended(self) -> float | None:
        """When it ended; None: it has not."""
        if not self.has_ended:
            return None
        return self.created + self.seconds if self.cancelled is None else self.cancelled

    def cancel(self) -> None:
        """End it now, unless it has ended."""
        if not self.has_ended:
            self.cancelled = self.clock.now()

    def charge(self, **changes: Any) -> None:
        """Write what it costs."""
        self.request.charge(self.request.model, **changes)


class Jobs:
    """The jobs of one provider."""

    def __init__(self, kept: Kept) -> None:
        self._kept = kept
        self._jobs: dict[str, Job] = {}

    def begin(self, request: MediaRequest, **known: Any) -> Job:
        """Begin a job."""
        clock = self._kept.clock
        seconds = self._kept.plan.job_seconds
        job = Job(str(uuid.uuid4()), request, seconds, clock.now(), clock, **known)
        self._jobs[job.id] = job
        return job

    def find(self, job_id: str) -> Job:
        """A job; Refused: there is none with this id."""
        if job_id not in self._jobs:
            raise Refused(404, "not_found", "There is no such job.")
        return self._jobs[job_id]

    def drop(self, job: Job) -> None:
        """Forget a job."""
        del self._jobs[job.id]

    def __iter__(self) -> Any:
        return iter(self._jobs.values())


def iso(at: float | None) -> str | None:
    """A time as text in UTC."""
    if at is None:
        return None
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
