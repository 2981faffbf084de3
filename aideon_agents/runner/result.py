"""The result of a run, as an object and as a JSON document."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeAlias, cast

from aideon_agents.errors import LedgerError, LimitError, RunError, UnreadableState
from aideon_agents.graphs.topology import in_declared_order
from aideon_agents.ledger.costs import Cost, NodeCost, cost
from aideon_agents.ledger.documents import cost_document, node_document
from aideon_agents.ledger.rows import Run, RunStatus
from aideon_agents.ledger.store import Ledger
from aideon_agents.models.bridge import blocking
from aideon_agents.runner.events import NodeEnded, NodeStarted, Question, Restart, Token
from aideon_agents.runner.outcome import recorded
from aideon_agents.runner.state import open_questions
from aideon_agents.state import Artifact, DataT, StepResult

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_log = logging.getLogger("aideon_agents.runner")

_WENT_WRONG = frozenset(["failed", "stopped", "cancelled", "crashed"])


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunResult(Generic[DataT]):
    """The result of a run. Its fields are those of `aideon run --json`."""

    run_id: str
    workflow: str
    status: RunStatus
    stop_reason: str | None
    """Why the run, or a loop at its root, ended; None: for no particular reason."""
    output: str | None
    """The text of the last result; None: there is none."""
    results: Mapping[str, StepResult]
    """Every result there is, by node path."""
    cost: Cost
    nodes: Sequence[NodeCost]
    """The nodes that called a model, in the order in which the graph declares them."""
    rehearsed: bool
    error: str | None
    """One line; None: it did not fail."""
    failed_node: str | None = None
    """The path of the node that failed, with `file:line` behind a space where code of a workflow
    failed; None: no node did."""
    questions: Sequence[Mapping[str, Any]] = ()
    """The questions that it waits with: `id`, `node_path`, `question` and `schema`, JSON values."""
    exception: BaseException | None = dataclasses.field(default=None, repr=False, compare=False)
    """What was raised; None: nothing."""

    kept_in: Ledger | Path | None = dataclasses.field(default=None, repr=False, compare=False)
    """The ledger from which a notebook shows its graph and its calls; None: it shows neither."""

    last_data: DataT = dataclasses.field(default=cast("Any", None), repr=False, compare=False)

    drawn_by: ClassVar[Callable[[RunResult], dict[str, str]] | None] = None
    """Draws a result for a notebook, by MIME type. The package sets it, because the runner does not
    import `drawing`; None: a result is shown as text."""

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        drawer = type(self).drawn_by
        return {"text/plain": repr(self)} if drawer is None else drawer(self)

    def _repr_html_(self) -> str | None:
        return self._repr_mimebundle_().get("text/html")

    @property
    def data(self) -> DataT:
        """The typed data of the last result, where the last node has an `output`; else None.

        Returns:
            An object of the class that was given as `output`.

        Raises:
            RunError: The run did not complete: it failed, or it waits for an answer.
            LimitError: It stopped at a limit.
        """
        if self.raise_for_status().status != "completed":
            raise RunError(f"run {self.run_id} has no data: it is {self.status}")
        return self.last_data

    def raise_for_status(self) -> RunResult[DataT]:
        """Raise what made the run fail or stop; otherwise return the result itself.

        Returns:
            This result.

        Raises:
            RunError: It failed.
            LimitError: It stopped at a limit. The ledger keeps no exceptions, so a result that was
                read from it raises a RunError instead.
        """
        if self.exception is None and self.status not in _WENT_WRONG:
            return self
        if isinstance(self.exception, RunError | LimitError):
            self.exception.run_id = self.run_id
            raise self.exception
        failed = RunError(self.error or self.status)
        failed.run_id = self.run_id
        raise failed from self.exception


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunEnded:
    """The last event of a run."""

    result: RunResult


Event: TypeAlias = NodeStarted | Token | Restart | NodeEnded | Question | RunEnded


def _result(path: str, kept: Mapping[str, Any]) -> StepResult:
    made = tuple(Artifact(**one) for one in kept.get("artifacts") or ())
    values: dict[str, Any] = {"node_path": path, **kept, "artifacts": made}
    return StepResult(**values)


def recall(ledger: Ledger, found: Run) -> RunResult:
    """The result of a run, read from the ledger; its texts only if content was recorded."""
    kept = cast("dict[str, dict[str, Any]]", found.results or {})
    total = cost(ledger.database, run_id=found.run_id)
    total = dataclasses.replace(total, by_node=in_declared_order(total.by_node, found.graph))
    return RunResult(
        run_id=found.run_id,
        workflow=found.workflow,
        status=found.status,
        stop_reason=found.stop_reason,
        output=found.output,
        results={path: _result(path, result) for path, result in kept.items()},
        cost=total,
        nodes=list(total.by_node.values()),
        rehearsed=found.rehearsed,
        error=found.error,
        failed_node=found.failed_node,
        questions=_questions(ledger, found),
        kept_in=ledger_location(ledger),
    )


def _questions(ledger: Ledger, found: Run) -> tuple[Mapping[str, Any], ...]:
    """The open questions. They are not in the ledger, and a ledger without them is shown as well."""
    if found.status != "waiting":
        return ()
    try:
        asked = blocking(open_questions(ledger, found.run_id))
    except (LedgerError, UnreadableState) as error:
        _log.warning("what run %s asks cannot be read: %s", found.run_id, error)
        return ()
    return tuple(one.document() for one in asked)


def document(result: RunResult) -> dict[str, Any]:
    """The JSON document of `aideon run --json`: money is a decimal string, unknown is null."""
    return {
        "run_id": result.run_id,
        "workflow": result.workflow,
        "status": result.status,
        "stop_reason": result.stop_reason,
        "output": result.output,
        "results": recorded(result.results),
        "cost": cost_document(result.cost),
        "nodes": [node_document(node) for node in result.nodes],
        "rehearsed": result.rehearsed,
        "error": result.error,
        "failed_node": result.failed_node,
        "questions": list(result.questions),
    }


def ledger_location(ledger: Ledger) -> Ledger | Path:
    """What opens a ledger again after this one was closed: its file, or itself if on a server."""
    return ledger if ledger.path is None else Path(ledger.path).absolute()
