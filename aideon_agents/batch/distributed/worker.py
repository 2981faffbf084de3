"""A worker: it runs items of all distributed batches until it is stopped.

Heartbeats are sent from a thread: a node that blocks the event loop for a while must not look like a
dead process, or other workers would start its items again and again.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from typing import TYPE_CHECKING, cast

from procrastinate import exceptions
from procrastinate.worker import Worker as QueueWorker

from aideon_agents.batch import options as known
from aideon_agents.batch.distributed import jobs
from aideon_agents.batch.distributed.jobs import FencedJobs, LeasedLedger, Requeue
from aideon_agents.batch.distributed.runner import DistributedRunner
from aideon_agents.errors import LedgerError, UserError
from aideon_agents.ledger import batches
from aideon_agents.ledger.batches import Batch
from aideon_agents.ledger.checkpointer import Checkpointer
from aideon_agents.ledger.checkpoints import open_checkpointer
from aideon_agents.ledger.postgres.address import names_a_server
from aideon_agents.ledger.redaction import one_line
from aideon_agents.ledger.sqlite.database import ledger_path
from aideon_agents.runner.running import Running
from aideon_agents.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from procrastinate import App
    from procrastinate.jobs import Job


_CHECK_EVERY = 1.0
"""Seconds between two searches for batches, and for items of workers that are gone."""
_PAUSE = 2.0
"""Seconds before another attempt when the server cannot be reached."""
_RETRY_AFTER = 5.0
"""Seconds before a batch that could not be run is tried again: its file may arrive."""
_ATTEMPTS = 5
"""How often an item is requeued because its end could not be written."""
_FORGET_AFTER = 86400.0
"""Seconds without a heartbeat after which procrastinate deletes the row of a worker. A suspended
worker that returns still uses its row."""
_LEASE_OVER = "this worker sent no heartbeat for too long"
_NEVER = 1e6
"""Seconds: an interval for what procrastinate would do, and this worker does itself."""


class Worker:
    """Runs items, several at once."""

    def __init__(self, settings: Settings, at_once: int, tell: Callable[[str], object]) -> None:
        self._settings = settings
        self._at_once = known.at_once(at_once)
        self._tell = tell
        if not names_a_server(settings.ledger):
            jobs.refuse_file(ledger_path(settings.ledger))
        self._ledger = LeasedLedger.from_url(settings.ledger)
        self._database = jobs.require_server(self._ledger)
        self._app: App = jobs.app_for(self._database, self._run)
        self._runners: dict[str, DistributedRunner] = {}
        self._in_flight: set[Running] = set()
        self._refused: dict[str, float] = {}
        """When to try batches again that could not be run, by their ids."""
        self._queues: list[str] = []
        """The queues to fetch from. Procrastinate reads this list before each fetch."""
        self._fetching: QueueWorker | None = None
        self._is_leaving = self._is_cut_off = False
        self._closed = threading.Event()
        self._jobs: set[int] = set()
        """The jobs that are run here."""
        self._strays: set[int] = set()
        """The jobs that this worker held without running them, at the last check."""
        self.ran = 0
        """Items that were run by this worker."""

    @property
    def in_flight(self) -> int:
        """The number of items that are being run."""
        return len(self._in_flight)

    def leave(self) -> None:
        """Take no more items; those in flight are finished."""
        self._is_leaving = True
        self._queues.clear()
        if self._fetching:
            self._fetching.stop()

    def cut_off(self) -> None:
        """Leave at once: items in flight are requeued."""
        self._is_cut_off = True
        self.leave()
        self._interrupt()

    async def work(self) -> None:
        """Run items until the worker is stopped."""
        loop = asyncio.get_running_loop()
        heart = threading.Thread(
            target=self._beat, args=[loop], name="aideon-worker-heartbeat", daemon=True
        )
        try:
            async with jobs.opened(self._app, self._database):
                heart.start()
                async with (
                    open_checkpointer(self._ledger, []) as checkpointer,
                    self._checking(checkpointer),
                ):
                    while not self._is_leaving:
                        await self._fetch()
        finally:
            self._closed.set()
            if heart.is_alive():
                await asyncio.to_thread(heart.join)
            self._ledger.close()

    async def _fetch(self) -> None:
        """Take items until the worker is stopped, or the server cannot be reached."""
        self._fetching = QueueWorker(
            self._app,
            queues=self._queues,
            concurrency=self._at_once,
            fetch_job_polling_interval=_CHECK_EVERY,
            abort_job_polling_interval=_NEVER,
            update_heartbeat_interval=_NEVER,
            stalled_worker_timeout=_FORGET_AFTER,
            listen_notify=False,
            delete_jobs="always",
            install_signal_handlers=False,
        )
        try:
            await self._fetching.run()
        except exceptions.ConnectorException as error:
            self._tell(f"the queue cannot be reached ({error.__cause__ or error}): trying again")
            await asyncio.sleep(_PAUSE)
        finally:
            self._fetching = None

    @contextlib.asynccontextmanager
    async def _checking(self, checkpointer: Checkpointer) -> AsyncGenerator[None]:
        await self._check(checkpointer)
        checking = asyncio.create_task(self._keep_checking(checkpointer))
        try:
            yield
        finally:
            # A cancellation is lost where a connection fails, or is got, in the same moment.
            while not checking.done():
                checking.cancel()
                await asyncio.wait([checking], timeout=_CHECK_EVERY)

    async def _keep_checking(self, checkpointer: Checkpointer) -> None:
        reported = ""
        while True:
            await asyncio.sleep(_CHECK_EVERY)
            try:
                await self._check(checkpointer)
            except LedgerError as error:
                if reported != str(error):
                    self._tell(str(error))
                reported = str(error)
            else:
                reported = ""

    async def _check(self, checkpointer: Checkpointer) -> None:
        """Find the batches to run, and requeue the items of workers that are gone."""
        found = await asyncio.to_thread(batches.running, self._ledger)
        for batch in found:
            if batch.is_cut_off:
                self._interrupt(batch.batch_id)
        due = [batch for batch in found if not batch.is_cancelled]
        for batch in due:
            self._join(batch, checkpointer)
        due_ids = [batch.batch_id for batch in due]
        for batch_id, runner in self._runners.items():
            runner.is_over = batch_id not in due_ids
        queues = [jobs.queue_of(batch_id) for batch_id in due_ids if batch_id in self._runners]
        self._queues[:] = [] if self._is_leaving else queues
        found_ids = {batch.batch_id for batch in found}
        for known_ones in (self._runners, self._refused):
            for batch_id in known_ones.keys() - found_ids:
                del known_ones[batch_id]
        await asyncio.to_thread(jobs.requeue_stalled, self._ledger)
        await self._requeue_strays()

    async def _requeue_strays(self) -> None:
        """Requeue jobs that this worker holds and does not run: their end could not be written.

        A job that was just fetched is not run yet either, so it has to be seen twice.
        """
        worker_id = self._fetching.worker_id if self._fetching else None
        if worker_id is None:
            return
        queued = cast("FencedJobs", self._app.job_manager)
        with jobs.ledger_errors(self._database):
            seen = await queued.held_by(worker_id) - self._jobs
        for job_id in seen & self._strays:
            await queued.requeue(job_id, worker_id)
        self._strays = seen

    def _join(self, batch: Batch, checkpointer: Checkpointer) -> None:
        """Make the runner of a batch, unless there is one, or one was refused a moment ago."""
        batch_id = batch.batch_id
        runner = self._runners.get(batch_id)
        if runner is not None and runner.is_for(batch):
            return
        if time.monotonic() < self._refused.get(batch_id, 0):
            return
        try:
            self._runners[batch_id] = DistributedRunner(
                self._ledger, batch, self._settings, checkpointer, self._in_flight
            )
        except LedgerError:
            raise
        except Exception as refused:  # noqa: BLE001 - a workflow's module may raise anything
            is_new = batch_id not in self._refused
            self._refused[batch_id] = time.monotonic() + _RETRY_AFTER
            self._runners.pop(batch_id, None)
            why = str(refused) if isinstance(refused, UserError) else one_line(repr(refused))
            batches.refuse(self._ledger, batch_id, why)
            if is_new:
                self._tell(f"batch {batch_id} is not run here: {why}")
        else:
            self._refused.pop(batch_id, None)
            self._tell(f"batch {batch_id} ({batch.workflow}): {batch.items:,} items")

    async def _run(self, job: Job) -> None:
        """Run the item of a job."""
        job_id = int(job.id or 0)
        self._jobs.add(job_id)
        try:
            await self._item(job)
        finally:
            self._jobs.discard(job_id)

    async def _item(self, job: Job) -> None:
        runner = self._runners.get(jobs.batch_of(job.queue))
        if runner is None or runner.is_over or self._is_cut_off:
            self._skip(job.queue)
            raise Requeue
        try:
            await runner.run(jobs.item_of(job))
        except Requeue:
            self._skip(job.queue)
            raise
        except LedgerError as error:
            self._tell(str(error))
            if job.attempts >= _ATTEMPTS:  # it would be paid for again and again
                item_id = job.task_kwargs["item_id"]
                self._tell(f"item {item_id} is not run again before the same command is given")
                return
            await asyncio.sleep(_PAUSE)
            raise Requeue from None
        self.ran += 1

    def _skip(self, queue: str) -> None:
        """Take nothing from a queue until the next check: it would be requeued again and again."""
        if queue in self._queues:
            self._queues.remove(queue)

    def _beat(self, loop: asyncio.AbstractEventLoop) -> None:
        """Send heartbeats. After an expired lease, items in flight are cut off before the next one."""
        lease, reported = self._ledger.lease, ""
        while not self._closed.wait(jobs.HEARTBEAT_EVERY):
            if lease.is_over:
                if not reported:
                    self._tell(f"{_LEASE_OVER}: other workers run its items")
                reported = reported or _LEASE_OVER
                dropped = threading.Event()
                loop.call_soon_threadsafe(self._drop, dropped)
                dropped.wait(jobs.HEARTBEAT_EVERY)
            sent_at = lease.clock()
            worker_id = self._fetching.worker_id if self._fetching else None
            if worker_id is None:
                lease.renew(sent_at)
                continue
            try:
                jobs.send_heartbeat(self._ledger, worker_id)
            except LedgerError as error:
                if not reported:
                    self._tell(str(error))
                reported = str(error)
            else:
                lease.renew(sent_at)
                reported = ""

    def _interrupt(self, batch_id: str | None = None) -> None:
        """Cut off items in flight, of one batch or of all."""
        for running in self._in_flight:
            if batch_id in (None, running.spec.start.batch_id):
                running.interrupt()

    def _drop(self, dropped: threading.Event) -> None:
        self._interrupt()
        # The runs are cancelled in the next round of the event loop.
        asyncio.get_running_loop().call_later(0.1, dropped.set)
