"""`aideon flags`: the feature flags of the service."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated

import typer

from aideon_agents.cli import options, output
from aideon_agents.errors import InputError

if TYPE_CHECKING:
    from aideon_agents.access.flags import FlagState

app = typer.Typer(help="List and set the feature flags of the service.", no_args_is_help=True)

_EVERYONE = 100


@app.command("list")
def list_flags(as_json: options.AsJson = False) -> None:
    """List the flags."""
    from aideon_agents.access import flags

    with options.managed() as (ledger, _):
        found = flags.listed(ledger)
    if as_json:
        output.document({"flags": list(map(dataclasses.asdict, found))})
        return
    rows = [(one.name, _value(one), flags.MEANINGS[one.name]) for one in found]
    output.table(("flag", "is", "where it is on"), rows, whole=True)


@app.command("set")
def set_flag(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The flag.")],
    value: Annotated[
        str,
        typer.Argument(
            metavar="VALUE", help="on, off, or the percentage of the users whom it is on for."
        ),
    ],
    as_json: options.AsJson = False,
) -> None:
    """Set a flag. It applies from the next request on."""
    from aideon_agents.access import flags

    word = value.strip().lower().removesuffix("%").strip()
    is_share = word.isascii() and word.isdigit() and int(word) <= _EVERYONE
    if not is_share and word not in ("on", "off"):
        raise InputError(f"a flag is set to on, off or a percentage from 0 to 100, not {value!r}")
    with options.managed() as (ledger, by):
        share = int(word) if is_share else None
        changed = flags.change(ledger, name, by, is_on=word != "off", share=share)
    if as_json:
        output.document(dataclasses.asdict(changed))
    else:
        output.note(f"{changed.name} is {_value(changed)}")


def _value(flag: FlagState) -> str:
    if flag.on and flag.share is not None:
        return f"on for {flag.share} %"
    return "on" if flag.on else "off"
