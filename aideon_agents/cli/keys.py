"""`aideon keys`: the API keys of the service."""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
from typing import TYPE_CHECKING, Annotated

import typer

from aideon_agents.cli import options, output
from aideon_agents.errors import InputError

if TYPE_CHECKING:
    from aideon_agents.access.api_keys import ApiKey

app = typer.Typer(help="List, make, replace and revoke keys of the service.", no_args_is_help=True)

_ENDS = "2027-01-31, 2027-01-31T08:00, 90d or 12h"
_Key = Annotated[
    str, typer.Argument(metavar="KEY", help="The id of a key, or the beginning of one.")
]


@app.command("list")
def list_keys(
    user: Annotated[str | None, typer.Option(help="Only the keys of this user.")] = None,
    as_json: options.AsJson = False,
) -> None:
    """List keys, the newest first. What they are made of cannot be shown again."""
    from aideon_agents.access import api_keys, users

    with options.managed() as (ledger, _):
        if user is not None:
            users.find(ledger, user)
        found = api_keys.listed(ledger, user)
    if as_json:
        output.document({"keys": list(map(dataclasses.asdict, found))})
    elif found:
        rows = [
            (one.key_id, one.user, ",".join(one.scopes), one.state, one.used_on or "-")
            for one in found
        ]
        output.table(("key", "user", "scopes", "state", "used on"), rows, whole=True)
    else:
        output.note("there are no keys: make one with `aideon keys make USER`")


@app.command()
def make(
    user: Annotated[str, typer.Argument(metavar="USER", help="Whose key it is.")],
    name: Annotated[str | None, typer.Option(help="What the key is for.")] = None,
    scopes: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="runs, models, usage and keys, with commas; or admin alone. Unless given, all that "
            "the user's role has but admin.",
        ),
    ] = None,
    workflow: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Run only this workflow. May be repeated."),
    ] = None,
    expires: Annotated[
        str | None, typer.Option(metavar="D", help=f"When it ends: {_ENDS}.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Make a key and print it. It is shown this once."""
    from aideon_agents.access import api_keys

    ends = None if expires is None else _end(expires)
    given = None if scopes is None else [word.strip() for word in scopes.split(",")]
    with options.managed() as (ledger, by):
        made, secret = api_keys.make(
            ledger, user, by, name=name, scopes=given, workflows=workflow, expires_at=ends
        )
    _show(made, secret, as_json=as_json)


@app.command()
def rotate(
    key: _Key,
    grace: Annotated[
        int | None,
        typer.Option(
            metavar="S",
            help="Seconds that the old key still works (3600 unless given); 0 ends it at once.",
        ),
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Replace a key by a new one with the same rights, and print that one."""
    from aideon_agents.access import api_keys

    with options.managed() as (ledger, by):
        seconds = api_keys.GRACE_S if grace is None else grace
        made, secret = api_keys.rotate(ledger, api_keys.named(ledger, key), by, grace_s=seconds)
    _show(made, secret, as_json=as_json)


@app.command()
def revoke(key: _Key, as_json: options.AsJson = False) -> None:
    """End a key at once, in every process."""
    from aideon_agents.access import api_keys

    with options.managed() as (ledger, by):
        ended = api_keys.revoke(ledger, api_keys.named(ledger, key), by)
    if as_json:
        output.document(dataclasses.asdict(ended))
    else:
        output.note(f"the key {ended.key_id} of {ended.user} is revoked")


def _show(made: ApiKey, secret: str, *, as_json: bool) -> None:
    if as_json:
        output.document({"key": secret, **dataclasses.asdict(made)})
        return
    output.line(secret)
    output.note(f"the key {made.key_id} of {made.user}; it is not shown again")


def _end(text: str) -> dt.datetime:
    """A moment to come; a day that is given is part of the key's life."""
    try:
        if ahead := re.fullmatch(r"(\d+)([dh])", text):
            hours = int(ahead[1]) * (24 if ahead[2] == "d" else 1)
            return dt.datetime.now(dt.UTC) + dt.timedelta(hours=hours)
        if "T" not in text and " " not in text:
            day = dt.date.fromisoformat(text) + dt.timedelta(days=1)
            return dt.datetime.combine(day, dt.time(), dt.UTC)
        moment = dt.datetime.fromisoformat(text)
        return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
    except (ValueError, OverflowError):
        raise InputError(f"--expires {text}: write {_ENDS} (UTC)") from None
