"""Rounds of a batch: items go on, their lines are sent, and what has ended at the provider is settled."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from typing import TYPE_CHECKING, Any, cast

from aideon_agents.batch.engine import Local
from aideon_agents.batch.provider.asking import Desk, offered
from aideon_agents.batch.provider.dialects import Batches, Seen
from aideon_agents.batch.provider.lines import Job, Lines
from aideon_agents.batch.provider.settling import Settling
from aideon_agents.errors import ProviderError, RunError
from aideon_agents.ledger.identity import new_run_id
from aideon_agents.models import models_for
from aideon_agents.models.providers import choices
from aideon_agents.state import Context, ModelRequest

if TYPE_CHECKING:
    from collections.abc import Generator

    from aideon_agents.batch.engine import Engine, OpenBatch
    from aideon_agents.batch.items import Item
    from aideon_agents.ledger.batch_items import ItemRow
    from aideon_agents.models import Models
    from aideon_agents.settings import Settings

_POLL = 30.0
"""Seconds between two looks at a provider's batch; both advise 30 to 60."""
_POLL_SIMULATED = 0.1
_NOTICE = 0.2
"""Seconds after which an interrupt is noticed."""


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


class ProviderBatches:
    """Runs a batch by batches of its providers."""

    def __init__(self, batch: OpenBatch, desk: Desk, *, waits: bool) -> None:
        self._batch = batch
        self._desk = desk
        self._lines = desk.lines
        self._models = models_for(cast("Any", desk.settings))
        self._waits = waits
        self._known: dict[str, tuple[Any, Batches]] = {}

    async def run(self, engine: Engine, at_once: int) -> None:
        """Go on until all items are finished, or until a batch is in progress and the caller does not wait."""
        rounds, control = Rounds(self._batch, self._desk), self._batch.control
        for model in self._desk.models.values():
            await Batches(model).check()
        for job in self._lines.jobs("made"):
            await self._send(job)
        await self._settle_ended(engine)
        while not control.is_over:
            await rounds.once(engine, at_once)
            if control.is_over:
                break
            ids = (new_run_id() for _ in itertools.count())
            self._lines.make_jobs(ids)
            for job in self._lines.jobs("made"):
                await self._send(job)
            if not self._lines.jobs("running"):
                self._refuse_full()
                if self._desk.full is None:
                    break
                continue
            has_ended = await self._settle_ended(engine)
            while not has_ended and self._waits and not control.is_over:
                await self._pause()
                has_ended = await self._settle_ended(engine)
            if not has_ended:
                control.drain("provider")
        await self._batch.write_out()

    def _refuse_full(self) -> None:
        """Stop at a budget in which others hold what is missing: waiting here would not end."""
        if self._desk.full is not None and not self._desk.parked:
            by = self._desk.full.by
            self._batch.control.drain(
                "budget", f"the {by.name} budget has no room for another line"
            )

    def provider_of(self, name: str) -> tuple[Any, Batches]:
        """A model by its name, and its provider."""
        if name not in self._known:
            model = model_named(self._models, name)
            self._known[name] = model, Batches(model)
        return self._known[name]

    async def _send(self, job: Job) -> None:
        """Upload a batch and begin it; what was done by an earlier process is not done again."""
        _, batches = self.provider_of(job.model)
        file_id, seen = job.file_id, None
        if file_id is None:
            content, noted = self._lines.content(job.job_id), list[str]()

            def note(known: str) -> None:
                noted.append(known)
                self._lines.note_file(job.job_id, known)

            await batches.upload(content, f"aideon-{job.job_id}.jsonl", note)
            file_id = noted[-1]
        else:
            seen = await batches.find(file_id)
        if seen is None:
            seen = await batches.begin(file_id, job.model.partition(":")[2], job.job_id)
        self._lines.note_job(job.job_id, seen.id)

    async def _pause(self) -> None:
        """Wait until the batches are looked at again, or the caller interrupts."""
        simulated = all(one.is_simulated for _, one in self._known.values())
        left = _POLL_SIMULATED if simulated else _POLL
        while left > 0 and not self._batch.control.is_over:
            await asyncio.sleep(min(_NOTICE, left))
            left -= _NOTICE

    async def _settle_ended(self, engine: Engine) -> bool:
        """Settle the batches that have ended at their providers; returns whether there was one."""
        has_ended = False
        for job in self._lines.jobs("running"):
            _, batches = self.provider_of(job.model)
            seen = await batches.look(str(job.provider_job))
            if seen.state != "running":
                await self._settle(job, seen, engine)
                has_ended = True
        return has_ended

    async def _settle(self, job: Job, seen: Seen, engine: Engine) -> None:
        """Settle every line of a batch that has ended."""
        model, batches = self.provider_of(job.model)
        discount = self._models.discount(job.model)
        records = engine.spec.record_content
        settling = Settling(engine.ledger, self._lines, model, discount, records=records)
        states = self._lines.of_job(job.job_id)
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
        if seen.state == "cancelled":
            self._batch.control.drain("cancelled")


def model_named(models: Models, name: str) -> Any:
    """The model that answers as `provider:model`, to read its answers."""
    return offered(
        models.chat(ModelRequest(role="executor", model=choices(name, "the batch")), Context())
    )


async def cancel(lines: Lines, settings: Settings) -> int:
    """Ask the providers to end the batches in progress; returns how many there were."""
    models, asked = models_for(cast("Any", settings)), 0
    for job in lines.jobs("running"):
        with contextlib.suppress(ProviderError):
            await Batches(model_named(models, job.model)).cancel(str(job.provider_job))
            asked += 1
    return asked
