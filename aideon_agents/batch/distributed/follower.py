"""The process that started a distributed batch: it queues the items, and follows the workers.

When it is gone, the workers continue, and the same command follows the batch again. OUT is written
from the ledger, exactly as by the local engine.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import time
from typing import TYPE_CHECKING, Any, cast

from aideon_agents.batch.carrying import content_of
from aideon_agents.batch.distributed import jobs
from aideon_agents.batch.engine import OpenBatch
from aideon_agents.batch.items import Item
from aideon_agents.batch.options import StopReason
from aideon_agents.errors import RunError, UserError
from aideon_agents.ledger import batch_items, batches

if TYPE_CHECKING:
    from collections.abc import Mapping

    from procrastinate import App


_log = logging.getLogger("aideon_agents.batch")

_AT_A_TIME = 500
"""Items that are queued in one statement."""
_WRITE_EVERY = 0.5
"""Seconds between two writes to OUT."""
_CHECK_EVERY = 1.0
"""Seconds between two heartbeats, reports of progress and searches for stalled workers."""
_WARN_AFTER = 5.0
"""Seconds without a worker after which a warning is logged."""


class Follower:
    """Queues the items of a batch, and writes the results of its workers to OUT."""

    def __init__(self, batch: OpenBatch, inputs: Mapping[str, Any]) -> None:
        self._batch = batch
        self._ledger = batch.ledger
        self._batch_id = batch.start.batch_id
        self._inputs = inputs
        self._warnings: set[str] = set()

    async def run(self) -> None:
        """Queue the items that are not done, and follow until the queue is empty."""
        database = jobs.require_server(self._ledger)
        app = await asyncio.to_thread(jobs.app_for, database)
        async with jobs.opened(app, database):
            queueing = asyncio.create_task(self._queue(app))
            try:
                await self._follow(queueing)
            except UserError as error:  # the batch had begun: it is no mistake of the caller
                raise RunError(str(error)) from error
            finally:
                queueing.cancel()
                await asyncio.gather(queueing, return_exceptions=True)
        self._report()

    async def _queue(self, app: App) -> None:
        """Queue the items that are not done, in their order."""
        with contextlib.closing(self._batch.source.items()) as items:
            while not self._batch.control.is_over:
                some = list(itertools.islice(items, _AT_A_TIME))
                if not some:
                    return
                runnable = await asyncio.to_thread(self._registered, some)
                with jobs.ledger_errors(jobs.require_server(self._ledger)):
                    await jobs.enqueue_patiently(app, self._batch_id, runnable, self._inputs)
                await asyncio.sleep(0)

    def _registered(self, some: list[Item]) -> list[Item]:
        """Write the rows of items in their order; returns the items that are not done."""
        first = some[0].position
        new = [
            {"position": item.position, "item_id": item.item_id, "content": content_of(item)}
            for item in some
            if item.problem is None
        ]
        names = {"batch_id": self._batch_id, "rows": json.dumps(new)}
        self._ledger.database.write(_REGISTER, names)
        rows = batch_items.rows(self._ledger, self._batch_id, first, first + len(some))
        status = {row.position: row.status for row in rows}
        with self._ledger.database.transaction() as tx:
            for item in some:
                if item.position not in status:
                    problem = item.problem or f"an earlier item has the id {item.item_id!r} too"
                    where = (self._batch_id, item.position, item.item_id)
                    batch_items.mark_invalid(tx, *where, problem)
        return [
            item for item in some if status.get(item.position, "invalid") not in batch_items.DONE
        ]

    async def _follow(self, queueing: asyncio.Task[None]) -> None:
        began = time.monotonic()
        check_at = 0.0
        while True:
            # Read before OUT is written: the results of an empty queue are all in the ledger.
            is_idle = queueing.done() and await asyncio.to_thread(
                jobs.is_empty, self._ledger, self._batch_id
            )
            await self._batch.write_out()
            if queueing.done():
                queueing.result()
            if is_idle:
                return
            if self._batch.control.is_over:
                await asyncio.to_thread(self._halt)
            now = time.monotonic()
            if now >= check_at:
                await asyncio.to_thread(self._check_end)
                self._report()
                await asyncio.to_thread(self._warn_if_idle, now - began)
                await asyncio.to_thread(jobs.requeue_stalled, self._ledger)
                # A million items take long to count: counting may use a twentieth of the time.
                took = time.monotonic() - now
                check_at = now + max(_CHECK_EVERY, 20 * took)
            await asyncio.sleep(_WRITE_EVERY)

    def _check_end(self) -> None:
        """Stop if the end of the batch was requested, or a worker has reached a limit."""
        if batches.heartbeat(self._ledger, self._batch_id):
            why = batches.find_batch(self._ledger, self._batch_id).stop_reason
            self._batch.control.drain(cast("StopReason", why or "cancelled"))

    def _halt(self) -> None:
        """Start no more items, on any worker."""
        control = self._batch.control
        reason = control.reason or "interrupted"
        batches.halt(self._ledger, self._batch_id, reason, cut_off=control.is_cut_off)
        jobs.delete_queued(self._ledger, self._batch_id)

    def _report(self) -> None:
        counts = batch_items.counts(self._ledger, self._batch_id)
        in_flight = self._batch.control.outside = counts.get("running", 0)
        if self._batch.watch is not None:
            self._batch.tally.update(counts, batches.node_money(self._ledger, self._batch_id))
            self._batch.report(in_flight)

    def _warn_if_idle(self, seconds: float) -> None:
        """Log why the items of the batch may not be run."""
        for one in batches.refusals(self._ledger, self._batch_id):
            self._warn(f"the worker {one['pid']} on {one['host']} refuses: {one['reason']}")
        if seconds < _WARN_AFTER or self._batch.control.is_over or jobs.live_workers(self._ledger):
            return
        self._warn(
            "no worker is running: start `aideon worker` in the folder of the workflow, with the "
            "keys of its models; the items stay queued"
        )

    def _warn(self, line: str) -> None:
        if line not in self._warnings:
            self._warnings.add(line)
            _log.warning("%s", line)


_REGISTER = (
    "INSERT INTO items (batch_id, position, item_id, status, attempts, content)"
    " SELECT :batch_id, given.position, given.item_id, 'pending', 0, given.content"
    " FROM json_to_recordset(CAST(:rows AS JSON))"
    " AS given (position BIGINT, item_id TEXT, content TEXT)"
    " ORDER BY given.position ON CONFLICT DO NOTHING"
)
