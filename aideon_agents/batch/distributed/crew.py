"""One batch as a worker runs it: its workflow from the worker's own folder, and item after item."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from aideon_agents.batch.distributed import targets
from aideon_agents.batch.distributed.lease import Away
from aideon_agents.batch.distributed.queue import PutBack
from aideon_agents.batch.item_runs import ItemRuns
from aideon_agents.errors import InputError, LedgerError, UserError
from aideon_agents.ledger import batch_items, batch_workers, item_turns
from aideon_agents.ledger.batch_items import SameId
from aideon_agents.ledger.item_turns import Halted, Overtaken
from aideon_agents.runner.checks import Demands
from aideon_agents.runner.item_ends import is_out_of_budget
from aideon_agents.runner.preparing import common
from aideon_agents.runner.shapes import shapes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aideon_agents.batch.items import Item
    from aideon_agents.ledger.batch_items import ItemEnd, ItemRow
    from aideon_agents.ledger.batches import Batch
    from aideon_agents.ledger.rows import RunStart
    from aideon_agents.ledger.savers import Checkpoints
    from aideon_agents.ledger.store import Ledger
    from aideon_agents.runner.outcome import Outcome
    from aideon_agents.runner.running import Running
    from aideon_agents.settings import Settings


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
        except (SameId, Overtaken):
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
                batch_items.refuse(tx, self.batch.batch_id, item.position, item.item_id, str(wrong))
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
            if not item_turns.overtaken(self.book.database, running.item):
                raise LedgerError(
                    f"the end of item {running.item.item_id} cannot be written down,"
                    f" {running.unwritten}; it is run again"
                )
            await self._forget(running.start)
        return running.item_end is not None or outcome is not None

    def _conclude(self, end: ItemEnd, outcome: Outcome | None) -> None:
        batch_id = self.batch.batch_id
        if outcome is not None and is_out_of_budget(outcome):
            batch_workers.halt(self.book, batch_id, "budget")
        if end.status == "failed" and self._most_failures is not None:
            failed = batch_items.counts(self.book, batch_id).get("failed", 0)
            if failed >= self._most_failures:
                batch_workers.halt(self.book, batch_id, "max_failures")
        was_cut_off = outcome is not None and (
            outcome.status == "cancelled" or isinstance(outcome.exception, Away)
        )
        if end.status == "pending" and was_cut_off:
            raise PutBack

    async def _forget(self, start: RunStart) -> None:
        """Remove what was kept of a run after somebody else has come to its end."""
        if self.book.find_run(start.run_id).status == "completed":
            await self._saver.adelete_thread(start.run_id)
