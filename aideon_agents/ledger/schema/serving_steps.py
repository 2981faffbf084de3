"""The tables of the service: runs that outlive a request, what they said, and threads."""

from __future__ import annotations

from aideon_agents.ledger.schema.first_steps import Executor


def m022_service(db: Executor) -> None:
    """What the service keeps of the runs that it started, so that every process can serve them.

    `served` has a row for each run of the service. `intent` is what is to become of it: `run`,
    `cancel`, `done` or `deleted`; a run that is to run and whose process is gone is adopted by
    another one. `adopted` counts how often that followed a crash. `renewed_at`, in Unix seconds,
    shows other machines that its process is alive. `metadata` and `feedback` are the caller's, as JSON.
    `served_batches` has the same for batches; `folder` is where the service keeps their files.
    `run_events` holds what happened in a run, in order from 1; number 0 is what was asked. They hold
    content, and are deleted soon after the run is over. `idempotency` holds the words of requests
    that must not start a second run, for a day.
    """
    db.execute("""
        CREATE TABLE served (
            run_id TEXT PRIMARY KEY,
            workflow TEXT NOT NULL,
            intent TEXT NOT NULL,
            adopted INTEGER NOT NULL DEFAULT 0,
            renewed_at DOUBLE PRECISION NOT NULL,
            metadata TEXT,
            feedback TEXT
        )
    """)
    db.execute("""
        CREATE TABLE served_batches (
            batch_id TEXT PRIMARY KEY,
            user_id TEXT NOT NULL,
            workflow TEXT NOT NULL,
            intent TEXT NOT NULL,
            folder TEXT NOT NULL,
            metadata TEXT
        )
    """)
    db.execute("CREATE INDEX served_batches_user ON served_batches (user_id, batch_id)")
    db.execute("CREATE INDEX served_open ON served (intent) WHERE intent IN ('run', 'cancel')")
    db.execute("""
        CREATE TABLE run_events (
            run_id TEXT NOT NULL,
            number INTEGER NOT NULL,
            at TEXT NOT NULL,
            kind TEXT NOT NULL,
            document TEXT NOT NULL,
            PRIMARY KEY (run_id, number)
        )
    """)
    _threads(db)


def _threads(db: Executor) -> None:
    db.execute("""
        CREATE TABLE idempotency (
            caller TEXT NOT NULL,
            word TEXT NOT NULL,
            digest TEXT NOT NULL,
            run_id TEXT NOT NULL,
            at TEXT NOT NULL,
            PRIMARY KEY (caller, word)
        )
    """)
    db.execute("""
        CREATE TABLE threads (
            thread_id TEXT PRIMARY KEY,
            user_id TEXT NOT NULL,
            workflow TEXT,
            metadata TEXT,
            created_at TEXT NOT NULL,
            updated_at TEXT NOT NULL
        )
    """)
    db.execute("CREATE INDEX threads_user ON threads (user_id, updated_at)")
    db.execute('CREATE INDEX runs_user ON runs ("user", run_id)')
    db.execute("CREATE INDEX runs_thread ON runs (thread) WHERE thread IS NOT NULL")
