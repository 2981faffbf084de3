"""The service behind every door: it starts runs, finds them, and lets them be watched and answered.

It knows nothing of HTTP. A run outlives the request that started it, and any process with the same
ledger can show, answer, resume or cancel it. What belongs to another user is not found.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any, Unpack

from aideon_agents.access import quotas
from aideon_agents.errors import Conflict, LedgerError, NotFound, RunNotFound
from aideon_agents.ledger.budgets import daily
from aideon_agents.ledger.models import outcomes
from aideon_agents.runner import ResumeOptions, document, recall
from aideon_agents.serving import events, served, sources, threads
from aideon_agents.serving.adopting import Keeper
from aideon_agents.serving.batches import Batches
from aideon_agents.serving.launching import Launcher, StartRun
from aideon_agents.serving.live import LiveRuns
from aideon_agents.serving.workflows import Workflow, Workflows

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from aideon_agents.access.callers import Caller
    from aideon_agents.ledger.database import Row, Statements
    from aideon_agents.ledger.rows import Run
    from aideon_agents.ledger.store import Ledger
    from aideon_agents.settings import Settings

_log = logging.getLogger("aideon_agents.serving")
_REPORT_EVERY = 300.0
"""Seconds between two looks whether the daily report is due."""
_POLL = 0.25
"""Seconds between two looks at a run of another process."""


class Service:
    """The runs of the registered workflows, for callers.

    `rehearse` answers every call by rule; without any key that is so as well. `is_local` says that
    only this machine can reach the service.
    """

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        workflows: Workflows,
        *,
        rehearse: bool = False,
        is_local: bool = True,
    ) -> None:
        self.settings = settings
        self.ledger = ledger
        self.workflows = workflows
        self.is_local = is_local
        self.launcher = Launcher(ledger=ledger, settings=settings, rehearse=rehearse)
        self.live = LiveRuns(ledger)
        self.batches = Batches(self.launcher, workflows)
        self.keeper = Keeper(self.live, self.launcher, workflows, self.batches)
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Begin to look after open runs, in this event loop, and to report each day if that is on."""
        self._tasks = [asyncio.create_task(self.keeper.keep())]
        if self.settings.daily_report:
            self._tasks.append(asyncio.create_task(self._report()))

    async def _report(self) -> None:
        """Send the daily reports until it is cancelled."""
        while True:
            try:
                await asyncio.to_thread(daily.send_due, self.ledger)
            except LedgerError as error:
                _log.warning("the daily report cannot be made now: %s", error)
            await asyncio.sleep(_REPORT_EVERY)

    def leave(self) -> None:
        """Start nothing any more, and let what is in progress stop. A signal handler may call it."""
        self.live.leave()
        self.batches.leave()

    async def drain(self) -> None:
        """Let every run stop where no node is in progress, and wait until all have."""
        self.leave()
        await self.live.drained()
        await self.batches.drained()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def start(
        self, caller: Caller, ask: StartRun, *, word: str | None = None, stream: bool = True
    ) -> str:
        """Begin a run, and return its id when its row is there.

        `word` is the caller's own for the request: the same word begins one run. `stream`: whether
        model calls stream.
        """
        workflow = self.workflows.find(caller, ask.workflow)
        who, digest = caller.lineage or f"user:{caller.user}", ask.digest
        try:
            if word is not None:
                served.repeat(self.ledger, who, word, digest)
            running = self.launcher.prepared(workflow, caller, ask, stream=stream)
            run_id = running.spec.start.run_id

            def first(tx: Statements) -> None:
                if word is not None:
                    served.remember(tx, who, word, digest, run_id)
                if ask.thread is not None:
                    threads.use(tx, caller.user, ask.thread, workflow.name)
                served.add(tx, run_id, workflow.name, ask.metadata)
                quotas.admit_run(tx, caller, running.spec.start)
                events.ask(tx, run_id, ask.model_dump(mode="json"))

            await self.live.launch(running, first)
        except served.Repeated as known:
            return known.run_id
        return run_id

    def find(self, caller: Caller, run_id: str, *, anybody: bool = False) -> Run:
        """A run of the caller's, by its whole id; see `show`."""
        return self._found(caller, run_id, anybody=anybody)[0]

    def _found(
        self, caller: Caller, run_id: str, *, anybody: bool = False
    ) -> tuple[Run, Row | None]:
        """A run, and the service's row of it; None: the service did not start it."""
        anybody = anybody and caller.may("usage:any")
        try:
            found = self.ledger.find_run(run_id) if len(run_id) == _LENGTH else None
        except RunNotFound:
            found = None
        row = served.find(self.ledger, run_id) if found else None
        if (
            found is None
            or not (anybody or found.user == caller.user)
            or (row and row["intent"] == "deleted")
        ):
            raise NotFound(f"there is no run {run_id}: GET /api/v1/runs lists them")
        return found, row

    def show(self, caller: Caller, run_id: str, *, anybody: bool = False) -> dict[str, Any]:
        """A run as the document of `aideon run --json`; content only as long as it is kept.

        `anybody`: also a run of another user, without its content, if the caller may see all usage.
        """
        found, row = self._found(caller, run_id, anybody=anybody)
        shown = document(recall(self.ledger, found))
        if row and row["intent"] in ("run", "cancel") and found.status != "running":
            shown |= {"status": "running", "stop_reason": None}  # another process continues it
        if found.user != caller.user:
            shown |= {"output": None, "results": {}, "questions": []}
            row = None
        elif shown["status"] != "running" and shown["output"] is None:
            shown |= events.end_of(self.ledger, run_id)
        metadata = served.metadata_of(row)
        feedback = json.loads(row["feedback"]) if row and row["feedback"] else None
        times = {"started_at": found.started_at, "ended_at": found.ended_at}
        own = {"thread": found.thread, "metadata": metadata, "feedback": feedback}
        source = sources.of_run(self.ledger, self.settings, found)
        return {**shown, "model_source_indicator": source, **times, **own}

    def is_open(self, run_id: str) -> bool:
        """Whether a run is in progress, or is to be continued."""
        row = served.find(self.ledger, run_id)
        if row and row["intent"] in ("run", "cancel"):
            return True
        return self.ledger.find_run(run_id).status == "running"

    async def wait(self, run_id: str, seconds: float) -> bool:
        """Wait until a run has ended, at most for some seconds; whether it has."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while not self.live.is_draining and (left := until - loop.time()) > 0:
            if await self.live.wait(run_id, left) or not self.is_open(run_id):
                return True
            if run_id not in self.live.ids:
                await asyncio.sleep(min(_POLL, left))
        return not self.is_open(run_id)

    async def events(
        self, run_id: str, after: int = 0
    ) -> AsyncGenerator[tuple[int, str, dict[str, Any]]]:
        """The events of a run after a number, as they happen, until it ends: number, kind, document.

        The last one is `run_ended`, with an empty document: see `show`. It ends without one where
        this process drains: the caller asks again, with the last number.
        """
        kind, happened = "", self.live.watch(run_id)
        while True:
            was_open = self.is_open(run_id)
            found = events.read(self.ledger, run_id, after)
            for number, kind, one in found:
                after = number
                yield number, kind, {} if kind == events.ENDED else one
            if found:
                continue
            if not was_open:
                break
            if self.live.is_draining:
                return
            await self.live.change(happened, _POLL)
        if kind != events.ENDED:
            yield after + 1, events.ENDED, {}  # its events are not kept any more

    async def answer(self, caller: Caller, run_id: str, answer: object) -> None:
        """Answer a waiting run, and resume it in this process."""
        found = self.find(caller, run_id)
        if found.status != "waiting" or self.is_open(run_id):
            raise Conflict(f"run {run_id} is {found.status}: only a waiting run takes an answer")
        await self._resume(caller, found, answer=answer)

    async def resume(self, caller: Caller, run_id: str, budget: str | None = None) -> None:
        """Resume a run that ended early, in this process."""
        found = self.find(caller, run_id)
        if self.is_open(run_id) or found.status in ("completed", "waiting", "running"):
            status = "running" if self.is_open(run_id) else found.status
            raise Conflict(f"run {run_id} is {status}: it cannot resume")
        options: ResumeOptions = {} if budget is None else {"budget": budget}
        await self._resume(caller, found, **options)

    async def _resume(self, caller: Caller, found: Run, **options: Unpack[ResumeOptions]) -> None:
        run_id = found.run_id
        if found.batch_id is not None:
            raise Conflict(f"run {run_id} is of the batch {found.batch_id}, which resumes it")
        workflow = self._workflow_of(caller, found)
        running = self.launcher.resumed(workflow, caller, run_id, **options)

        def first(tx: Statements) -> None:
            served.add(tx, run_id, found.workflow)
            quotas.admit_run(tx, caller, running.spec.start)

        await self.live.launch(running, first)

    def _workflow_of(self, caller: Caller, found: Run) -> Workflow:
        row = served.find(self.ledger, found.run_id)
        return self.workflows.find(caller, row["workflow"] if row else found.workflow)

    async def cancel(self, caller: Caller, run_id: str) -> None:
        """Cancel a run that runs or waits, whatever process it is in."""
        found, row = self._found(caller, run_id)
        is_over = row is None or (row["intent"] == "done" and found.status != "waiting")
        if is_over:
            raise Conflict(f"run {run_id} is {found.status}: the service has nothing to cancel")
        served.want(self.ledger.database, run_id, "cancel")
        self.live.interrupt(run_id)
        await self.keeper.look()

    def rate(self, caller: Caller, run_id: str, score: float, text: str | None = None) -> int:
        """Say how good a run was, as `aideon runs rate` does; returns how many outcomes that made."""
        found = self.find(caller, run_id)
        made = outcomes.rated(self.ledger.calls(run_id), score)
        if not made:
            raise Conflict(f"no model answered in run {run_id}, so there is nothing to rate")
        with self.ledger.database.transaction() as tx:
            outcomes.record(tx, made)
            if served.find(tx, run_id) is None:
                served.add(tx, run_id, found.workflow, intent="done")
            served.rate(tx, run_id, {"score": score, "text": text})
        return len(made)

    async def delete(self, caller: Caller, run_id: str) -> None:
        """Delete what is kept of a run: its state, events and content. What it cost is kept."""
        found = self.find(caller, run_id)
        if self.is_open(run_id):
            raise Conflict(f"run {run_id} is {found.status}: cancel it before you delete it")
        with self.ledger.database.transaction() as tx:
            served.delete(tx, run_id, found.workflow)
        await served.delete_states(self.ledger, [run_id])

    def check(self) -> None:
        """Raise a LedgerError if the ledger cannot be written."""
        with self.ledger.database.transaction() as tx:
            tx.write("UPDATE served SET renewed_at = renewed_at WHERE run_id = ''", {})


_LENGTH = 26
