"""`aideon cache`: the answers that are kept, what they have saved, and deleting them."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from aideon_agents.cli import options, output
from aideon_agents.errors import InputError
from aideon_agents.ledger.money import usd, usd_text

app = typer.Typer(
    help="Show and delete kept answers (see --cache of run and batch).", no_args_is_help=True
)


@app.command()
def stats(as_json: options.AsJson = False) -> None:
    """Show how many answers are kept, and what calls that used them have saved."""
    from aideon_agents.ledger import answers

    with options.ledger() as ledger:
        found = answers.figures(ledger.database)
    saved, complete = usd(found["saved"]), not found["unknown"]
    if as_json:
        output.document(
            {
                **{name: found[name] for name in ("entries", "bytes", "hits")},
                "saved_usd": usd_text(saved),
                "complete": complete,
            }
        )
        return
    output.table(
        ("answers", "bytes", "hits", "saved"),
        [
            (
                *(f"{found[name]:,}" for name in ("entries", "bytes", "hits")),
                output.money(saved, complete=complete),
            )
        ],
        numbers=4,
    )
    if not found["entries"]:
        output.note("no answers are kept: `aideon run TARGET --cache 1d` keeps them")


@app.command()
def clear(
    older: Annotated[
        str | None,
        typer.Option(metavar="AGE", help="Only answers older than this: 90s, 30m, 12h, 1d or 1w."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Only answers of this provider:model.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Delete kept answers. The rows of calls, and what was saved, stay."""
    from aideon_agents.ledger import answers

    until = None if older is None else time.time() - answers.age_seconds(older, "--older")
    if model is not None and not all(model.partition(":")):
        raise InputError(f"--model takes provider:model, not {model!r}")
    with options.ledger() as ledger:
        done = answers.clear(ledger.database, until=until, model=model)
    if as_json:
        output.document(done)
        return
    output.note(f"deleted {output.counted(done['entries'], 'answer')}, {done['bytes']:,} bytes")
