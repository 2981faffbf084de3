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
