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
    from collections.abc import Iterable, Mapping, Sequence

    from aideon_agents.ledger.reports import ReportRow
    from aideon_agents.ledger.store import Ledger

_LAST_ERRORS = """
    SELECT key, error_type, error, started_at FROM (
        SELECT {model} AS key, calls.error_type, calls.error, calls.started_at,
            ROW_NUMBER() OVER (
                PARTITION BY {model} ORDER BY calls.started_at DESC, calls.call_id DESC
            ) AS place
        FROM calls WHERE {where} AND calls.status IN ('error', 'broken')
    ) AS failed WHERE place = 1
"""

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
    first, _ = moments("--since", since, now())
    with options.ledger() as ledger:
        found = _models(ledger, first, simulated=simulated)
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


def _models(ledger: Ledger, since: dt.date | dt.datetime, *, simulated: bool) -> list[Document]:
    """Every model that was called or has a breaker, the worst first."""
    from aideon_agents.ledger.models.states import CLOSED, WORST_FIRST, states
    from aideon_agents.ledger.reports import reports
    from aideon_agents.ledger.selection import MODEL, Selection

    calls = Selection(since=since, simulated=simulated)
    (report,) = reports(ledger, ("model",), calls)
    rows = {row.key: row for row in report.rows}
    statement = _LAST_ERRORS.format(model=MODEL, where=calls.where("calls"))
    errors = {row["key"]: row for row in ledger.select(statement, calls.values)}
    breakers: dict[str, list[Document]] = {}
    for row in states(ledger.database, simulated=simulated):
        breakers.setdefault(f"{row['provider']}:{row['model']}", []).append(row)
    # A breaker of a key is shown only where it is not closed: it has no calls of its own.
    ours = {
        key: kept for key, kept in breakers.items() if key[-1] != ":" or kept[0]["state"] != CLOSED
    }
    found = [
        _document(key, ours.get(key, []), rows.get(key), errors.get(key))
        for key in sorted({*rows, *ours})
    ]
    return sorted(found, key=lambda one: WORST_FIRST.index(one["state"]))


def _document(
    key: str,
    breakers: Iterable[Document],
    calls: ReportRow | None,
    error: Mapping[str, Any] | None,
) -> Document:
    provider, _, model = key.partition(":")
    shown = [
        {
            "state": one["state"],
            "key": one["key_name"],
            "rests_until": one["rests_until"] if one["state"] == "open" else None,
            "reason": one["reason"],
            "changed_at": one["changed_at"],
            "host": one["host"],
            "pid": one["pid"],
            "has_ended": one["is_gone"],
        }
        for one in breakers
    ]
    rests = [one["rests_until"] for one in shown if one["rests_until"]]
    return {
        "provider": provider,
        "model": model or None,
        "state": shown[0]["state"] if shown else "closed",
        "rests_until": max(rests, default=None),
        "calls": calls.calls if calls else 0,
        "failed_calls": calls.failed_calls if calls else 0,
        "success_rate": _rounded(calls and calls.success_rate, 4),
        "p50_ms": calls.median_ms if calls else None,
        "p95_ms": calls.p95_ms if calls else None,
        "tokens_per_second": _rounded(calls and calls.tokens_per_second, 1),
        "last_error": error
        and {"type": error["error_type"], "message": error["error"], "at": error["started_at"]},
        "breakers": shown,
    }


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


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
