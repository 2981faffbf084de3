"""`aideon budget`: the limits that stand in the ledger, whatever is run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from aideon_agents.cli import options, output

if TYPE_CHECKING:
    from decimal import Decimal

    from aideon_agents.ledger.budgets.accounts import Limit
    from aideon_agents.ledger.store import Ledger

app = typer.Typer(
    help="Limits that stand for whatever is run. Days and months are UTC.", no_args_is_help=True
)

_Json = Annotated[bool, typer.Option("--json", help="One JSON document: all limits.")]
_SCOPE = (
    "day, month, or one of run, item, batch, user, tier, node, provider: each by itself, or with "
    ":NAME one alone. day: or month: before it counts by day or month, as in day:user:alice."
)


@app.command("list")
def list_limits(
    as_json: _Json = False,
) -> None:
    """List the limits, and how they stand."""
    with options.ledger() as ledger:
        found, channels, problem = _standing(ledger)
    if as_json:
        _show(found, channels)
        return
    if not found:
        output.note("no budgets: set one with `aideon budget set day 5`")
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
        bool, typer.Option("--warn", help="Only warn when it is reached; stop nothing.")
    ] = False,
    as_json: _Json = False,
) -> None:
    """Set a limit, in place of one on the same scope."""
    with options.ledger() as ledger:
        ledger.set_budget(scope, usd, warns=warn)
        found, channels, _ = _standing(ledger)
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
        found, channels, _ = _standing(ledger)
    if as_json:
        _show(found, channels)
        return
    output.note(f"{scope}: no limit any more")


def _standing(ledger: Ledger) -> tuple[list[Limit], int, str | None]:
    """The limits as they stand now, how many channels alerts have, and what is wrong with those."""
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
