"""A worker: it runs items of whatever batches there are, until it is told to leave.

Signs of life come from a thread of their own: a node that holds up the event loop for a while must
not look like a dead process, or its items would be begun elsewhere again and again.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from typing import TYPE_CHECKING

from procrastinate import exceptions
from procrastinate.worker import Worker as Fetching

from aideon_agents.batch import options as known
from aideon_agents.batch.distributed import claims
from aideon_agents.batch.distributed.claims import WorkersLedger
from aideon_agents.batch.distributed.following import Crew
from aideon_agents.errors import LedgerError, UserError
from aideon_agents.ledger import batches
from aideon_agents.ledger.batches import Batch
from aideon_agents.ledger.checkpointer import Checkpoints
from aideon_agents.ledger.checkpoints import open_checkpoints
from aideon_agents.ledger.postgres.address import names_a_server
from aideon_agents.ledger.redaction import one_line
from aideon_agents.ledger.sqlite import ledger_path
from aideon_agents.runner.running import Running
from aideon_agents.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from procrastinate import App, jobs


_LOOK_EVERY = 1.0
"""Seconds between two looks for batches, and for items of workers that are gone."""
_PAUSE = 2.0
"""Seconds until another try where the server cannot be reached."""
_TRY_AGAIN = 5.0
"""Seconds until a batch is looked at again that could not be run: its file may come."""
_TRIES = 5
"""How often an item is given to somebody else because the ledger could not be written."""
_AWAY = "this worker gave no sign of life for too long"
_NEVER = 1e6
"""Seconds: what procrastinate would do at such an interval is done here."""


class Worker:
    """Runs items, many at once."""

    def __init__(self, settings: Settings, at_once: int, tell: Callable[[str], object]) -> None:
        self._settings = settings
        self._at_once = known.at_once(at_once)
        self._tell = tell
        if not names_a_server(settings.ledger):
            claims.refuse_file(ledger_path(settings.ledger))
        self.book = WorkersLedger.from_url(settings.ledger)
        """The ledger it works for."""
        self._database = claims.needs_server(self.book)
        self._app: App = claims.app_for(self._database, self._run)
        self._crews: dict[str, Crew] = {}
        self._running: set[Running] = set()
        self._refused: dict[str, float] = {}
        self._queues: list[str] = []
        self._fetching: Fetching | None = None
        self._leaves = self._is_cut_off = False
        self._closed = threading.Event()
        self._jobs: set[int] = set()
        self._strays: set[int] = set()
        self.ran = 0
        """Items that were run here."""

    @property
    def in_flight(self) -> int:
        """Items that are being run."""
        return len(self._running)

    def leave(self) -> None:
        """Take no more items; those in flight come to their end."""
        self._leaves = True
        self._queues.clear()
        if self._fetching:
            self._fetching.stop()

    def cut_off(self) -> None:
        """Leave at once: what is in flight is given back."""
        self._is_cut_off = True
        self.leave()
        self._interrupt()

    async def work(self) -> None:
        """Run items until it is to leave."""
        loop = asyncio.get_running_loop()
        beating = threading.Thread(
            target=self._beat, args=[loop], name="aideon-worker-beat", daemon=True
        )
        try:
            async with claims.opened(self._app, self._database):
                beating.start()
                async with open_checkpoints(self.book, []) as saver, self._looking(saver):
                    while not self._leaves:
                        await self._fetch()
        finally:
            self._closed.set()
            if beating.is_alive():
                await asyncio.to_thread(beating.join)
            self.book.close()

    async def _fetch(self) -> None:
        """Take items until it is to leave, or the server is gone."""
        self._fetching = Fetching(
            self._app,
            queues=self._queues,
            concurrency=self._at_once,
            fetch_job_polling_interval=_LOOK_EVERY,
            abort_job_polling_interval=_NEVER,
            update_heartbeat_interval=_NEVER,
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
    async def _looking(self, saver: Checkpoints) -> AsyncGenerator[None]:
        self._look(saver)
        looking = asyncio.create_task(self._keep_looking(saver))
        try:
            yield
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)

    async def _keep_looking(self, saver: Checkpoints) -> None:
        said = ""
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            try:
                self._look(saver)
            except LedgerError as error:
                if said != str(error):
                    self._tell(str(error))
                said = str(error)
            else:
                said = ""

    def _look(self, saver: Checkpoints) -> None:
        """See which batches there are, and give on what belonged to workers that are gone."""
        found = batches.running(self.book)
        for batch in found:
            if batch.is_cut_off:
                self._interrupt(batch.batch_id)
        due = [batch for batch in found if not batch.is_cancelled]
        for batch in due:
            self._join(batch, saver)
        for batch_id, crew in self._crews.items():
            crew.is_over = batch_id not in {batch.batch_id for batch in due}
        queues = [claims.queue_of(one.batch_id) for one in due if one.batch_id in self._crews]
        self._queues[:] = [] if self._leaves else queues
        there = {batch.batch_id for batch in found}
        for known_ones in (self._crews, self._refused):
            for batch_id in known_ones.keys() - there:
                del known_ones[batch_id]
        claims.rescue(self.book)
        self._give_back_strays()

    def _give_back_strays(self) -> None:
        """Give back jobs that stand under this worker's name and are not run: an end was not written.

        One that has just been taken is not run yet either, so it has to be seen twice.
        """
        worker_id = self._fetching.worker_id if self._fetching else None
        if worker_id is None:
            return
        seen = claims.held_by(self.book, worker_id) - self._jobs
        for job_id in seen & self._strays:
            claims.give_back(self.book, worker_id, job_id)
        self._strays = seen

    def _join(self, batch: Batch, saver: Checkpoints) -> None:
        """Make a crew for a batch, unless there is one; one that was refused is tried later."""
        crew = self._crews.get(batch.batch_id)
        if crew is not None and crew.is_for(batch):
            return
        if time.monotonic() < self._refused.get(batch.batch_id, 0):
            return
        try:
            self._crews[batch.batch_id] = Crew(
                self.book, batch, self._settings, saver, self._running
            )
        except LedgerError:
            raise
        except Exception as refused:  # noqa: BLE001 - what a workflow does while it is made may be anything
            is_news = batch.batch_id not in self._refused
            self._refused[batch.batch_id] = time.monotonic() + _TRY_AGAIN
            self._crews.pop(batch.batch_id, None)
            why = str(refused) if isinstance(refused, UserError) else one_line(repr(refused))
            batches.refuse(self.book, batch.batch_id, why)
            if is_news:
                self._tell(f"batch {batch.batch_id} is not run here: {why}")
        else:
            self._refused.pop(batch.batch_id, None)
            self._tell(f"batch {batch.batch_id} ({batch.workflow}): {batch.items:,} items")

    async def _run(self, job: jobs.Job) -> None:
        """Run the item of a job."""
        job_id = int(job.id or 0)
        self._jobs.add(job_id)
        try:
            await self._item(job)
        finally:
            self._jobs.discard(job_id)

    async def _item(self, job: jobs.Job) -> None:
        crew = self._crews.get(claims.batch_of(job.queue))
        if crew is None or crew.is_over or self._is_cut_off:
            self._pass_over(job.queue)
            raise claims.PutBack
        try:
            await crew.run(claims.item_of(job))
        except claims.PutBack:
            self._pass_over(job.queue)
            raise
        except LedgerError as error:
            self._tell(str(error))
            if job.attempts >= _TRIES:  # it would be paid for again and again
                self._tell(
                    f"item {job.task_kwargs['item_id']} is left until the same command again"
                )
                return
            await asyncio.sleep(_PAUSE)
            raise claims.PutBack from None
        self.ran += 1

    def _pass_over(self, name: str) -> None:
        """Take nothing from a queue until the next look: it would be given back again and again."""
        if name in self._queues:
            self._queues.remove(name)

    def _beat(self, loop: asyncio.AbstractEventLoop) -> None:
        """Say again and again that this worker lives; what it lost meanwhile it lets go of first."""
        lease, said = self.book.lease, ""
        while not self._closed.wait(claims.BEAT):
            if lease.is_over:
                if not said:
                    self._tell(f"{_AWAY}: its items go to others")
                said = said or _AWAY
                dropped = threading.Event()
                loop.call_soon_threadsafe(self._drop, dropped)
                dropped.wait(claims.BEAT)
            asked = lease.clock()
            worker_id = self._fetching.worker_id if self._fetching else None
            if worker_id is None:
                lease.renewed(asked)
                continue
            try:
                claims.beat(self.book, worker_id)
            except LedgerError as error:
                if not said:
                    self._tell(str(error))
                said = str(error)
            else:
                lease.renewed(asked)
                said = ""

    def _interrupt(self, batch_id: str | None = None) -> None:
        """Cut off what is in flight, of one batch or of all."""
        for running in self._running:
            if batch_id in (None, running.start.batch_id):
                running.interrupt()

    def _drop(self, dropped: threading.Event) -> None:
        self._interrupt()
        # Their cancellations come with the next round of the loop.
        asyncio.get_running_loop().call_later(0.1, dropped.set)
