"""`aideon costs`: what was spent, and what the figures suggest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aideon_agents.cli import options


def costs(
    by: Annotated[
        str,
        typer.Option(
            help="Group by node, role, model, provider, workflow, purpose, run, user, day or month."
        ),
    ] = "node",
    run: Annotated[str | None, typer.Option(help="Only this run: an id or `last`.")] = None,
    since: Annotated[
        str | None, typer.Option(help=f"From this UTC day or time: {options.PERIODS}.")
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="Up to this UTC day or time, in the same forms.")
    ] = None,
    top: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Only the N most expensive rows.")
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="PROVIDER:MODEL", help="Also show what the same tokens cost with this model."
        ),
    ] = None,
    advice: Annotated[
        bool, typer.Option("--advice", help="Print suggestions instead of figures (table or json).")
    ] = False,
    rehearsed: Annotated[
        bool, typer.Option("--rehearsed", help="Include rehearsed calls.")
    ] = False,
    form: Annotated[
        str,
        typer.Option(
            "-f",
            "--format",
            help="table, json, csv (an apostrophe marks a key that looks like a formula),"
            " or xlsx (all dimensions; needs -o).",
        ),
    ] = "table",
    out: Annotated[
        Path | None, typer.Option("-o", help="Write to this file instead of stdout.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as -f json.")] = False,
) -> None:
    """Show what was spent, by node or another dimension, the most expensive first."""
    from aideon_agents.cli import spending  # noqa: PLC0415 - help must not wait

    spending.show(
        spending.CostsOptions(
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
