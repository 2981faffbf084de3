"""`aideon models`: the catalog of models.

The commands of other topics are in files of their own (`models_choose.py`) and are added in `app.py`.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from aideon_agents.cli import options, output
from aideon_agents.errors import ModelNameError, NoModel, UserError

if TYPE_CHECKING:
    from aideon_agents.models.catalog import Catalog, Entry

app = typer.Typer(help="See which models there are, and choose among them.", no_args_is_help=True)

Modality = Literal["text", "code", "vision", "image", "tts", "stt", "video"]
"""As in the catalog, which no command imports at its start."""
_Modality = Annotated[Modality | None, typer.Option(help="List only models for this.")]
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
    known = catalog()
    sellers = {one.provider: None for one in (*known.entries.values(), *known.families.values())}
    if provider not in (None, *sellers):
        raise UserError(
            f"--provider {provider}: the catalog has no model of it: use one of {', '.join(sellers)}"
        )
    found = [
        one
        for one in _listed(known, every=every)
        if modality in (None, one.modality) and provider in (None, one.provider)
    ]
    if as_json:
        output.document([document(one) for one in found])
        return
    if not found:
        output.note("no model of the catalog is like that: leave a flag out, or add --all")
        return
    output.table(
        ("model", "for", "tier", "", "in/out", "context"),
        [
            (one.name, one.modality, one.tier, _state(one), _price(one), _tokens(one.context))
            for one in found
        ],
        numbers=2,
    )
    output.note("prices are US dollars per million tokens")


@app.command()
def show(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="provider:model, or a family.")],
    as_json: options.AsJson = False,
) -> None:
    """Show what the catalog says of one model."""
    found = _found(model)
    if as_json:
        output.document(document(found))
        return
    rows = [(field, _text(value)) for field, value in document(found).items()]
    output.table(("field", found.name), [row for row in rows if row[1] and row[0] != "name"])


@app.command()
def refresh(as_json: options.AsJson = False) -> int:
    """Compare the catalog with the lists of models of all providers and deployments that have a key."""
    from aideon_agents.models.bridge import blocking
    from aideon_agents.models.catalog.refresh import drift
    from aideon_agents.models.providers import providers

    settings = options.settings()
    if settings.offline:
        raise UserError("AIDEON_OFFLINE is set, and this asks providers: unset it")
    known = providers(settings).values()
    every = [one for one in known if one.row.dialect != "replicate"]
    asked = [one for one in every if one.available]
    for one in known:
        if one.available and one not in every:
            output.note(f"{one.name} is not asked: it has no list of its text models")
    if not asked:
        missing = " or ".join(dict.fromkeys(one.missing for one in every))
        raise NoModel(f"no provider can be asked for its models: set {missing}")
    changes, failed = blocking(drift(catalog(), asked))
    for name, why in failed.items():
        output.complain(f"{name}: {why}")
    read = [one.name for one in asked if one.name not in failed]
    if as_json:
        names, found = [one.name for one in asked], [one._asdict() for one in changes]
        output.document({"asked": names, "failed": failed, "changes": found})
    elif changes:
        output.table(
            ("", "model", "what", "catalog", "provider"),
            [[text or "-" for text in one] for one in changes],
        )
    if read and not as_json:
        output.note(f"{output.counted(len(changes), 'difference')} from {', '.join(read)}")
    return options.FAILED if failed else options.DONE


def _found(name: str) -> Entry:
    """The entry of a model or of a family; an error names the ones that are like it."""
    known = catalog()
    aliases: dict[str, Entry] = {}
    for one in (*known.entries.values(), *known.families.values()):
        for alias in filter(None, (one.name, one.id, one.family)):
            aliases.setdefault(alias.lower(), one)
    wanted = name.strip().lower()
    if wanted in aliases:
        return aliases[wanted]
    near = difflib.get_close_matches(wanted, aliases)
    like = " or ".join(dict.fromkeys(aliases[one].name for one in near))
    hint = f"did you mean {like}?" if like else "see aideon models list --all"
    raise ModelNameError(f"the catalog has no model {name!r}: {hint}")


def _text(value: object) -> str:
    """A field in one line; empty: it says nothing."""
    if isinstance(value, dict):
        fields = cast("dict[str, object]", value).items()
        return ", ".join(f"{key} {_text(one)}" for key, one in fields if _text(one))
    if isinstance(value, list):
        return "; ".join(map(_text, cast("list[object]", value)))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)


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
    return f"{prices.input}/{'-' if prices.output is None else prices.output}"


def _tokens(count: int | None) -> str:
    if count is None:
        return "-"
    return f"{count / 1e6:.3g}M" if count >= 10**6 else f"{count / 1e3:.0f}k"


def _state(entry: Entry) -> str:
    """What is particular about it; empty: its provider offers it."""
    ends = entry.lifecycle
    status = {"active": "", "ending": "ends"}.get(ends.status or "", ends.status)
    return "family" if entry.family else f"{status or ''} {ends.date or ''}".strip()
