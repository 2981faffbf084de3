"""One batch on its way: what is checked before anything is called, what runs it, what came of it.

The way to run a batch from Python.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, cast

from aideon_agents.batch import options as known
from aideon_agents.batch import output
from aideon_agents.batch.engine import ItemRuns, Local
from aideon_agents.batch.items import Items, Source
from aideon_agents.batch.items import opened as item_source
from aideon_agents.batch.options import BatchOptions, BatchResult, Control, StopReason, identity_of
from aideon_agents.batch.output import OUT_OF_BUDGET, Held, Out, catch_up, held
from aideon_agents.batch.progress import Tally
from aideon_agents.errors import LedgerError, NoModel
from aideon_agents.graphs import Graph, Node
from aideon_agents.graphs.topology import model
from aideon_agents.graphs.walk import required_keys
from aideon_agents.ledger import batch_items, batches
from aideon_agents.ledger.batches import DISTRIBUTED, Batch, BatchStart
from aideon_agents.ledger.budgets.accounts import limits
from aideon_agents.ledger.budgets.limits import nanousd
from aideon_agents.ledger.checkpointer import Checkpoints
from aideon_agents.ledger.checkpoints import open_checkpoints
from aideon_agents.ledger.identity import new_run_id
from aideon_agents.ledger.store import Ledger
from aideon_agents.runner.checks import Demands, check_time
from aideon_agents.runner.running import opened as opened_ledger
from aideon_agents.runner.start import common
from aideon_agents.runner.state import shapes

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable


_SHOWN = 5
"""Runs that wait for an answer and are named."""

_OF_A_RUN = (
    *("tier", "user", "model", "timeout", "rehearse", "record_content"),
    *("ledger", "settings", "workflow", "target", "target_hash"),
)
"""What is handed on to every item's run."""


@dataclasses.dataclass(frozen=True)
class _Ready:
    """Everything open and checked."""

    book: Ledger
    items: Source
    out: Out
    most_failures: int | None
    before: Batch | None
    """What an earlier call with the same identity left."""
    found: Held
    """What OUT holds already."""
    start: BatchStart


class BatchRunning:
    """A batch between its checks and its result."""

    def __init__(
        self, graph: Graph | Node, items: Items, out: str | Path, **given: Unpack[BatchOptions]
    ) -> None:
        known.refuse_unknown(given)
        self.control = Control()
        """Ends it before its end."""
        self._given = given
        self._items = items
        self._out = Path(out)
        self._engine = known.known_engine(given.get("engine") or "local")
        self._at_once = known.at_once(given.get("max_concurrency", known.AT_ONCE))
        self._limit, self._item_limit = (
            None if amount is None else nanousd(amount)
            for amount in (given.get("budget"), given.get("item_budget"))
        )
        told = {word: given[word] for word in _OF_A_RUN if word in given}  # pyright: ignore[reportTypedDictNotRequiredAccess]
        self._common = common(graph, **cast("Any", told))
        check_time(self._common.seconds)
        self._demands = self._demanded()

    def _demanded(self) -> Demands:
        """What the graph demands. Whether its models can be asked is for whoever asks them."""
        graph, context = self._common.root.graph, self._common.context
        try:
            return Demands.of(graph, context)
        except NoModel:
            if self._engine != DISTRIBUTED:
                raise
            return Demands(required_keys(graph), ())

    async def to_end(self, begins: Callable[[], object] | None = None) -> BatchResult:
        """Run the items, or those that are left."""
        began = time.monotonic()
        with contextlib.ExitStack() as open_while_used:
            ready = await self._checked(open_while_used)
            graph = model(self._common.root.graph)
            batches.take(ready.book, ready.start, self._limit, graph)
            if begins is not None:
                begins()
            try:
                result = await self._run(ready, began)
            except BaseException:
                with contextlib.suppress(LedgerError):  # what went wrong first says more
                    _finish(ready, "interrupted")
                raise
            _finish(ready, result.stop_reason)
        return result

    async def _checked(self, open_while_used: contextlib.ExitStack) -> _Ready:
        """Open what is read and written, and refuse what cannot go well, before anything is paid."""
        items = await asyncio.to_thread(open_while_used.enter_context, item_source(self._items))
        most = known.most_failures(self._given.get("max_failures"), items.count)
        output.refuse_unusable(self._out, items)
        book = open_while_used.enter_context(opened_ledger(self._common.ledger))
        identity = self._identity(items)
        before = batches.find_same(book, identity)
        if before is not None:
            batches.refuse_if_running(before)
        work = self._work(book, before, most)
        out = open_while_used.enter_context(output.opened(self._out))
        found = await asyncio.to_thread(held, book, out, before)
        start = self._start(items, out, identity, before, work)
        return _Ready(book, items, out, most, before, found, start)

    async def _run(self, ready: _Ready, began: float) -> BatchResult:
        book, start = ready.book, ready.start
        again = self._again(ready.before)
        await asyncio.to_thread(catch_up, book, ready.out, start, ready.found, again=again)
        tally = Tally(
            began,
            ready.items.count,
            batch_items.counts(book, start.batch_id),
            batches.node_money(book, start.batch_id),
        )
        if self._engine == DISTRIBUTED:
            await self._followed(ready, tally)
            return self._result(book, start, tally)
        async with self._saver(book, ready.before) as (saver, keeps):
            runs = ItemRuns(
                batch_id=start.batch_id,
                limit_nanousd=start.item_limit_nanousd,
                common=dataclasses.replace(self._common, ledger=book, saver=saver, keeps=keeps),
                demands=self._demands,
                inputs=self._given.get("inputs") or {},
            )
            await Local(
                book=book,
                start=start,
                runs=runs,
                source=ready.items,
                out=ready.out,
                tally=tally,
                control=self.control,
                at_once=self._at_once,
                most_failures=ready.most_failures,
                limit=self._limit,
                watch=self._given.get("watch"),
            ).run()
        return self._result(book, start, tally)

    async def _followed(self, ready: _Ready, tally: Tally) -> None:
        """Have workers run the items."""
        from aideon_agents.batch.distributed.following import Following  # noqa: PLC0415 - an extra

        await Following(
            book=ready.book,
            start=ready.start,
            source=ready.items,
            out=ready.out,
            tally=tally,
            control=self.control,
            inputs=self._given.get("inputs") or {},
            limit=self._limit,
            watch=self._given.get("watch"),
        ).run()

    def _work(self, book: Ledger, before: Batch | None, most: int | None) -> dict[str, Any] | None:
        """What workers need to know, once they can be asked at all; None: nobody asks them."""
        if self._engine != DISTRIBUTED:
            if before is not None:
                batches.refuse_if_with_workers(before)
            return None
        from aideon_agents.batch.distributed import claims, targets  # noqa: PLC0415 - an extra

        claims.needs_server(book)
        run = self._common.start
        address, content_hash = targets.sendable(run.target, run.target_hash)
        failed = 0
        if before is not None and not self._given.get("retry_failed"):
            failed = batch_items.counts(book, before.batch_id).get("failed", 0)
        return {
            "target": address,
            "target_hash": content_hash,
            "tier": run.tier,
            "user": run.user,
            "model": (run.options or {}).get("model"),
            "timeout": self._common.seconds,
            "record_content": self._common.records,
            "rehearse": run.rehearsed,
            "keeps": self._keeps(book),
            "most_failures": None if most is None else most + failed,
        }

    def _identity(self, items: Source) -> str:
        return identity_of(
            self._common.start,
            self._common.root.graph,
            items.digest,
            self._given.get("inputs") or {},
            self._given.get("version"),
        )

    def _start(
        self,
        items: Source,
        out: Out,
        identity: str,
        before: Batch | None,
        work: dict[str, Any] | None,
    ) -> BatchStart:
        run = self._common.start
        return BatchStart(
            batch_id=before.batch_id if before else new_run_id(),
            identity=identity,
            workflow=run.workflow,
            target=run.target,
            rehearsed=run.rehearsed,
            engine=self._engine,
            items=items.count,
            item_limit_nanousd=self._item_limit,
            out_path=out.place,
            work=work,
        )

    def _again(self, before: Batch | None) -> bool | str:
        """Which failed items are run once more: all, those that may cost more now, or none."""
        if self._given.get("retry_failed"):
            return True
        if before is None or before.item_limit_nanousd is None:
            return False
        is_more = self._item_limit is None or self._item_limit > before.item_limit_nanousd
        return OUT_OF_BUDGET if is_more else False

    @contextlib.asynccontextmanager
    async def _saver(
        self, book: Ledger, before: Batch | None
    ) -> AsyncGenerator[tuple[Checkpoints | None, bool]]:
        """What keeps items' states, and whether those that begin now are kept."""
        keeps = self._keeps(book)
        if not keeps and before is None:
            yield None, False
            return
        async with open_checkpoints(book, shapes(self._common.root.graph)) as saver:
            yield saver, keeps

    def _keeps(self, book: Ledger) -> bool:
        """Whether the state of items that begin now is kept."""
        keeps = self._given.get("checkpoint")
        if keeps is not None:
            return keeps
        standing = any(not limit.warns for limit in limits(book.database))
        return standing or any(limit is not None for limit in (self._limit, self._item_limit))

    def _result(self, book: Ledger, start: BatchStart, tally: Tally) -> BatchResult:
        counts = batch_items.counts(book, start.batch_id)
        done = {status: counts.get(status, 0) for status in batch_items.DONE}
        pending = start.items - sum(done.values())
        waiting = batch_items.with_status(book, start.batch_id, "waiting", _SHOWN)
        money = batches.money(book, start.batch_id)
        # Left over without a reason: a worker could not write an end, or somebody else runs it.
        reason = self.control.reason or ("waiting" if waiting else "interrupted")
        return BatchResult(
            batch_id=start.batch_id,
            items=start.items,
            completed=done["completed"],
            failed=done["failed"],
            invalid=done["invalid"],
            pending=pending,
            usd=money.usd,
            complete=money.complete,
            stop_reason=reason if pending else None,
            wall_s=tally.wall_s,
            waiting=[str(row.run_id) for row in waiting],
            nodes=batches.node_money(book, start.batch_id),
        )


def _finish(ready: _Ready, reason: StopReason | None) -> None:
    """Write down that this process runs the batch no longer."""
    status = "completed" if reason is None else "stopped"
    batches.finish(ready.book, ready.start.batch_id, status, reason)


async def abatch(
    graph: Graph | Node, items: Items, out: str | Path, **options: Unpack[BatchOptions]
) -> BatchResult:
    """Run many items through a workflow. The same call again goes on where it stopped.

    Args:
        graph: A compiled graph, or a node.
        items: A file of JSON lines or CSV, `-` for stdin, or the items themselves: tasks, or
            mappings with a `task`, perhaps an `id`, and inputs.
        out: The file that results go to, in the order of the items.
        **options: See `BatchOptions`.

    Returns:
        What came of it, also when items failed or it stopped at a limit.

    Raises:
        UserError: The caller's mistake; nothing was called.
        RunError: OUT cannot be written any more. What is done is kept.
    """
    return await BatchRunning(graph, items, out, **options).to_end()
