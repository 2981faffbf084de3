"""One run: an id, what it is given, the cost handler, and how its graph ended."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from typing import TYPE_CHECKING, Any, cast

from langgraph.graph.state import CompiledStateGraph

from aideon_agents import settings as environment
from aideon_agents.errors import AideonError, LimitError, TimeLimit, UserError
from aideon_agents.ledger.handler import CostHandler
from aideon_agents.ledger.reports import node_costs, run_cost
from aideon_agents.ledger.rows import RunStart
from aideon_agents.ledger.store import Ledger
from aideon_agents.models import Models
from aideon_agents.models.bridge import blocking
from aideon_agents.patterns import sequential
from aideon_agents.runner.checks import chains, check, known_tier
from aideon_agents.runner.result import RunResult
from aideon_agents.state import Context, StepResult, Tier, latest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator, Mapping, Sequence
    from pathlib import Path

    from aideon_agents.ledger.rows import RunStatus
    from aideon_agents.patterns.nodes import Graph, Node
    from aideon_agents.settings import Settings


@dataclasses.dataclass
class _Outcome:
    """How a run's graph ended, as far as it came."""

    values: dict[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    status: RunStatus = "completed"
    stop_reason: str | None = None
    exception: BaseException | None = None

    async def follow(self, values: AsyncIterator[dict[str, Any]], seconds: float | None) -> None:
        """Run a graph to its end; what it gave so far stays here however it ends.

        Args:
            values: The graph's states, one after each step.
            seconds: Until it is stopped; None: never.

        Raises:
            UserError: A node found a mistake of the caller's.
        """
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                async for state in values:
                    self.values = state
        except asyncio.CancelledError as cancelled:
            self.status, self.stop_reason, self.exception = "cancelled", "interrupted", cancelled
            raise
        except UserError as mistake:
            self.status, self.exception = "failed", mistake
            raise
        except Exception as error:  # noqa: BLE001 - whatever a node raised is how the run ended
            is_late = limit.expired()
            self.exception = TimeLimit(seconds or 0) if is_late else error
            self.status = "failed"
            if isinstance(self.exception, LimitError):
                self.status, self.stop_reason = "stopped", self.exception.kind

    @property
    def results(self) -> dict[str, StepResult]:
        return cast("dict[str, StepResult]", self.values.get("results") or {})

    @property
    def error(self) -> str | None:
        if self.exception is None or self.status == "stopped":
            return None
        if isinstance(self.exception, AideonError):
            return str(self.exception)
        return f"{type(self.exception).__name__}: {self.exception}"


def run(graph: Graph | Node, task: str, **options: Any) -> RunResult:
    """Run a workflow and wait for it.

    Args:
        graph: A compiled graph, or a node.
        task: What the user wants, in words.
        **options: As `arun` takes them.

    Returns:
        What came of it, also when it failed or was stopped: look at `status`, or call
        `raise_for_status()`.

    Raises:
        UserError: The caller's mistake; nothing was called.
    """
    return blocking(arun(graph, task, **options))


async def arun(
    graph: Graph | Node,
    task: str,
    *,
    inputs: Mapping[str, Any] | None = None,
    tier: Tier | None = None,
    user: str | None = None,
    model: Mapping[str, str | Sequence[str]] | None = None,
    timeout: float | None = None,  # noqa: ASYNC109 - a property of the run that its row reports
    rehearse: bool = False,
    ledger: Ledger | str | Path | None = None,
    settings: Settings | None = None,
    workflow: str | None = None,
    target: str | None = None,
) -> RunResult:
    """Run a workflow.

    Args:
        graph: A compiled graph, or a node.
        task: What the user wants, in words.
        inputs: Whatever else nodes need, by key.
        tier: free, premium or enterprise; None: the Settings'.
        user: Who it is for; None: the Settings'.
        model: `{role: "provider:model"}`, or a list for a chain; it replaces the choice.
        timeout: Seconds until it is stopped; None: never.
        rehearse: Answer every call by rule: nothing is paid, nothing leaves the process.
        ledger: Where to write what it costs: a ledger, or a path; None: the Settings'.
        settings: The environment; None: read now.
        workflow: What reports call it; None: the graph's name.
        target: The address it was loaded from, for its row.

    Returns:
        What came of it, also when it failed or was stopped: look at `status`, or call
        `raise_for_status()`.

    Raises:
        UserError: The caller's mistake; nothing was called.
    """
    settings = settings or environment.load()
    compiled = _compiled(graph)
    context = Context(
        models=Models(settings),
        tier=known_tier(tier or settings.tier),
        user=user or settings.user,
        model=chains(model),
        rehearse=rehearse or settings.offline,
    )
    check(compiled, task, context, timeout)
    start = RunStart(
        workflow=workflow or compiled.get_name(),
        target=target,
        user=context.user,
        tier=context.tier,
        rehearsed=context.rehearse,
    )
    entry = {"task": task, "inputs": dict(inputs or {})}
    with _opened(ledger, settings) as book:
        outcome = await _recorded(compiled, entry, context, start, book, seconds=timeout)
        return _result(book, start, outcome)


async def _recorded(
    graph: Graph,
    entry: dict[str, Any],
    context: Context,
    start: RunStart,
    book: Ledger,
    *,
    seconds: float | None,
) -> _Outcome:
    """Run the graph between its row's beginning and its end."""
    book.start_run(start)
    handler = CostHandler(book, run_id=start.run_id)
    values = graph.astream(
        cast("Any", entry), {"callbacks": [handler]}, context=context, stream_mode="values"
    )
    outcome = _Outcome()
    try:
        await outcome.follow(cast("Any", values), seconds)
    finally:
        handler.settle_cancelled()
        outcome.stop_reason = outcome.stop_reason or _root_reason(outcome.results, graph)
        book.finish_run(
            start.run_id,
            outcome.status,
            stop_reason=outcome.stop_reason,
            error=outcome.error,
            error_type=type(outcome.exception).__name__ if outcome.exception else None,
        )
    return outcome


def _compiled(graph: Graph | Node) -> Graph:
    if isinstance(graph, CompiledStateGraph):
        return cast("Graph", graph)
    return sequential(graph)


def _result(book: Ledger, start: RunStart, outcome: _Outcome) -> RunResult:
    last = latest(outcome.results)
    return RunResult(
        run_id=start.run_id,
        workflow=start.workflow,
        status=outcome.status,
        stop_reason=outcome.stop_reason,
        output=last.content if last else None,
        results=outcome.results,
        cost=run_cost(book, start.run_id),
        nodes=node_costs(book, start.run_id),
        rehearsed=start.rehearsed,
        error=outcome.error,
        exception=outcome.exception,
    )


def _root_reason(results: Mapping[str, StepResult], graph: Graph) -> str | None:
    """Why the root pattern ended, where it is one that has reasons: a loop."""
    name = graph.get_name()
    own = results.get(name) if name not in graph.builder.nodes else None
    return getattr(own.data, "stop_reason", None) if own else None


@contextlib.contextmanager
def _opened(ledger: Ledger | str | Path | None, settings: Settings) -> Generator[Ledger]:
    """The ledger to write to; one that was handed in is left open."""
    if isinstance(ledger, Ledger):
        yield ledger
        return
    with Ledger.from_url(str(ledger or settings.ledger)) as own:
        yield own
