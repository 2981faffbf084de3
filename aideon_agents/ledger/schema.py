"""The ledger's tables, step by step.

A step that has been released is never changed: a ledger made by any older version is brought up to
date by the steps it lacks. A ledger with steps that are not named here comes from a newer version.

The ledger's tables on a server: the same steps as in a file, taken by exactly one process.

The steps are written once, in SQLite's words. Postgres has the same words but for the types: its
INTEGER is too short for nano-dollars, and it orders text as some language does, where the ledger
compares ids and times by their characters. Which steps were taken stands in a table of ours, by
the names that they have everywhere.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from sqlite_utils import Migrations

from aideon_agents.errors import LedgerError
from aideon_agents.ledger.database import Database, Statements
from aideon_agents.ledger.identity import now, utc_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlite_utils import Database as SqliteDatabase


def m001_runs(db: SqliteDatabase) -> None:
    """One row per run: calls are looked up, reported and resumed by it.

    `host`, `pid` and `process_start` tell a run that goes on from one whose process is gone.
    `output` and `results` hold content, so they stay empty unless content is recorded.
    The index serves the newest first, and pruning by date.
    """
    db.execute("""
        CREATE TABLE runs (
            run_id TEXT PRIMARY KEY,
            workflow TEXT NOT NULL,
            target TEXT,
            status TEXT NOT NULL,
            stop_reason TEXT,
            error TEXT,
            error_type TEXT,
            user TEXT,
            tier TEXT,
            thread TEXT,
            rehearsed INTEGER NOT NULL,
            host TEXT NOT NULL,
            pid INTEGER NOT NULL,
            process_start TEXT,
            started_at TEXT NOT NULL,
            ended_at TEXT,
            output TEXT,
            results TEXT
        )
    """)
    db.execute("CREATE INDEX runs_started_at ON runs (started_at)")


def m002_calls(db: SqliteDatabase) -> None:
    """One row per attempt at a model: the only place where money is written down.

    Nodes, runs, days and models are sums over these rows, so that no two figures can differ.
    The cost is whole nano-dollars, because sums of floats depend on their order; NULL is unknown.
    `run_id` refers to no row by force: a call must be recorded even where its run is not.
    The indexes serve one run's calls in order, and reports over a time.
    """
    db.execute("""
        CREATE TABLE calls (
            call_id TEXT PRIMARY KEY,
            run_id TEXT NOT NULL,
            node_path TEXT NOT NULL,
            role TEXT NOT NULL,
            round INTEGER NOT NULL,
            purpose TEXT,
            candidate INTEGER NOT NULL,
            attempt INTEGER NOT NULL,
            provider TEXT NOT NULL,
            requested_model TEXT NOT NULL,
            response_model TEXT,
            status TEXT NOT NULL,
            error_type TEXT,
            error TEXT,
            finish_reason TEXT,
            shortened INTEGER NOT NULL DEFAULT 0,
            input_tokens INTEGER,
            output_tokens INTEGER,
            cache_read_tokens INTEGER,
            cache_creation_tokens INTEGER,
            reasoning_tokens INTEGER,
            usage_source TEXT NOT NULL DEFAULT 'none',
            cost_nanousd INTEGER,
            price_source TEXT,
            started_at TEXT NOT NULL,
            duration_ms INTEGER,
            time_to_first_token_ms INTEGER,
            rehearsed INTEGER NOT NULL
        )
    """)
    db.execute("CREATE INDEX calls_run_id ON calls (run_id, started_at)")
    db.execute("CREATE INDEX calls_started_at ON calls (started_at)")


def m003_contents(db: SqliteDatabase) -> None:
    """What was asked and answered, of calls whose run was told to record content.

    A table of its own, so that a ledger without such runs holds no word of anybody's, and content
    can be removed without touching what was spent. An answer is NULL until there is one.
    """
    db.execute("""
        CREATE TABLE contents (
            call_id TEXT PRIMARY KEY,
            prompt TEXT NOT NULL,
            answer TEXT
        )
    """)


def m004_resumable_runs(db: SqliteDatabase) -> None:
    """What a run needs to go on in another process, and which batch it belongs to.

    `options` holds what it was told besides its task (chains by role, timeout, streaming), never
    what was asked: that lies in its checkpoint, which is deleted when it completes. `target_hash`
    and `graph` tell whether its workflow has changed since. All are NULL in runs of before.
    """
    for column in ("options", "target_hash", "graph", "batch_id", "item_id"):
        db.execute(f"ALTER TABLE runs ADD COLUMN {column} TEXT")


def m005_budgets(db: SqliteDatabase) -> None:
    """Limits that stand, what counts against them, and what is held for calls under way.

    `budgets` are the standing limits by scope; the two that every ledger begins with only warn.
    `accounts` add up what counts against one limit: one run, one user, one UTC day. A sum over
    calls per admission would grow with the ledger. `limit_nanousd` is set where the limit belongs
    to that account alone (a run's own budget), else NULL. `told` has the highest percentage of a
    limit that was told of: a limit that is raised is another, and tells anew. `holds` are the worst
    cases of calls under way, kept after their end: `status` is held, settled, released (nothing
    was asked), forfeited (its process is gone) or unknown (nobody could say what the call cost);
    of these two the worst case counts as spent. `accounts` there is a JSON list. A hold is renewed
    by its process until `expires_at`, in Unix seconds; `host`, `pid` and `process_start` tell when
    that is gone. The index leaves out what is settled, which is nearly all.
    """
    db.execute("""
        CREATE TABLE budgets (
            scope TEXT PRIMARY KEY,
            limit_nanousd INTEGER NOT NULL,
            warns INTEGER NOT NULL
        )
    """)
    db.execute("""
        INSERT INTO budgets (scope, limit_nanousd, warns)
        VALUES ('day', 5000000000, 1), ('month', 100000000000, 1)
    """)
    db.execute("""
        CREATE TABLE accounts (
            account TEXT PRIMARY KEY,
            limit_nanousd INTEGER,
            spent_nanousd INTEGER NOT NULL,
            held_nanousd INTEGER NOT NULL
        )
    """)
    db.execute("""
        CREATE TABLE told (
            account TEXT NOT NULL,
            limit_nanousd INTEGER NOT NULL,
            percent INTEGER NOT NULL,
            PRIMARY KEY (account, limit_nanousd)
        )
    """)
    db.execute("""
        CREATE TABLE holds (
            call_id TEXT PRIMARY KEY,
            run_id TEXT,
            node_path TEXT NOT NULL,
            provider TEXT NOT NULL,
            taken_at TEXT NOT NULL,
            amount_nanousd INTEGER NOT NULL,
            accounts TEXT NOT NULL,
            status TEXT NOT NULL,
            expires_at DOUBLE PRECISION NOT NULL,
            host TEXT NOT NULL,
            pid INTEGER NOT NULL,
            process_start TEXT
        )
    """)
    db.execute("CREATE INDEX holds_open ON holds (run_id) WHERE status <> 'settled'")
    # Chosen because a budget was nearly used up, though the chain has a better model.
    db.execute("ALTER TABLE calls ADD COLUMN economized INTEGER NOT NULL DEFAULT 0")


def m006_batches(db: SqliteDatabase) -> None:
    """Batches, where each of their items stands, and results that are not in OUT yet.

    `identity` is a digest of what makes a batch the same batch; NULL: it was forgotten, so the same
    command begins another. `is_cancelled` is asked for by one process and seen by another. `host`,
    `pid`, `process_start` and `seen_at` tell whether somebody runs it. `item_limit_nanousd` is each
    item's budget when it ran last. An item has a row from its start on; one without is pending.
    `position` is its place in ITEMS, from 0. Of items with the same id only the first is run, the
    others are invalid. `outputs` holds what came of items whose turn in OUT has not come, and no
    longer than that: results are content. The index finds an item's runs, whose costs are its own.
    """
    db.execute("""
        CREATE TABLE batches (
            batch_id TEXT PRIMARY KEY,
            identity TEXT,
            workflow TEXT NOT NULL,
            target TEXT,
            rehearsed INTEGER NOT NULL,
            engine TEXT NOT NULL,
            items INTEGER NOT NULL,
            item_limit_nanousd INTEGER,
            out_path TEXT NOT NULL,
            status TEXT NOT NULL,
            stop_reason TEXT,
            is_cancelled INTEGER NOT NULL,
            host TEXT NOT NULL,
            pid INTEGER NOT NULL,
            process_start TEXT,
            started_at TEXT NOT NULL,
            seen_at TEXT NOT NULL,
            ended_at TEXT
        )
    """)
    db.execute("CREATE UNIQUE INDEX batches_identity ON batches (identity)")
    db.execute("""
        CREATE TABLE items (
            batch_id TEXT NOT NULL,
            position INTEGER NOT NULL,
            item_id TEXT NOT NULL,
            status TEXT NOT NULL,
            attempts INTEGER NOT NULL,
            run_id TEXT,
            error TEXT,
            error_type TEXT,
            PRIMARY KEY (batch_id, position)
        )
    """)
    db.execute(
        "CREATE UNIQUE INDEX items_id ON items (batch_id, item_id) WHERE status <> 'invalid'"
    )
    db.execute("""
        CREATE TABLE outputs (
            batch_id TEXT NOT NULL,
            position INTEGER NOT NULL,
            document TEXT NOT NULL,
            PRIMARY KEY (batch_id, position)
        )
    """)
    db.execute("CREATE INDEX runs_item ON runs (batch_id, item_id) WHERE batch_id IS NOT NULL")


def m007_distributed_batches(db: SqliteDatabase) -> None:
    """What workers need to know of a batch that they run, and why some of them do not.

    `graph` is the plain model of what its items run, kept once for all of their runs; NULL: nobody
    kept it.
    `work` is what the batch was told, as JSON: the hash of its workflow's file, tier, chains and
    limits; no tasks, inputs or keys. NULL: this process runs it itself. `is_cancelled` has a second
    value from here on, 2: what is in flight is cut off as well. `refusals` has a row for each worker
    that cannot run a batch, with one line that says why.
    """
    db.execute("ALTER TABLE batches ADD COLUMN work TEXT")
    db.execute("ALTER TABLE batches ADD COLUMN graph TEXT")
    db.execute("""
        CREATE TABLE refusals (
            batch_id TEXT NOT NULL,
            host TEXT NOT NULL,
            pid INTEGER NOT NULL,
            reason TEXT NOT NULL,
            refused_at TEXT NOT NULL,
            PRIMARY KEY (batch_id, host, pid)
        )
    """)


STEPS = (
    m001_runs,
    m002_calls,
    m003_contents,
    m004_resumable_runs,
    m005_budgets,
    m006_batches,
    m007_distributed_batches,
)
MIGRATIONS = Migrations("aideon_agents")
for step in STEPS:
    MIGRATIONS()(step)


def from_newer_version(db: SqliteDatabase) -> list[str]:
    """The steps a ledger has taken that this version does not know, in their order."""
    known = {step.__name__ for step in STEPS}
    return [taken.name for taken in MIGRATIONS.applied(db) if taken.name not in known]


Step: TypeAlias = "Callable[[Any], None]"
"""Makes what one version added, on something that has `execute`."""

_OURS = {"INTEGER": "BIGINT", "TEXT": 'TEXT COLLATE "C"', "user": '"user"'}
_WORD = re.compile(r"\b(?:INTEGER|TEXT|user(?= TEXT))\b")

# Not to_regclass: in a transaction that has waited it still says what was before.
_EXISTS = (
    "SELECT relname FROM pg_catalog.pg_class"
    " WHERE relname = 'aideon_steps' AND pg_catalog.pg_table_is_visible(oid)"
)
_MAKE = 'CREATE TABLE aideon_steps (name TEXT COLLATE "C" PRIMARY KEY, taken_at TEXT NOT NULL)'
_TAKEN = "SELECT name FROM aideon_steps ORDER BY taken_at, name"
_TAKE = "INSERT INTO aideon_steps (name, taken_at) VALUES (:name, :taken_at)"


class _InPostgres:
    """What a step runs its statements on."""

    def __init__(self, tx: Statements) -> None:
        self._tx = tx

    def execute(self, sql: str) -> None:
        """Run a statement that is written for SQLite."""
        self._tx.write(_WORD.sub(lambda word: _OURS[word[0]], sql), {})


def bring_up_to_date(database: Database) -> None:
    """Take the steps that a ledger lacks, all of them or none."""
    if _lacking(database, database.name):
        with database.transaction() as tx:
            if not _is_made(tx):
                tx.write(_MAKE, {})
            for step in _lacking(tx, database.name):  # another process may have been here meanwhile
                step(cast("Any", _InPostgres(tx)))
                tx.write(_TAKE, {"name": step.__name__, "taken_at": utc_text(now())})


def table_names() -> list[str]:
    """The tables that the steps make."""
    names = _Names()
    for step in STEPS:
        step(cast("Any", names))
    return names.found


class _Names:
    """Hears which tables a step makes."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def execute(self, sql: str) -> None:
        self.found += re.findall(r"CREATE TABLE (\w+)", sql)


def _lacking(statements: Statements, name: str) -> list[Step]:
    """The steps that have not been taken, in their order."""
    taken: list[str] = []
    if _is_made(statements):
        taken = [row["name"] for row in statements.select(_TAKEN, {})]
    known = {step.__name__ for step in STEPS}
    if unknown := [name for name in taken if name not in known]:
        raise LedgerError(
            f"the ledger {name} was made by a newer version ({unknown[-1]}):"
            " upgrade aideon-agents, or name another database with AIDEON_LEDGER"
        )
    return [step for step in STEPS if step.__name__ not in taken]


def _is_made(statements: Statements) -> bool:
    return bool(statements.select(_EXISTS, {}))
