"""Items that are due, as jobs in procrastinate's tables beside the ledger's.

Each batch has a queue of its own, so that a worker which cannot run a batch leaves its items to
others, and what is left of a batch is found and removed at once. A job holds an item's task and
inputs, and is deleted when the item has ended. Its locks name the batch and the item: no item is
queued twice, and none is run by two.

Procrastinate takes whoever finishes a job at their word. Here a worker must still hold it: one that
was stopped for a while, and whose jobs were given to others, must not take those away from them.

How long a worker may believe that its items are still its own.

Whoever gives no sign of life for some seconds loses them to others. A process that was stopped, or
cut off from the server, must find that out by its own clock before it asks any model again: what it
would go on with is run somewhere else by then.
"""

from __future__ import annotations

import contextlib
import json
import time
from typing import TYPE_CHECKING, Any, NoReturn, cast

import procrastinate
import psycopg
from procrastinate import exceptions, jobs, manager, schema

from aideon_agents.batch.items import Item
from aideon_agents.errors import LimitError, UserError
from aideon_agents.ledger.postgres.database import KEY, PostgresDatabase
from aideon_agents.ledger.postgres.refusals import explained
from aideon_agents.ledger.rows import CallStart
from aideon_agents.ledger.store import Ledger

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping, Sequence
    from typing import LiteralString


BEAT = 3.0
"""Seconds between two signs of life of a worker."""

GONE = 15.0
"""Seconds without one after which its items are given to others."""

_TASK = "aideon.item"
_PREFIX = "aideon:"
_POOL = 2
_FORGOTTEN = 86400.0
"""Seconds after which nothing is left of a worker that never said that it ends."""


class PutBack(Exception):  # noqa: N818 - it says what becomes of the job
    """The item was not run to its end, and somebody else is to do it."""


def needs_server(ledger: Ledger) -> PostgresDatabase:
    """The database of a ledger that can hold a queue."""
    if not isinstance(ledger.database, PostgresDatabase):
        refuse_file(ledger.database.name)
    return ledger.database


def refuse_file(name: object) -> NoReturn:
    """Refuse a ledger that can hold no queue."""
    raise UserError(
        f"the distributed engine needs a ledger on Postgres, and {name} is a file: set "
        "AIDEON_LEDGER=postgresql://user:password@host:5432/database"
    )


def queue_of(batch_id: str) -> str:
    """The name of a batch's queue."""
    return f"{_PREFIX}{batch_id}"


def batch_of(queue: str) -> str:
    """The batch whose queue has a name."""
    return queue.removeprefix(_PREFIX)


class Jobs(manager.JobManager):
    """Procrastinate's jobs, which only the worker that holds one ends or gives back."""

    async def finish_job(self, job: jobs.Job, status: jobs.Status, delete_job: bool) -> None:  # noqa: FBT001 - procrastinate's
        """Remove a job, if this worker still holds it; whatever came of it stands in the ledger."""
        del status, delete_job
        await self._change(_FINISH, id=job.id, worker_id=job.worker_id)

    async def retry_job(self, job: jobs.Job, *changes: Any, **more: Any) -> None:
        """Give a job back, if this worker still holds it."""
        del changes, more
        await self._change(_GIVE_BACK, id=job.id, worker_id=job.worker_id)

    async def prune_stalled_workers(self, seconds_since_heartbeat: float) -> list[int]:
        """Forget workers that have long been gone: one that comes back goes on under its id."""
        del seconds_since_heartbeat
        return await super().prune_stalled_workers(_FORGOTTEN)

    async def _change(self, sql: LiteralString, **values: Any) -> None:
        # What cannot be written now is found by the worker that still holds the job, or by others.
        with contextlib.suppress(exceptions.ConnectorException):
            await self.connector.execute_query_async(sql, **values)


def app_for(
    database: PostgresDatabase, run: Callable[[jobs.Job], Awaitable[None]] | None = None
) -> procrastinate.App:
    """Procrastinate's entrance to the queues beside a ledger. Their tables are made when missing."""
    _make_tables(database)
    connector = procrastinate.PsycopgConnector(
        kwargs=dict(database.address.parameters), min_size=1, max_size=_POOL
    )
    app = procrastinate.App(connector=connector)
    app.job_manager = Jobs(connector)
    if run is not None:

        async def item(context: procrastinate.JobContext, **_: Any) -> None:
            await run(context.job)

        app.task(name=_TASK, pass_context=True, retry=_Again())(item)
    return app


class _Again(procrastinate.BaseRetryStrategy):
    """Gives back what is to be run by somebody else, and nothing that failed."""

    def get_retry_decision(
        self, *, exception: BaseException, job: jobs.Job
    ) -> procrastinate.RetryDecision | None:
        del job
        now = procrastinate.RetryDecision(retry_in={"seconds": 0})
        return now if isinstance(exception, PutBack) else None


async def enqueue(
    app: procrastinate.App, batch_id: str, items: Sequence[Item], inputs: Mapping[str, Any]
) -> int:
    """Queue items, except for those that are queued."""
    locks = {_lock(batch_id, item.position): item for item in items}
    rows = await app.connector.execute_query_all_async(_THERE, locks=list(locks))
    there = {row["lock"] for row in rows}
    new = [
        jobs.Job(
            queue=queue_of(batch_id),
            lock=lock,
            queueing_lock=lock,
            task_name=_TASK,
            task_kwargs=cast("Any", _arguments(item, inputs)),
        )
        for lock, item in locks.items()
        if lock not in there
    ]
    if new:
        await app.job_manager.batch_defer_jobs_async(new)
    return len(new)


def _arguments(item: Item, inputs: Mapping[str, Any]) -> dict[str, Any]:
    # As text: Postgres takes neither NUL nor half a character nor NaN in a JSON value.
    given = json.dumps([item.task, {**inputs, **item.inputs}])
    return {"position": item.position, "item_id": item.item_id, "given": given}


def item_of(job: jobs.Job) -> Item:
    """The item of a job, with everything that it is given."""
    held = cast("dict[str, Any]", job.task_kwargs)
    task, inputs = json.loads(held["given"])
    return Item(held["position"], held["item_id"], task, inputs)


def _lock(batch_id: str, position: int) -> str:
    return f"{batch_id}/{position}"


def is_empty(ledger: Ledger, batch_id: str) -> bool:
    """Whether nothing of a batch is queued or being run."""
    return not ledger.select(_ANY, {"queue": queue_of(batch_id)})


def remove_waiting(ledger: Ledger, batch_id: str) -> None:
    """Take out of its queue what nobody has begun."""
    ledger.database.write(_REMOVE_WAITING, {"queue": queue_of(batch_id)})


def rescue(ledger: Ledger) -> int:
    """Give the items of workers that are gone to others."""
    return ledger.database.write(_RESCUE, {"prefix": _PREFIX, "gone": GONE})


def held_by(ledger: Ledger, worker_id: int) -> set[int]:
    """The jobs that stand under a worker's name."""
    rows = ledger.select(_HELD_BY, {"worker_id": worker_id})
    return {int(row["id"]) for row in rows}


def give_back(ledger: Ledger, worker_id: int, job_id: int) -> None:
    """Give a job back, if that worker still holds it."""
    ledger.database.write(_GIVE_BACK_ONE, {"worker_id": worker_id, "id": job_id})


def beat(ledger: Ledger, worker_id: int) -> None:
    """Say that a worker lives."""
    ledger.database.write(_BEAT, {"worker_id": worker_id})


def workers(ledger: Ledger) -> int:
    """How many workers have lately given a sign of life."""
    (row,) = ledger.select(_WORKERS, {"gone": GONE})
    return int(row["workers"])


def is_made(ledger: Ledger) -> bool:
    """Whether there are queues beside a ledger; looking makes none."""
    is_server = isinstance(ledger.database, PostgresDatabase)
    return is_server and bool(
        ledger.select("SELECT to_regclass('procrastinate_jobs') AS found")[0]["found"]
    )


@contextlib.contextmanager
def told(database: PostgresDatabase) -> Generator[None]:
    """What goes wrong with a queue is said as of the ledger beside it, in one line."""
    try:
        yield
    except exceptions.ConnectorException as error:
        raise explained(database.name, cast("Exception", error.__cause__ or error)) from error


@contextlib.asynccontextmanager
async def opened(app: procrastinate.App, database: PostgresDatabase) -> AsyncGenerator[None]:
    """Have connections to the queues while a block lasts."""
    with told(database):
        async with app.open_async():
            yield


def _make_tables(database: PostgresDatabase) -> None:
    """Make procrastinate's tables, by exactly one process."""
    try:
        with psycopg.connect(**cast("Any", database.address.parameters)) as connection:
            if _lacking(connection):
                connection.execute("SELECT pg_advisory_xact_lock(%s)", [KEY])
                for made_of in _lacking(connection):  # another process may have been here meanwhile
                    connection.execute(made_of)
    except psycopg.Error as error:
        raise explained(database.name, error) from error


def _lacking(connection: psycopg.Connection[Any]) -> list[LiteralString]:
    """What makes the tables that are missing."""
    steps: dict[str, LiteralString] = {
        "procrastinate_jobs": schema.SchemaManager.get_schema(),
        "aideon_jobs_lock": _MAKE_INDEX,
    }
    # Not to_regclass: in a transaction that has waited it still says what was before.
    found = connection.execute(_VISIBLE, [list(steps)]).fetchall()
    there = {name for (name,) in found}
    return [made_of for name, made_of in steps.items() if name not in there]


_VISIBLE = (
    "SELECT relname FROM pg_catalog.pg_class"
    " WHERE relname = ANY(%s) AND pg_catalog.pg_table_is_visible(oid)"
)
# Procrastinate compares each job with all that have its lock, and has no index for that: with 40,000
# jobs in the queue the next one took 800 ms.
_MAKE_INDEX = "CREATE INDEX aideon_jobs_lock ON procrastinate_jobs (lock)"
_THERE = (
    "SELECT queueing_lock AS lock FROM procrastinate_jobs"
    " WHERE status = 'todo' AND queueing_lock = ANY(%(locks)s)"
    " UNION SELECT lock FROM procrastinate_jobs WHERE status = 'doing' AND lock = ANY(%(locks)s)"
)
_FINISH = (
    "DELETE FROM procrastinate_jobs"
    " WHERE id = %(id)s AND status = 'doing' AND worker_id = %(worker_id)s"
)
_HELD_BY = "SELECT id FROM procrastinate_jobs WHERE status = 'doing' AND worker_id = :worker_id"
_GIVE_BACK = (
    "UPDATE procrastinate_jobs SET status = 'todo', worker_id = NULL, attempts = attempts + 1"
    " WHERE id = %(id)s AND status = 'doing' AND worker_id = %(worker_id)s"
)
_GIVE_BACK_ONE = (
    "UPDATE procrastinate_jobs SET status = 'todo', worker_id = NULL, attempts = attempts + 1"
    " WHERE id = :id AND status = 'doing' AND worker_id = :worker_id"
)
# One statement: a job that was given to somebody else meanwhile is looked at anew.
_RESCUE = (
    "UPDATE procrastinate_jobs AS jobs"
    " SET status = 'todo', worker_id = NULL, attempts = attempts + 1"
    " WHERE jobs.status = 'doing' AND starts_with(jobs.queue_name, :prefix)"
    " AND NOT EXISTS (SELECT 1 FROM procrastinate_workers AS workers"
    " WHERE workers.id = jobs.worker_id"
    " AND workers.last_heartbeat > NOW() - make_interval(secs => :gone))"
)
_BEAT = "UPDATE procrastinate_workers SET last_heartbeat = NOW() WHERE id = :worker_id"
_WORKERS = (
    "SELECT COUNT(*) AS workers FROM procrastinate_workers"
    " WHERE last_heartbeat > NOW() - make_interval(secs => :gone)"
)
_ANY = "SELECT 1 AS one FROM procrastinate_jobs WHERE queue_name = :queue LIMIT 1"
_REMOVE_WAITING = "DELETE FROM procrastinate_jobs WHERE queue_name = :queue AND status = 'todo'"


_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Goes on while the machine sleeps, where there is such a clock."""


class Lease:
    """Time that is left until others may take what this worker has."""

    def __init__(self) -> None:
        self._until = _now() + GONE - BEAT

    @property
    def is_over(self) -> bool:
        """Whether others may have taken it."""
        return _now() > self._until

    def renewed(self, asked_at: float) -> None:
        """Count from when the sign of life was sent, not from when it was received."""
        self._until = asked_at + GONE - BEAT

    @staticmethod
    def clock() -> float:
        """Seconds; what they count from means nothing."""
        return _now()


class Away(LimitError):  # noqa: N818 - it says what happened
    """This worker gave no sign of life for too long, so its items are somebody else's.

    Its kind is that of an interrupted run: whoever still holds the item runs it again.
    """

    def __init__(self) -> None:
        super().__init__(
            "this worker gave no sign of life for too long: its items are run by others",
            kind="interrupted",
            value=None,
            limit=GONE,
        )


class WorkersLedger(Ledger):
    """A ledger in which no call begins once the lease is over."""

    def __init__(self, place: Any, **more: Any) -> None:
        super().__init__(place, **more)
        self.lease = Lease()

    def start_call(self, start: CallStart, *, prompt: str | None = None) -> None:
        """Write a call's row, unless the call is not ours to make any more."""
        if self.lease.is_over:
            raise Away
        super().start_call(start, prompt=prompt)


def _now() -> float:
    return time.clock_gettime(_CLOCK)
