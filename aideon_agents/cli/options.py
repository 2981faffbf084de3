"""Flags that several commands take, each said in one place.

They are names, so that a command's signature reads as its list of flags.
"""

from __future__ import annotations

from typing import Annotated

import typer

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
