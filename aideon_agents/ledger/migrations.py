"""The ledger's tables, step by step.

A step that has been released is never changed: a ledger made by any older version is brought up to
date by the steps it lacks. A ledger with steps that are not named here comes from a newer version.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlite_utils import Migrations

if TYPE_CHECKING:
    from sqlite_utils import Database


def m001_runs(db: Database) -> None:
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


def m002_calls(db: Database) -> None:
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


def m003_contents(db: Database) -> None:
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


STEPS = (m001_runs, m002_calls, m003_contents)
MIGRATIONS = Migrations("aideon_agents")
for step in STEPS:
    MIGRATIONS()(step)


def from_newer_version(db: Database) -> list[str]:
    """The steps a ledger has taken that this version does not know, in their order."""
    known = {step.__name__ for step in STEPS}
    return [taken.name for taken in MIGRATIONS.applied(db) if taken.name not in known]
