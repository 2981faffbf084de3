"""The tables of media: what calls made, and how they were billed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aideon_agents.ledger.schema.first_steps import Executor

_COLUMNS = (
    "modality TEXT",
    "unit TEXT",
    "quantity INTEGER",
    "provider_job TEXT",
    "cost_reported INTEGER",
    "processing TEXT",
)


def m024_media(db: Executor) -> None:
    """What a call makes, by what it is billed, and the files that it made.

    `modality` is image, tts, stt or video; NULL: text. `quantity` is a whole number in the scale of its
    `unit` (see `rows.SCALES`). `provider_job` is the provider's id of a job, which outlives the process:
    the money that is held for such a call has no lease. `cost_reported`, in nano-dollars, is what the
    provider said it costs. `processing` is live or batch; NULL: live. An artifact is a file, named by its
    content; several calls may have made the same one.
    """
    for column in _COLUMNS:
        db.execute(f"ALTER TABLE calls ADD COLUMN {column}")
    db.execute("""
        CREATE TABLE artifacts (
            sha256 TEXT NOT NULL,
            call_id TEXT NOT NULL,
            run_id TEXT NOT NULL,
            mime TEXT NOT NULL,
            bytes INTEGER NOT NULL,
            width INTEGER,
            height INTEGER,
            duration_ms INTEGER,
            created_at TEXT NOT NULL,
            PRIMARY KEY (sha256, call_id)
        )
    """)
    db.execute("CREATE INDEX artifacts_run ON artifacts (run_id)")
    db.execute(
        "CREATE INDEX calls_provider_job ON calls (provider_job) WHERE provider_job IS NOT NULL"
    )


def m025_provider_batches(db: Executor) -> None:
    """Batches at a provider, and their lines: each is one attempt at a model.

    `status` of a job is made, running, settled or failed; `file_id` is the provider's id of what was
    uploaded, and `provider_job` that of its batch. Each is written before the next step. A line belongs
    to the n-th call of a node in a run, and has the call id of its attempt. `body` is the request, and
    NULL once the answer is there; `answer` is the provider's line. `state` is parked, sent, answered,
    undone (the provider did not come to it) or lost. A line is deleted when its run has ended.
    """
    db.execute("""
        CREATE TABLE provider_jobs (
            job_id TEXT PRIMARY KEY,
            batch_id TEXT NOT NULL,
            model TEXT NOT NULL,
            status TEXT NOT NULL,
            lines INTEGER NOT NULL,
            file_id TEXT,
            provider_job TEXT,
            error TEXT,
            made_at TEXT NOT NULL
        )
    """)
    db.execute("CREATE INDEX provider_jobs_batch ON provider_jobs (batch_id)")
    db.execute("""
        CREATE TABLE provider_lines (
            run_id TEXT NOT NULL,
            node_path TEXT NOT NULL,
            number INTEGER NOT NULL,
            batch_id TEXT NOT NULL,
            call_id TEXT NOT NULL,
            model TEXT NOT NULL,
            job_id TEXT,
            tries INTEGER NOT NULL,
            state TEXT NOT NULL,
            body TEXT,
            answer TEXT,
            PRIMARY KEY (run_id, node_path, number)
        )
    """)
    db.execute("CREATE INDEX provider_lines_batch ON provider_lines (batch_id, state)")
    db.execute("CREATE INDEX provider_lines_job ON provider_lines (job_id)")
    db.execute("CREATE INDEX provider_lines_call ON provider_lines (call_id)")
