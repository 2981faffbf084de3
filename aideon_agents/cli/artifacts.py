"""`aideon artifacts`: list, export and prune the files that runs have made."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aideon_agents.cli import options, output
from aideon_agents.errors import InputError, NotFound

if TYPE_CHECKING:
    from aideon_agents.ledger.store import Ledger
    from aideon_agents.media.artifacts import Artifacts

app = typer.Typer(
    help="List, export and prune the files that runs have made.", no_args_is_help=True
)


def _opened() -> tuple[Ledger, Artifacts]:
    from aideon_agents.media.artifacts import Artifacts

    return (ledger := options.ledger()), Artifacts.of(options.settings(), ledger)


@app.command("list")
def list_(
    run: Annotated[str | None, typer.Option(metavar="RUN", help="Only of this run.")] = None,
    limit: options.Limit = 50,
    as_json: options.AsJson = False,
) -> None:
    """List files, the newest first, each with the run that made it."""
    from aideon_agents.cli.media import artifact_document, described
    from aideon_agents.media.artifacts import artifact_in, listed

    ledger, files = _opened()
    with ledger:
        of_run = None if run is None else ledger.find_run(run).run_id
        rows = listed(ledger, of_run, limit)
    if as_json:
        output.document(
            [
                {
                    **artifact_document(one := artifact_in(row), files.path(one)),
                    "run_id": row["run_id"],
                    "call_id": row["call_id"],
                    "created_at": row["created_at"],
                    "is_there": files.path(one).is_file(),
                }
                for row in rows
            ]
        )
        return
    if not rows:
        output.note("there are no files: make one with `aideon image PROMPT`")
        return
    for row in rows:
        one = artifact_in(row)
        gone = "" if files.path(one).is_file() else ", deleted"
        output.line(f"{one.sha256}  {described(one)}{gone}")
        output.line(f"    {row['created_at'][:16].replace('T', ' ')} UTC, run {row['run_id']}")


@app.command()
def export(
    sha256: Annotated[str, typer.Argument(help="The file, by its digest or the beginning of it.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Where to copy it.")],
    as_json: options.AsJson = False,
) -> None:
    """Copy a file."""
    from aideon_agents.cli.media import artifact_document
    from aideon_agents.media.artifacts import artifact_in, beginning_with

    ledger, files = _opened()
    with ledger:
        found = {row["sha256"]: artifact_in(row) for row in beginning_with(ledger, sha256)}
    if len(found) != 1:
        what = f"several files begin with {sha256!r}: write more of it"
        none = f"no run made a file {sha256!r}: `aideon artifacts list` shows them"
        raise NotFound(what if found else none)
    (one,) = found.values()
    where = files.path(one)
    if not where.is_file():
        raise NotFound(f"the file {one.sha256} was deleted: its row is still there")
    to = out / where.name if out.is_dir() else out
    try:
        shutil.copyfile(where, to)
    except OSError as error:
        raise InputError(f"{to} cannot be written: {error.strerror or error}") from None
    if as_json:
        output.document(artifact_document(one, to))
    else:
        output.line(str(to))


@app.command()
def prune(
    before: Annotated[
        str, typer.Option(metavar="D", help=f"A UTC day or time: {options.PERIODS}.")
    ],
    as_json: options.AsJson = False,
) -> None:
    """Delete files of runs that ended before a day, and recordings that were given before it."""
    from aideon_agents.cli.costs import moments
    from aideon_agents.ledger.identity import now
    from aideon_agents.ledger.selection import first_moment
    from aideon_agents.media.artifacts import prunable, uploaded

    moment = first_moment(moments("--before", before, now())[0])
    ledger, files = _opened()
    with ledger:
        given = uploaded(files, ledger, moment)
        deleted = [
            size for one in prunable(ledger, moment) if (size := files.delete(one)) is not None
        ]
    for path in given:
        deleted.append(path.stat().st_size)
        path.unlink()
    if as_json:
        output.document({"before": moment, "files": len(deleted), "bytes": sum(deleted)})
        return
    output.line(
        f"deleted {output.counted(len(deleted), 'file')} ({sum(deleted):,} bytes) of runs that ended "
        f"before {before}; the rows and costs stay"
    )
