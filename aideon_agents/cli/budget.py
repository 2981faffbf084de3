"""`aideon budget`: the standing limits, which apply to all runs of a ledger."""

from __future__ import annotations

import contextlib
import difflib
from typing import TYPE_CHECKING, Annotated

import typer

from aideon_agents.cli import options, output
from aideon_agents.errors import InputError, LedgerError
from aideon_agents.ledger.money import usd, usd_text

if TYPE_CHECKING:
    from aideon_agents.ledger.budgets.accounts import Limit
    from aideon_agents.ledger.store import Ledger

app = typer.Typer(
    help="List, set and remove limits for all runs. Days and months are UTC.", no_args_is_help=True
)

_Json = Annotated[bool, typer.Option("--json", help="Print all limits as one JSON document.")]
_Scope = Annotated[
    str,
    typer.Argument(
        metavar="SCOPE",
        help="day, month, run, item, batch, user, tier, node or provider. Add :NAME to limit one of them "
        "(user:alice). Put day: or month: before it to limit each day or month (day:user:alice).",
    ),
]


@app.command("list")
def list_limits(as_json: _Json = False) -> None:
    """List the limits and what is spent of them."""
    with options.ledger() as ledger:
        found, channels, problem = _state(ledger)
    if as_json:
        _show_json(found, channels)
        return
    if not found:
        output.note("there are no budgets: set one with `aideon budget set day 5`")
        return
    output.table(
        ("scope", "then", "limit", "spent", "held", ""),
        [
            (
                one.scope,
                "warns" if one.warns else "stops",
                _amount(one.limit_nanousd),
                _amount(one.spent_nanousd),
                _amount(one.held_nanousd),
                _share(one),
            )
            for one in found
        ],
        numbers=4,
    )
    more = f" and {output.counted(channels, 'channel')}" if channels else ""
    output.note(f"alerts go to the log{more}")
    if problem:
        output.complain(problem)


@app.command("set")
def set_limit(
    scope: _Scope,
    usd: Annotated[str, typer.Argument(metavar="USD", help="US dollars, such as 0.50.")],
    warn: Annotated[
        bool, typer.Option("--warn", help="Only warn at the limit; stop nothing.")
    ] = False,
    as_json: _Json = False,
) -> None:
    """Set a limit. It replaces the limit of the same scope."""
    with options.ledger() as ledger:
        _check_exists(ledger, scope)
        ledger.set_budget(scope, usd, warns=warn)
        then = f"{'warns' if warn else 'stops'} at ${usd.strip().lstrip('$+')}"
        _confirm(ledger, f"{scope}: {then}", as_json=as_json)


@app.command()
def remove(scope: _Scope, as_json: _Json = False) -> None:
    """Remove a limit."""
    from aideon_agents.ledger.budgets.accounts import remove_limit

    with options.ledger() as ledger:
        remove_limit(ledger.database, scope)
        _confirm(ledger, f"{scope}: limit removed", as_json=as_json)


def _check_exists(ledger: Ledger, text: str) -> None:
    """Refuse the limit of a run, a batch or a provider that is not there."""
    from aideon_agents.ledger.batches import find_batch
    from aideon_agents.ledger.budgets.limits import Scope
    from aideon_agents.models.providers import PROVIDERS, integrations
    from aideon_agents.settings.providers import TABLE

    scope = Scope.parse(text)
    scope.check_name()
    name = scope.name or ""
    if scope.kind == "run" and name and name != (found := ledger.find_run(name).run_id):
        raise InputError(f"{text} limits no run: write its whole id, run:{found}")
    if scope.kind in ("batch", "item") and name:
        batch, slash, item = name.partition("/")
        if batch != (found := find_batch(ledger, batch).batch_id):
            whole = f"{scope.kind}:{found}{slash}{item}"
            raise InputError(f"{text} limits no {scope.kind}: write the batch's whole id, {whole}")
    if scope.kind == "provider" and name and name not in TABLE and name not in integrations():
        rows = ledger.select("SELECT 1 FROM calls WHERE provider = :name LIMIT 1", {"name": name})
        if not rows:
            near = difflib.get_close_matches(name, [*TABLE, *integrations()], n=1)
            hint = f"did you mean provider:{near[0]}?" if near else f"use {', '.join(PROVIDERS)}"
            raise InputError(f"no provider is called {name!r}: {hint}")


def _confirm(ledger: Ledger, done: str, *, as_json: bool) -> None:
    """Say what was done, or print all limits as JSON."""
    if as_json:
        found, channels, _ = _state(ledger)
        _show_json(found, channels)
    else:
        output.note(done)


def _state(ledger: Ledger) -> tuple[list[Limit], int, str | None]:
    """The current limits, the number of alert channels, and what is wrong with the channels."""
    from aideon_agents.ledger.budgets.accounts import limits
    from aideon_agents.ledger.budgets.alerts import channels

    with contextlib.suppress(LedgerError):  # a ledger that can only be read
        ledger.budgets.forfeit_dead()
    places, problem = channels(ledger.budgets.folder)
    return limits(ledger.database), len(places), problem


def _show_json(found: list[Limit], channels: int) -> None:
    def text(nanousd: int | None) -> str | None:
        return None if nanousd is None else usd_text(usd(nanousd))

    documents = [
        {
            "scope": one.scope,
            "usd": text(one.limit_nanousd),
            "enforced": not one.warns,
            "window": one.window,
            "spent_usd": text(one.spent_nanousd),
            "held_usd": text(one.held_nanousd),
        }
        for one in found
    ]
    output.document({"budgets": documents, "alert_channels": channels})


def _share(one: Limit) -> str:
    if one.spent_nanousd is None:
        return "-"
    return f"{one.spent_nanousd * 100 // one.limit_nanousd} %" if one.limit_nanousd else "100 %"


def _amount(nanousd: int | None) -> str:
    return "-" if nanousd is None else output.money(usd(nanousd))
