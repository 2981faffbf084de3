"""The side of a distributed batch that gave the command: it queues the items, and follows.

What it does is done again by the same command when it is gone; workers go on without it. OUT grows
from what the ledger holds, exactly as with the local engine.
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

from aideon_agents.batch.delivery import deliver
from aideon_agents.batch.distributed import queue
from aideon_agents.errors import RunError, UserError
from aideon_agents.ledger import batch_items, batch_workers, batches

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from procrastinate import App

    from aideon_agents.batch.control import Control
    from aideon_agents.batch.items import Item
    from aideon_agents.batch.output import Out
    from aideon_agents.batch.progress import Progress, Tally
    from aideon_agents.batch.result import StopReason
    from aideon_agents.batch.source import Source
    from aideon_agents.ledger.batches import BatchStart
    from aideon_agents.ledger.store import Ledger

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
        database = queue.needs_server(self.book)
        app = queue.app_for(database)
        async with queue.opened(app, database):
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
                with queue.told(queue.needs_server(self.book)):
                    await queue.enqueue(app, self.start.batch_id, runnable, self.inputs)
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
                    batch_items.refuse(tx, batch_id, item.position, item.item_id, problem)
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
            is_idle = queueing.done() and queue.is_empty(self.book, self.start.batch_id)
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
                queue.rescue(self.book)
                # Of a million items the counts take their time: they may take a twentieth of it.
                took = time.monotonic() - now
                look_at = now + max(_LOOK_EVERY, 20 * took)
            await asyncio.sleep(_DELIVER_EVERY)

    def _hear(self) -> None:
        """Hear whether somebody else, or a limit, ends the batch."""
        if batches.is_to_end(self.book, self.start.batch_id):
            why = batches.find_batch(self.book, self.start.batch_id).stop_reason
            self.control.drain(cast("StopReason", why or "cancelled"))

    def _halt(self) -> None:
        """Have no worker begin anything any more."""
        reason = self.control.reason or "interrupted"
        cut_off = self.control.is_cut_off
        batch_workers.halt(self.book, self.start.batch_id, reason, cut_off=cut_off)
        queue.remove_waiting(self.book, self.start.batch_id)

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
        for refusal in batch_workers.refusals(self.book, self.start.batch_id):
            self._say(f"the worker {refusal.pid} on {refusal.host} refuses: {refusal.reason}")
        if seconds > _LONELY and not self.control.is_over and not queue.workers(self.book):
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
