"""Rounds of a batch: items go on, their lines are sent, and what has ended at the provider is settled."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import TYPE_CHECKING, Any, cast

from aideon_agents.batch.engine import Local
from aideon_agents.batch.provider.asking import Desk, offered
from aideon_agents.batch.provider.dialects import Batches, Seen, State
from aideon_agents.batch.provider.lines import Job, Lines
from aideon_agents.batch.provider.settling import Settling
from aideon_agents.errors import RunError
from aideon_agents.ledger import batches as ledger_batches
from aideon_agents.ledger.identity import new_run_id
from aideon_agents.models import models_for
from aideon_agents.state import Context, ModelRequest

if TYPE_CHECKING:
    from collections.abc import Generator

    from aideon_agents.batch.engine import Engine, OpenBatch
    from aideon_agents.batch.items import Item
    from aideon_agents.ledger.batch_items import ItemRow
    from aideon_agents.ledger.store import Ledger
    from aideon_agents.settings import Settings

_POLL = 30.0
"""Seconds between two looks at a provider's batch; both advise 30 to 60."""
_POLL_SIMULATED = 0.1
_NOTICE = 0.2
"""Seconds after which an interrupt is noticed."""
_HEARTBEAT = 5.0
"""Seconds after which other processes hear that this one waits."""


class Rounds(Local):
    """Claims items whose runs can go on."""

    def __init__(self, batch: OpenBatch, desk: Desk) -> None:
        super().__init__(batch)
        self._desk = desk
        self._blocked: set[str] = set()

    async def once(self, engine: Engine, at_once: int) -> None:
        """Run each item until it ends or waits for an answer."""
        self._desk.begin_pass()
        self._blocked = self._desk.lines.blocked()
        await self.run(engine, at_once)
        self._desk.lines.forget_ended()

    def _unfinished(self) -> Generator[tuple[Item, ItemRow | None] | None]:
        for claimed in super()._unfinished():
            if self._desk.full is not None:
                return
            if claimed is None or claimed[1] is None or claimed[1].run_id not in self._blocked:
                yield claimed


class Jobs:
    """The batches at providers that the lines of one batch are in."""

    def __init__(self, ledger: Ledger, lines: Lines, settings: Settings, *, records: bool) -> None:
        self._ledger = ledger
        self._lines = lines
        self._models = models_for(cast("Any", settings))
        self._records = records
        self._known: dict[str, tuple[Any, Batches]] = {}

    @property
    def are_left(self) -> bool:
        """Whether a batch is in progress."""
        return bool(self._lines.jobs("running"))

    @property
    def poll_seconds(self) -> float:
        """Seconds between two looks."""
        simulated = all(batches.is_simulated for _, batches in self._known.values())
        return _POLL_SIMULATED if simulated else _POLL

    async def send(self) -> None:
        """Upload and begin what is not begun; what was done by an earlier process is not repeated."""
        for job in self._lines.jobs("made"):
            _, batches = self._of(job.model)
            file_id, seen = job.file_id, None
            if file_id is None:
                content, name = self._lines.content(job.job_id), f"aideon-{job.job_id}.jsonl"
                file_id = await batches.upload(content, name)
                self._lines.note_file(job.job_id, file_id)
            else:
                seen = await batches.find(file_id)
            if seen is None:
                seen = await batches.begin(file_id, job.model.partition(":")[2], job.job_id)
            self._lines.note_job(job.job_id, seen.id)

    async def cancel(self) -> None:
        """Ask the providers to end the batches in progress, and settle what was never sent."""
        await self.send()  # one that was begun and not noted must be cancelled too
        for job in self._lines.jobs("running"):
            _, batches = self._of(job.model)
            await batches.cancel(str(job.provider_job))
        for row in self._lines.parked():
            if call := self._lines.call(row["call_id"]):
                settling = self._settling(str(row["model"]))
                settling.undone(call, "it was cancelled", simulated=call.simulated)

    async def settle(self) -> set[State]:
        """Settle the batches that have ended at their providers; returns how they ended."""
        found = set[State]()
        for job in self._lines.jobs("running"):
            _, batches = self._of(job.model)
            seen = await batches.look(str(job.provider_job))
            if seen.state != "running":
                found.add(seen.state)
                await self._settle(job, seen)
        return found

    async def _settle(self, job: Job, seen: Seen) -> None:
        """Settle every line of a batch that has ended."""
        model, batches = self._of(job.model)
        settling, states = self._settling(job.model), self._lines.of_job(job.job_id)
        for file_id in seen.files:
            async for sent in batches.lines(file_id):
                call_id = str(sent.get("custom_id"))
                if states.get(call_id) == "sent" and (call := self._lines.call(call_id)):
                    settling.line(call, sent, simulated=batches.is_simulated)
                    states[call_id] = "answered"
        for call_id, state in states.items():
            if state != "sent" or not (call := self._lines.call(call_id)):
                continue
            if seen.state == "done":
                settling.missing(call, simulated=batches.is_simulated)
            else:
                why = f"the batch is {seen.words}"
                settling.undone(call, why, simulated=batches.is_simulated)
        is_failed = seen.state == "failed"
        self._lines.end_job(job.job_id, "failed" if is_failed else "settled", seen.error)
        if is_failed:
            raise RunError(
                f"{model.candidate} refused batch {seen.id}: {seen.error or 'it says no reason'}; "
                "nothing was charged, and its items are pending"
            )

    def _settling(self, name: str) -> Settling:
        model, _ = self._of(name)
        discount = self._models.discount(name)
        return Settling(self._ledger, self._lines, model, discount, records=self._records)

    def _of(self, name: str) -> tuple[Any, Batches]:
        """A model by its name, and its provider."""
        if name not in self._known:
            asked = ModelRequest(role="executor", model=(name,))
            model = offered(self._models.chat(asked, Context()))
            self._known[name] = model, Batches(model)
        return self._known[name]


class ProviderBatches:
    """Runs a batch by batches of its providers."""

    def __init__(self, batch: OpenBatch, desk: Desk, *, waits: bool) -> None:
        self._batch = batch
        self._desk = desk
        self._waits = waits

    async def run(self, engine: Engine, at_once: int) -> None:
        """Go on until all items are finished, or until a batch is in progress and the caller does not wait."""
        control, records = self._batch.control, engine.spec.record_content
        for model in self._desk.models.values():
            await Batches(model).check()
        jobs = Jobs(engine.ledger, self._desk.lines, self._desk.settings, records=records)
        await jobs.send()
        await self._settled(jobs)
        rounds = Rounds(self._batch, self._desk)
        while not control.is_over:
            await rounds.once(engine, at_once)
            if control.is_over:
                break
            self._desk.lines.make_jobs(new_run_id() for _ in itertools.count())
            await jobs.send()
            if self._desk.lines.jobs("running"):
                await self._wait(jobs)
            elif self._desk.full is None:
                break
            elif not self._desk.parked:  # others hold what is missing
                why = f"the {self._desk.full.by.name} budget has no room for another line"
                control.drain("budget", why)
        if control.reason == "cancelled":
            await cancelled(jobs)
        await self._batch.write_out()

    async def _wait(self, jobs: Jobs) -> None:
        """Wait until a batch has ended; without `waits`, only look."""
        while not await self._settled(jobs) and not self._batch.control.is_over:
            if not self._waits:
                self._batch.control.drain("provider")
            await self._pause(jobs.poll_seconds)

    async def _settled(self, jobs: Jobs) -> bool:
        ended = await jobs.settle()
        if "cancelled" in ended:
            self._batch.control.drain("cancelled")
        return bool(ended)

    async def _pause(self, seconds: float) -> None:
        """Wait until the batches are looked at again, or the caller or another process stops this."""
        ends, beats = time.monotonic() + seconds, 0.0
        while (left := ends - time.monotonic()) > 0 and not self._batch.control.is_over:
            if time.monotonic() >= beats:
                beats = time.monotonic() + _HEARTBEAT
                if ledger_batches.heartbeat(self._batch.ledger, self._batch.start.batch_id):
                    self._batch.control.drain("cancelled")
                self._batch.report(0)
            await asyncio.sleep(min(_NOTICE, left))


async def cancelled(jobs: Jobs) -> None:
    """End the batches in progress at their providers, and settle what they have finished."""
    await jobs.cancel()
    await jobs.settle()
    while jobs.are_left:
        await asyncio.sleep(jobs.poll_seconds)
        await jobs.settle()
