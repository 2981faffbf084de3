"""The local engine: every item on one event loop, through one graph that was compiled once.

Workers take items in their order. An item has its row before anybody takes the next one, so the
first of several with the same id is the first in ITEMS. Results go to the ledger as items end, and
from there to OUT: what waits there for a slow item takes room on the disk, and none in memory.

The runs of a batch's items: how one begins and how it goes on, whichever engine runs it.

Garbage collection that leaves alone what a batch did not make.

Modules, models' schemas and graphs are some hundred thousand objects that live as long as the
process. Looking through them again and again for garbage takes a fifth of a batch's CPU and finds
none.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import time
from typing import TYPE_CHECKING, Any

from aideon_agents.batch.items import Item, Source
from aideon_agents.batch.options import Control
from aideon_agents.batch.output import Out, deliver
from aideon_agents.batch.progress import Progress, Tally
from aideon_agents.errors import InputError, LedgerError, RunError, UserError
from aideon_agents.ledger import batch_items, batches
from aideon_agents.ledger.batch_items import DuplicateId, ItemRow, ItemStart
from aideon_agents.ledger.batches import BatchStart
from aideon_agents.ledger.costs import NodeCost
from aideon_agents.ledger.identity import new_run_id
from aideon_agents.ledger.rows import Run, RunStart
from aideon_agents.ledger.store import Ledger
from aideon_agents.runner.checks import Demands
from aideon_agents.runner.outcome import is_out_of_budget
from aideon_agents.runner.resume_state import NOTHING
from aideon_agents.runner.running import Earlier, Running
from aideon_agents.runner.start import Common
from aideon_agents.runner.state import kept_as

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence


_YOUNG = 50_000
"""Objects that are made before the youngest are looked through. A model call leaves some hundred of
them behind: with 10,000 the search took a twentieth of a batch's CPU, with 50,000 it takes next to
nothing, for some ten megabytes more."""


@contextlib.contextmanager
def spared() -> Generator[None]:
    """Look for garbage only among what is made while a block lasts.

    Where somebody has decided otherwise already (nothing is collected, or something is frozen),
    nothing is changed.
    """
    before = gc.get_threshold()
    if not gc.isenabled() or not before[0] or gc.get_freeze_count():
        yield
        return
    gc.freeze()
    gc.set_threshold(max(before[0], _YOUNG), *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


_ROWS = 1000
"""Rows of items that are read at a time."""
_REST_EVERY = 500
"""Finished items that are passed over before others get their turn."""
_DELIVER_EVERY = 0.5  # seconds
_LOOK_EVERY = 1.0  # seconds: whether it is to end, and who watches is told


@dataclasses.dataclass(frozen=True, slots=True)
class _Work:
    """An item that is not finished."""

    item: Item
    row: ItemRow | None
    """Where it stands; None: it was never started."""


@dataclasses.dataclass(eq=False, kw_only=True)
class Local:
    """Runs a batch in this process."""

    book: Ledger
    start: BatchStart
    runs: ItemRuns
    source: Source
    out: Out
    tally: Tally
    control: Control
    at_once: int
    most_failures: int | None
    """Failed items of this call after which none is started; None: there is no such number."""
    limit: int | None
    """Of the whole batch, in nano-dollars; None: there is none."""
    watch: Callable[[Progress], object] | None
    _is_full: bool = dataclasses.field(default=False, init=False)
    """Nothing can be written to OUT any more."""

    async def run(self) -> None:
        """Run items until all are finished or the batch is to end."""
        with spared():
            await self._run()
        error = self.control.error
        if isinstance(error, UserError):  # nobody's mistake any more: it had begun
            raise RunError(str(error)) from error
        if error is not None:
            raise error
        self._show()

    async def _run(self) -> None:
        left = self._left()
        ticking = asyncio.create_task(self._tick())
        workers: list[asyncio.Task[None]] = []
        try:
            for _ in range(min(self.at_once, self.tally.items)):
                workers.append(asyncio.create_task(self._work(left)))
                # A thousand that begin together keep one another waiting until nobody has
                # connected in time.
                await asyncio.sleep(0)
            await asyncio.gather(*workers)
        finally:
            for task in (*workers, ticking):
                task.cancel()
            await asyncio.gather(*workers, ticking, return_exceptions=True)
            left.close()
            await self._deliver()

    def _left(self) -> Generator[_Work | None]:
        """The items that are not finished; None now and then, to let others have their turn."""
        rows: dict[int, ItemRow] = {}
        passed = 0
        with contextlib.closing(self.source.items()) as items:
            for item in items:
                if item.position % _ROWS == 0:
                    rows = self._rows(item.position)
                row = rows.pop(item.position, None)
                if row is None or row.status not in batch_items.DONE:
                    yield _Work(item, row)
                    continue
                passed += 1
                if passed % _REST_EVERY == 0:
                    yield None

    def _rows(self, first: int) -> dict[int, ItemRow]:
        rows = batch_items.rows(self.book, self.start.batch_id, first, first + _ROWS)
        return {row.position: row for row in rows}

    async def _work(self, left: Generator[_Work | None]) -> None:
        """Take one item after another."""
        while not self.control.is_over:
            try:
                work = next(left)
                if work is None:
                    await asyncio.sleep(0)
                else:
                    await self._item(work.item, work.row)
            except StopIteration:
                return
            except Exception as error:  # noqa: BLE001 - the others come to their end, then it is raised
                self.control.broke(error)
                return

    async def _item(self, item: Item, row: ItemRow | None) -> None:
        if item.problem is not None:
            await self._refuse(item, item.problem)
            return
        if row is not None and row.run_id is not None:
            await self._again(item, row)
        else:
            await self._anew(item, row)

    async def _again(self, item: Item, row: ItemRow) -> None:
        """Go on with an item that was started before, where its state is kept; else start it again."""
        seen = self.book.find_run(str(row.run_id))
        is_ours = row.status == "running"  # by whoever ran this batch before, and is gone
        if not is_ours and seen.status in ("running", row.status):
            return  # it asks, or somebody is just answering it
        before = batch_items.spent(self.book.database, self.start.batch_id, item.item_id)
        self.tally.goes_on(row.status)
        if await self.runs.is_kept(seen.run_id):
            running = self.runs.goes_on(item, row, seen)
            with contextlib.suppress(_NotBegun):
                await self._through(item, running, before)
                return
        await self._anew(item, row, before)

    async def _anew(self, item: Item, row: ItemRow | None, before: Sequence[NodeCost] = ()) -> None:
        try:
            running = self.runs.begins(item, row)
        except InputError as wrong:
            await self._refuse(item, str(wrong))
        else:
            await self._through(item, running, before)

    async def _through(self, item: Item, running: Running, before: Sequence[NodeCost] = ()) -> None:
        """Run an item, and draw the conclusions from how it ended."""
        outcome = None
        self.control.in_flight.add(running)
        try:
            outcome = await running.through(self.book)
        except DuplicateId:
            await self._refuse(item, f"the id {item.item_id!r} is that of an earlier item")
            return
        except LedgerError:
            raise
        except (UserError, SystemExit):
            pass  # the item has failed, and its row says so
        finally:
            self.control.in_flight.discard(running)
        end = running.item_end
        if end is None:
            if outcome is None:
                raise _NotBegun
            raise LedgerError(
                f"the end of item {item.item_id} cannot be written down, {running.unwritten}; it "
                "goes on, or is run again, with the same command"
            )
        self.tally.ended(end.status, end.nodes, before)
        if outcome is not None and is_out_of_budget(outcome):
            self.control.drain("budget")
        if self.most_failures is not None and self.tally.failed_now >= self.most_failures:
            self.control.drain("max_failures")

    async def _refuse(self, item: Item, problem: str) -> None:
        with self.book.database.transaction() as tx:
            batch_items.mark_invalid(tx, self.start.batch_id, item.position, item.item_id, problem)
        self.tally.ended("invalid")
        await asyncio.sleep(0)  # a million bad lines hold nobody up

    async def _tick(self) -> None:
        """Write to OUT what its turn has come for, and look up from time to time."""
        looked = time.monotonic()
        while True:
            await asyncio.sleep(_DELIVER_EVERY)
            await self._deliver()
            if time.monotonic() - looked >= _LOOK_EVERY:
                looked = time.monotonic()
                try:
                    if batches.heartbeat(self.book, self.start.batch_id):
                        self.control.drain("cancelled")
                    self._show()
                except Exception as error:  # noqa: BLE001 - told when the batch has come to its end
                    self.control.broke(error)

    async def _deliver(self) -> None:
        """Write to OUT what its turn has come for."""
        try:
            if not self._is_full:
                await deliver(self.book, self.start.batch_id, self.out)
        except Exception as error:  # noqa: BLE001 - as above
            self._is_full = isinstance(error, RunError)
            self.control.broke(error)

    def _show(self) -> None:
        if self.watch is None:
            return
        spent = None
        if self.limit is not None and not self.start.rehearsed:  # which counts against no budget
            spent = batches.spent_nanousd(self.book, self.start.batch_id)
        self.watch(
            self.tally.progress(self.start.batch_id, len(self.control.in_flight), self.limit, spent)
        )


class _NotBegun(Exception):  # noqa: N818 - it says what is
    """A run could not go on after all, and nothing was called."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ItemRuns:
    """Makes the runs of one batch's items."""

    batch_id: str
    limit_nanousd: int | None
    """Of each item; None: nothing of its own limits it."""
    common: Common
    """What all of them share; its `keeps` says whether those that begin now are kept."""
    demands: Demands
    inputs: Mapping[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    """What all items are given."""
    are_shared: bool = False
    """Other processes run items of this batch too, and only one may begin each."""

    def begins(self, item: Item, row: ItemRow | None) -> Running:
        """An item's run from its beginning."""
        inputs = {**self.inputs, **item.inputs}
        self.demands.check(item.task, inputs)
        entry = self.common.root.entry(item.task, inputs)
        start = self._run_of(item, new_run_id())
        return self.common.running(
            start, item.task, entry, item=self._starts(item, row, start.run_id)
        )

    def goes_on(self, item: Item, row: ItemRow, seen: Run) -> Running:
        """An item's earlier run, from where its state is kept."""
        return dataclasses.replace(self.common, keeps=True).running(
            self._run_of(item, seen.run_id),
            "",
            {},
            earlier=Earlier(seen=seen, answer=NOTHING),
            item=self._starts(item, row, seen.run_id),
        )

    async def is_kept(self, run_id: str) -> bool:
        """Whether a run can go on where it was, instead of being paid for again."""
        saver = self.common.saver
        return saver is not None and await saver.aget_tuple(kept_as(run_id)) is not None

    def _run_of(self, item: Item, run_id: str) -> RunStart:
        return dataclasses.replace(
            self.common.start, run_id=run_id, batch_id=self.batch_id, item_id=item.item_id
        )

    def _starts(self, item: Item, row: ItemRow | None, run_id: str) -> ItemStart:
        attempts = row.attempts if row else 0
        return ItemStart(
            batch_id=self.batch_id,
            position=item.position,
            item_id=item.item_id,
            run_id=run_id,
            is_new=row is None or row.run_id is None,
            limit_nanousd=self.limit_nanousd,
            seen_attempts=attempts if self.are_shared else None,
        )
