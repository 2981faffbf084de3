"""`aideon doctor`: check what works here, and say how to repair the rest."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import typer

from aideon_agents.cli import options, output

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aideon_agents.models.providers import Provider
    from aideon_agents.settings import Settings

_PARTS = ("aideon-agents", "langchain-core", "langgraph", "genai-prices")


_Finding: TypeAlias = tuple[str, Literal["ok", "missing", "broken"], str]
"""What was checked, its state, and details. `missing` is not configured, which is allowed; `broken`
needs a repair."""


def doctor(
    live: Annotated[
        bool, typer.Option("--live", help="Make one small paid call per provider that has a key.")
    ] = False,
    as_json: options.AsJson = False,
) -> int:
    """Check versions, the ledger, alert channels, keys and endpoints."""
    settings = options.settings()
    findings = [*_versions(), *_ledger(settings), *_files(settings), *_providers(settings)]
    if live:
        findings += _calls(settings)
    if as_json:
        output.document(
            [{"what": what, "state": state, "detail": detail} for what, state, detail in findings]
        )
    else:
        output.table(
            ("", "what", "detail"), [(state, what, detail) for what, state, detail in findings]
        )
        if not settings.can_call:
            output.note("without a key or a local server, `aideon run` rehearses and costs nothing")
    return 1 if any(state == "broken" for _, state, _ in findings) else 0


def _versions() -> Iterator[_Finding]:
    from importlib.metadata import version

    python = ".".join(str(part) for part in sys.version_info[:3])
    yield "python", "ok", python
    for name in _PARTS:
        yield name, "ok", version(name)


def _ledger(settings: Settings) -> Iterator[_Finding]:
    from aideon_agents.errors import LedgerError
    from aideon_agents.ledger.budgets.alerts import channels
    from aideon_agents.ledger.store import Ledger

    try:
        with Ledger.from_url(settings.ledger) as ledger:
            ledger.database.check()
            (row,) = ledger.select("SELECT COUNT(*) AS runs FROM runs")
            # The address of a server contains a password; its name does not.
            where = settings.ledger if ledger.path else ledger.database.name
            # An address contains a secret: only its line and its service are shown.
            places, problem = channels(ledger.budgets.folder)
    except LedgerError as error:
        yield "ledger", "broken", str(error)
        return
    yield "ledger", "ok", f"{where}, {output.counted(row['runs'], 'run')}"
    yield "alerts", "ok", f"to {', '.join(('the log', *places))}"
    if problem:
        yield "alert channels", "broken", problem


def _files(settings: Settings) -> Iterator[_Finding]:
    """The files of the user's own that decide which model is asked, if one cannot be used."""
    from aideon_agents.errors import UserError
    from aideon_agents.models.catalog import load
    from aideon_agents.models.learning.router import Router
    from aideon_agents.models.routing import rules

    for what, read in (
        ("catalog", lambda: load(settings.catalog, settings.profile)),
        ("routing", lambda: rules.load(settings.catalog)),
        ("router", Router.configured),
    ):
        try:
            read()
        except UserError as mistake:
            yield what, "broken", str(mistake)
            return


def _providers(settings: Settings) -> Iterator[_Finding]:
    from aideon_agents.errors import UserError
    from aideon_agents.ledger.redaction import bare_address
    from aideon_agents.models.protocol.ways import check_way
    from aideon_agents.models.providers import providers

    known = providers(settings).values()
    problems: dict[str, None] = {}
    for address in filter(None, (provider.base_url for provider in known)):
        try:
            check_way(address)
        except UserError as mistake:
            problems[str(mistake)] = None
    for problem in problems:
        yield "environment", "broken", problem
    for provider in known:
        if provider.available:
            yield provider.name, "ok", f"set; {bare_address(provider.base_url or '')}"
        else:
            yield provider.name, "missing", f"set {provider.missing} to use it"


def _calls(settings: Settings) -> Iterator[_Finding]:
    """Make one paid call per provider; it is in the ledger like any other call."""
    from aideon_agents.models.catalog import load
    from aideon_agents.models.providers import ANY_MODEL, providers

    if settings.offline:
        yield "live", "missing", "AIDEON_OFFLINE is set: no provider was called"
        return
    small = load(settings.catalog, settings.profile).rungs["small"]
    by_provider = {name.provider: name.model for name in reversed(small)}
    for provider in providers(settings).values():
        row = provider.row
        model = row.model or row.sample or (ANY_MODEL if row.deployment else None)
        model = model or by_provider.get(provider.name)
        if provider.available and model:
            yield from _call(provider, f"{provider.name}:{model}", settings)


def _call(provider: Provider, model: str, settings: Settings) -> Iterator[_Finding]:
    """Ask for a typed answer: it also shows what the model takes."""
    import asyncio

    from pydantic import BaseModel

    from aideon_agents import runner
    from aideon_agents.agents import executor
    from aideon_agents.errors import UserError
    from aideon_agents.models.features import features_of

    class Ready(BaseModel):
        word: str

    what = f"{provider.name} live"
    shape = None if provider.row.json_schema is False and provider.row.tools is False else Ready
    node: Any = executor("live", model=model, max_tokens=64, timeout=60, output=shape)
    asked = runner.arun(node, "Answer with the word ready.", workflow="doctor", settings=settings)
    try:
        result = asyncio.run(asked)
    except UserError as mistake:  # a local server that does not run
        yield what, "broken", str(mistake)
        return
    if result.status != "completed":
        yield what, "broken", result.error or result.status
        return
    spent = output.money(result.cost.usd, complete=result.cost.complete)
    yield what, "ok", f"answered, {spent}"
    for name in {name for node in result.nodes for name in node.models} if shape else ():
        asked_model = name.partition(":")[2]
        features = features_of(str(provider.base_url), asked_model)
        yield f"{provider.name} takes", "ok", f"{asked_model}: {features.described()}"
