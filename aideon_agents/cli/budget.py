"""`aideon budget`: the standing limits, which apply to all runs of a ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from aideon_agents.cli import options, output

if TYPE_CHECKING:
    from decimal import Decimal

    from aideon_agents.ledger.budgets.accounts import Limit
    from aideon_agents.ledger.store import Ledger

app = typer.Typer(
    help="List, set and remove limits for all runs. Days and months are UTC.", no_args_is_help=True
)

_Json = Annotated[bool, typer.Option("--json", help="Print all limits as one JSON document.")]
_SCOPE = (
    "day, month, run, item, batch, user, tier, node or provider. Add :NAME to limit one of them "
    "(user:alice). Put day: or month: before it to limit each day or month (day:user:alice)."
)


@app.command("list")
def list_limits(
    as_json: _Json = False,
) -> None:
    """List the limits and what is spent of them."""
    with options.ledger() as ledger:
        found, channels, problem = _state(ledger)
    if as_json:
        _show(found, channels)
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
                output.money(_usd(one.limit_nanousd)),
                "-" if one.spent_nanousd is None else output.money(_usd(one.spent_nanousd)),
                "-" if one.held_nanousd is None else output.money(_usd(one.held_nanousd)),
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
    scope: Annotated[str, typer.Argument(help=_SCOPE)],
    usd: Annotated[str, typer.Argument(metavar="USD", help="US dollars, such as 0.50.")],
    warn: Annotated[
        bool, typer.Option("--warn", help="Only warn at the limit; stop nothing.")
    ] = False,
    as_json: _Json = False,
) -> None:
    """Set a limit. It replaces the limit of the same scope."""
    with options.ledger() as ledger:
        ledger.set_budget(scope, usd, warns=warn)
        found, channels, _ = _state(ledger)
    if as_json:
        _show(found, channels)
        return
    output.note(f"{scope}: {'warns' if warn else 'stops'} at ${usd.removeprefix('$')}")


@app.command()
def remove(
    scope: Annotated[str, typer.Argument(help=_SCOPE)],
    as_json: _Json = False,
) -> None:
    """Remove a limit."""
    from aideon_agents.ledger.budgets.accounts import remove_limit  # noqa: PLC0415 - help must not wait

    with options.ledger() as ledger:
        remove_limit(ledger.database, scope)
        found, channels, _ = _state(ledger)
    if as_json:
        _show(found, channels)
        return
    output.note(f"{scope}: limit removed")


def _state(ledger: Ledger) -> tuple[list[Limit], int, str | None]:
    """The current limits, the number of alert channels, and what is wrong with the channels."""
    from aideon_agents.ledger.budgets.accounts import limits  # noqa: PLC0415 - as above
    from aideon_agents.ledger.budgets.alerts import channels  # noqa: PLC0415 - help must not wait

    ledger.budgets.forfeit_dead()
    places, problem = channels(ledger.budgets.folder)
    return limits(ledger.database), len(places), problem


def _show(found: list[Limit], channels: int) -> None:
    documents = [_document(one) for one in found]
    output.document({"budgets": documents, "alert_channels": channels})


def _document(one: Limit) -> dict[str, object]:
    from aideon_agents.ledger.pricing import usd, usd_text  # noqa: PLC0415 - help must not wait

    def text(nanousd: int | None) -> str | None:
        return None if nanousd is None else usd_text(usd(nanousd))

    return {
        "scope": one.scope,
        "usd": text(one.limit_nanousd),
        "enforced": not one.warns,
        "window": one.window,
        "spent_usd": text(one.spent_nanousd),
        "held_usd": text(one.held_nanousd),
    }


def _share(one: Limit) -> str:
    if one.spent_nanousd is None:
        return "-"
    return f"{one.spent_nanousd * 100 // one.limit_nanousd} %" if one.limit_nanousd else "100 %"


def _usd(nanousd: int) -> Decimal:
    from aideon_agents.ledger.pricing import usd  # noqa: PLC0415 - help must not wait

    return usd(nanousd)
