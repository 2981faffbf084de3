"""The side of a distributed batch that gave the command: it queues the items, and follows.

What it does is done again by the same command when it is gone; workers go on without it. OUT grows
from what the ledger holds, exactly as with the local engine.

One batch as a worker runs it: its workflow from the worker's own folder, and item after item.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import json
import logging
import time
from typing import TYPE_CHECKING, Any, cast

from aideon_agents.batch.distributed import claims, targets
from aideon_agents.batch.distributed.claims import Away, PutBack
from aideon_agents.batch.engine import ItemRuns
from aideon_agents.batch.items import Item, Source
from aideon_agents.batch.options import Control, StopReason
from aideon_agents.batch.output import Out, deliver
from aideon_agents.batch.progress import Progress, Tally
from aideon_agents.errors import InputError, LedgerError, RunError, UserError
from aideon_agents.ledger import batch_items, batches
from aideon_agents.ledger.batch_items import DuplicateId, Halted, ItemEnd, ItemRow, StaleClaim
from aideon_agents.ledger.batches import Batch, BatchStart
from aideon_agents.ledger.checkpointer import Checkpoints
from aideon_agents.ledger.rows import RunStart
from aideon_agents.ledger.store import Ledger
from aideon_agents.runner.checks import Demands
from aideon_agents.runner.outcome import Outcome, is_out_of_budget
from aideon_agents.runner.running import Running
from aideon_agents.runner.start import common
from aideon_agents.runner.state import shapes
from aideon_agents.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from procrastinate import App


_log = logging.getLogger("aideon_agents.batch")

_AT_A_TIME = 500
"""Items that are queued in one go, and lines that are written to OUT."""
_DELIVER_EVERY = 0.5  # seconds
_LOOK_EVERY = 1.0  # seconds: whether it is to end, whether workers live, and who watches is told
_LONELY = 5.0
"""Seconds after which it is said that nobody does anything."""


@dataclasses.dataclass(eq=False, kw_only=True)
class Following:
    """Has a batch run by workers, and writes down what they say."""

    book: Ledger
    start: BatchStart
    source: Source
    out: Out
    tally: Tally
    control: Control
    inputs: Mapping[str, Any]
    """What all items are given."""
    limit: int | None
    """Of the whole batch, in nano-dollars; None: there is none."""
    watch: Callable[[Progress], object] | None
    _said: set[str] = dataclasses.field(default_factory=set[str], init=False)

    async def run(self) -> None:
        """Queue what is not finished, and follow until nothing more is done."""
        database = claims.needs_server(self.book)
        app = claims.app_for(database)
        async with claims.opened(app, database):
            queueing = asyncio.create_task(self._queue(app))
            try:
                await self._follow(queueing)
            except UserError as error:  # nobody's mistake any more: it had begun
                raise RunError(str(error)) from error
            finally:
                queueing.cancel()
                await asyncio.gather(queueing, return_exceptions=True)
        self._show()

    async def _queue(self, app: App) -> None:
        """Queue the items that are not finished, in their order."""
        with contextlib.closing(self.source.items()) as items:
            while not self.control.is_over and (some := list(itertools.islice(items, _AT_A_TIME))):
                runnable = self._registered(some)
                with claims.told(claims.needs_server(self.book)):
                    await claims.enqueue(app, self.start.batch_id, runnable, self.inputs)
                await asyncio.sleep(0)

    def _registered(self, some: list[Item]) -> list[Item]:
        """Give items their rows, in their order; returns those that are to be run."""
        batch_id, first = self.start.batch_id, some[0].position
        rows = [
            {"position": item.position, "item_id": item.item_id}
            for item in some
            if item.problem is None
        ]
        self.book.database.write(_REGISTER, {"batch_id": batch_id, "rows": json.dumps(rows)})
        known = batch_items.rows(self.book, batch_id, first, first + len(some))
        by_position = {row.position: row for row in known}
        with self.book.database.transaction() as tx:
            for item in some:
                if item.position not in by_position:
                    problem = item.problem or f"the id {item.item_id!r} is that of an earlier item"
                    batch_items.mark_invalid(tx, batch_id, item.position, item.item_id, problem)
        return [
            item
            for item in some
            if (row := by_position.get(item.position)) is not None
            and row.status not in batch_items.DONE
        ]

    async def _follow(self, queueing: asyncio.Task[None]) -> None:
        """Write down what workers have done, until there is nothing left for them."""
        began = time.monotonic()
        look_at = 0.0
        while True:
            is_idle = queueing.done() and claims.is_empty(self.book, self.start.batch_id)
            await deliver(self.book, self.start.batch_id, self.out)
            if queueing.done():
                queueing.result()
            if is_idle:  # what was there to be delivered was there before
                return
            if self.control.is_over:
                self._halt()
            now = time.monotonic()
            if now >= look_at:
                self._hear()
                self._show()
                self._tell_why_idle(now - began)
                claims.rescue(self.book)
                # Of a million items the counts take their time: they may take a twentieth of it.
                took = time.monotonic() - now
                look_at = now + max(_LOOK_EVERY, 20 * took)
            await asyncio.sleep(_DELIVER_EVERY)

    def _hear(self) -> None:
        """Hear whether somebody else, or a limit, ends the batch."""
        if batches.heartbeat(self.book, self.start.batch_id):
            why = batches.find_batch(self.book, self.start.batch_id).stop_reason
            self.control.drain(cast("StopReason", why or "cancelled"))

    def _halt(self) -> None:
        """Have no worker begin anything any more."""
        reason = self.control.reason or "interrupted"
        cut_off = self.control.is_cut_off
        batches.halt(self.book, self.start.batch_id, reason, cut_off=cut_off)
        claims.remove_waiting(self.book, self.start.batch_id)

    def _show(self) -> None:
        """Say how far it has come."""
        counts = batch_items.counts(self.book, self.start.batch_id)
        self.control.outside = counts.get("running", 0)
        if self.watch is None:
            return
        self.tally.seen(counts, batches.node_money(self.book, self.start.batch_id))
        spent = None
        if self.limit is not None:
            spent = batches.spent_nanousd(self.book, self.start.batch_id)
        self.watch(
            self.tally.progress(self.start.batch_id, counts.get("running", 0), self.limit, spent)
        )

    def _tell_why_idle(self, seconds: float) -> None:
        """Say why nothing may be going on."""
        for refusal in batches.refusals(self.book, self.start.batch_id):
            self._say(f"the worker {refusal.pid} on {refusal.host} refuses: {refusal.reason}")
        if seconds > _LONELY and not self.control.is_over and not claims.workers(self.book):
            self._say(
                "no worker is running: start `aideon worker` where the workflow and the keys are; "
                "the items stay queued"
            )

    def _say(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            _log.warning("%s", line)


_REGISTER = (
    "INSERT INTO items (batch_id, position, item_id, status, attempts)"
    " SELECT :batch_id, given.position, given.item_id, 'pending', 0"
    " FROM json_to_recordset(CAST(:rows AS JSON)) AS given (position BIGINT, item_id TEXT)"
    " ORDER BY given.position ON CONFLICT DO NOTHING"
)


class Crew:
    """What runs the items of one batch in this process."""

    def __init__(
        self,
        book: Ledger,
        batch: Batch,
        settings: Settings,
        saver: Checkpoints,
        in_flight: set[Running],
    ) -> None:
        self.book = book
        self.batch = batch
        self._in_flight = in_flight
        self.is_over = False
        """Nothing of the batch starts any more, as far as is known here."""
        work: Mapping[str, Any] = batch.work or {}
        self._most_failures: int | None = work["most_failures"]
        if settings.offline and not work["rehearse"]:
            raise UserError("this worker only rehearses (AIDEON_OFFLINE=1), and the batch is paid")
        target, content_hash = work["target"], work["target_hash"]
        found = targets.found(target, content_hash, settings, work["model"])
        told = common(
            found.graph,
            ledger=book,
            settings=settings,
            workflow=batch.workflow,
            target=target,
            target_hash=content_hash,
            tier=work["tier"],
            user=work["user"],
            model=work["model"],
            timeout=work["timeout"],
            record_content=work["record_content"],
            rehearse=work["rehearse"],
        )
        self._saver = saver.reading(shapes(told.root.graph))
        self._runs = ItemRuns(
            batch_id=batch.batch_id,
            limit_nanousd=batch.item_limit_nanousd,
            common=dataclasses.replace(told, saver=self._saver, keeps=work["keeps"]),
            demands=Demands.of(told.root.graph, told.context),
            are_shared=True,
        )

    def is_for(self, batch: Batch) -> bool:
        """Whether a batch is still told the same as when this crew was made."""
        told = (batch.work, batch.item_limit_nanousd)
        return told == (self.batch.work, self.batch.item_limit_nanousd)

    async def run(self, item: Item) -> None:
        """Run an item, unless it has ended, is somebody else's, or waits for an answer."""
        row = self._row(item)
        if row is not None and row.status in batch_items.DONE:
            return
        try:
            if row is not None and row.run_id is not None:
                await self._again(item, row)
            else:
                await self._anew(item, row)
        except (DuplicateId, StaleClaim):
            return  # whoever was first runs it
        except Halted:
            self.is_over = True
            raise PutBack from None

    def _row(self, item: Item) -> ItemRow | None:
        at = item.position
        return next(iter(batch_items.rows(self.book, self.batch.batch_id, at, at + 1)), None)

    async def _again(self, item: Item, row: ItemRow) -> None:
        """Go on with an item that was started before, where its state is kept; else start it again.

        Its run may read as running: whoever ran it may be gone without a word, and we hold the job.
        """
        seen = self.book.find_run(str(row.run_id))
        if row.status == "waiting" and seen.status in ("running", "waiting"):
            return  # it asks, or somebody is just answering it
        if await self._runs.is_kept(seen.run_id) and await self._through(
            self._runs.goes_on(item, row, seen)
        ):
            return
        await self._anew(item, row)

    async def _anew(self, item: Item, row: ItemRow | None) -> None:
        try:
            running = self._runs.begins(item, row)
        except InputError as wrong:
            with self.book.database.transaction() as tx:
                batch_items.mark_invalid(
                    tx, self.batch.batch_id, item.position, item.item_id, str(wrong)
                )
            return
        await self._through(running)

    async def _through(self, running: Running) -> bool:
        """Run an item, and draw the conclusions from how it ended; returns whether it was begun."""
        outcome = None
        self._in_flight.add(running)
        try:
            outcome = await running.through(self.book)
        except LedgerError:
            raise
        except (UserError, SystemExit):
            pass  # the item has failed, and its row says so
        finally:
            self._in_flight.discard(running)
        if running.item_end is not None:
            self._conclude(running.item_end, outcome)
        elif outcome is not None and running.item is not None:
            if not batch_items.newer_claim(self.book.database, running.item):
                raise LedgerError(
                    f"the end of item {running.item.item_id} cannot be written down,"
                    f" {running.unwritten}; it is run again"
                )
            await self._forget(running.start)
        return running.item_end is not None or outcome is not None

    def _conclude(self, end: ItemEnd, outcome: Outcome | None) -> None:
        batch_id = self.batch.batch_id
        if outcome is not None and is_out_of_budget(outcome):
            batches.halt(self.book, batch_id, "budget")
        if end.status == "failed" and self._most_failures is not None:
            failed = batch_items.counts(self.book, batch_id).get("failed", 0)
            if failed >= self._most_failures:
                batches.halt(self.book, batch_id, "max_failures")
        was_cut_off = outcome is not None and (
            outcome.status == "cancelled" or isinstance(outcome.exception, Away)
        )
        if end.status == "pending" and was_cut_off:
            raise PutBack

    async def _forget(self, start: RunStart) -> None:
        """Remove what was kept of a run after somebody else has come to its end."""
        if self.book.find_run(start.run_id).status == "completed":
            await self._saver.adelete_thread(start.run_id)
