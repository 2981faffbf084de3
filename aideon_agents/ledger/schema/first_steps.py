"""The first steps of the schema, which are released: they make the tables of runs, calls and batches."""

from __future__ import annotations

from typing import Protocol


class Executor(Protocol):
    """What a step runs its statements on."""

    def execute(self, sql: str, /) -> object: ...


def m001_runs(db: Executor) -> None:
    """One row per run: calls are looked up, reported and resumed by it.

    `host`, `pid` and `process_start` tell a live run from one whose process has ended.
    `output` and `results` hold content, so they stay empty unless content is recorded.
    The index serves the newest runs first, and pruning by date.
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


def m002_calls(db: Executor) -> None:
    """One row per attempt at a model: the only place where money is recorded.

    Costs of nodes, runs, days and models are sums over these rows, so that no two figures differ.
    The cost is whole nano-dollars, because sums of floats depend on their order; NULL is unknown.
    `run_id` is no foreign key: a call must be recorded even where its run is not.
    The indexes serve one run's calls in order, and reports over a period.
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


def m003_contents(db: Executor) -> None:
    """Prompts and answers of calls in runs that record content.

    A separate table, so that a ledger without such runs holds no text of its users, and content
    can be removed without touching what was spent. An answer is NULL until there is one.
    """
    db.execute("""
        CREATE TABLE contents (
            call_id TEXT PRIMARY KEY,
            prompt TEXT NOT NULL,
            answer TEXT
        )
    """)


def m004_resumable_runs(db: Executor) -> None:
    """What another process needs to resume a run, and which batch item the run is.

    `options` holds the run's options besides its task (chains by role, timeout, streaming), never
    the task itself: that is in its checkpoint, which is deleted when the run completes.
    `target_hash` and `graph` show whether its workflow has changed since. All are NULL in runs that
    were recorded before this step.
    """
    for column in ("options", "target_hash", "graph", "batch_id", "item_id"):
        db.execute(f"ALTER TABLE runs ADD COLUMN {column} TEXT")


def m005_budgets(db: Executor) -> None:
    """Limits, the sums that count against them, and the amounts held for calls in flight.

    `budgets` are the standing limits by scope; the two that every ledger begins with only warn.
    `accounts` add up what counts against one limit: of one run, one user, one UTC day. A sum over
    calls at each admission would take longer as the ledger grows. `limit_nanousd` is set where the
    limit belongs to that account alone (a run's own budget), else NULL. `told` has the highest
    percentage of each limit that an alert was sent for; a raised limit has another row. `holds` are
    the worst cases of calls in flight, kept after their end: `status` is held, settled, released
    (no request was sent), forfeited (its process is gone) or unknown (so is the call's cost); of
    these two the worst case counts as spent. `accounts` there is a JSON list. A process renews its
    holds until `expires_at`, in Unix seconds; `host`, `pid` and `process_start` show whether it is
    gone. The index leaves out settled holds, which are nearly all.
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


def m006_batches(db: Executor) -> None:
    """Batches, the status of each of their items, and results that are not in OUT yet.

    `identity` is a digest of what makes a batch the same batch; NULL: it was forgotten, so the same
    command begins another. `is_cancelled` is set by one process and read by another. `host`, `pid`,
    `process_start` and `seen_at` show whether a process is running it. `item_limit_nanousd` is the
    budget of each item when the batch ran last. An item has a row from its start on; one without is
    pending. `position` is its place in ITEMS, from 0. Of items with the same id only the first is
    run, the others are invalid. `outputs` holds results only until they can be written to OUT in
    order: results are content. The index finds the runs of an item, whose costs are the item's.
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


def m007_distributed_batches(db: Executor) -> None:
    """What workers need to know of a batch that they run, and why some cannot run it.

    `graph` is the plain model of the graph that its items run, kept once for all of them; NULL: it
    was not kept. `work` is the configuration of the batch as JSON: the hash of its workflow's file,
    tier, chains and limits; no tasks, inputs or keys. NULL: this process runs it itself.
    `is_cancelled` has a second value from here on, 2: items in flight are cancelled as well.
    `refusals` has a row for each worker that cannot run a batch, with one line that says why.
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


def m008_truncated_answers(db: Executor) -> None:
    """Which answers met `max_tokens`, and which feature of its model a call used.

    A stream that broke off was `truncated` before; it is `broken` from here on, because an answer
    that met `max_tokens` is truncated as well and yet complete. Of older calls only those whose
    provider said why they ended are known to be. `feature` is NULL where a call used none, and in
    calls that were recorded before this step.
    """
    db.execute("UPDATE calls SET status = 'broken' WHERE status = 'truncated'")
    db.execute("ALTER TABLE calls ADD COLUMN truncated INTEGER NOT NULL DEFAULT 0")
    db.execute("ALTER TABLE calls ADD COLUMN feature TEXT")
    db.execute("""
        UPDATE calls SET truncated = 1
        WHERE lower(finish_reason) IN ('length', 'max_tokens', 'model_length', 'max_output_tokens')
    """)


def m009_failed_node(db: Executor) -> None:
    """Which node failed a run; NULL also in runs that were recorded before this step."""
    db.execute("ALTER TABLE runs ADD COLUMN failed_node TEXT")


FIRST_STEPS = (
    *(m001_runs, m002_calls, m003_contents, m004_resumable_runs, m005_budgets, m006_batches),
    *(m007_distributed_batches, m008_truncated_answers, m009_failed_node),
)
