"""How a run's graph ended, and what it had given until then.

What the end of a run means for the item of a batch that it was run for.

Whoever runs it: the batch, or somebody who answers what the item asks with `aideon runs resume`.

What a run has cost, as far as its ledger can tell when the run is over.

An answer is paid for by then: it is not lost because its price cannot be read any more.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from typing import TYPE_CHECKING, Any

from langgraph.errors import GraphDrained

from aideon_agents.errors import (
    AideonError,
    BudgetExceeded,
    LedgerError,
    LimitError,
    RunNotFound,
    TimeLimit,
)
from aideon_agents.ledger import batch_items
from aideon_agents.ledger.batch_items import ItemEnd, ItemStatus
from aideon_agents.ledger.budgets.limits import Scope
from aideon_agents.ledger.costs import Cost, run_cost
from aideon_agents.ledger.database import Statements
from aideon_agents.ledger.pricing import usd
from aideon_agents.ledger.redaction import one_line, safe_text
from aideon_agents.ledger.rows import RunStart, RunStatus
from aideon_agents.ledger.store import Ledger
from aideon_agents.runner.events import Question
from aideon_agents.runner.result import recorded
from aideon_agents.runner.roots import results_in
from aideon_agents.state import StepResult, merge

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


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


_OF_ONE_ITEM = ("item", "run")
"""Kinds of budget that others have no part in: only this item has to stop at them."""


def end_item(tx: Statements, start: RunStart, outcome: Outcome, output: str | None) -> ItemEnd:
    """Write down how an item's run ended, beside the run's own row."""
    error = outcome.error
    if error is None and outcome.exception is not None:
        error = one_line(safe_text(outcome.exception))
    return batch_items.end(
        tx,
        start.run_id,
        _status(outcome),
        batch_id=str(start.batch_id),
        item_id=str(start.item_id),
        output=output,
        results=recorded(outcome.results),
        error=error,
        error_type=outcome.error_type,
    )


def _status(outcome: Outcome) -> ItemStatus:
    if outcome.status in ("completed", "waiting"):
        return "completed" if outcome.status == "completed" else "waiting"
    if outcome.status == "cancelled" or is_out_of_budget(outcome):
        return "pending"
    is_drained = outcome.status == "stopped" and outcome.stop_reason == "interrupted"
    return "pending" if is_drained else "failed"


def is_out_of_budget(outcome: Outcome) -> bool:
    """Whether a budget ended a run that others have a part in, so that they have to stop as well."""
    error = outcome.exception
    return isinstance(error, BudgetExceeded) and Scope.parse(error.scope).kind not in _OF_ONE_ITEM


_log = logging.getLogger("aideon_agents.runner")


def spent_on(ledger: Ledger, run_id: str, *, told: bool = False) -> Cost:
    """What a run has cost so far."""
    try:
        return run_cost(ledger, run_id)
    except (LedgerError, RunNotFound) as refused:
        if not told:
            _log.warning("what run %s cost is unknown: %s", run_id, refused)
    return Cost(
        calls=0,
        failed_calls=0,
        input_tokens=0,
        output_tokens=0,
        usd=usd(0),
        complete=False,
        by_node={},
    )


def has_called(ledger: Ledger, run_id: str, *, otherwise: bool) -> bool:
    """Whether a model was called for a run."""
    try:
        return bool(ledger.calls(run_id))
    except LedgerError:
        return otherwise
