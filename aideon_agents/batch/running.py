"""A batch from its checks to its result; `abatch` is its function for Python.

The identity of a batch decides whether the same command continues it. It is made of the workflow,
the items, the inputs of all items, the tier and the models. Budgets, concurrency, engine, time limits
and OUT may change between two calls.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, cast

from aideon_agents.batch import carrying, options, output
from aideon_agents.batch.engine import Engine, Local, OpenBatch
from aideon_agents.batch.identity import content_of, digest
from aideon_agents.batch.items import Items, Source
from aideon_agents.batch.items import opened as item_source
from aideon_agents.batch.options import BatchOptions, BatchResult, Control
from aideon_agents.batch.output import Out, paths, tables
from aideon_agents.batch.output.columns import InputColumns
from aideon_agents.batch.progress import Tally
from aideon_agents.batch.provider import PROVIDER
from aideon_agents.batch.provider.asking import Desk
from aideon_agents.batch.provider.checks import for_batches
from aideon_agents.batch.provider.engine import ProviderBatches
from aideon_agents.batch.provider.lines import Lines
from aideon_agents.batch.restoring import OUT_OF_BUDGET, find_written, restore
from aideon_agents.errors import LedgerError, NoModel, UserError
from aideon_agents.graphs import Graph, Node
from aideon_agents.graphs.topology import in_declared_order, model
from aideon_agents.graphs.walk import path_keys, required_keys, specs
from aideon_agents.ledger import batch_items, batches, outputs
from aideon_agents.ledger.batches import DISTRIBUTED, Batch
from aideon_agents.ledger.budgets.accounts import limits
from aideon_agents.ledger.budgets.limits import nanousd
from aideon_agents.ledger.checkpoints import open_checkpointer
from aideon_agents.ledger.costs import answers_cut_off
from aideon_agents.ledger.identity import new_run_id
from aideon_agents.ledger.money import usd
from aideon_agents.ledger.store import Ledger
from aideon_agents.models.pictures import identities, pictures, reference
from aideon_agents.runner.options import check_paths
from aideon_agents.runner.pictures import with_pictures
from aideon_agents.runner.running import open_ledger
from aideon_agents.runner.spec import Room, asks, check_models, keeping
from aideon_agents.runner.start import run_spec
from aideon_agents.runner.state import shapes

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

_OF_A_RUN = (
    *("tier", "user", "model", "timeout", "rehearse", "record_content", "fallback"),
    *("on_rate_limit", "cache", "privacy", "quality", "replace_retired", "callbacks", "config"),
    *("ledger", "settings", "workflow", "target", "target_hash", "allow_outside", "origin"),
)
"""The options that are passed on to the run of every item."""


class BatchRunning:
    """A batch between its checks and its result."""

    def __init__(
        self, graph: Graph | Node, items: Items, out: str | Path, **given: Unpack[BatchOptions]
    ) -> None:
        options.refuse_unknown(given)
        self.control = Control()
        """Stops the batch early."""
        self._given = given
        self._items = items
        self._out = Path(out)
        self._lines = paths.lines_path(self._out)
        self._engine = given.get("engine") or "local"
        if self._engine not in options.ENGINES:
            raise UserError(
                f"unknown engine {self._engine!r}: use one of {', '.join(options.ENGINES)}"
            )
        if self._engine == DISTRIBUTED:
            options.refuse_objects(given.get("model"))
        self._at_once = options.at_once(given.get("max_concurrency", options.AT_ONCE))
        self._limit, self._item_limit = (
            None if amount is None else nanousd(amount)
            for amount in (given.get("budget"), given.get("item_budget"))
        )
        shared = {word: given[word] for word in _OF_A_RUN if word in given}  # pyright: ignore[reportTypedDictNotRequiredAccess]
        self._spec = run_spec(graph, is_item=True, **cast("Any", shared))
        self._spec = with_pictures(self._spec, pictures(given.get("images")))
        self._desk: Desk | None = None
        if self._engine == PROVIDER:
            self._spec, self._desk = for_batches(self._spec, given)
        check_paths(path_keys(self._spec.graph), given.get("inputs") or {})
        self._rooms: list[Room] = []
        try:
            self._rooms = check_models(self._spec.graph, self._spec.context)
        except NoModel:  # the workers have the keys of the models
            if self._engine != DISTRIBUTED:
                raise

    async def to_end(self, begins: Callable[[], object] | None = None) -> BatchResult:
        """Run the items that are not finished; `begins` is called after the checks."""
        began = time.monotonic()
        table = self._out.absolute()  # code in a node may change the working directory
        with contextlib.ExitStack() as open_while_used:
            needed = required_keys(self._spec.graph)
            reading = item_source(self._items, self._given, self._given.get("inputs") or {}, needed)
            items = await asyncio.to_thread(open_while_used.enter_context, reading)
            most = options.most_failures(self._given.get("max_failures"), items.count)
            paths.refuse_unusable(self._out, items)
            ledger = open_while_used.enter_context(open_ledger(self._spec.ledger))
            before, retry = await asyncio.to_thread(self._before, ledger, items)
            work = self._work(ledger, before, most)
            out = open_while_used.enter_context(self._opened_out(items))
            found = await asyncio.to_thread(find_written, ledger, out, before)
            batch = OpenBatch(
                ledger=ledger,
                start=self._start(items, before, work),
                source=items,
                out=out,
                tally=Tally(began, items.count),
                control=self.control,
                limit=self._limit,
                watch=self._given.get("watch"),
            )
            batches.take(ledger, batch.start, self._limit, model(self._spec.graph))
            if begins is not None:
                begins()
            try:
                await asyncio.to_thread(restore, ledger, out, batch.start, found, retry=retry)
                await asyncio.to_thread(output.conform, ledger, batch.start.batch_id, out)
                await self._run(batch, before, most)
                result = self._result(batch)
            except BaseException:
                with contextlib.suppress(LedgerError):  # the first error says more
                    batches.finish(ledger, batch.start.batch_id, "stopped", "interrupted")
                raise
            status = "completed" if result.stop_reason is None else "stopped"
            batches.finish(ledger, batch.start.batch_id, status, result.stop_reason)
            if out.path != self._out:
                await asyncio.to_thread(tables.write, table, paths.lines_path(table))
        return result

    @contextlib.contextmanager
    def _opened_out(self, items: Source) -> Generator[Out]:
        kept = InputColumns(items) if self._given.get("keep_columns") else None
        is_unordered = bool(self._given.get("unordered"))
        with (
            contextlib.closing(kept) if kept else contextlib.nullcontext(),
            output.opened(
                self._lines, items.line_of, is_unordered=is_unordered, columns=kept
            ) as out,
        ):
            yield out

    async def _run(self, batch: OpenBatch, before: Batch | None, most: int | None) -> None:
        ledger, batch_id = batch.ledger, batch.start.batch_id
        batch.tally.load(batch_items.counts(ledger, batch_id), batches.node_money(ledger, batch_id))
        inputs = self._given.get("inputs") or {}
        if self._engine == DISTRIBUTED:
            from aideon_agents.batch.distributed.follower import Follower  # noqa: PLC0415 - an extra

            await Follower(batch, inputs).run()
            return
        claims = Local(batch)
        keeps = self._keeps(ledger)
        opens = keeps or before is not None  # earlier runs may have kept their state
        async with (
            open_checkpointer(ledger, shapes(self._spec.graph))
            if opens
            else contextlib.nullcontext() as checkpointer
        ):
            shared = {"ledger": ledger, "checkpointer": checkpointer, "checkpoint": keeping(keeps)}
            engine = Engine(
                ledger=ledger,
                batch_id=batch_id,
                claims=claims,
                spec=dataclasses.replace(self._spec, **shared),
                rooms=self._rooms,
                inputs=inputs,
                item_limit_nanousd=self._item_limit,
                most_failures=most,
                in_flight=self.control.in_flight,
            )
            if self._desk is None:
                await claims.run(engine, self._at_once)
            else:
                self._desk.lines = Lines(ledger.database, batch_id)
                waits = bool(self._given.get("wait"))
                await ProviderBatches(batch, self._desk, waits=waits).run(engine, self._at_once)

    def _work(
        self, ledger: Ledger, before: Batch | None, most: int | None
    ) -> dict[str, Any] | None:
        """The options that workers need; None: this process runs the items."""
        if before is not None and self._desk is None:
            Lines(ledger.database, before.batch_id).refuse_live("add --engine provider")
        if self._engine != DISTRIBUTED:
            if before is not None:
                batches.refuse_if_with_workers(before)
            return None
        from aideon_agents.batch.distributed import jobs, runner  # noqa: PLC0415 - an extra

        if self._given.get("allow_outside"):
            raise UserError(
                "workers use no file outside the folder of a task file: leave out --allow-outside, "
                "or use the local engine"
            )
        jobs.require_server(ledger)
        if self._spec.config:
            raise UserError("workers cannot take callbacks or a config: use the local engine")
        run = self._spec.start
        address, content_hash = runner.check_address(run.target, run.target_hash)
        failed = 0
        if before is not None and not self._given.get("retry_failed"):
            failed = batch_items.counts(ledger, before.batch_id).get("failed", 0)
        return {
            "target": address,
            "target_hash": content_hash,
            "tier": run.tier,
            "user": run.user,
            "model": (run.options or {}).get("model"),
            "timeout": self._spec.timeout,
            "record_content": self._spec.record_content,
            "rehearse": run.rehearsed,
            "fallback": self._spec.context.fallback,
            "on_rate_limit": self._spec.context.on_rate_limit,
            "cache": (run.options or {}).get("cache"),
            "privacy": self._spec.context.privacy,
            "quality": self._spec.context.quality,
            "images": [reference(one, whole=True) for one in self._spec.context.images],
            "replace_retired": self._spec.context.replace_retired,
            "keeps": self._keeps(ledger),
            "most_failures": None if most is None else most + failed,
        }

    def _before(self, ledger: Ledger, items: Source) -> tuple[Batch | None, bool | str]:
        """The batch that this one continues, and which of its failed items are run again.

        If items or workflow were changed, it is a new batch that has taken over earlier results.
        """
        start = self._start(items)
        same, ref = batches.find_same(ledger, str(start.identity)), self._given.get("from_batch")
        if ref is not None:
            batches.find_batch(ledger, ref)  # one that does not exist is refused in any case
        if same is None:
            earlier = carrying.before(ledger, self._lines, ref)
            retry = self._retry(earlier)
            if earlier is None or not carrying.carry_over(
                *(ledger, items, self._lines, start, earlier),
                retry=retry,
                is_unordered=bool(self._given.get("unordered")),
                is_named=ref is not None,
            ):
                return None, False
            return batches.find_batch(ledger, start.batch_id), False
        batches.refuse_if_running(same)
        carrying.finish(same)
        return same, self._retry(same)

    def _shared(self) -> dict[str, Any]:
        """The options that every item has."""
        run, images = self._spec.start, self._spec.context.images
        return {
            **({"images": identities(images)} if images else {}),
            "inputs": dict(self._given.get("inputs") or {}),
            "tier": run.tier,
            "model": (run.options or {}).get("model"),
            "rehearsed": run.rehearsed,
        }

    def _identity(self, items: Source) -> str:
        made = {"target": self._target(), "version": self._given.get("version")}
        return digest({**made, "items": items.digest, **self._shared()})

    def _version(self) -> str:
        """Names the content of the workflow: of a file, the beginning of its hash."""
        target, given = self._target(), self._given.get("version")
        known = self._spec.start.target_hash if given is None else None
        return (known or digest([target, given]))[:12]

    def _target(self) -> list[Any]:
        run, graph = self._spec.start, self._spec.graph
        if run.target_hash is None:
            return [
                run.workflow,
                digest([model(graph), [content_of(spec) for spec in specs(graph)]]),
            ]
        # A file may define several workflows.
        return [run.target_hash, (run.target or "").partition(".py:")[2] or "graph"]

    def _start(
        self, items: Source, before: Batch | None = None, work: dict[str, Any] | None = None
    ) -> Batch:
        run = self._spec.start
        return Batch(
            batch_id=before.batch_id if before else new_run_id(),
            identity=self._identity(items),
            workflow=run.workflow,
            target=run.target,
            rehearsed=run.rehearsed,
            engine=self._engine,
            items=items.count,
            item_limit_nanousd=self._item_limit,
            out_path=os.path.realpath(self._lines),
            work=work,
            version=self._version(),
            options=digest(self._shared()),
            carried_from=before.carried_from if before else None,
        )

    def _retry(self, before: Batch | None) -> bool | str:
        """The failed items that are run again: all, those whose budget is larger now, or none."""
        if self._given.get("retry_failed"):
            return True
        if before is None or before.item_limit_nanousd is None:
            return False
        is_more = self._item_limit is None or self._item_limit > before.item_limit_nanousd
        return OUT_OF_BUDGET if is_more else False

    def _keeps(self, ledger: Ledger) -> bool:
        """Whether the state of new runs is kept: as the caller chose, else where they may end early.

        A budget can stop them, and a graph that asks waits for a person.
        """
        keeps = self._given.get("checkpoint")
        if keeps is not None:
            return keeps
        if self._desk is not None or asks(self._spec.graph):
            return True
        stops = any(not limit.warns for limit in limits(ledger.database))
        return stops or any(limit is not None for limit in (self._limit, self._item_limit))

    def _result(self, batch: OpenBatch) -> BatchResult:
        ledger, start = batch.ledger, batch.start
        counts = batch_items.counts(ledger, start.batch_id)
        done = {status: counts.get(status, 0) for status in batch_items.DONE}
        pending = start.items - sum(done.values())
        waiting = batch_items.with_status(ledger, start.batch_id, "waiting", start.items)
        money = batches.money(ledger, start.batch_id)
        # Pending without a reason: an end could not be written, or another process runs an item.
        reason = self.control.reason or ("waiting" if waiting else "interrupted")
        lines = Lines(ledger.database, start.batch_id)
        costs = {one.node_path: one for one in batches.node_money(ledger, start.batch_id)}
        return BatchResult(
            batch_id=start.batch_id,
            items=start.items,
            completed=done["completed"],
            failed=done["failed"],
            invalid=done["invalid"],
            pending=pending,
            carried=outputs.carried(ledger, start.batch_id),
            carried_from=start.carried_from,
            earlier_out=carrying.earlier_out(ledger, start),
            usd=money.usd,
            complete=money.complete,
            held=batches.held_usd(ledger, start.batch_id),
            stop_reason=reason if pending else None,
            wall_s=batch.tally.wall_s,
            stopped_by=self.control.why if pending else None,
            waiting=[str(row.run_id) for row in waiting],
            truncated=answers_cut_off(ledger.database, start.batch_id),
            saved=usd(lines.saved()),
            jobs=[str(job.provider_job) for job in lines.jobs("running")],
            nodes=[*in_declared_order(costs, model(self._spec.graph)).values()],
        )


async def abatch(
    graph: Graph | Node, items: Items, out: str | Path, **options: Unpack[BatchOptions]
) -> BatchResult:
    """Run many items through a workflow. The same call again continues where it stopped.

    Args:
        graph: A compiled graph, or a node.
        items: A file (JSON lines, a JSON array, CSV, XLSX), `-` for stdin, or the items
            themselves: tasks, or mappings with a `task`, perhaps an `id`, and inputs.
        out: The file that results go to, in the order of the items unless `unordered`: JSON lines,
            or a table if it ends in `.csv` or `.xlsx`.
        **options: See `BatchOptions`.

    Returns:
        The counts and costs, also when items failed or the batch stopped at a limit.

    Raises:
        UserError: The caller's mistake; nothing was called.
        RunError: OUT cannot be written any more. Finished items are kept.
    """
    return await BatchRunning(graph, items, out, **options).to_end()
