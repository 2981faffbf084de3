"""`aideon audit`: who changed what in the service."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

import typer

from aideon_agents.cli import options, output

app = typer.Typer(help="List and check the audit log of the service.", no_args_is_help=True)


@app.command("list")
def list_entries(limit: options.Limit = 20, as_json: options.AsJson = False) -> None:
    """List entries, the newest first."""
    from aideon_agents.access import audit

    with options.managed() as (ledger, _):
        found = audit.entries(ledger, most=limit)
    if as_json:
        output.document({"entries": found})
    elif found:
        rows = [
            (str(one["number"]), one["at"][:16].replace("T", " "), one["actor"], _done(one))
            for one in found
        ]
        output.table(("", "at (UTC)", "who", "what"), rows, whole=True)
    else:
        output.note("the audit log is empty: users, keys and flags were never changed")


@app.command()
def check(
    known: Annotated[
        str | None,
        typer.Option(
            metavar="DIGEST",
            help="A digest of `aideon audit head` that was kept: find out whether entries after it "
            "were cut off.",
        ),
    ] = None,
    as_json: options.AsJson = False,
) -> int:
    """Check that no entry was changed or removed. The exit code is 1 where one was."""
    from aideon_agents.access import audit

    with options.managed() as (ledger, by):
        found = audit.check(ledger, by.ring, known)
    if as_json:
        output.document({"whole": found.broken_at is None, **dataclasses.asdict(found)})
    elif found.broken_at is None:
        entries = f"{found.entries:,} {'entry' if found.entries == 1 else 'entries'}"
        checked = f"{found.entries - found.not_checked:,} of {entries} checked"
        output.line(f"{checked if found.not_checked else entries}: whole")
        if found.without_ring:
            output.note(
                f"{found.without_ring:,} were written without AIDEON_KEY_RING: keep `aideon audit head`"
                " elsewhere, or a person who can write to the ledger can replace them unseen"
            )
        if found.not_checked:
            output.note(f"{found.not_checked:,} need a key that AIDEON_KEY_RING lacks: not checked")
    else:
        output.complain(f"the audit log is broken at entry {found.broken_at}: {found.reason}")
    return options.DONE if found.broken_at is None else options.FAILED


@app.command()
def head(as_json: options.AsJson = False) -> None:
    """Print the digest of the newest entry, to keep elsewhere."""
    from aideon_agents.access import audit

    with options.managed() as (ledger, _):
        number, digest = audit.head(ledger)
    if as_json:
        output.document({"number": number, "digest": digest})
    elif digest:
        output.line(digest)
    else:
        output.note("the audit log is empty")


def _done(entry: dict[str, Any]) -> str:
    from aideon_agents.access import audit

    change, what = audit.change(entry), " ".join(filter(None, (entry["action"], entry["target"])))
    return f"{what} ({change})" if change else what
