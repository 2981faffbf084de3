"""`aideon models status`: how providers do, from the calls of the last hours and the circuit breakers."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aideon_agents.cli import options, output
from aideon_agents.cli.costs import moments
from aideon_agents.errors import InputError
from aideon_agents.ledger.identity import now, utc_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Document = dict[str, Any]


def status(
    provider: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only the models of this provider.")
    ] = None,
    since: Annotated[
        str, typer.Option(metavar="AGE", help="Count calls from this time on: 6h, 7d, or a day.")
    ] = "6h",
    simulated: Annotated[
        bool, typer.Option("--simulated", help="Include models of a simulated provider.")
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Show how each model does: its state, success rate, speed and last error, the worst first."""
    from aideon_agents.ledger.models.status import statuses

    first, _ = moments("--since", since, now())
    with options.ledger() as ledger:
        found = statuses(ledger, first, simulated=simulated)
    if provider is not None:
        known = sorted({one["provider"] for one in found})
        found = [one for one in found if one["provider"] == provider]
        if not found:
            _check_provider(provider, known)
    if as_json:
        begin = utc_text(first) if isinstance(first, dt.datetime) else f"{first}T00:00:00.000Z"
        output.document({"since": begin, "models": found})
        return
    if not found:
        hint = "" if simulated else "; --simulated includes those of a simulated provider"
        output.note(f"no model was called in this time (--since {since}){hint}")
        return
    output.table(
        ("model", "state", "calls", "ok", "p50", "p95", "tokens/s"), map(_cells, found), numbers=5
    )
    for one in found:
        for text in _details(one):
            output.line(text)


def _check_provider(name: str, called: Sequence[str]) -> None:
    from aideon_agents.models.providers import PROVIDERS

    if name not in PROVIDERS and name not in called:
        listed = ", ".join(dict.fromkeys((*PROVIDERS, *called)))
        raise InputError(f"--provider {name}: no model of it was called; use one of {listed}")


def _cells(one: Document) -> tuple[str, ...]:
    shown = one["breakers"]
    same = sum(each["state"] == one["state"] for each in shown)
    of_all = f" ({same} of {len(shown)})" if len(shown) > 1 else ""
    rate, speed = one["success_rate"], one["tokens_per_second"]
    return (
        f"{one['provider']}:{one['model'] or ' all models'}",
        f"{one['state'].replace('_', '-')}{of_all}",
        f"{one['calls']:,}",
        "-" if rate is None else f"{rate:.1%}",
        output.duration(one["p50_ms"]),
        output.duration(one["p95_ms"]),
        "-" if speed is None else f"{speed:,.0f}",
    )


def _details(one: Document) -> Iterable[str]:
    """Lines below the table: each breaker that is not closed, and the last error."""
    from aideon_agents.ledger.redaction import without_keys

    name = f"{one['provider']}:{one['model'] or ' all models'}"
    for breaker in one["breakers"]:
        if breaker["state"] == "closed":
            continue
        until = f" until {_clock(breaker['rests_until'])}" if breaker["rests_until"] else ""
        with_key = f" with {breaker['key']}" if breaker["key"] else ""
        where = "a process that has ended" if breaker["has_ended"] else f"process {breaker['pid']}"
        state = breaker["state"].replace("_", "-")
        yield f"{name}: {state}{until}{with_key}, in {where} on {breaker['host']}: {breaker['reason']}"
    if last := one["last_error"]:
        yield f"{name}: last error {_clock(last['at'])}: {last['type']}: {without_keys(last['message'] or '')}"


def _clock(moment: str) -> str:
    """A time as a person reads it: `12:00:05` today, else with its day."""
    day, _, time = moment.partition("T")
    today = utc_text(now()).partition("T")[0]
    return f"{'' if day == today else day + ' '}{time[:8]} UTC"
