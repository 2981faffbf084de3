"""Items that are due, as jobs in procrastinate's tables, and the lease of the worker that has them.

Each batch has its own queue: a worker that cannot run a batch leaves its items to others, and the
rest of a batch is found and deleted in one statement. A job holds the task and inputs of an item, and
is deleted when the item has ended. Its locks name the batch and the item, so no item is queued twice
or run by two workers.

A worker sends heartbeats. Without one for some seconds, its items are given to others. A process
that was suspended or cut off from the server has to notice this by its own clock before it calls a
model again, because another worker runs its items by then. So it may call models only while its
lease lasts.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from typing import TYPE_CHECKING, Any, NoReturn, cast

import procrastinate
import psycopg
from procrastinate import exceptions, jobs, manager, schema

from aideon_agents.batch.items import Item
from aideon_agents.errors import LimitError, UserError
from aideon_agents.ledger.postgres.database import PostgresDatabase
from aideon_agents.ledger.postgres.functions import KEY
from aideon_agents.ledger.postgres.pool import BUSY, LIMITS, RETRY, explained
from aideon_agents.ledger.rows import Call
from aideon_agents.ledger.store import Ledger
from aideon_agents.models.pictures import reference, referred

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping, Sequence
    from typing import LiteralString


HEARTBEAT_EVERY = 3.0
"""Seconds between two heartbeats of a worker."""

GONE_AFTER = 15.0
"""Seconds without a heartbeat after which the items of a worker are given to others."""

_TASK = "aideon.item"
_PREFIX = "aideon:"
_POOL = 2
"""Connections of procrastinate: its statements are short, and items take seconds."""


class Requeue(Exception):  # noqa: N818 - a signal to procrastinate, not a failure
    """The item was not run to its end: put its job back into the queue."""


def require_server(ledger: Ledger) -> PostgresDatabase:
    """The database of a ledger on a server, which can hold a queue."""
    if not isinstance(ledger.database, PostgresDatabase):
        refuse_file(ledger.database.name)
    return ledger.database


def refuse_file(name: object) -> NoReturn:
    """Refuse a ledger in a file, which cannot hold a queue."""
    raise UserError(
        f"the distributed engine needs a ledger on Postgres, and {name} is a file: set "
        "AIDEON_LEDGER=postgresql://user:password@host:5432/database"
    )


def queue_of(batch_id: str) -> str:
    """The name of the queue of a batch."""
    return f"{_PREFIX}{batch_id}"


def batch_of(queue: str) -> str:
    """The batch of a queue."""
    return queue.removeprefix(_PREFIX)


class FencedJobs(manager.JobManager):
    """Procrastinate's job manager, which ends or requeues a job only for the worker that holds it."""

    async def finish_job(self, job: jobs.Job, status: jobs.Status, delete_job: bool) -> None:  # noqa: FBT001 - procrastinate's
        """Delete a job, if its worker still holds it; its result is in the ledger."""
        del status, delete_job
        await self._change(_FINISH, job.id, job.worker_id)

    async def retry_job(self, job: jobs.Job, *changes: Any, **more: Any) -> None:
        """Requeue a job, if its worker still holds it."""
        del changes, more
        await self._change(_REQUEUE, job.id, job.worker_id)

    async def requeue(self, job_id: int, worker_id: int) -> None:
        """Requeue a job, if a worker still holds it."""
        await self._change(_REQUEUE, job_id, worker_id)

    async def held_by(self, worker_id: int) -> set[int]:
        """The ids of the jobs that a worker holds."""
        rows = await self.connector.execute_query_all_async(_HELD_BY, worker_id=worker_id)
        return {int(row["id"]) for row in rows}

    async def _change(self, sql: LiteralString, job_id: int | None, worker_id: int | None) -> None:
        # A job that cannot be changed now is found later, by this worker or by others.
        with contextlib.suppress(exceptions.ConnectorException):
            await self.connector.execute_query_async(sql, id=job_id, worker_id=worker_id)


def app_for(
    database: PostgresDatabase, run: Callable[[jobs.Job], Awaitable[None]] | None = None
) -> procrastinate.App:
    """Procrastinate's app for the queues beside a ledger; missing tables are created.

    `run` is called with each job; None: this process only queues them.
    """
    _create_tables(database)
    # Each statement commits by itself: a transaction that stays open while this event loop does
    # something else would keep its locks, and what waits for them may be on the same loop.
    connector = procrastinate.PsycopgConnector(
        kwargs={**database.address.parameters, "autocommit": True},
        configure=_limit,
        min_size=1,
        max_size=_POOL,
    )
    app = procrastinate.App(connector=connector)
    app.job_manager = FencedJobs(connector)
    if run is not None:

        async def item(context: procrastinate.JobContext, **_: Any) -> None:
            await run(context.job)

        retry = procrastinate.RetryStrategy(retry_exceptions={Requeue})
        app.task(name=_TASK, pass_context=True, retry=retry)(item)
    return app


async def _limit(connection: psycopg.AsyncConnection[Any]) -> None:
    await connection.execute(LIMITS)


async def enqueue(
    app: procrastinate.App, batch_id: str, items: Sequence[Item], inputs: Mapping[str, Any]
) -> int:
    """Queue the items that are neither queued nor being run; returns how many those are."""
    locks = {f"{batch_id}/{item.position}": item for item in items}
    rows = await app.connector.execute_query_all_async(_PRESENT, locks=list(locks))
    present = {row["lock"] for row in rows}
    new = [
        jobs.Job(
            queue=queue_of(batch_id),
            lock=lock,
            queueing_lock=lock,
            task_name=_TASK,
            task_kwargs=cast("Any", _arguments(item, inputs)),
        )
        for lock, item in locks.items()
        if lock not in present
    ]
    if new:
        await app.job_manager.batch_defer_jobs_async(new)
    return len(new)


async def enqueue_patiently(
    app: procrastinate.App, batch_id: str, items: Sequence[Item], inputs: Mapping[str, Any]
) -> None:
    """Queue items; a server that restarts is waited for, as the ledger does."""
    give_up = time.monotonic() + BUSY
    while True:
        try:
            await enqueue(app, batch_id, items, inputs)
        except exceptions.ConnectorException as error:
            is_away = isinstance(error.__cause__, psycopg.OperationalError)
            if not is_away or time.monotonic() > give_up:
                raise
            await asyncio.sleep(RETRY)
        else:
            return


def _arguments(item: Item, inputs: Mapping[str, Any]) -> dict[str, Any]:
    # As text: Postgres accepts neither NUL nor a lone surrogate nor NaN in a JSON value.
    images = [reference(one, whole=True) for one in item.images]
    given = json.dumps([item.task, {**inputs, **item.inputs}, images])
    where = {"position": item.position, "line": item.line}
    return {**where, "item_id": item.item_id, "given": given}


def item_of(job: jobs.Job) -> Item:
    """The item of a job, with the inputs of all items."""
    arguments = cast("dict[str, Any]", job.task_kwargs)
    task, inputs, *images = json.loads(arguments["given"])
    line = arguments.get("line", 0)  # a job of an earlier version has none, and no pictures
    pictures = referred(images[0] if images else (), checks=False)
    position, item_id = arguments["position"], arguments["item_id"]
    return Item(position, item_id, task, inputs, line, images=pictures)


def is_empty(ledger: Ledger, batch_id: str) -> bool:
    """Whether no item of a batch is queued or being run."""
    return not ledger.select(_ANY, {"queue": queue_of(batch_id)})


def delete_queued(ledger: Ledger, batch_id: str) -> None:
    """Delete the jobs of a batch that no worker has started."""
    ledger.database.write(_DELETE_QUEUED, {"queue": queue_of(batch_id)})


def requeue_stalled(ledger: Ledger) -> int:
    """Requeue the jobs of workers whose heartbeats are missing."""
    return ledger.database.write(_REQUEUE_STALLED, {"prefix": _PREFIX, "gone": GONE_AFTER})


def send_heartbeat(ledger: Ledger, worker_id: int) -> None:
    """Record that a worker is alive."""
    ledger.database.write(_HEARTBEAT, {"worker_id": worker_id})


def live_workers(ledger: Ledger) -> int:
    """The number of workers that are alive."""
    (row,) = ledger.select(_LIVE_WORKERS, {"gone": GONE_AFTER})
    return int(row["workers"])


def tables_exist(ledger: Ledger) -> bool:
    """Whether there are queues beside a ledger."""
    is_server = isinstance(ledger.database, PostgresDatabase)
    return is_server and bool(
        ledger.select("SELECT to_regclass('procrastinate_jobs') AS found")[0]["found"]
    )


@contextlib.contextmanager
def ledger_errors(database: PostgresDatabase) -> Generator[None]:
    """Raise errors of the queue as errors of the ledger beside it, in one line."""
    try:
        yield
    except exceptions.ConnectorException as error:
        raise explained(database.name, cast("Exception", error.__cause__ or error)) from error


@contextlib.asynccontextmanager
async def opened(app: procrastinate.App, database: PostgresDatabase) -> AsyncGenerator[None]:
    """Open the connections to the queues for a block."""
    with ledger_errors(database):
        async with app.open_async():
            yield


def _create_tables(database: PostgresDatabase) -> None:
    """Create procrastinate's tables, in exactly one process."""
    try:
        with psycopg.connect(**cast("Any", database.address.parameters)) as connection:
            connection.execute(LIMITS)
            if _missing(connection):
                connection.execute("SELECT pg_advisory_xact_lock(%s)", [KEY])
                for statement in _missing(connection):  # unless another process was first
                    connection.execute(statement)
    except psycopg.Error as error:
        raise explained(database.name, error) from error


def _missing(connection: psycopg.Connection[Any]) -> list[LiteralString]:
    """The statements that create what is missing."""
    steps: dict[str, LiteralString] = {
        "procrastinate_jobs": schema.SchemaManager.get_schema(),
        "aideon_jobs_lock": _CREATE_INDEX,
    }
    # Not to_regclass: in a transaction that has waited for the lock it shows the state before.
    found = connection.execute(_VISIBLE, [list(steps)]).fetchall()
    present = {name for (name,) in found}
    return [statement for name, statement in steps.items() if name not in present]


_VISIBLE = (
    "SELECT relname FROM pg_catalog.pg_class"
    " WHERE relname = ANY(%s) AND pg_catalog.pg_table_is_visible(oid)"
)
# To fetch a job, procrastinate compares its lock with those of all jobs, and has no index for that:
# with 40,000 jobs in the queue one fetch took 800 ms.
_CREATE_INDEX = "CREATE INDEX aideon_jobs_lock ON procrastinate_jobs (lock)"
_PRESENT = (
    "SELECT queueing_lock AS lock FROM procrastinate_jobs"
    " WHERE status = 'todo' AND queueing_lock = ANY(%(locks)s)"
    " UNION SELECT lock FROM procrastinate_jobs WHERE status = 'doing' AND lock = ANY(%(locks)s)"
)
_FINISH = (
    "DELETE FROM procrastinate_jobs"
    " WHERE id = %(id)s AND status = 'doing' AND worker_id = %(worker_id)s"
)
_REQUEUE = (
    "UPDATE procrastinate_jobs SET status = 'todo', worker_id = NULL, attempts = attempts + 1"
    " WHERE id = %(id)s AND status = 'doing' AND worker_id = %(worker_id)s"
)
_HELD_BY = "SELECT id FROM procrastinate_jobs WHERE status = 'doing' AND worker_id = %(worker_id)s"
# One statement, so a job that another worker has taken meanwhile is not taken from it. Locked jobs are
# skipped: the lock may be held by procrastinate on this event loop, which would wait for itself.
_REQUEUE_STALLED = (
    "UPDATE procrastinate_jobs"
    " SET status = 'todo', worker_id = NULL, attempts = attempts + 1"
    " WHERE id IN (SELECT jobs.id FROM procrastinate_jobs AS jobs"
    " WHERE jobs.status = 'doing' AND starts_with(jobs.queue_name, :prefix)"
    " AND NOT EXISTS (SELECT 1 FROM procrastinate_workers AS workers"
    " WHERE workers.id = jobs.worker_id"
    " AND workers.last_heartbeat > NOW() - make_interval(secs => :gone))"
    " FOR UPDATE OF jobs SKIP LOCKED)"
)
_HEARTBEAT = "UPDATE procrastinate_workers SET last_heartbeat = NOW() WHERE id = :worker_id"
_LIVE_WORKERS = (
    "SELECT COUNT(*) AS workers FROM procrastinate_workers"
    " WHERE last_heartbeat > NOW() - make_interval(secs => :gone)"
)
_ANY = "SELECT 1 AS one FROM procrastinate_jobs WHERE queue_name = :queue LIMIT 1"
_DELETE_QUEUED = "DELETE FROM procrastinate_jobs WHERE queue_name = :queue AND status = 'todo'"


_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""A clock that also counts while the machine sleeps, where there is one."""


class Lease:
    """The time in which no other worker may take the items of this one."""

    def __init__(self) -> None:
        self._until = self.clock() + GONE_AFTER - HEARTBEAT_EVERY

    @property
    def is_over(self) -> bool:
        """Whether other workers may have taken the items."""
        return self.clock() > self._until

    def renew(self, sent_at: float) -> None:
        """Start the lease again, from when the heartbeat was sent, not from when it was confirmed."""
        self._until = sent_at + GONE_AFTER - HEARTBEAT_EVERY

    @staticmethod
    def clock() -> float:
        """Seconds from an arbitrary start."""
        return time.clock_gettime(_CLOCK)


class LeaseExpired(LimitError):  # noqa: N818 - it says what happened
    """This worker sent no heartbeat for too long, so other workers run its items.

    Its kind is that of an interrupted run: the worker that holds the item runs it again.
    """

    def __init__(self) -> None:
        super().__init__(
            "this worker sent no heartbeat for too long: other workers run its items",
            kind="interrupted",
            value=None,
            limit=GONE_AFTER,
        )


class LeasedLedger(Ledger):
    """The ledger of a worker; no call starts once the lease is over."""

    def __init__(self, place: Any, **more: Any) -> None:
        super().__init__(place, **more)
        self.lease = Lease()

    def start_call(self, start: Call, *, prompt: str | None = None) -> None:
        """Write the row of a call, unless the lease is over."""
        if self.lease.is_over:
            raise LeaseExpired
        super().start_call(start, prompt=prompt)
