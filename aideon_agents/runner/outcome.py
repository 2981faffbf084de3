"""How a run's graph ended, and what it had given until then."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING, Any

from langgraph.errors import GraphDrained

from aideon_agents.errors import AideonError, LimitError, TimeLimit
from aideon_agents.ledger.redaction import one_line, safe_text
from aideon_agents.runner.roots import results_in
from aideon_agents.state import StepResult, merge

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aideon_agents.ledger.rows import RunStatus
    from aideon_agents.runner.events import Question

DECLINED = "declined"
"""The kind of limit that a person's no is: nothing can go on from there."""


@dataclasses.dataclass
class Outcome:
    """What is known of a run's end; a run that is under way has none of it but its values."""

    values: Mapping[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    """The last state of the root graph."""
    done: dict[str, StepResult] = dataclasses.field(default_factory=dict[str, StepResult])
    """What nodes gave since they began, also where the pattern around them never came to its end."""
    status: RunStatus = "completed"
    stop_reason: str | None = None
    exception: BaseException | None = None
    questions: tuple[Question, ...] = ()
    """What it waits for an answer to."""

    @property
    def is_over(self) -> bool:
        """Whether there is nothing to go on with."""
        return self.status == "completed" or self.stop_reason == DECLINED

    @property
    def results(self) -> dict[str, StepResult]:
        """What the graph gave; of one that came to no end, what its nodes gave until then."""
        given = results_in(self.values)
        return given if self.status == "completed" else merge(given, self.done)

    @property
    def error(self) -> str | None:
        """One line; None: it did not fail."""
        if self.exception is None or self.status != "failed":
            return None
        if isinstance(self.exception, AideonError):
            return one_line(safe_text(self.exception))
        return one_line(f"{type(self.exception).__name__}: {safe_text(self.exception)}")

    @property
    def error_type(self) -> str | None:
        """The class of what was raised; None: nothing."""
        return type(self.exception).__name__ if self.exception else None

    def interrupted(self) -> None:
        """Somebody asked for the end."""
        self.status, self.stop_reason = "cancelled", "interrupted"
        self.exception = asyncio.CancelledError("interrupted")

    def out_of_time(self, seconds: float) -> None:
        """The run's own time is up."""
        self.raised(TimeLimit(seconds))

    def waits(self, questions: Iterable[Question]) -> None:
        """It came as far as it can without an answer."""
        self.status, self.questions = "waiting", tuple(questions)

    def raised(self, error: BaseException) -> None:
        """A node raised, or the graph itself."""
        self.status, self.exception = "failed", error
        if isinstance(error, LimitError):
            self.status, self.stop_reason = "stopped", error.kind
        elif isinstance(error, GraphDrained):  # somebody asked LangGraph itself for the end
            self.status, self.stop_reason = "stopped", "interrupted"
