"""`aideon costs`: what was spent, and what the figures advise."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aideon_agents.cli import options


def costs(
    by: Annotated[
        str,
        typer.Option(help="node, role, model, provider, workflow, purpose, run, user, day, month."),
    ] = "node",
    run: Annotated[str | None, typer.Option(help="Of this run alone: an id, or last.")] = None,
    since: Annotated[
        str | None, typer.Option(help=f"From this UTC day or time on, or {options.PERIODS} ago.")
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="Up to this UTC day or this time, written the same ways.")
    ] = None,
    top: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="The N dearest rows alone.")
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="PROVIDER:MODEL", help="Show the same tokens at this model's price as well."
        ),
    ] = None,
    advice: Annotated[
        bool, typer.Option("--advice", help="Say what the figures advise instead (table or json).")
    ] = False,
    rehearsed: Annotated[
        bool, typer.Option("--rehearsed", help="Rehearsed calls as well.")
    ] = False,
    form: Annotated[
        str,
        typer.Option(
            "-f",
            "--format",
            help="table, json, csv (a key that could be a formula begins with an apostrophe),"
            " or xlsx (every dimension, needs -o).",
        ),
    ] = "table",
    out: Annotated[Path | None, typer.Option("-o", help="Write to this file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as -f json.")] = False,
) -> None:
    """Show what was spent, by node or any other dimension, the dearest first."""
    from aideon_agents.cli import spending  # noqa: PLC0415 - help must not wait

    spending.show(
        spending.Asked(
            by=by,
            run=run,
            since=since,
            until=until,
            top=top,
            against=against,
            advice=advice,
            rehearsed=rehearsed,
            form="json" if as_json else form,
            out=out,
        )
    )
