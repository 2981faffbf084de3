"""One run on its way: the cost handler, the graph, and how it ended."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from typing import TYPE_CHECKING, Any, cast

from aideon_agents.errors import LedgerError, StepFailed, UserError
from aideon_agents.ledger.handler import CostHandler
from aideon_agents.ledger.redaction import one_line, quoted, safe_text
from aideon_agents.ledger.reports import node_costs, run_cost
from aideon_agents.ledger.store import Ledger
from aideon_agents.runner import conversation
from aideon_agents.runner.events import RunEnded
from aideon_agents.runner.outcome import Outcome
from aideon_agents.runner.result import RunResult, recorded
from aideon_agents.runner.roots import Root, results_in
from aideon_agents.runner.watching import Watcher
from aideon_agents.state import Context, merge

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator, Mapping
    from pathlib import Path

    from aideon_agents.ledger.reports import NodeCost
    from aideon_agents.ledger.rows import RunStart
    from aideon_agents.runner.conversation import Thread
    from aideon_agents.runner.events import Event

_log = logging.getLogger("aideon_agents.runner")

_ALWAYS = ("values", "tasks")
"""What a run listens to for its own sake: states, and what nodes gave before a sudden end."""
_WATCHED = (*_ALWAYS, "messages", "custom")


@dataclasses.dataclass(eq=False, kw_only=True)
class Running:
    """A run between its checks and its result."""

    root: Root
    task: str
    entry: dict[str, Any]
    """What the graph is given."""
    context: Context
    start: RunStart
    seconds: float | None
    """Until it is stopped; None: never."""
    ledger: Ledger | str | Path
    records: bool
    """Whether prompts and answers are kept."""
    _limit: asyncio.Timeout | None = dataclasses.field(default=None, init=False)
    _interrupted: bool = dataclasses.field(default=False, init=False)

    def interrupt(self) -> None:
        """End the run as soon as it can be; call it in its event loop. `to_end` still returns."""
        self._interrupted = True
        if self._limit is not None and not self._limit.expired():
            self._limit.reschedule(0)  # any moment that has passed

    async def to_end(self, watch: Callable[[Event], None] | None = None) -> RunResult:
        """Run the graph and write down what comes of it.

        Args:
            watch: Is told each event at once, the result last; None: nobody watches.

        Returns:
            What came of it.

        Raises:
            UserError: A node found a mistake of the caller's before anything was called.
            CancelledError: The task that awaits it was cancelled.
        """
        with _opened(self.ledger) as book:
            outcome = Outcome()
            book.start_run(self.start)
            handler = CostHandler(book, run_id=self.start.run_id, record_content=self.records)
            try:
                async with conversation.joined(self.root, self.start, book) as thread:
                    parts = self._parts(thread, handler, watched=watch is not None)
                    await self._follow(parts, outcome, book, watch)
                    if outcome.status == "completed":
                        await thread.remember(self.task, outcome.results)
            except asyncio.CancelledError:
                outcome.interrupted()
                raise
            except UserError as mistake:
                outcome.raised(mistake)
                if not book.calls(self.start.run_id):
                    raise
            except Exception as error:  # noqa: BLE001 - whatever a node raised is how the run ended
                outcome.raised(error)
            except BaseException as error:  # an exit, say: it goes on, and the row tells of it
                outcome.raised(error)
                raise
            finally:
                handler.settle_cancelled()
                self._close(book, outcome)
            result = self._result(book, outcome)
        if watch:
            watch(RunEnded(result=result))
        return result

    def _parts(self, thread: Thread, handler: CostHandler, *, watched: bool) -> AsyncIterator[Any]:
        """The graph's stream. It is not yet under way."""
        return thread.graph.astream(
            cast("Any", self.entry),
            {**thread.config, "callbacks": [handler]},
            context=dataclasses.replace(self.context, earlier=thread.earlier),
            stream_mode=list(_WATCHED if watched else _ALWAYS),
            subgraphs=True,
        )

    async def _follow(
        self,
        parts: AsyncIterator[Any],
        outcome: Outcome,
        book: Ledger,
        watch: Callable[[Event], None] | None,
    ) -> None:
        """Run the graph to its end; what it gave so far stays in the outcome however it ends."""

        def spent(path: str) -> NodeCost | None:
            nodes = node_costs(book, self.start.run_id)
            return next((node for node in nodes if node.node_path == path), None)

        watcher = Watcher(self.root.graph, spent) if watch else None
        self._limit = asyncio.timeout(0 if self._interrupted else self.seconds)
        try:
            async with self._limit:
                async for namespace, mode, said in parts:
                    if mode == "values" and not namespace:
                        outcome.values = said
                        _refuse_questions(said)
                    elif mode == "tasks" and "result" in said:
                        outcome.done = merge(outcome.done, results_in(said["result"]))
                    for event in watcher.heard(namespace, mode, said) if watcher else ():
                        cast("Any", watch)(event)
        except Exception:
            if not self._limit.expired():  # else it is how something took its end
                raise
            if self._interrupted:
                outcome.interrupted()
            else:
                outcome.out_of_time(self.seconds or 0)
        finally:
            self._limit = None

    def _close(self, book: Ledger, outcome: Outcome) -> None:
        """Complete the run's row."""
        outcome.stop_reason = outcome.stop_reason or self._root_reason(outcome)
        kept: dict[str, Any] = {}
        if self.records:
            kept = {"output": self._output(outcome), "results": recorded(outcome.results)}
        try:
            book.finish_run(
                self.start.run_id,
                outcome.status,
                stop_reason=outcome.stop_reason,
                error=outcome.error,
                error_type=outcome.error_type,
                **kept,
            )
        except LedgerError as refused:
            if not isinstance(outcome.exception, LedgerError):  # else that is said already
                _log.warning("run %s stays running: %s", self.start.run_id, refused)

    def _result(self, book: Ledger, outcome: Outcome) -> RunResult:
        return RunResult(
            run_id=self.start.run_id,
            workflow=self.start.workflow,
            status=outcome.status,
            stop_reason=outcome.stop_reason,
            output=self._output(outcome),
            results=outcome.results,
            cost=run_cost(book, self.start.run_id),
            nodes=node_costs(book, self.start.run_id),
            rehearsed=self.start.rehearsed,
            error=outcome.error,
            exception=outcome.exception,
        )

    def _output(self, outcome: Outcome) -> str | None:
        completed = outcome.status == "completed"
        return self.root.output(outcome.values, outcome.results, completed=completed)

    def _root_reason(self, outcome: Outcome) -> str | None:
        """Why the root pattern ended, where it is one that has reasons: a loop."""
        name = self.root.graph.get_name()
        own = outcome.results.get(name) if name not in self.root.graph.builder.nodes else None
        return getattr(own.data, "stop_reason", None) if own else None


@contextlib.contextmanager
def _opened(ledger: Ledger | str | Path) -> Generator[Ledger]:
    """The ledger to write to; one that was handed in is left open."""
    if isinstance(ledger, Ledger):
        yield ledger
        return
    with Ledger.from_url(str(ledger)) as own:
        yield own


def _refuse_questions(values: Mapping[str, Any]) -> None:
    """A run that waits for an answer would read as completed."""
    if asked := values.get("__interrupt__"):
        question = one_line(safe_text(getattr(asked[0], "value", asked[0])))
        waits = "a node waits for an answer, which no run can be given yet"
        raise StepFailed(waits + quoted(question))
