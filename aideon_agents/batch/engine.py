"""Runs the items of one batch, one claimed item at a time.

Items are claimed in this process (`Local`, below), or from the queue of the distributed engine
(`distributed.runner`). The engine starts a claimed item, or continues its last run where the state
of that run is kept, and records how it ended. Results go to the ledger as items end, and from there
to OUT: a result that waits for a slow item takes space on the disk, and none in memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import logging
import time
from typing import TYPE_CHECKING, Any, Protocol

from aideon_agents.batch.carrying import content_of
from aideon_agents.batch.items import Item, Source
from aideon_agents.batch.options import Control, StopReason
from aideon_agents.batch.output import Out, write_ready
from aideon_agents.batch.progress import Progress, Tally
from aideon_agents.errors import InputError, LedgerError, RunError, UnreadableState, UserError
from aideon_agents.ledger import batch_items, batches
from aideon_agents.ledger.batch_items import DuplicateId, ItemRow, ItemStart
from aideon_agents.ledger.batches import Batch
from aideon_agents.ledger.costs import Costs
from aideon_agents.ledger.identity import new_run_id
from aideon_agents.ledger.rows import Run
from aideon_agents.ledger.store import Ledger
from aideon_agents.runner.outcome import ItemJournal, Outcome, batch_stop
from aideon_agents.runner.pictures import for_item
from aideon_agents.runner.running import Running
from aideon_agents.runner.spec import Room, RunSpec, check_length, check_task, graph_input
from aideon_agents.runner.state import config_for

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

_log = logging.getLogger("aideon_agents.batch")

_GC_THRESHOLD = 50_000
"""New objects before the youngest generation is collected. A model call leaves some hundred of them;
with 10,000 the collector took a twentieth of a batch's CPU time, with 50,000 next to nothing."""

_ROWS = 1000
"""Rows of items that are read at a time."""
_PAUSE_EVERY = 500
"""Finished items that are skipped before other tasks may run."""
_WRITE_EVERY = 0.5
"""Seconds between two writes to OUT."""
_CHECK_EVERY = 1.0
"""Seconds between heartbeats, and reports of progress."""


@contextlib.contextmanager
def gc_tuned() -> Generator[None]:
    """Collect garbage only among the objects that are made while a block runs.

    Modules, schemas and graphs are some hundred thousand objects that live as long as the process.
    Scanning them again and again takes a fifth of a batch's CPU time and finds nothing. Nothing is
    changed where the process has its own settings: no collection, or objects that are frozen.
    """
    before = gc.get_threshold()
    if not gc.isenabled() or not before[0] or gc.get_freeze_count():
        yield
        return
    gc.freeze()
    gc.set_threshold(max(before[0], _GC_THRESHOLD), *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


class Claims(Protocol):
    """Where the items of an engine are claimed, and where it reports them."""

    are_shared: bool
    """Other processes claim items of the batch too."""

    def restarts(self, item: Item, row: ItemRow) -> None:
        """An item that was started before is run again, or continues."""

    def ended(self, item: Item, journal: ItemJournal, outcome: Outcome | None) -> None:
        """A run of an item has ended."""

    def invalid(self) -> None:
        """An item cannot be run."""

    def failures(self) -> int:
        """How many failed items count towards `max_failures`."""
        ...

    def stop(self, reason: StopReason, why: str | None = None) -> None:
        """Start no more items of the batch; `why` says more."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Engine:
    """Runs items of one batch that this process has claimed."""

    ledger: Ledger
    batch_id: str
    claims: Claims
    spec: RunSpec
    """What all runs share; `checkpoint` says whether the state of new runs is kept."""
    rooms: Sequence[Room]
    inputs: Mapping[str, Any]
    """The inputs of every item; an item's own take precedence."""
    item_limit_nanousd: int | None
    """The budget of each item; None: there is none."""
    most_failures: int | None
    """Failed items after which no more start; None: there is no such limit."""
    in_flight: set[Running]

    async def run(self, item: Item, row: ItemRow | None) -> None:
        """Run an item that is not done; `row` None: it was never started."""
        if item.problem is not None:
            self._reject(item, item.problem)
        elif row is None or row.run_id is None:
            await self._start(item, row)
        else:
            await self._restart(item, row, self.ledger.find_run(row.run_id))

    async def _restart(self, item: Item, row: ItemRow, seen: Run) -> None:
        """Continue the last run of an item where its state is kept, else start a new run."""
        if row.status == "waiting" and seen.status in ("running", "waiting"):
            return  # it waits for an answer, or is being answered
        # A claim from the queue is ours alone, also when the process before was killed and left its
        # run as `running`. In this process, a pending item is run by `aideon runs resume` then.
        if row.status == "pending" and seen.status == "running" and not self.claims.are_shared:
            return
        self.claims.restarts(item, row)
        try:
            if await self._is_kept(seen.run_id):
                spec = for_item(self.spec, item.images)
                spec = dataclasses.replace(spec, checkpoint="each step", resumes=seen)
                await self._to_end(item, row, spec, seen.run_id)
                return
        except LedgerError:
            raise
        except UserError as error:  # its state cannot be continued, and nothing was called
            if isinstance(error, UnreadableState):
                _log.warning("item %s begins again: %s", item.item_id, error)
        await self._start(item, row)

    async def _start(self, item: Item, row: ItemRow | None) -> None:
        inputs = {**self.inputs, **item.inputs}
        try:
            spec = for_item(self.spec, item.images)
            check_task(self.spec.graph, item.task, inputs)
            check_length(item.task, self.rooms)
            entry = graph_input(self.spec.graph, item.task, inputs, spec.context.images)
            spec = dataclasses.replace(spec, task=item.task, entry=entry)
        except InputError as wrong:
            self._reject(item, f"line {item.line}: {wrong}" if item.line else str(wrong))
            return
        await self._to_end(item, row, spec, new_run_id())

    async def _is_kept(self, run_id: str) -> bool:
        """Whether a run can continue, so that its calls are not paid for again."""
        checkpointer = self.spec.checkpointer
        return checkpointer is not None and bool(await checkpointer.aget_tuple(config_for(run_id)))

    async def _to_end(self, item: Item, row: ItemRow | None, spec: RunSpec, run_id: str) -> None:
        """Run an item and record its end. Raises a UserError only if the run has not begun."""
        own = {"run_id": run_id, "batch_id": self.batch_id, "item_id": item.item_id}
        run_start = dataclasses.replace(spec.start, **own)
        item_start = ItemStart(
            batch_id=self.batch_id,
            position=item.position,
            item_id=item.item_id,
            run_id=run_id,
            is_new=row is None or row.run_id is None,
            content=content_of(item),
            limit_nanousd=self.item_limit_nanousd,
            seen_attempts=(row.attempts if row else 0) if self.claims.are_shared else None,
        )
        journal = ItemJournal(run_start, item_start)
        running = Running(dataclasses.replace(spec, start=run_start, journal=journal))
        outcome = refused = None
        self.in_flight.add(running)
        try:
            outcome = await running.through(self.ledger)
        except DuplicateId:
            self._reject(item, f"an earlier item has the id {item.item_id!r} too")
            return
        except LedgerError:
            raise
        except (UserError, SystemExit) as error:  # the item has failed, and its row says why
            refused = error
        finally:
            self.in_flight.discard(running)
        if journal.is_complete and running.unwritten is None:
            self._ended(item, journal, outcome)
        elif outcome is None and running.unwritten is None and refused is not None:
            raise refused
        elif batch_items.newer_claim(self.ledger.database, item_start):
            await self._forget(run_id)
        else:
            raise LedgerError(
                f"the end of item {item.item_id} cannot be written ({running.unwritten}): it "
                "continues, or is run again, with the same command"
            )

    def _ended(self, item: Item, journal: ItemJournal, outcome: Outcome | None) -> None:
        if outcome is not None and (limit := batch_stop(outcome)):
            self.claims.stop(limit, str(outcome.exception))
        self.claims.ended(item, journal, outcome)
        most = self.most_failures
        if journal.status == "failed" and most is not None and self.claims.failures() >= most:
            self.claims.stop("max_failures")
        if outcome is not None and isinstance(outcome.exception, LedgerError):
            raise outcome.exception

    async def _forget(self, run_id: str) -> None:
        """Delete the state that a run with a stale claim has kept, if it was completed elsewhere."""
        checkpointer = self.spec.checkpointer
        if checkpointer and self.ledger.find_run(run_id).status == "completed":
            await checkpointer.adelete_thread(run_id)

    def _reject(self, item: Item, problem: str) -> None:
        with self.ledger.database.transaction() as tx:
            batch_items.mark_invalid(tx, self.batch_id, item.position, item.item_id, problem)
        self.claims.invalid()


@dataclasses.dataclass(frozen=True, kw_only=True)
class OpenBatch:
    """A batch that this process runs or follows: everything is open and checked."""

    ledger: Ledger
    start: Batch
    source: Source
    out: Out
    tally: Tally
    control: Control
    limit: int | None
    """The budget of the whole batch in nano-dollars; None: there is none."""
    watch: Callable[[Progress], object] | None

    async def write_out(self) -> None:
        """Write the results to OUT that are next in order."""
        await write_ready(self.ledger, self.start.batch_id, self.out)

    def report(self, in_flight: int, now: Costs = (), before: Costs = ()) -> None:
        """Report the progress; items in flight cost `now`, of which `before` is counted already."""
        if self.watch is None:
            return
        held = batches.held_usd(self.ledger, self.start.batch_id)
        self.tally.count(now, before)
        progress = self.tally.progress(self.start.batch_id, in_flight, self.limit, held)
        self.tally.count(before, now)
        self.watch(progress)


class Local:
    """Claims items in this process, in their order, on one event loop.

    An item has its row before the next one is claimed, so of several items with one id the first
    is valid.
    """

    are_shared = False

    def __init__(self, batch: OpenBatch) -> None:
        self._batch = batch
        self._counted: dict[str, Costs] = {}
        """What earlier runs of items in flight have cost, by item: it is counted already."""
        self._is_full = False
        """OUT cannot be written any more."""

    async def run(self, engine: Engine, at_once: int) -> None:
        """Run items until all are finished or the batch has to stop."""
        with gc_tuned():
            await self._run(engine, at_once)
        error = self._batch.control.error
        if isinstance(error, UserError):  # the batch had begun: it is no mistake of the caller
            raise RunError(str(error)) from error
        if error is not None:
            raise error
        if self._batch.watch is not None:  # other processes may have continued items
            self._counted.clear()
            whole = self._batch.ledger, self._batch.start.batch_id
            self._batch.tally.load(batch_items.counts(*whole), batches.node_money(*whole))
        self._report()

    async def _run(self, engine: Engine, at_once: int) -> None:
        unfinished = self._unfinished()
        ticking = asyncio.create_task(self._tick())
        workers: list[asyncio.Task[None]] = []
        try:
            for _ in range(min(at_once, self._batch.tally.items)):
                workers.append(asyncio.create_task(self._work(engine, unfinished)))
                # A thousand items that start in one step delay each other until connections time out.
                await asyncio.sleep(0)
            await asyncio.gather(*workers)
        finally:
            for task in (*workers, ticking):
                task.cancel()
            await asyncio.gather(*workers, ticking, return_exceptions=True)
            unfinished.close()
            await self._write_out()

    def _unfinished(self) -> Generator[tuple[Item, ItemRow | None] | None]:
        """The items that are not done, with their rows; None now and then, so other tasks can run."""
        rows: dict[int, ItemRow] = {}
        skipped = 0
        with contextlib.closing(self._batch.source.items()) as items:
            for item in items:
                if item.position % _ROWS == 0:
                    rows = self._rows(item.position)
                row = rows.pop(item.position, None)
                if row is None or row.status not in batch_items.DONE:
                    yield item, row
                    continue
                skipped += 1
                if skipped % _PAUSE_EVERY == 0:
                    yield None

    def _rows(self, first: int) -> dict[int, ItemRow]:
        batch_id = self._batch.start.batch_id
        rows = batch_items.rows(self._batch.ledger, batch_id, first, first + _ROWS)
        return {row.position: row for row in rows}

    async def _work(
        self, engine: Engine, unfinished: Generator[tuple[Item, ItemRow | None] | None]
    ) -> None:
        """Claim one item after another."""
        while not self._batch.control.is_over:
            try:
                claimed = next(unfinished)
                if claimed is not None:
                    await engine.run(*claimed)
                await asyncio.sleep(0)  # a million invalid lines must not block the event loop
            except StopIteration:
                return
            except Exception as error:  # noqa: BLE001 - items in flight end first, then it is raised
                self._batch.control.broke(error)
                return

    def restarts(self, item: Item, row: ItemRow) -> None:
        """Take the costs of the item's earlier runs, so that they are counted once."""
        database, batch_id = self._batch.ledger.database, self._batch.start.batch_id
        self._counted[item.item_id] = batch_items.spent(database, batch_id, item.item_id)
        self._batch.tally.restarts(row.status)

    def ended(self, item: Item, journal: ItemJournal, outcome: Outcome | None) -> None:
        """Count an item and its costs."""
        del outcome
        if journal.status:
            counted = self._counted.pop(item.item_id, ())
            self._batch.tally.ended(journal.status, journal.nodes, counted)

    def invalid(self) -> None:
        """Count an invalid item."""
        self._batch.tally.ended("invalid")

    def failures(self) -> int:
        """The items that have failed since this command began."""
        return self._batch.tally.failed_now

    def stop(self, reason: StopReason, why: str | None = None) -> None:
        """Start no more items."""
        self._batch.control.drain(reason, why)

    async def _tick(self) -> None:
        """Write to OUT, send heartbeats and report progress."""
        checked = time.monotonic()
        while True:
            await asyncio.sleep(_WRITE_EVERY)
            await self._write_out()
            if time.monotonic() - checked >= _CHECK_EVERY:
                checked = time.monotonic()
                try:
                    if batches.heartbeat(self._batch.ledger, self._batch.start.batch_id):
                        self._batch.control.drain("cancelled")
                    self._report()
                except Exception as error:  # noqa: BLE001 - raised when the batch has ended
                    self._batch.control.broke(error)

    async def _write_out(self) -> None:
        try:
            if not self._is_full:
                await self._batch.write_out()
        except Exception as error:  # noqa: BLE001 - as above
            self._is_full = isinstance(error, RunError)
            self._batch.control.broke(error)

    def _report(self) -> None:
        if self._batch.watch is None:
            return
        batch, in_flight = self._batch, self._batch.control.in_flight
        ids = {str(one.spec.start.item_id) for one in in_flight} | self._counted.keys()
        now = batch_items.spent(batch.ledger.database, batch.start.batch_id, *sorted(ids))
        before = [one for nodes in self._counted.values() for one in nodes]
        batch.report(len(in_flight), now, before)
