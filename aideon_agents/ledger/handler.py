"""Writes one row per model call, from LangChain's callbacks.

The handler only records. A call's row must be written before money is spent, so a ledger that cannot
write it stops the call (`raise_error`). When a call ends it is paid for already, so a row that cannot
be completed is logged and stays `started`: money may have been spent. It runs inline, because a thread
per event costs more than the row.
"""

# ruff: noqa: ARG002 - LangChain's events carry more than a row needs

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import threading
from typing import TYPE_CHECKING, Any, cast

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.runnables.config import var_child_runnable_config
from langgraph.errors import GraphInterrupt

from aideon_agents.errors import BudgetExceeded, LedgerError, RunError, UserError
from aideon_agents.ledger import tags
from aideon_agents.ledger.budgets.limits import Amount, Budget
from aideon_agents.ledger.budgets.runs import RunBudget
from aideon_agents.ledger.calls import (
    OpenCall,
    answer_text,
    answered,
    call_start,
    failed,
    prompt_text,
)
from aideon_agents.ledger.identity import now
from aideon_agents.ledger.implicit_runs import ImplicitRuns, outcome
from aideon_agents.ledger.money import usd
from aideon_agents.ledger.rows import Call, CallEnd, Run, RunStatus
from aideon_agents.ledger.store import Ledger
from aideon_agents.ledger.tool_calls import OpenTools

if TYPE_CHECKING:
    from collections.abc import Generator
    from uuid import UUID

    from langchain_core.outputs import LLMResult
    from langchain_core.runnables import RunnableConfig

    from aideon_agents.state import Context

_log = logging.getLogger(__name__)


class CostHandler(BaseCallbackHandler):
    """What every model call in a graph costs, in the ledger.

    Put it into `config["callbacks"]` of any LangChain or LangGraph call, sync or async.

    Args:
        ledger: Where rows are written.
        run_id: The run that all calls belong to, which exists already. None: every outermost
            chain becomes a run.
        workflow: The name of such runs; None: the chain's own.
        user: Who they are for.
        tier: The tier they count for.
        budget: What each of them may cost: a `Budget`, or US dollars; None: only the
            limits in the ledger apply.
        record_content: Record prompts and answers as well.
    """

    run_inline = True
    raise_error = True

    def __init__(
        self,
        ledger: Ledger,
        *,
        run_id: str | None = None,
        workflow: str | None = None,
        user: str | None = None,
        tier: str | None = None,
        budget: Budget | Amount | None = None,
        record_content: bool = False,
    ) -> None:
        if not isinstance(cast("object", ledger), Ledger):
            raise UserError(
                f"CostHandler: ledger must be a Ledger, such as Ledger.from_url(...), not {ledger!r}"
            )
        self.ledger = ledger
        self._records = record_content
        self._given = run_id
        start = Run(workflow=workflow or "", user=user, tier=tier)
        self._implicit = ImplicitRuns(ledger, start, Budget.of(budget))
        self._lock = threading.Lock()
        self._tools: OpenTools | None = None
        self._open: dict[UUID, OpenCall] = {}
        self.run_budgets: dict[str | None, RunBudget] = {}
        """By run id: what is known of a run need not be read again."""
        self._is_over = False
        self.context: Context | None = None
        """What the given run was given; None: it is not known."""
        self.has_asked = False
        """Whether any call was begun: from then on money may have been spent."""
        self.gives_up = False  # a person has interrupted the run: jobs of providers are cancelled

    @property
    def run_id(self) -> str | None:
        """The run given, else the one that started last; None before the first."""
        return self._given or self._implicit.newest

    def run_budget(self, parent_run_id: UUID | None) -> RunBudget:
        """The budget that the next call counts against; the guard asks for it before each call.

        Args:
            parent_run_id: LangChain's id of the chain that makes the call; None: there is none.
        """
        run_id = self._given or self._implicit.run_of(self._parent(parent_run_id))
        if run_id not in self.run_budgets:
            self.run_budgets[run_id] = self.ledger.run_budget(run_id)
        return self.run_budgets[run_id]

    @property
    def ignore_chain(self) -> bool:
        """Where the run is given, events of chains are not needed, and ignoring them is faster."""
        return self._given is not None

    @property
    def ignore_retriever(self) -> bool:
        """As for chains."""
        return self._given is not None

    def on_chat_model_start(
        self,
        serialized: dict[str, Any],
        messages: Any,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Write the call's row before the request is sent."""
        if self._is_over:
            raise RunError("the run has ended: no more model calls are made for it")
        known = metadata or {}
        ledger_run = self._given or self._enter(serialized, run_id, parent_run_id, known, kwargs)
        if (kwargs.get("invocation_params") or {}).get("_type") == tags.CHAIN:
            return
        unsent = self.ledger.budgets.unsent
        begun = unsent.get(str(run_id))
        start = begun or call_start(str(run_id), ledger_run, known, kwargs.get("invocation_params"))
        if start.rehearsed and self._given is None:
            self._implicit.rehearsed(run_id)
        sending = known.get(tags.SENDING)
        if begun is None and not start.rehearsed and not (sending or {}).get("cached"):
            self._refuse_beyond_limits(start, run_id)
        prompt = prompt_text(messages) if self._records else None
        if begun is None or prompt is not None:
            self.ledger.start_call(start, prompt=prompt)
        unsent.pop(start.call_id, None)
        self.has_asked = True
        with self._lock:
            self._open[run_id] = OpenCall(start, sending)

    def _refuse_beyond_limits(self, start: Call, run_id: UUID) -> None:
        """Refuse a call of a model that is not ours when a limit is used up; ours were admitted."""
        budget = self.run_budget(run_id)
        call = budget.dimensions(start.node_path, start.provider, now(), simulated=start.simulated)
        for by in self.ledger.budgets.limit_states(call, opens=False):
            if not by.warns and by.spent >= by.limit:
                refused = BudgetExceeded(
                    scope=by.name,
                    limit=usd(by.limit),
                    spent=usd(by.spent),
                    held=usd(by.held),
                    needed=usd(0),
                    asked=f"{start.provider}:{start.requested_model}",
                )
                self._leave(run_id, refused)
                raise refused
        if budget.origin:  # what it uses of the quota is known at its end
            use = budget.origin.tokens_of(call.at, 1)
            counted = dataclasses.replace(call, uses=(use,))
            if lacks := self.ledger.budgets.take(start.call_id, counted, 0):
                over = use.exceeded(lacks.by.spent, asked=start.requested_model)
                self._leave(run_id, over)
                raise over

    def on_llm_start(
        self, serialized: dict[str, Any], prompts: list[str], *, run_id: UUID, **kwargs: Any
    ) -> None:
        """Write the row of a model that completes text, as that of a chat model."""
        self.on_chat_model_start(serialized, prompts, run_id=run_id, **kwargs)

    def on_llm_new_token(
        self, token: Any, *, chunk: Any = None, run_id: UUID, **kwargs: Any
    ) -> None:
        """Record when a streamed answer begins, and the usage in its chunks."""
        if call := self._open.get(run_id):
            call.add_chunk(chunk)

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        """Complete the row of a call that was answered."""
        if call := self._take(run_id):
            self._settle(call, answered(call, response))
            self._record(call, response)
        self._leave(run_id)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """Complete the row of a call that raised."""
        if call := self._take(run_id):
            self._settle(call, failed(call, error))
        self._leave(run_id, error)

    def on_chain_start(
        self,
        serialized: dict[str, Any],
        inputs: Any,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Remember which run a chain belongs to; the outermost starts one."""
        self._enter(serialized, run_id, parent_run_id, metadata or {}, kwargs)

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """Forget a chain; with the outermost its run is completed."""
        self._leave(run_id)

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """Forget a chain that raised; with the outermost its run has failed."""
        if isinstance(error, GraphInterrupt):
            self._implicit.waits(run_id)
        self._leave(run_id, error)

    def on_tool_start(
        self,
        serialized: dict[str, Any],
        input_str: str,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Remember the call, and as a chain: models are called inside."""
        run = self._given or self._enter(serialized, run_id, parent_run_id, metadata or {}, kwargs)
        self._tools = self._tools or OpenTools(self.ledger, records=self._records)
        self._tools.begin(
            run_id, run, (serialized or kwargs).get("name", ""), input_str, metadata or {}
        )

    def on_retriever_start(
        self, serialized: dict[str, Any], query: str, *, run_id: UUID, **kwargs: Any
    ) -> None:
        """Remember a retriever as a chain: models are called inside."""
        self.on_chain_start(serialized, query, run_id=run_id, **kwargs)

    def on_tool_end(self, output: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """Write the call's row."""
        if self._tools:
            self._tools.end(run_id, output)
        self._leave(run_id)

    def on_retriever_end(self, documents: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """Forget a retriever."""
        self._leave(run_id)

    on_retriever_error = on_chain_error

    def on_tool_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """Write the call's row."""
        if self._tools:
            self._tools.end(run_id, error=error)
        self.on_chain_error(error, run_id=run_id)

    @classmethod
    @contextlib.contextmanager
    def for_run(cls, ledger: Ledger, start: Run) -> Generator[CostHandler]:
        """A handler for a new run, which ends with the block.

        Args:
            ledger: Where rows are written.
            start: The run.
        """
        ledger.start_run(start)
        handler = cls(ledger, run_id=start.run_id)
        error: BaseException | None = None
        try:
            yield handler
        except BaseException as raised:
            error = raised
            raise
        finally:
            handler._end(start.run_id, *outcome(error), error)

    def settle_cancelled(self, run_id: str | None = None) -> None:
        """Complete the rows of calls that were cancelled on the way.

        LangChain sends no event when a call is cancelled, so the code that ends a run calls this. A
        call that begins later for the run that was given is refused before it costs anything.

        Args:
            run_id: The run that has ended; None: the one that was given.
        """
        ended = run_id or self._given
        with self._lock:
            # LangGraph continues graphs nested in other branches of a failed run for a while.
            self._is_over = self._is_over or ended == self._given is not None
            left = [key for key, call in self._open.items() if call.start.run_id == ended]
            calls = [self._open.pop(key) for key in left]
        for call in calls:
            self._settle(call, failed(call, asyncio.CancelledError("cancelled")))
        if self._tools:
            self._tools.cancel(ended)

    def _enter(
        self,
        serialized: dict[str, Any] | None,
        member: UUID,
        parent: UUID | None,
        metadata: dict[str, Any],
        kwargs: dict[str, Any],
    ) -> str:
        name = kwargs.get("name") or (serialized or {}).get("name") or "chain"
        thread = metadata.get("thread_id")
        return self._implicit.enter(
            member, self._parent(parent), name=name, thread=None if thread is None else str(thread)
        )

    def _parent(self, named: UUID | None) -> UUID | None:
        """The parent that an event names, or the chain around it if that parent is not known.

        LangChain's fallbacks give what is inside them the callbacks that they were given themselves.
        Each fallback would be recorded as its own run, with its own budget.
        """
        around: Any = (var_child_runnable_config.get() or {}).get("callbacks")
        outside = getattr(around, "parent_run_id", None)
        is_inside = self in getattr(around, "handlers", ())
        return named if self._implicit.run_of(named) or not is_inside else outside or named

    def _leave(self, member: UUID, error: BaseException | None = None) -> None:
        if ended := self._implicit.leave(member, error):
            self._end(*ended, error)

    def _end(
        self,
        ledger_run: str,
        status: RunStatus,
        stop_reason: str | None,
        error: BaseException | None,
    ) -> None:
        with self._lock:
            self.run_budgets.pop(ledger_run, None)
        self.settle_cancelled(ledger_run)
        try:
            self.ledger.finish_run(
                ledger_run,
                status,
                stop_reason=stop_reason,
                error=None if error is None else str(error) or type(error).__name__,
                error_type=None if error is None else type(error).__name__,
            )
        except LedgerError as refused:
            _log.warning("run %s stays running: %s", ledger_run, refused)

    def _take(self, run_id: UUID) -> OpenCall | None:
        return self._open.pop(run_id, None)  # in one step

    def _record(self, call: OpenCall, response: LLMResult) -> None:
        answer = answer_text(response) if self._records else None
        if answer is None:
            return
        try:
            self.ledger.record_answer(call.start.call_id, answer)
        except LedgerError as refused:
            _log.warning("the answer of call %s is not kept: %s", call.start.call_id, refused)

    def _settle(self, call: OpenCall, end: CallEnd) -> None:
        if end.status != "ok" and (call.sending or {}).get("job"):
            return  # its job continues, and is settled when its end is known
        try:
            self.ledger.finish_call(call.start.call_id, end)
        except LedgerError as refused:
            _log.warning("call %s stays started: %s", call.start.call_id, refused)


def recorders_in(config: RunnableConfig | None) -> list[CostHandler]:
    """The handlers among the callbacks of a call, the outermost run's first."""
    callbacks: Any = (config or {}).get("callbacks") or ()
    handlers = getattr(callbacks, "handlers", callbacks)
    return [one for one in handlers if isinstance(one, CostHandler)]


def context_in(config: RunnableConfig | None) -> Context | None:
    """What the innermost run around a call was given, also in a graph whose context has another class."""
    return next((one.context for one in reversed(recorders_in(config)) if one.context), None)
