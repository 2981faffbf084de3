"""`aideon costs`: what was spent."""

from __future__ import annotations

import csv
import datetime as dt
import io
from collections.abc import Callable
from pathlib import Path
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
    form: Annotated[str, typer.Option("-f", "--format", help="table, json or csv.")] = "table",
    out: Annotated[Path | None, typer.Option("-o", help="Write to this file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as -f json.")] = False,
) -> None:
    """Show what was spent, by node or any other dimension."""
    from aideon_agents.ledger.reports import ReportBy, report  # noqa: PLC0415 - help must not wait

    if by not in get_args(ReportBy):
        raise InputError(f"--by {by}: one of {', '.join(get_args(ReportBy))}")
    written = _FORMS.get("json" if as_json else form)
    if written is None:
        raise InputError(f"-f {form}: one of {', '.join(_FORMS)}")
    with opening.ledger() as ledger:
        made = report(
            ledger,
            cast("ReportBy", by),
            run_id=ledger.find_run(run).run_id if run else None,
            since=_moment(since, "--since"),
            until=_moment(until, "--until"),
            rehearsed=rehearsed,
        )
    if out is None and not made.rows and written is _table:
        output.note("nothing was spent (--rehearsed shows what rehearsals would have cost)")
        return
    text = written(made).removesuffix("\n")
    if out is None:
        output.line(text)
        return
    try:
        out.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error.strerror or error}") from None


def _table(made: Report) -> str:
    return output.drawn(
        (made.by, "calls", "failed", "in", "out", "cost"),
        [(row.key or "-", *_figures(row)) for row in made.rows],
        total=("total", *_figures(made.total)),
        numbers=5,
    )


def _json(made: Report) -> str:
    from aideon_agents.ledger.documents import report_document  # noqa: PLC0415 - help must not wait

    return output.as_json(report_document(made))


def _csv(made: Report) -> str:
    """The rows alone: a total among them would be counted twice by whoever adds them up."""
    from aideon_agents.ledger.documents import report_document  # noqa: PLC0415 - help must not wait

    written = io.StringIO()
    columns = ("key", *report_document(made)["total"])
    table = csv.DictWriter(written, columns, lineterminator="\n")
    table.writeheader()
    for row in report_document(made)["rows"]:
        table.writerow({**row, "complete": str(row["complete"]).lower()})
    return written.getvalue()


_FORMS: dict[str, Callable[[Report], str]] = {"table": _table, "json": _json, "csv": _csv}


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
