"""One batch in a worker: its workflow, loaded from the worker's folder, and the claims from the queue.

A user who can write to the database chooses what workers run. So an address of a workflow leads only to
a file below the working directory of the worker, or to a ready-made workflow, and a file with another
content than that of the batch is not even loaded.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aideon_agents import tasks
from aideon_agents.batch.distributed.jobs import LeaseExpired, Requeue
from aideon_agents.batch.engine import Engine
from aideon_agents.batch.items import Item
from aideon_agents.batch.options import StopReason
from aideon_agents.errors import TargetError, UserError
from aideon_agents.ledger import batch_items, batches
from aideon_agents.ledger.batch_items import Halted, ItemRow, StaleClaim
from aideon_agents.ledger.batches import Batch
from aideon_agents.ledger.checkpointer import Checkpointer
from aideon_agents.ledger.store import Ledger
from aideon_agents.models import catalog
from aideon_agents.models.pictures import referred
from aideon_agents.runner.outcome import ItemJournal, Outcome
from aideon_agents.runner.pictures import with_pictures
from aideon_agents.runner.running import Running
from aideon_agents.runner.spec import check_models, keeping
from aideon_agents.runner.start import run_spec
from aideon_agents.runner.state import shapes
from aideon_agents.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


class DistributedRunner:
    """Runs the items of one batch that a worker takes from the queue."""

    are_shared = True

    def __init__(
        self,
        ledger: Ledger,
        batch: Batch,
        settings: Settings,
        checkpointer: Checkpointer,
        in_flight: set[Running],
    ) -> None:
        self._ledger = ledger
        self._batch = batch
        self.is_over = False
        """No more items of the batch may start."""
        work: Mapping[str, Any] = batch.work or {}
        if settings.rehearses and not work["rehearse"]:
            raise UserError("this worker only rehearses (AIDEON_OFFLINE=1), and the batch is paid")
        replaces = work.get("replace_retired", False)  # older batches do not have it
        found = load(
            work["target"], work["target_hash"], settings, work["model"], replace_retired=replaces
        )
        shared = run_spec(
            found.graph,
            is_item=True,
            ledger=ledger,
            settings=settings,
            workflow=batch.workflow,
            target=work["target"],
            target_hash=work["target_hash"],
            tier=work["tier"],
            user=work["user"],
            model=work["model"],
            timeout=work["timeout"],
            record_content=work["record_content"],
            rehearse=work["rehearse"],
            fallback=work["fallback"],
            on_rate_limit=work["on_rate_limit"],
            cache=work.get("cache"),
            privacy=work.get("privacy"),
            quality=work.get("quality"),
            replace_retired=replaces,
        )
        shared = with_pictures(shared, referred(work.get("images"), checks=False))
        reading = checkpointer.reading(shapes(shared.graph))
        self._engine = Engine(
            ledger=ledger,
            batch_id=batch.batch_id,
            claims=self,
            spec=dataclasses.replace(
                shared, checkpointer=reading, checkpoint=keeping(work["keeps"])
            ),
            rooms=check_models(shared.graph, shared.context),
            inputs={},
            item_limit_nanousd=batch.item_limit_nanousd,
            most_failures=work["most_failures"],
            in_flight=in_flight,
        )

    def is_for(self, batch: Batch) -> bool:
        """Whether the options of a batch are those that this runner was made for."""
        options = (batch.work, batch.item_limit_nanousd)
        return options == (self._batch.work, self._batch.item_limit_nanousd)

    async def run(self, item: Item) -> None:
        """Run the item of a job, unless it is done, was started elsewhere, or waits for an answer."""
        at = item.position
        rows = batch_items.rows(self._ledger, self._batch.batch_id, at, at + 1)
        row = next(iter(rows), None)
        if row is not None and row.status in batch_items.DONE:
            return
        try:
            await self._engine.run(item, row)
        except StaleClaim:
            return  # the worker that started it runs it
        except Halted:
            self.is_over = True
            raise Requeue from None

    def restarts(self, item: Item, row: ItemRow) -> None:
        """Do nothing: the follower reads the counts from the ledger."""

    def ended(self, item: Item, journal: ItemJournal, outcome: Outcome | None) -> None:
        """Requeue an item that was cut off."""
        del item
        was_cut_off = outcome is not None and (
            outcome.status == "cancelled" or isinstance(outcome.exception, LeaseExpired)
        )
        if journal.status == "pending" and was_cut_off:
            raise Requeue

    def invalid(self) -> None:
        """Do nothing: the follower reads the counts from the ledger."""

    def failures(self) -> int:
        """The failed items of the batch, on all workers."""
        return batch_items.counts(self._ledger, self._batch.batch_id).get("failed", 0)

    def stop(self, reason: StopReason, why: str | None = None) -> None:
        """Start no more items, on any worker."""
        del why  # the item's row says it
        batches.halt(self._ledger, self._batch.batch_id, reason)


def check_address(address: str | None, content_hash: str | None) -> tuple[str, str]:
    """Refuse a workflow that no worker can find."""
    if address is None or content_hash is None:
        raise UserError(
            "workers load a workflow by its address, and this graph has none: put it into a file, "
            "and pass its path and hash (`tasks.load` returns both)"
        )
    return _inside(address), content_hash


def load(
    address: str,
    content_hash: str,
    settings: Settings,
    chosen: Collection[str],
    *,
    replace_retired: bool = False,
) -> tasks.Target:
    """Load the workflow of a batch from the worker's folder; `chosen` are the roles with a model."""
    _inside(address)
    known = catalog.load(settings.catalog, settings.profile)

    def check(role: str, name: str) -> None:
        if role not in chosen:
            known.checked(known.successor(name) if replace_retired else name)

    return tasks.load(address, check_model=check, content_hash=content_hash)


def _inside(address: str) -> str:
    file, separator, _ = address.partition(".py:")
    path = Path(f"{file}.py" if separator else address)
    here = Path.cwd().resolve()
    if path.is_absolute() or ".." in path.parts or not path.resolve().is_relative_to(here):
        raise TargetError(
            f"{address} leads out of the working directory, and workers only run files below "
            "theirs: give a path below it, such as workflows/article.py:graph"
        )
    return address
