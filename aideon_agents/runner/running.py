"""One run on its way: the cost handler, the graph, and how it ended."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from typing import TYPE_CHECKING, Any, cast

from langgraph.errors import is_invalid_resume
from pydantic import ValidationError

from aideon_agents.errors import InputError, LedgerError, StepFailed, UserError
from aideon_agents.graphs.walk import graphs
from aideon_agents.ledger import batch_items, rows
from aideon_agents.ledger.batch_items import ItemEnd, ItemStart
from aideon_agents.ledger.budgets.limits import Budget
from aideon_agents.ledger.checkpointer import Checkpoints
from aideon_agents.ledger.checkpoints import questions_name
from aideon_agents.ledger.costs import NodeCost
from aideon_agents.ledger.handler import CostHandler
from aideon_agents.ledger.redaction import one_line, quoted, safe_text
from aideon_agents.ledger.rows import Run, RunStart
from aideon_agents.ledger.store import Ledger
from aideon_agents.runner import state
from aideon_agents.runner.events import Question
from aideon_agents.runner.listening import Following, Watcher
from aideon_agents.runner.outcome import Outcome, end_item, has_called, spent_on
from aideon_agents.runner.result import Event, RunEnded, RunResult, place_of, recorded
from aideon_agents.runner.resume_state import Leftover, left_by, still_open
from aideon_agents.runner.roots import Root
from aideon_agents.runner.state import Thread
from aideon_agents.state import Context

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Mapping, Sequence
    from pathlib import Path


_log = logging.getLogger("aideon_agents.runner")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Earlier:
    """That a run began before and ended before its end."""

    seen: Run
    """Its row, as it was read."""
    answer: object
    """What it is told; NOTHING: no answer was given."""


class _AnswerError(InputError):
    """An answer that only the node which asked could find wrong. The run waits as before."""


@dataclasses.dataclass(eq=False, kw_only=True)
class Running:
    """A run between its checks and its result."""

    root: Root
    task: str
    """Empty where it goes on: then it is known as soon as its state has been read."""
    entry: dict[str, Any]
    """What the graph is given; empty where it goes on."""
    context: Context
    start: RunStart
    seconds: float | None
    """Until it is stopped; None: never."""
    budget: Budget | None
    """What it may cost; None: only what stands in the ledger limits it, and what it was given
    before."""
    ledger: Ledger | str | Path
    records: bool
    """Whether prompts and answers are kept."""
    keeps: bool = True
    """Whether its state is kept until it completes."""
    earlier: Earlier | None = None
    """None: it begins."""
    saver: Checkpoints | None = None
    """What keeps its state, where many runs share one; None: it is opened for this run."""
    item: ItemStart | None = None
    """The item of a batch that it is run for by the batch itself; None: it is not."""
    item_end: ItemEnd | None = dataclasses.field(default=None, init=False)
    """How the item ended; None: it has not, or the run is not of one."""
    unwritten: LedgerError | None = dataclasses.field(default=None, init=False)
    """Why its end is not in the ledger; None: it is, or it has not ended."""
    _limit: asyncio.Timeout | None = dataclasses.field(default=None, init=False)
    _interrupted: bool = dataclasses.field(default=False, init=False)

    def interrupt(self) -> None:
        """End the run as soon as it can be; call it in its event loop. `to_end` still returns."""
        self._interrupted = True
        if self._limit is not None and not self._limit.expired():
            self._limit.reschedule(0)  # any moment that has passed

    async def to_end(self, watch: Callable[[Event], None] | None = None) -> RunResult:
        """Run the graph and write down what comes of it."""
        with opened(self.ledger) as book:
            outcome = await self.through(book, watch)
            result = self._result(book, outcome)
        if watch:
            watch(RunEnded(result=result))
        return result

    async def through(self, book: Ledger, watch: Callable[[Event], None] | None = None) -> Outcome:
        """Run the graph and complete the run's row; what it cost is left to whoever asks."""
        left = await self._begun(book)
        outcome = Outcome(done=left.done)
        handler = CostHandler(book, run_id=self.start.run_id, record_content=self.records)
        async with contextlib.AsyncExitStack() as meanwhile:
            try:
                joining = state.joined(
                    self.root, self.start, book, keeps=self.keeps, saver=self.saver
                )
                thread = await meanwhile.enter_async_context(joining)
                meanwhile.push_async_callback(self._forget, thread, outcome)
                following = self._following(book, outcome, left, watch)
                parts = self._parts(thread, left, handler, following)
                await self._through(thread, left, parts, following, outcome)
            except asyncio.CancelledError:
                outcome.interrupted()
                raise
            except _AnswerError:
                raise
            except UserError as mistake:
                outcome.raised(mistake)
                if not has_called(book, self.start.run_id, otherwise=handler.has_asked):
                    raise
            except Exception as error:  # noqa: BLE001 - whatever a node raised is how the run ended
                outcome.raised(error)
            except BaseException as error:  # an exit, say: it goes on, and the row tells of it
                outcome.raised(error)
                raise
            finally:
                handler.settle_cancelled()
                self._close(book, outcome)
        return outcome

    async def _begun(self, book: Ledger) -> Leftover:
        """Write down that it runs, once it is known with what."""
        if self.earlier is None:
            with book.database.transaction() as tx:
                if self.item:
                    batch_items.begin(tx, self.item)
                book.start_run(self.start, self.budget, tx=tx)
            return Leftover(entry=self.entry, task=self.task)
        seen, answer = self.earlier.seen, self.earlier.answer
        left = await left_by(self.root, self.start, book, seen, answer, saver=self.saver)
        with book.database.transaction() as tx:
            book.resume_run(seen, tx=tx)
            if self.item:
                batch_items.begin(tx, self.item)
        if self.budget:
            book.set_run_budget(self.start.run_id, self.budget)
        return left

    def _parts(
        self, thread: Thread, left: Leftover, handler: CostHandler, following: Following
    ) -> AsyncGenerator[Any]:
        """The graph's stream. It is not yet under way."""
        parts = thread.graph.astream(
            left.entry,
            {**thread.config, "callbacks": [handler]},
            context=dataclasses.replace(self.context, earlier=thread.earlier),
            stream_mode=cast("Any", following.modes),
            subgraphs=following.hears_inside,
            # Each step's state is written before the next begins: else a kill loses paid work.
            durability="sync" if thread.saver else None,
        )
        return cast("AsyncGenerator[Any]", parts)

    def _following(
        self,
        book: Ledger,
        outcome: Outcome,
        left: Leftover,
        watch: Callable[[Event], None] | None,
    ) -> Following:
        def spent(path: str) -> NodeCost | None:
            return spent_on(book, self.start.run_id).by_node.get(path)

        watcher = Watcher(self.root.graph, spent, left.finished) if watch else None
        return Following(outcome, watcher, watch, is_flat=self.root.is_flat)

    async def _through(
        self,
        thread: Thread,
        left: Leftover,
        parts: AsyncGenerator[Any],
        following: Following,
        outcome: Outcome,
    ) -> None:
        """Run the graph, and see whether it is done or waits."""
        try:
            await self._follow(parts, following, outcome)
        except ValidationError as error:
            if not is_invalid_resume(error):
                raise
            known = (*left.asked, *following.heard)
            await self._wait(thread, outcome, await still_open(thread, self.start.run_id, known))
            raise _AnswerError(_refusal(error, outcome.questions, left.entry.resume)) from None
        if outcome.status != "completed":
            return
        if following.questions or await _is_held(thread):
            await self._wait(thread, outcome, following.questions)
        else:
            await thread.remember(left.task, outcome.results)

    async def _wait(self, thread: Thread, outcome: Outcome, asked: Sequence[Question]) -> None:
        """The graph can do no more without an answer."""
        if thread.saver is None:
            first = one_line(safe_text(asked[0].question))
            raise StepFailed(
                "a node waits for an answer, and the run keeps nothing to go on from: leave out "
                f"checkpoint=False{quoted(first)}"
            )
        outcome.waits(asked)
        await state.keep(thread.saver, self.start.run_id, asked)

    async def _follow(
        self, parts: AsyncGenerator[Any], following: Following, outcome: Outcome
    ) -> None:
        """Run the graph to its end; what it gave so far stays in the outcome however it ends."""
        self._limit = asyncio.timeout(0 if self._interrupted else self.seconds)
        try:
            async with self._limit, contextlib.aclosing(parts):
                async for part in parts:
                    following.hear(part)
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
            said = {"output": self._output(outcome), "results": recorded(outcome.results)}
            kept = rows.redacted(said)
        try:
            with book.database.transaction() as tx:
                overtaken = batch_items.newer_claim(tx, self.item) if self.item else None
                if overtaken and overtaken.run_id == self.start.run_id:
                    return  # somebody else runs it, and tells how it ends
                book.finish_run(
                    self.start.run_id,
                    outcome.status,
                    stop_reason=outcome.stop_reason,
                    error=outcome.error,
                    error_type=outcome.error_type,
                    tx=tx,
                    **kept,
                )
                if self.start.batch_id is not None and not overtaken:
                    self.item_end = end_item(tx, self.start, outcome, self._output(outcome))
        except LedgerError as refused:
            self.unwritten = refused
            # A batch says it once, and what failed for the ledger has said it already.
            if self.item is None and not isinstance(outcome.exception, LedgerError):
                _log.warning("run %s stays running: %s", self.start.run_id, refused)

    async def _forget(self, thread: Thread, outcome: Outcome) -> None:
        """Remove the state of a run that is over; its row is completed already."""
        is_lost = self.start.batch_id is not None and self.item_end is None
        if not outcome.is_over or thread.saver is None or is_lost:
            return
        asked = [questions_name(self.start.run_id)] if self.earlier else []
        own = [] if thread.outlives else [self.start.run_id]
        try:
            for name in (*own, *asked):
                await thread.saver.adelete_thread(name)
        except Exception as error:  # noqa: BLE001 - the run is done, and prune removes what is left
            _log.warning("the state of run %s is still kept: %s", self.start.run_id, error)

    def _result(self, book: Ledger, outcome: Outcome) -> RunResult:
        told = isinstance(outcome.exception, LedgerError)
        cost = spent_on(book, self.start.run_id, told=told)
        return RunResult(
            run_id=self.start.run_id,
            workflow=self.start.workflow,
            status=outcome.status,
            stop_reason=outcome.stop_reason,
            output=self._output(outcome),
            results=outcome.results,
            cost=cost,
            nodes=list(cost.by_node.values()),
            rehearsed=self.start.rehearsed,
            error=outcome.error,
            questions=tuple(one.document() for one in outcome.questions),
            exception=outcome.exception,
            kept_in=place_of(book),
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
def opened(ledger: Ledger | str | Path) -> Generator[Ledger]:
    """The ledger to write to; one that was handed in is left open."""
    if isinstance(ledger, Ledger):
        yield ledger
        return
    with Ledger.from_url(str(ledger)) as own:
        yield own


async def _is_held(thread: Thread) -> bool:
    """Whether the graph stands at a breakpoint that somebody compiled into it."""
    breakpoints = any(
        one.interrupt_before_nodes or one.interrupt_after_nodes for one in graphs(thread.graph)
    )
    if not breakpoints or thread.saver is None:
        return False
    return bool((await thread.graph.aget_state(thread.config)).next)


def _refusal(error: ValidationError, asked: Iterable[Question], given: Mapping[str, Any]) -> str:
    """What is wrong with an answer, in the words of the class that it was to become."""
    paths = ", ".join(one.node_path for one in asked if one.id in given)
    first = error.errors(include_url=False, include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    wrong = f"{field}: {first['msg']}" if field else first["msg"]
    return one_line(f"the answer to {paths} does not fit: {wrong}")
