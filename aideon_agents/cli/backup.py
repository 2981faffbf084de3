"""What is kept, and for how long: `aideon backup`, `aideon restore` and `aideon runs prune`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aideon_agents.cli import options, output
from aideon_agents.cli.costs import moments
from aideon_agents.errors import UserError
from aideon_agents.ledger.identity import now
from aideon_agents.ledger.selection import first_moment


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


def prune(
    before: Annotated[
        str,
        typer.Option(
            "--before", "--older-than", metavar="D", help=f"A UTC day or time: {options.PERIODS}."
        ),
    ],
    contents: Annotated[
        bool, typer.Option("--contents", help="Delete only prompts, answers and results.")
    ] = False,
    checkpoints: Annotated[
        bool, typer.Option("--checkpoints", help="Delete only states, questions and conversations.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Delete nothing.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Delete states, questions and recorded content of runs that ended before a day."""
    import asyncio

    from aideon_agents.ledger.checkpoints import prune as remove

    moment = first_moment(moments("--before", before, now())[0])
    both = contents == checkpoints
    which = {"contents": contents or both, "checkpoints": checkpoints or both, "dry_run": dry_run}
    with options.ledger() as ledger:
        done = asyncio.run(remove(ledger, moment, **which))
    if as_json:
        output.document({"before": moment, **done, "dry_run": dry_run})
        return
    output.line(
        f"{'would delete' if dry_run else 'deleted'}"
        f" from {output.counted(done['runs'], 'run')} that ended before {before}: "
        f"{output.counted(done['checkpoints'], 'state')} to resume from, "
        f"{output.counted(done['conversations'], 'conversation')}, "
        f"{output.counted(done['contents'], 'recorded prompt')} with answers, "
        f"{output.counted(done['results'], 'recorded result')}; rows and costs stay"
    )


def _places(instead: str) -> tuple[Path, Path | None]:
    """The file of the ledger, and the folder of artifacts that settings name."""
    from aideon_agents.ledger.postgres.address import names_a_server
    from aideon_agents.ledger.sqlite.database import ledger_path

    settings = options.settings()
    if names_a_server(settings.ledger):
        raise UserError(f"the ledger is on a Postgres server: use `{instead}`")
    return ledger_path(settings.ledger), settings.artifacts
