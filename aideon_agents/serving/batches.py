"""Batches of the service: the batch engine over items that a caller sends.

Items and results are files in a folder of the service beside the ledger. A caller names no path. A
batch that a process leaves, drained or killed, is continued by another one from the same files.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StrictBool

from aideon_agents.access import quotas
from aideon_agents.access.callers import Caller
from aideon_agents.batch.options import Control
from aideon_agents.batch.running import BatchRunning
from aideon_agents.batch.summary import summary
from aideon_agents.errors import (
    AideonError,
    BatchNotFound,
    Conflict,
    InputError,
    LedgerError,
    NotFound,
    UserError,
    shown,
)
from aideon_agents.ledger import batch_items, batches
from aideon_agents.ledger.identity import new_run_id
from aideon_agents.ledger.rows import Run
from aideon_agents.runner import NOTHING
from aideon_agents.runner.resume_state import misfit, reading
from aideon_agents.runner.state import open_questions
from aideon_agents.serving import served
from aideon_agents.serving.launching import Dollars, Launcher, Models, tier_of
from aideon_agents.state import Tier

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aideon_agents.ledger.batches import Batch
    from aideon_agents.ledger.database import Row
    from aideon_agents.runner import Question
    from aideon_agents.serving.workflows import Workflow, Workflows

_log = logging.getLogger("aideon_agents.serving")

_TAKEN = ("id", "task", "images")
"""Keys of an item that mean something else than an input."""
_AT_ONCE = 10
"""Items of a batch that resume at once after an approval."""


class BatchItem(BaseModel):
    """One item."""

    model_config = ConfigDict(extra="forbid")

    id: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """None: its number, from 1."""
    task: Annotated[str, Field(pattern=r"\S")]
    inputs: dict[str, JsonValue] = Field(default_factory=dict)


class StartBatch(BaseModel):
    """A workflow and its items."""

    model_config = ConfigDict(extra="forbid")

    workflow: Annotated[str, Field(max_length=100, examples=["brief"])]
    """The name of a registered workflow."""
    items: Annotated[list[BatchItem], Field(min_length=1, max_length=10_000)]
    inputs: dict[str, JsonValue] = Field(default_factory=dict)
    """Inputs of every item; its own count first."""
    model: Models | None = None
    budget: Dollars | None = None
    """US dollars for all items."""
    item_budget: Dollars | None = None
    """US dollars for each item."""
    max_concurrency: Annotated[int, Field(ge=1, le=100)] = 10
    """Items in progress at once."""
    timeout: Annotated[float, Field(gt=0, le=86_400)] | None = None
    """Seconds for each item."""
    tier: Tier | None = None
    record_content: StrictBool = False


class Batches:
    """Starts, continues and answers batches in this process's event loop."""

    def __init__(self, launcher: Launcher, workflows: Workflows) -> None:
        self._ledger = launcher.ledger
        self._launcher = launcher
        self._workflows = workflows
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._controls: set[Control] = set()
        self._is_leaving = False

    async def start(self, caller: Caller, ask: StartBatch) -> str:
        """Begin a batch, and return its id when its row is there."""
        workflow = self._workflows.find(caller, ask.workflow)
        for inputs in (ask.inputs, *(one.inputs for one in ask.items)):
            workflow.check_inputs(inputs)
            if taken := [key for key in inputs if key in _TAKEN]:
                raise InputError(f"an input cannot be called {taken[0]}: give it another name")
        self._launcher.check_models(caller, ask.model)
        given = ask.model_dump(mode="json", exclude={"items", "workflow"})
        given |= {"user": caller.user, "tier": tier_of(caller, ask.tier)}
        given["fallback"] = self._launcher.may_fall_back(caller)
        folder = self._ledger.database.folder.absolute() / "service" / new_run_id()
        await asyncio.to_thread(_write, folder, given, ask.items)
        try:
            running, run = self._prepared(workflow, folder, caller)
            with self._ledger.database.transaction() as tx:
                quotas.admit_run(tx, caller, run, requests=len(ask.items))
            return await self._begun(running, caller, workflow, folder)
        except AideonError:  # nothing has begun
            with self._ledger.database.transaction() as tx:
                quotas.give_back(tx, folder.name)
            await asyncio.to_thread(shutil.rmtree, folder)
            raise

    async def _begun(
        self, running: BatchRunning, caller: Caller, workflow: Workflow, folder: Path
    ) -> str:
        begun = asyncio.get_running_loop().create_future()
        values = {"user_id": caller.user, "workflow": workflow.name, "folder": str(folder)}

        def begins() -> None:
            (row,) = self._ledger.select(_BY_OUT, {"out": str((folder / "out.jsonl").resolve())})
            values["batch_id"] = row["batch_id"]
            self._ledger.database.write(_ADD, values)
            begun.set_result(row["batch_id"])

        task = asyncio.create_task(self._to_end(running, begins))
        await asyncio.wait({task, begun}, return_when=asyncio.FIRST_COMPLETED)
        if not begun.done():
            task.result()
            raise Conflict("the batch ended before it began")
        self._keep(begun.result(), task)
        return begun.result()

    def find(self, caller: Caller, batch_id: str) -> tuple[Batch, Row]:
        """A batch of the caller's, by its whole id."""
        found = self._ledger.select(_ONE, {"batch_id": batch_id, "user_id": caller.user})
        if not found:
            raise NotFound(f"there is no batch {batch_id}: GET /api/v1/batches lists them")
        return batches.find_batch(self._ledger, batch_id), found[0]

    def show(self, caller: Caller, batch_id: str) -> dict[str, Any]:
        """A batch as a document, with the items that failed or wait."""
        batch, row = self.find(caller, batch_id)
        named = {
            f"{word}_items": [
                {"id": one.item_id, "run_id": one.run_id, "error": one.error}
                for one in batch_items.with_status(self._ledger, batch_id, word, 100)
            ]
            for word in ("failed", "waiting")
        }
        return {**self._document(batch, row), **named}

    def listed(self, caller: Caller, before: str | None, most: int) -> list[dict[str, Any]]:
        """A caller's batches, the newest first."""
        values = {"user_id": caller.user, "before": before or "~", "most": most}
        rows = self._ledger.select(_LIST, values)
        return [
            self._document(batches.find_batch(self._ledger, row["batch_id"]), row) for row in rows
        ]

    def _document(self, batch: Batch, row: Row) -> dict[str, Any]:
        shown = summary(self._ledger, batch)
        if row["intent"] == "run":
            shown |= {"status": "running", "stop_reason": None}  # another process continues it
        return {name: one for name, one in shown.items() if name not in ("target", "out")}

    def output(self, caller: Caller, batch_id: str) -> Path:
        """The file of results so far: one JSON object per line, in the order of the items."""
        _, row = self.find(caller, batch_id)
        path = Path(row["folder"]) / "out.jsonl"
        if not path.is_file():
            raise NotFound(f"batch {batch_id} has no results yet")
        return path

    def cancel(self, caller: Caller, batch_id: str) -> None:
        """Start no more items of a batch, whatever process has it; those in progress end."""
        batch, row = self.find(caller, batch_id)
        if row["intent"] == "done":
            raise Conflict(f"batch {batch_id} is {batch.status}: there is nothing to cancel")
        self._want(batch_id, "done")
        batches.cancel(self._ledger, batch_id)
        if batch.status == "crashed":
            batches.end_abandoned(self._ledger, batch)

    async def approve(
        self, caller: Caller, batch_id: str, answer: object, items: list[str] | None
    ) -> int:
        """Answer what items wait with, and continue the batch; returns how many items that are."""
        batch, row = self._ended(caller, batch_id)
        waiting = batch_items.with_status(self._ledger, batch_id, "waiting", batch.items)
        runs = [str(one.run_id) for one in waiting if items is None or one.item_id in items]
        if not runs:
            raise Conflict(f"no such item of batch {batch_id} waits for an answer")
        workflow = self._workflows.find(caller, row["workflow"])
        given = _answers({one: await open_questions(self._ledger, one) for one in runs}, answer)
        self._ended(caller, batch_id)  # another request may have answered
        self._want(batch_id, "run")

        async def work() -> None:
            turns = asyncio.Semaphore(_AT_ONCE)
            await asyncio.gather(
                *(self._answer(turns, caller, workflow, *one) for one in given.items())
            )
            await self._to_end(self._prepared(workflow, Path(row["folder"]))[0], None)

        self._keep(batch_id, asyncio.create_task(work()))
        return len(given)

    async def delete(self, caller: Caller, batch_id: str) -> None:
        """Delete what is kept of a batch that has ended, as of a run. What it cost is kept."""
        _, row = self._ended(caller, batch_id)
        runs = self._ledger.select(_RUNS, {"batch_id": batch_id})
        with self._ledger.database.transaction() as tx:
            values = {"batch_id": batch_id, "intent": "deleted"}
            if tx.write(f"{_WANT} AND intent = 'done'", values) != 1:
                raise Conflict(f"batch {batch_id} continues: wait for its end, then delete it")
            for one in runs:
                served.delete(tx, one["run_id"], row["workflow"])
        batches.forget(self._ledger, batch_id)
        await served.delete_states(self._ledger, (one["run_id"] for one in runs))
        await asyncio.to_thread(shutil.rmtree, row["folder"], ignore_errors=True)

    def _ended(self, caller: Caller, batch_id: str) -> tuple[Batch, Row]:
        """A batch of the caller's that no process runs or will continue."""
        batch, row = self.find(caller, batch_id)
        if row["intent"] == "run" or batch_id in self._tasks or batch.status == "running":
            raise Conflict(f"batch {batch_id} is still running: wait for its end, or cancel it")
        return batch, row

    async def _answer(
        self,
        turns: asyncio.Semaphore,
        caller: Caller,
        workflow: Workflow,
        run_id: str,
        answer: object,
    ) -> None:
        async with turns:
            try:
                await self._launcher.resumed(workflow, caller, run_id, answer=answer).to_end()
            except AideonError as error:
                _log.warning("run %s still waits: %s", run_id, error)

    def _prepared(
        self, workflow: Workflow, folder: Path, caller: Caller | None = None
    ) -> tuple[BatchRunning, Run]:
        """The batch of a folder, and a run whose id its items are counted with."""
        given = json.loads((folder / "ask.json").read_text("utf-8"))
        caller = caller or Caller(given["user"], "member", given["tier"])
        settings, origin = self._launcher.granted(caller, folder.name)

        def made(*, rehearse: bool) -> tuple[BatchRunning, Run]:
            options: dict[str, Any] = {**given, **workflow.target.labels}
            options |= {"workflow": workflow.name, "version": folder.name, "checkpoint": True}
            options |= {"ledger": self._ledger, "settings": settings, "origin": origin}
            graph, items = workflow.target.graph, folder / "items.jsonl"
            run = Run(run_id=folder.name, workflow=workflow.name, origin=origin)
            run.rehearsed = rehearse or settings.rehearses
            out = folder / "out.jsonl"
            return BatchRunning(graph, items, out, rehearse=rehearse, **options), run

        return self._launcher.made_or_rehearsed(made)

    async def _to_end(self, running: BatchRunning, begins: Callable[[], None] | None) -> None:
        self._controls.add(running.control)
        try:
            result = await running.to_end(begins)
            if not (self._is_leaving and result.stop_reason == "interrupted"):
                self._want(result.batch_id, "done")
        finally:
            self._controls.discard(running.control)

    def _keep(self, batch_id: str, task: asyncio.Task[None]) -> None:
        self._tasks[batch_id] = task

        def over(done: asyncio.Task[None]) -> None:
            del self._tasks[batch_id]
            error = None if done.cancelled() else done.exception()
            if error is None:
                return
            _log.error("batch %s broke off: %s", batch_id, error)
            with contextlib.suppress(AideonError):
                is_elsewhere = batches.find_batch(self._ledger, batch_id).status == "running"
                if not is_elsewhere and not isinstance(error, LedgerError):
                    self._want(batch_id, "done")  # it would break off again

        task.add_done_callback(over)

    def _want(self, batch_id: str, intent: str) -> None:
        self._ledger.database.write(_WANT, {"batch_id": batch_id, "intent": intent})

    async def look(self) -> None:
        """Continue batches that no process has."""
        for row in () if self._is_leaving else self._ledger.select(_OPEN, {}):
            batch_id, workflow = row["batch_id"], self._workflows.get(row["workflow"])
            if workflow is None or batch_id in self._tasks:
                continue
            try:
                batch = batches.find_batch(self._ledger, batch_id)
            except BatchNotFound:
                continue
            if batch.status == "running":
                continue
            if batch.status == "completed" or batch.is_cancelled:
                self._want(batch_id, "done")
                continue
            try:
                running, _ = self._prepared(workflow, Path(row["folder"]))
            except (UserError, OSError) as error:
                self._want(batch_id, "done")
                _log.warning("batch %s does not continue: %s", batch_id, error)
                continue
            self._keep(batch_id, asyncio.create_task(self._to_end(running, None)))

    def leave(self) -> None:
        """Start no more items; those in progress end. A signal handler may call it."""
        self._is_leaving = True
        for control in self._controls:
            control.drain()

    async def drained(self) -> None:
        """Wait until no batch is in progress here."""
        while self._tasks:
            await asyncio.wait(set(self._tasks.values()))


def _answers(asked: Mapping[str, Sequence[Question]], answer: object) -> dict[str, Any]:
    """What each run is resumed with. An answer that names questions by their ids is for these alone.

    A run that the answer does not fit is left out; if it fits none, the error says why.
    """
    given = cast("Mapping[str, Any]", answer) if isinstance(answer, Mapping) else {}
    known = {one.id for some in asked.values() for one in some}
    by_id = given if given.keys() & known else None
    if by_id and (other := by_id.keys() - known):
        raise InputError(f"no item that waits asks the question {shown(min(other))}")
    found: dict[str, Any] = {}
    wrong = "a breakpoint can only be approved"
    for run_id, questions in asked.items():
        wanted = [one for one in questions if by_id is None or one.id in by_id]
        answers = {one.id: reading(one, by_id[one.id] if by_id else answer) for one in wanted}
        bad = (misfit(answers[one.id], one.schema) for one in wanted)
        if problem := next(filter(None, bad), None):
            wrong = problem
        elif answers:
            found[run_id] = answers
        elif not questions and given == {"approved": True}:
            found[run_id] = NOTHING  # it is at a breakpoint
    if not found:
        raise InputError(f"the answer fits no item that waits: {wrong}")
    return found


def _write(folder: Path, given: dict[str, Any], items: list[BatchItem]) -> None:
    folder.mkdir(mode=0o700, parents=True)
    (folder / "ask.json").write_text(json.dumps(given), "utf-8")
    with (folder / "items.jsonl").open("w", encoding="utf-8") as lines:
        for number, one in enumerate(items, 1):
            line = {"id": one.id or str(number), "task": one.task, **one.inputs}
            lines.write(json.dumps(line) + "\n")


_COLUMNS = "batch_id, user_id, workflow, intent, folder"
_BY_OUT = "SELECT batch_id FROM batches WHERE out_path = :out"
_ADD = (
    "INSERT INTO served_batches (batch_id, user_id, workflow, intent, folder)"
    " VALUES (:batch_id, :user_id, :workflow, 'run', :folder)"
)
_ONE = (
    f"SELECT {_COLUMNS} FROM served_batches WHERE batch_id = :batch_id AND user_id = :user_id"  # noqa: S608 - our names
    " AND intent <> 'deleted'"
)
_LIST = (
    f"SELECT {_COLUMNS} FROM served_batches WHERE user_id = :user_id AND batch_id < :before"  # noqa: S608 - our names
    " AND intent <> 'deleted' ORDER BY batch_id DESC LIMIT :most"
)
_OPEN = f"SELECT {_COLUMNS} FROM served_batches WHERE intent = 'run'"  # noqa: S608 - our names
_RUNS = "SELECT run_id FROM runs WHERE batch_id = :batch_id"
_WANT = "UPDATE served_batches SET intent = :intent WHERE batch_id = :batch_id"
