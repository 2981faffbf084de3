"""One run between its checks and its result: it begins, its graph streams, and it finishes."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import sys
from typing import TYPE_CHECKING, Any, cast

from langgraph.errors import is_invalid_resume
from langgraph.runtime import RunControl
from pydantic import ValidationError

from aideon_agents.errors import InputError, LedgerError, RunNotFound, StepFailed, UserError
from aideon_agents.graphs.output import output
from aideon_agents.graphs.topology import in_declared_order, model
from aideon_agents.graphs.walk import graphs
from aideon_agents.ledger import rows
from aideon_agents.ledger.budgets.runs import RunBudget
from aideon_agents.ledger.checkpoints import questions_name
from aideon_agents.ledger.costs import Cost, NodeCost, cost, run_cost
from aideon_agents.ledger.handler import CostHandler
from aideon_agents.ledger.money import usd
from aideon_agents.ledger.redaction import one_line, quoted, safe_text
from aideon_agents.ledger.store import Ledger
from aideon_agents.runner.events import Question
from aideon_agents.runner.listening import Listener, Watcher
from aideon_agents.runner.options import merged_callbacks
from aideon_agents.runner.outcome import Outcome, recorded
from aideon_agents.runner.result import Event, RunEnded, RunResult, ledger_location
from aideon_agents.runner.resume_state import ResumeState, load_resume_state, still_open
from aideon_agents.runner.spec import RunSpec, output_text
from aideon_agents.runner.state import Thread, open_thread, save_questions

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Mapping, Sequence
    from pathlib import Path

    from langchain_core.callbacks import BaseCallbackHandler


_log = logging.getLogger("aideon_agents.runner")


class _AnswerError(InputError):
    """An answer that only the node which asked could reject. The run waits as before."""


class Running:
    """A run between its checks and its result."""

    def __init__(self, spec: RunSpec) -> None:
        self.spec = spec
        self.outcome = Outcome()
        self.unwritten: LedgerError | None = None
        """Why its end is not in the ledger; None: it is, or the run has not ended."""
        self._is_ended = False
        """Whether its row was there to be completed."""
        self._limit: asyncio.Timeout | None = None
        self._is_interrupted = False
        self._handler: CostHandler | None = None
        self._control = RunControl()
        self._spans: list[BaseCallbackHandler] = []
        """What makes the run's spans; empty: it is not traced."""

    def drain(self) -> None:
        """Stop the run where no node is in progress, so that it can resume without paying twice."""
        self._control.request_drain()

    def interrupt(self, *, gives_up: bool = False) -> None:
        """End the run as soon as possible; call it in its event loop. `to_end` still returns.

        `gives_up`: a person did it, so jobs of providers are cancelled as well.
        """
        self._is_interrupted = True
        if self._handler:
            self._handler.gives_up = gives_up
        if self._limit is not None and not self._limit.expired():
            self._limit.reschedule(0)  # any moment that has passed

    async def to_end(self, watch: Callable[[Event], None] | None = None) -> RunResult:
        """Run the graph and return its result. `watch` receives each event, the result last.

        Raises a UserError if the run cannot resume, or if a node found a mistake of the caller's
        before any model was called.
        """
        with open_ledger(self.spec.ledger) as ledger:
            try:
                await self.through(ledger, watch)
            finally:
                # If an error of the ledger ended the run, the result reports it.
                if self.unwritten and not isinstance(self.outcome.exception, LedgerError):
                    run_id = self.spec.start.run_id
                    _log.warning("run %s stays running: %s", run_id, self.unwritten)
            result = self._result(ledger)
        if watch:
            watch(RunEnded(result=result))
        return result

    async def through(
        self, ledger: Ledger, watch: Callable[[Event], None] | None = None
    ) -> Outcome:
        """Run the graph and complete the run's row, without reading what it cost.

        The caller reports `unwritten`.
        """
        spec, outcome, run_id = self.spec, self.outcome, self.spec.start.run_id

        def cost_of(path: str) -> NodeCost | None:
            return _cost(ledger, run_id, is_known=True).by_node.get(path)

        state = await self._begin(ledger)
        outcome.done = state.done
        handler = CostHandler(ledger, run_id=run_id, record_content=spec.record_content)
        self._handler = handler
        handler.context = spec.context
        handler.run_budgets[run_id] = RunBudget.of(ledger.budgets, spec.start)
        async with contextlib.AsyncExitStack() as until_finished:
            # Without a function of its own: most runs are not traced.
            otel = sys.modules.get("opentelemetry.trace")
            is_set_up = otel and not isinstance(
                otel.get_tracer_provider(), otel.ProxyTracerProvider
            )
            if spec.otel or (spec.otel is None and is_set_up):
                from aideon_agents.runner.tracing import traced  # noqa: PLC0415 - optional

                self._spans = until_finished.enter_context(traced(spec, outcome))
            try:
                opening = open_thread(spec, ledger, keeps_state=spec.checkpoint is not None)
                thread = await until_finished.enter_async_context(opening)
                until_finished.push_async_callback(self._remove_state, thread)
                watcher = Watcher(spec.graph, cost_of, state.finished) if watch else None
                streams = spec.context.stream
                listener = Listener(spec.graph, outcome, watcher, watch, streams=streams)
                await self._stream(thread, state, handler, listener)
            except asyncio.CancelledError:
                outcome.interrupted()
                raise
            except _AnswerError:
                raise
            except UserError as mistake:
                outcome.raised(mistake)
                if not _has_called(ledger, run_id, otherwise=handler.has_asked):
                    raise
            except Exception as error:  # noqa: BLE001 - any error of a node is how the run ended
                outcome.raised(error)
            except BaseException as error:  # a SystemExit, say: it is raised, and is in the row
                outcome.raised(error)
                raise
            finally:
                handler.settle_cancelled()
                self._finish(ledger)
        return outcome

    async def _begin(self, ledger: Ledger) -> ResumeState:
        """Write that it runs, as soon as everything is read that it needs."""
        spec = self.spec
        if spec.resumes is None:
            if spec.journal is None:
                ledger.start_run(spec.start, spec.budget)
            else:
                with ledger.database.transaction() as tx:
                    spec.journal.began(tx)
                    ledger.start_run(spec.start, spec.budget, tx=tx)
            return ResumeState(entry=spec.entry, task=spec.task)
        state = await load_resume_state(spec, ledger, spec.resumes)
        with ledger.database.transaction() as tx:
            ledger.resume_run(spec.resumes, tx=tx)
            if spec.journal:
                spec.journal.began(tx)
        if spec.budget:
            ledger.set_run_budget(spec.start.run_id, spec.budget)
        return state

    async def _stream(
        self, thread: Thread, state: ResumeState, handler: CostHandler, listener: Listener
    ) -> None:
        """Run the graph until it completes or waits; its results are in the outcome at any time."""
        outcome, spec = self.outcome, self.spec
        at_end = spec.checkpoint == "end" and spec.resumes is None
        given = thread.config.get("callbacks")
        ours = [handler, *self._spans]
        callbacks: Any = merged_callbacks(ours, given) if given else ours
        stream = thread.graph.astream(
            state.entry,
            {**thread.config, "callbacks": callbacks},
            context=dataclasses.replace(self.spec.context, earlier=thread.earlier),
            stream_mode=cast("Any", listener.modes),
            subgraphs=listener.needs_subgraphs,
            # Each step's state is written before the next begins: else a kill loses paid work.
            durability=("exit" if at_end else "sync") if thread.checkpointer else None,
            control=self._control,
        )
        parts = cast("AsyncGenerator[Any]", stream)
        self._limit = asyncio.timeout(0 if self._is_interrupted else self.spec.timeout)
        try:
            async with self._limit, contextlib.aclosing(parts):
                async for part in parts:
                    listener.receive(part)
        except Exception as error:
            if self._limit.expired():  # whatever a node made of its cancellation
                if self._is_interrupted:
                    outcome.interrupted()
                else:
                    outcome.out_of_time(self.spec.timeout or 0)
                return
            if not isinstance(error, ValidationError) or not is_invalid_resume(error):
                if not isinstance(error, LedgerError):  # which is no failure of the node
                    outcome.failed_at, error = listener.first_failure(error)
                raise error  # noqa: TRY201 - or that of a node that failed before
            known = (*state.asked, *listener.asked)
            asked = await still_open(thread, self.spec.start.run_id, known)
            await self._wait(thread, asked)
            raise _AnswerError(_refusal(error, outcome.questions, state.entry.resume)) from None
        finally:
            self._limit = None
        if listener.questions or await _is_at_breakpoint(thread):
            await self._wait(thread, listener.questions)
        else:
            await thread.remember(state.task, outcome.results)

    async def _wait(self, thread: Thread, asked: Sequence[Question]) -> None:
        """Save what the graph asks: it cannot continue without an answer."""
        if thread.checkpointer is None:
            first = one_line(safe_text(asked[0].question))
            raise StepFailed(
                "a node waits for an answer, and the run keeps no state to resume from: give it "
                f"checkpoint=True{quoted(first)}"
            )
        if unkept := thread.checkpointer.unkept:
            raise StepFailed(
                "a node asks a person, and the run could not resume with the answer, because "
                f"{unkept}, which cannot be kept: leave it out of the state"
            )
        self.outcome.waits(asked)
        await save_questions(thread.checkpointer, self.spec.start.run_id, asked)

    def _finish(self, ledger: Ledger) -> None:
        """Complete the run's row."""
        spec, graph, outcome = self.spec, self.spec.graph, self.outcome
        name = graph.get_name()
        if name not in graph.builder.nodes and (root := outcome.results.get(name)):
            # A loop at the root says why it ended.
            reason = getattr(root.data, "stop_reason", None)
            outcome.stop_reason = outcome.stop_reason or reason
        output = self._output()
        kept: dict[str, Any] = {}
        if spec.record_content:
            kept = rows.redacted({"output": output, "results": recorded(outcome.results)})
        try:
            around = ledger.database.transaction() if spec.journal else contextlib.nullcontext()
            with around as tx:
                if spec.journal and tx and not spec.journal.ended(tx, outcome, output):
                    return
                self._is_ended = ledger.finish_run(
                    spec.start.run_id,
                    outcome.status,
                    stop_reason=outcome.stop_reason,
                    error=outcome.error,
                    error_type=outcome.error_type,
                    failed_node=outcome.failed_node,
                    tx=tx,
                    **kept,
                )
        except LedgerError as refused:
            self.unwritten = refused

    async def _remove_state(self, thread: Thread) -> None:
        """Remove the state of a run that is over and whose end is in the ledger."""
        run_id, journal = self.spec.start.run_id, self.spec.journal
        is_recorded = self.unwritten is None and (journal is None or journal.is_complete)
        if not self.outcome.is_over or thread.checkpointer is None or not is_recorded:
            return
        asked = [questions_name(run_id)] if self.spec.resumes else []
        own = [] if thread.outlives else [run_id]
        try:
            for name in (*own, *asked):
                await thread.checkpointer.adelete_thread(name)
        except Exception as error:  # noqa: BLE001 - the run is done, and prune removes what is left
            _log.warning("the state of run %s is still kept: %s", run_id, error)

    def _result(self, ledger: Ledger) -> RunResult:
        start, outcome = self.spec.start, self.outcome
        is_reported = isinstance(outcome.exception, LedgerError)
        is_known = self._is_ended
        total = _cost(ledger, start.run_id, is_known=is_known, is_reported=is_reported)
        by_node = in_declared_order(total.by_node, model(self.spec.graph))
        last = output(self.spec.graph, outcome.results)
        return RunResult(
            run_id=start.run_id,
            workflow=start.workflow,
            status=outcome.status,
            stop_reason=outcome.stop_reason,
            output=self._output(),
            results=outcome.results,
            cost=dataclasses.replace(total, by_node=by_node),
            nodes=list(by_node.values()),
            rehearsed=start.rehearsed,
            error=outcome.error,
            failed_node=outcome.failed_node,
            questions=tuple(one.document() for one in outcome.questions),
            exception=outcome.exception,
            last_data=cast("Any", last.data if last else None),
            kept_in=ledger_location(ledger),
        )

    def _output(self) -> str | None:
        outcome = self.outcome
        completed = outcome.status == "completed"
        return output_text(self.spec.graph, outcome.values, outcome.results, completed=completed)


@contextlib.contextmanager
def open_ledger(ledger: Ledger | str | Path) -> Generator[Ledger]:
    """The ledger to write to. One that is open already is left open."""
    if isinstance(ledger, Ledger):
        yield ledger
        return
    with Ledger.from_url(str(ledger)) as own:
        yield own


async def _is_at_breakpoint(thread: Thread) -> bool:
    """Whether the graph stopped at a breakpoint that was compiled into it."""
    breakpoints = any(
        one.interrupt_before_nodes or one.interrupt_after_nodes for one in graphs(thread.graph)
    )
    if not breakpoints or thread.checkpointer is None:
        return False
    return bool((await thread.graph.aget_state(thread.config)).next)


def _refusal(error: ValidationError, asked: Iterable[Question], given: Mapping[str, Any]) -> str:
    """What is wrong with an answer, in the words of the class that it was to become."""
    paths = ", ".join(one.node_path for one in asked if one.id in given)
    first = error.errors(include_url=False, include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    wrong = f"{field}: {first['msg']}" if field else first["msg"]
    return one_line(f"the answer to {paths} does not fit: {wrong}")


def _cost(
    ledger: Ledger, run_id: str, *, is_known: bool = False, is_reported: bool = False
) -> Cost:
    """What a run has cost so far; a lower bound of 0 if the ledger cannot be read.

    An answer is paid for by then: it is not lost because its cost cannot be read any more.
    """
    try:
        if is_known:  # its row was there a moment ago
            return cost(ledger.database, run_id=run_id)
        return run_cost(ledger, run_id)
    except (LedgerError, RunNotFound) as refused:
        if not is_reported:
            _log.warning("what run %s cost is unknown: %s", run_id, refused)
    return Cost(
        calls=0,
        failed_calls=0,
        input_tokens=None,
        output_tokens=None,
        usd=usd(0),
        complete=False,
        counted=False,
        by_node={},
    )


def _has_called(ledger: Ledger, run_id: str, *, otherwise: bool) -> bool:
    """Whether a run called a model; `otherwise` if the ledger cannot be read.

    A call that ended with the caller's mistake reached no provider.
    """
    try:
        return any(call.error_type != UserError.__name__ for call in ledger.calls(run_id))
    except LedgerError:
        return otherwise
