"""How a run ended, and what that means for the item of a batch that it was run for."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import sysconfig
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

from langgraph.errors import GraphDrained
from pydantic import TypeAdapter

from aideon_agents.errors import (
    AideonError,
    BudgetExceeded,
    LedgerError,
    LimitError,
    QuotaExceeded,
    RateLimitReached,
    TimeLimit,
)
from aideon_agents.ledger import batch_items
from aideon_agents.ledger.batch_items import ItemStart, ItemStatus
from aideon_agents.ledger.budgets.limits import Scope
from aideon_agents.ledger.costs import NodeCost
from aideon_agents.ledger.database import Statements
from aideon_agents.ledger.redaction import one_line, safe_text
from aideon_agents.ledger.rows import Run, RunStatus
from aideon_agents.runner.events import Question
from aideon_agents.state import StepResult, merge

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


AT_PROVIDER = "provider"
"""The stop reason of a run until a batch at a provider has ended: its batch continues it."""

DECLINED = "declined"
"""The stop reason when a person declined a result: such a run cannot resume."""

_RESULT = TypeAdapter(StepResult)


@dataclasses.dataclass
class Outcome:
    """How a run ended. While it runs, only `values` and `done` are known."""

    values: Mapping[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    """The last state of the root graph."""
    done: dict[str, StepResult] = dataclasses.field(default_factory=dict[str, StepResult])
    """What nodes have given so far, also where the pattern around them did not complete."""
    status: RunStatus = "completed"
    stop_reason: str | None = None
    exception: BaseException | None = None
    failed_at: str | None = None
    """The path of the node that raised the exception; None: no node did."""
    questions: tuple[Question, ...] = ()
    """What it waits for an answer to."""

    @property
    def is_over(self) -> bool:
        """Whether the run can never resume."""
        return self.status == "completed" or self.stop_reason == DECLINED

    @property
    def results(self) -> dict[str, StepResult]:
        """What the graph gave; if it did not complete, what its nodes gave until then."""
        given = results_in(self.values)
        return given if self.status == "completed" else merge(given, self.done)

    @property
    def error(self) -> str | None:
        """One line, with the node that failed and the line of its code; None: it did not fail."""
        if self.exception is None or self.status != "failed":
            return None
        text = safe_text(self.exception)
        if not isinstance(self.exception, AideonError):
            text = f"{type(self.exception).__name__}: {text}"
        if self.failed_at and not text.startswith(f"{self.failed_at}: "):
            text = f"{self.failed_at}: {text}"
        line = code_line(self.exception)
        return one_line(f"{text} ({line})" if line else text)

    @property
    def failed_node(self) -> str | None:
        """The path of the node that failed, and `file:line` of its code; None: no node did."""
        if self.exception is None or self.status != "failed" or not self.failed_at:
            return None
        line = code_line(self.exception)
        return f"{self.failed_at} {line}" if line else self.failed_at

    @property
    def error_type(self) -> str | None:
        """The class of the exception; None: there was none."""
        return type(self.exception).__name__ if self.exception else None

    def interrupted(self) -> None:
        """Note that the run was cancelled."""
        self.status, self.stop_reason = "cancelled", "interrupted"
        self.exception = asyncio.CancelledError("interrupted")

    def out_of_time(self, seconds: float) -> None:
        """Note that the run reached its own time limit."""
        self.raised(TimeLimit(seconds))

    def waits(self, questions: Iterable[Question]) -> None:
        """Note that the run cannot continue without an answer."""
        self.status, self.questions = "waiting", tuple(questions)

    def raised(self, error: BaseException) -> None:
        """Note what a node or the graph raised."""
        self.status, self.exception = "failed", error
        if limit := _limit_in(error):
            self.status, self.stop_reason = "stopped", limit.kind
        elif isinstance(error, GraphDrained):  # LangGraph itself was asked to stop
            self.status, self.stop_reason = "stopped", "interrupted"


def _limit_in(error: BaseException | None) -> LimitError | None:
    """The limit that stopped a run; a framework may have raised its error as one of its own."""
    while error is not None and not isinstance(error, LimitError):
        error = error.__cause__
    return error


_LIBRARIES = tuple(
    {os.path.realpath(path) + os.sep for path in sysconfig.get_paths().values()}
    | {str(Path(__file__).resolve().parents[1]) + os.sep}
)
"""The folders of Python, of installed packages and of this package."""


def is_library(file: str) -> bool:
    """Whether a file of code is Python's, of an installed package, or of this package."""
    return os.path.realpath(file).startswith(_LIBRARIES)


def code_line(error: BaseException) -> str | None:
    """`file:line` of the user's code that raised an error; None: none of it did."""
    steps = traceback.walk_tb(error.__traceback__)
    own = [
        f"{Path(frame.f_code.co_filename).name}:{line}"
        for frame, line in steps
        if not is_library(frame.f_code.co_filename) and not frame.f_code.co_filename.startswith("<")
    ]
    return own[-1] if own else None


def results_in(values: object) -> dict[str, StepResult]:
    """The results in a state or an update, by node path.

    A graph that is not ours may use the key `results` for something else.
    """
    held = cast("Mapping[str, Any]", values).get("results") if isinstance(values, Mapping) else None
    if not isinstance(held, Mapping):
        return {}
    found = cast("Mapping[str, Any]", held)
    return {path: one for path, one in found.items() if isinstance(one, StepResult)}


_UNRECORDED = {"node_path", "order", "sources"}


def recorded(results: Mapping[str, StepResult]) -> dict[str, Any]:
    """Results as JSON values for a document or a row; other data becomes its `repr`."""
    return {
        path: _RESULT.dump_python(
            one,
            mode="json",
            exclude=_UNRECORDED | ({"stale_s"} if one.stale_s is None else set()),
            fallback=repr,
        )
        for path, one in results.items()
    }


class Journal(Protocol):
    """Records a run elsewhere, in the transactions that begin and end its row."""

    def began(self, tx: Statements) -> None:
        """Record that the run begins or resumes. An exception keeps it from running."""

    def ended(self, tx: Statements, outcome: Outcome, output: str | None) -> bool:
        """Record the end; returns False if another process has taken over the run's row."""
        ...

    @property
    def is_complete(self) -> bool:
        """Whether the end is recorded; until then the state of the run is kept."""
        ...


class ItemJournal:
    """Records runs of batch items: those of the batch itself, and those that a user resumes."""

    def __init__(self, run: Run, start: ItemStart | None = None) -> None:
        self.run = run
        self.start = start
        """None: the run is resumed outside its batch, which does not count as an attempt."""
        self.status: ItemStatus | None = None
        """How the item ended; `pending`: it has to continue later. None: it has not ended, or
        another worker has begun it since."""
        self.nodes: Sequence[NodeCost] = ()
        """What each node has cost the item, in all of its runs."""

    @property
    def is_complete(self) -> bool:
        return self.status is not None

    def began(self, tx: Statements) -> None:
        if self.start:
            batch_items.begin(tx, self.start)

    def ended(self, tx: Statements, outcome: Outcome, output: str | None) -> bool:
        now_with = batch_items.newer_claim(tx, self.start) if self.start else None
        if now_with:
            return now_with[0] != self.run.run_id
        error = outcome.error
        if error is None and outcome.exception is not None:
            error = one_line(safe_text(outcome.exception))
        status = _item_status(outcome)
        self.nodes = batch_items.end(
            tx,
            self.run.run_id,
            status,
            batch_id=str(self.run.batch_id),
            item_id=str(self.run.item_id),
            output=output,
            results=recorded(outcome.results),
            error=error,
            error_type=outcome.error_type,
        )
        self.status = status
        return True


def _item_status(outcome: Outcome) -> ItemStatus:
    if outcome.status in ("completed", "waiting"):
        return "completed" if outcome.status == "completed" else "waiting"
    is_of_ledger = isinstance(outcome.exception, LedgerError)  # which is no failure of the item
    if outcome.status == "cancelled" or is_of_ledger or batch_stop(outcome) is not None:
        return "pending"
    is_drained = outcome.status == "stopped" and outcome.stop_reason in ("interrupted", AT_PROVIDER)
    return "pending" if is_drained else "failed"


def batch_stop(outcome: Outcome) -> Literal["budget", "rate_limit", "quota"] | None:
    """The limit that stopped the run and stops the others as well; None: it did not end at one."""
    error = outcome.exception
    if isinstance(error, RateLimitReached):
        return "rate_limit"
    if isinstance(error, QuotaExceeded):
        return "quota"
    if not isinstance(error, BudgetExceeded):
        return None
    # Only this item uses a budget for itself.
    return None if Scope.parse(error.scope).kind in ("item", "run") else "budget"
