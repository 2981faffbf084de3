"""The runs that this process has in progress."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from aideon_agents.access import quotas
from aideon_agents.errors import AideonError
from aideon_agents.ledger.identity import this_process
from aideon_agents.runner.outcome import Outcome, recorded
from aideon_agents.runner.running import Running
from aideon_agents.serving import served
from aideon_agents.serving.events import EventLog

if TYPE_CHECKING:
    from collections.abc import Callable

    from aideon_agents.ledger.database import Statements
    from aideon_agents.ledger.store import Ledger

_log = logging.getLogger("aideon_agents.serving")


class _Journal:
    """Writes the service's own rows in the transactions that begin and end a run's row."""

    def __init__(self, live: LiveRuns, run_id: str, first: Callable[[Statements], None]) -> None:
        self._live = live
        self._run_id = run_id
        self._first = first
        self.log = EventLog(live.ledger.database, run_id, live.watched)
        self.begun: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.is_complete = self.is_over = False
        """`is_over`: nothing is left to do, in any process."""

    def began(self, tx: Statements) -> None:
        self._first(tx)
        # When the rows are there.
        asyncio.get_running_loop().call_soon(
            lambda: self.begun.done() or self.begun.set_result(True)
        )

    def ended(self, tx: Statements, outcome: Outcome, output: str | None) -> bool:
        owner = [dict(row) for row in tx.select(_OWNER, {"run_id": self._run_id})]
        intent = owner[0].pop("intent") if owner else None
        if owner != [dict(this_process())]:
            return False  # another process has taken the run over
        is_interrupted = outcome.stop_reason == "interrupted"
        if is_interrupted and self._live.is_draining and intent == "run":
            self.log.flush_within(tx)
        else:
            if is_interrupted and intent == "cancel":
                outcome.stop_reason = "cancelled"
            served.want(tx, self._run_id, "done")
            quotas.ended(tx, self._run_id)
            self.log.end(tx, {"output": output, "results": recorded(outcome.results)})
            self.is_over = True
        self.is_complete = True
        return True


_OWNER = (
    "SELECT host, pid, process_start, intent FROM runs"
    " LEFT JOIN served ON served.run_id = runs.run_id WHERE runs.run_id = :run_id"
)


class LiveRuns:
    """Starts runs in this process's event loop, interrupts them, and waits for their ends."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.is_draining = False
        """Whether runs stop where no node is in progress, for another process to continue."""
        self._tasks: dict[str, tuple[Running, asyncio.Task[bool]]] = {}
        self.watched: WeakValueDictionary[str, asyncio.Event] = WeakValueDictionary()
        """What the callers that watch a run wait for, as long as there are any."""

    @property
    def ids(self) -> list[str]:
        """The runs in progress."""
        return list(self._tasks)

    def watch(self, run_id: str) -> asyncio.Event:
        """What `change` waits for. While the caller keeps it, events of the run are written at once."""
        return self.watched.setdefault(run_id, asyncio.Event())

    async def change(self, happened: asyncio.Event, seconds: float) -> None:
        """Wait for what a watched run does next in this process, at most for some seconds."""
        happened.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await happened.wait()

    async def launch(self, running: Running, first: Callable[[Statements], None]) -> None:
        """Begin a run. `first` writes rows in the transaction that begins the run's row.

        Returns when these rows are there, and raises why they are not.
        """
        run_id = running.spec.start.run_id
        journal = _Journal(self, run_id, first)
        running = Running(dataclasses.replace(running.spec, journal=journal))
        task = asyncio.create_task(self._to_end(running, journal))
        self._tasks[run_id] = running, task
        task.add_done_callback(lambda _: self._over(run_id, task))
        await asyncio.wait({task, journal.begun}, return_when=asyncio.FIRST_COMPLETED)
        if not journal.begun.done():
            task.result()

    async def _to_end(self, running: Running, journal: _Journal) -> bool:
        """Whether the run is over at its end."""
        run_id = running.spec.start.run_id
        try:
            await running.through(self.ledger, journal.log.receive)
        except AideonError:
            if not journal.begun.done():
                raise  # its caller's mistake, or the ledger's failure: nothing has begun
        except SystemExit as left:  # of a node; it would end this process
            _log.warning("a node of run %s exits with %s", run_id, left.code)
        if running.unwritten:
            _log.warning("run %s stays running: %s", run_id, running.unwritten)
        return journal.is_over

    def _over(self, run_id: str, task: asyncio.Task[bool]) -> None:
        if self._tasks.get(run_id, (None, None))[1] is task:
            del self._tasks[run_id]
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, AideonError | served.Repeated):
            _log.error("run %s broke off", run_id, exc_info=error)
        if happened := self.watched.get(run_id):
            happened.set()

    def interrupt(self, run_id: str) -> None:
        """End a run of this process as soon as possible."""
        if found := self._tasks.get(run_id):
            found[0].interrupt(gives_up=True)  # only a person cancels a run

    async def wait(self, run_id: str, seconds: float) -> bool:
        """Wait for the end of a run of this process; whether it is one, and is over."""
        if not (found := self._tasks.get(run_id)):
            return False
        done, _ = await asyncio.wait({found[1]}, timeout=seconds)
        return any(not one.cancelled() and not one.exception() and one.result() for one in done)

    def leave(self) -> None:
        """Let every run stop where no node is in progress. A signal handler may call it."""
        self.is_draining = True
        for running, _ in self._tasks.values():
            running.drain()

    async def drained(self) -> None:
        """Wake all who watch, and wait until no run is in progress."""
        for happened in self.watched.values():
            happened.set()
        while self._tasks:
            await asyncio.wait({task for _, task in self._tasks.values()})
