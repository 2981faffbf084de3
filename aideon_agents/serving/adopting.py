"""Adopts runs of the service whose process has ended, and cancels those of this process.

A process that drains, crashes or is killed leaves runs that are still to run. Another one continues
them from their last checkpoint: what was paid for is not paid again. Of several processes that try,
the ledger lets one.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import time
from typing import TYPE_CHECKING

from aideon_agents.access.callers import Caller
from aideon_agents.errors import AideonError, Conflict, LedgerError, UserError
from aideon_agents.ledger.identity import is_gone, now, this_process, utc_text
from aideon_agents.serving import events, served
from aideon_agents.serving.batches import Batches
from aideon_agents.serving.launching import Launcher, StartRun
from aideon_agents.serving.live import LiveRuns
from aideon_agents.serving.workflows import Workflow, Workflows

if TYPE_CHECKING:
    from aideon_agents.ledger.database import Row, Statements
    from aideon_agents.ledger.rows import Run

_log = logging.getLogger("aideon_agents.serving")

_LOOK_EVERY = 0.5
"""Seconds between two looks at what is to become of runs."""
_RENEW_EVERY = 10.0
_SILENT = 60.0
"""Seconds after which a run is adopted whose process is on another machine and shows no life."""
_MOST_CRASHES = 3
"""How often a run is adopted after a crash. It may be the run that ends the process."""
_PRUNE_EVERY = 60.0
KEPT = dt.timedelta(minutes=10)
"""For how long the events of a run are kept after it is over."""
_WORDS_KEPT = dt.timedelta(hours=24)


class Keeper:
    """Looks after the open runs of the service, in the background."""

    def __init__(
        self, live: LiveRuns, launcher: Launcher, workflows: Workflows, batches: Batches
    ) -> None:
        self._live = live
        self._batches = batches
        self._ledger = live.ledger
        self._launcher = launcher
        self._workflows = workflows
        self._renewed = self._pruned = 0.0

    async def keep(self) -> None:
        """Look until it is cancelled. A ledger that cannot be used now is tried again."""
        while True:
            try:
                await self.look()
                await self._batches.look()
            except LedgerError as error:
                _log.warning("the open runs cannot be looked after now: %s", error)
            except AideonError:
                _log.exception("an open run cannot be looked after")
            await asyncio.sleep(_LOOK_EVERY)

    async def look(self) -> None:
        """Interrupt what is to be cancelled, and adopt what no process has."""
        self._tidy()
        for row in served.open_rows(self._ledger):
            is_ours = row["run_id"] in self._live.ids
            if row["intent"] == "cancel":
                if is_ours:
                    self._live.interrupt(row["run_id"])
                else:
                    self._cancel(row)
            elif not is_ours and not self._live.is_draining:
                await self._adopt(row)

    def _tidy(self) -> None:
        at = time.monotonic()
        if at - self._renewed >= _RENEW_EVERY and (ids := self._live.ids):
            served.renew(self._ledger, ids)
            self._renewed = at
        if at - self._pruned >= _PRUNE_EVERY:
            moment = now()
            with self._ledger.database.transaction() as tx:
                kept = utc_text(moment - KEPT), utc_text(moment - _WORDS_KEPT)
                served.forget_before(tx, *kept)
            self._pruned = at

    def _cancel(self, row: Row) -> None:
        """Cancel a run that no process works on."""
        if row["status"] == "running" and not _is_left(row):
            return  # its process will see it
        with self._ledger.database.transaction() as tx:
            if row["status"] == "running" and not served.free(tx, row, "cancelled"):
                return
            if row["status"] != "running":
                tx.write(_CANCELLED, {"run_id": row["run_id"], "at": utc_text(now())})
            served.want(tx, row["run_id"], "done", if_is="cancel")

    async def _adopt(self, row: Row) -> None:
        run_id, workflow = row["run_id"], self._workflows.get(row["workflow"])
        if workflow is None:
            return  # a process that runs it will see it
        if row["status"] == "running":
            if not _is_left(row):
                return
            with self._ledger.database.transaction() as tx:
                if not served.free(tx, row, "interrupted"):
                    return
                served.adopted(tx, run_id)
                if row["adopted"] >= _MOST_CRASHES:
                    served.want(tx, run_id, "done")
                    _log.error("run %s has ended its process too often: not continued", run_id)
            return  # the next look continues it
        if row["stop_reason"] != "interrupted":
            served.want(self._ledger.database, run_id, "done", if_is="run")
            return
        caller = Caller(row["user"] or "", "member", row["tier"] or "free")
        try:
            running = self._launcher.resumed(workflow, caller, run_id)
            await self._live.launch(running, lambda _: None)
            _log.info("run %s continues in this process", run_id)
        except UserError as error:
            seen = self._ledger.find_run(run_id)
            if seen.status != "running" and not await self._begins_again(workflow, caller, seen):
                served.want(self._ledger.database, run_id, "done", if_is="run")
                _log.warning("run %s does not continue: %s", run_id, error)

    async def _begins_again(self, workflow: Workflow, caller: Caller, seen: Run) -> bool:
        """Begin a run again whose process ended before its first checkpoint and its first call."""
        run_id, asked = seen.run_id, events.asked(self._ledger, seen.run_id)
        if not asked or self._ledger.calls(run_id):
            return False
        running = self._launcher.prepared(
            workflow,
            caller,
            StartRun.model_validate(asked),
            stream=bool((seen.options or {}).get("stream")),
            rehearse=seen.rehearsed,
            run_id=run_id,
        )

        def first(tx: Statements) -> None:
            if not served.unmake(tx, {"run_id": run_id, "ended_at": seen.ended_at}):
                raise Conflict(f"run {run_id} has begun again elsewhere")

        await self._live.launch(running, first)
        return True


_CANCELLED = (
    "UPDATE runs SET status = 'cancelled', stop_reason = 'cancelled', ended_at = :at"
    " WHERE run_id = :run_id AND status IN ('waiting', 'stopped', 'cancelled')"
    " AND COALESCE(stop_reason, '') IN ('', 'interrupted')"
)


def _is_left(row: Row) -> bool:
    """Whether the process of a run has ended, or shows no life on another machine."""
    if row["host"] == this_process()["host"]:
        return is_gone(row)
    return time.time() - row["renewed_at"] > _SILENT
