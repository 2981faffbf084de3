"""`aideon costs`: what was spent."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

import typer

from aideon_agents.cli import opening, output
from aideon_agents.errors import InputError

if TYPE_CHECKING:
    from aideon_agents.ledger.reports import Report, ReportBy, Totals


def costs(
    by: Annotated[
        str,
        typer.Option(help="node, role, model, provider, workflow, purpose, run, user, day, month."),
    ] = "node",
    run: Annotated[str | None, typer.Option(help="Of this run alone: an id, or last.")] = None,
    since: Annotated[str | None, typer.Option(help="From this UTC day or time on.")] = None,
    until: Annotated[str | None, typer.Option(help="Up to this UTC day, or this time.")] = None,
    rehearsed: Annotated[
        bool, typer.Option("--rehearsed", help="Rehearsed calls as well.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Show what was spent, by node or any other dimension."""
    from aideon_agents.ledger.documents import report_document  # noqa: PLC0415 - help must not wait
    from aideon_agents.ledger.reports import ReportBy, report  # noqa: PLC0415 - help must not wait

    if by not in get_args(ReportBy):
        raise InputError(f"--by {by}: one of {', '.join(get_args(ReportBy))}")
    with opening.ledger() as ledger:
        made = report(
            ledger,
            cast("ReportBy", by),
            run_id=ledger.find_run(run).run_id if run else None,
            since=_moment(since, "--since"),
            until=_moment(until, "--until"),
            rehearsed=rehearsed,
        )
    if as_json:
        output.document(report_document(made))
    else:
        _show(made)


def _show(made: Report) -> None:
    if not made.rows:
        output.note("nothing was spent (--rehearsed shows what rehearsals would have cost)")
        return
    output.table(
        (made.by, "calls", "failed", "in", "out", "cost"),
        [(row.key or "-", *_figures(row)) for row in made.rows],
        total=("total", *_figures(made.total)),
        numbers=5,
    )


def _figures(totals: Totals) -> tuple[str, ...]:
    return (
        f"{totals.calls:,}",
        f"{totals.failed_calls:,}",
        f"{totals.input_tokens:,}",
        f"{totals.output_tokens:,}",
        output.money(totals.usd, complete=totals.complete),
    )


def _moment(text: str | None, flag: str) -> Any:
    """A day, or a time on one; without a zone it is UTC."""
    if text is None:
        return None
    try:
        if "T" not in text and " " not in text:
            return dt.date.fromisoformat(text)
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        raise InputError(f"{flag} {text}: write 2026-11-20 or 2026-11-20T08:00") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
