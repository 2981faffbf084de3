"""`aideon backup` and `aideon restore`: the ledger in a file, with all that is kept beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aideon_agents.cli import options, output
from aideon_agents.errors import UserError


def backup(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="A new folder, or a new .tar or .tar.gz file.")
    ],
    as_json: options.AsJson = False,
) -> None:
    """Save the ledger with states, memory and artifacts. Runs and the service may go on meanwhile."""
    from aideon_agents.ledger.sqlite import backups

    ledger, artifacts = _places(f"pg_dump --format=custom --file={path} ADDRESS")
    done = backups.back_up(ledger, artifacts, path)
    figures = {"path": str(path), "made_at": done.made_at, "files": len(done.files)}
    if as_json:
        output.document({**figures, "bytes": done.bytes})
        return
    output.line(
        f"saved {ledger} in {path}: {output.counted(len(done.files), 'file')}, {done.bytes:,} bytes"
    )
    output.note(
        "not in it: AIDEON_KEY_RING and the addresses of alerts; keep a copy of them elsewhere"
    )


def restore(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="What `aideon backup` made.")],
    force: Annotated[
        bool, typer.Option("--force", help="Move a ledger that is there aside.")
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Put a backup in the place of the ledger. Stop the service and all runs before."""
    from aideon_agents.ledger.sqlite import backups

    ledger, artifacts = _places(f"pg_restore --clean --if-exists --dbname=ADDRESS {path}")
    done, aside = backups.restore(path, ledger, artifacts, force=force)
    if as_json:
        figures = {"ledger": str(ledger), "made_at": done.made_at, "files": len(done.files)}
        output.document({**figures, "bytes": done.bytes, "aside": [str(one) for one in aside]})
        return
    output.line(
        f"restored {ledger} as it was at {done.made_at}: {output.counted(len(done.files), 'file')},"
        f" {done.bytes:,} bytes"
    )
    for one in aside:
        output.note(f"what was there is now {one}: delete it when all is well")


def _places(instead: str) -> tuple[Path, Path | None]:
    """The file of the ledger, and the folder of artifacts that settings name."""
    from aideon_agents.ledger.postgres.address import names_a_server
    from aideon_agents.ledger.sqlite.database import ledger_path

    settings = options.settings()
    if names_a_server(settings.ledger):
        raise UserError(f"the ledger is on a Postgres server: use `{instead}`")
    return ledger_path(settings.ledger), settings.artifacts
