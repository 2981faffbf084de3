"""`aideon models`: the catalog of models.

The commands of other topics are in files of their own (`models_choose.py`) and are added in `app.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from aideon_agents.cli import options, output

if TYPE_CHECKING:
    from aideon_agents.models.catalog import Catalog, Entry

app = typer.Typer(help="See which models there are, and choose among them.", no_args_is_help=True)

_Modality = Annotated[
    Literal["text", "code", "vision", "image", "tts", "stt", "video"] | None,
    typer.Option(help="List only models for this."),
]
_Provider = Annotated[
    str | None, typer.Option(metavar="NAME", help="List only models of this provider.")
]


@app.command("list")
def list_models(
    modality: _Modality = None,
    provider: _Provider = None,
    every: Annotated[
        bool, typer.Option("--all", help="List retired models and families as well.")
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """List the models of the catalog."""
    found = [
        one
        for one in _listed(catalog(), every=every)
        if modality in (None, one.modality) and provider in (None, one.provider)
    ]
    if as_json:
        output.document([document(one) for one in found])
        return
    if not found:
        output.note("no model of the catalog is like that: leave a flag out, or add --all")
        return
    output.table(
        ("model", "for", "tier", "size", "in / out", "context", "state"),
        [
            (
                one.name,
                one.modality,
                one.tier,
                one.rung or "-",
                _price(one),
                _tokens(one.context),
                _state(one),
            )
            for one in found
        ],
    )
    output.note("prices are US dollars per million tokens")


def catalog() -> Catalog:
    """The catalog of the settings."""
    from aideon_agents.models.catalog import load

    settings = options.settings()
    return load(settings.catalog, settings.profile)


def document(entry: Entry) -> dict[str, Any]:
    """All that the catalog says of a model, for JSON."""
    return {**entry.model_dump(mode="json", by_alias=True), "id": entry.id}


def _listed(known: Catalog, *, every: bool) -> list[Entry]:
    if every:
        return [*known.entries.values(), *known.families.values()]
    if known.profile == "seed":
        return [one for one in known.entries.values() if one.origin == "seed"]
    return [one for one in known.entries.values() if one.lifecycle.status != "retired"]


def _price(entry: Entry) -> str:
    prices = entry.prices
    if prices is None or prices.input is None:
        return "-"
    return f"{prices.input} / {'-' if prices.output is None else prices.output}"


def _tokens(count: int | None) -> str:
    return "-" if count is None else f"{count:,}"


def _state(entry: Entry) -> str:
    ends = entry.lifecycle
    return "family" if entry.family else f"{ends.status or '-'} {ends.date or ''}".rstrip()
