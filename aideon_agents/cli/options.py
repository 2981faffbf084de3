"""Flags that several commands take, each said in one place.

They are names, so that a command's signature reads as its list of flags.

What several commands read from the words that follow them.

What commands open: the settings, with `.env` below them, and the ledger.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aideon_agents.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aideon_agents.ledger.store import Ledger
    from aideon_agents.settings import Settings


PERIODS = "today, yesterday, this-month, last-month, 7d or 24h"
"""What `--since`, `--until` and `--before` take besides a day and a time; any number of days and hours."""

Target = Annotated[str, typer.Argument(help="brief, file.py:graph, ...")]
Parameters = Annotated[
    list[str] | None, typer.Option("-p", metavar="KEY=VALUE", help="Sets an input.")
]
Tier = Annotated[str | None, typer.Option(help="free, premium or enterprise.")]
User = Annotated[str | None, typer.Option(help="Who it is for.")]
Models = Annotated[
    list[str] | None,
    typer.Option(metavar="ROLE=MODEL[,MODEL]", help="Replaces a role's chain of models."),
]
RecordContent = Annotated[
    bool, typer.Option("--record-content", help="Keep prompts and answers in the ledger.")
]


def pairs(words: Sequence[str] | None, flag: str, *, may_be_empty: bool = False) -> dict[str, str]:
    """Read `KEY=VALUE`, any number of times."""
    found: dict[str, str] = {}
    for word in words or []:
        key, equals, value = word.partition("=")
        if not (key and equals and (value or may_be_empty)):
            raise InputError(f"{flag} takes KEY=VALUE, not {word!r}")
        found[key] = value
    return found


def chains(words: Sequence[str] | None) -> dict[str, list[str]]:
    """Read `--model ROLE=MODEL[,MODEL]`, any number of times."""
    return {role: names.split(",") for role, names in pairs(words, "--model").items()}


def why_rehearsed(settings: Settings, *, asked: bool, elsewhere: bool = False) -> str | None:
    """Why answers are worked out by rule; None: they are not."""
    if asked:
        return "as asked"
    if settings.offline:
        return "AIDEON_OFFLINE is set"
    if not (settings.can_call or elsewhere):
        return "no provider has a key (set TOGETHER_API_KEY)"
    return None


def rehearsing(why: str) -> str:
    """The line that says that nothing is real."""
    return f"rehearsing: {why}; answers are worked out by rule and nothing is paid"


def settings() -> Settings:
    """The environment, and below it the `.env` of the working directory."""
    from aideon_agents.settings import load  # noqa: PLC0415 - help must not wait

    return load(Path(".env"))


def ledger() -> Ledger:
    """The ledger that the settings name."""
    from aideon_agents.ledger.store import Ledger  # noqa: PLC0415 - help must not wait

    return Ledger.from_url(settings().ledger)
