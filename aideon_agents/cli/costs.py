"""`aideon costs`: what was spent, and what the figures suggest.

All options are checked before the ledger is opened. Periods are UTC days, UTC times, or words
(`today`, `last-month`, `7d`). A day or a month at the end belongs to the period; a time does not.
"""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aideon_agents.cli import options, output
from aideon_agents.errors import InputError, ModelNameError
from aideon_agents.ledger.identity import now
from aideon_agents.ledger.selection import DIMENSIONS, Selection, first_moment, moment_after

if TYPE_CHECKING:
    from collections.abc import Callable

    from aideon_agents.ledger.pricing import PricedModel
    from aideon_agents.ledger.selection import ReportBy
    from aideon_agents.ledger.store import Ledger
    from aideon_agents.models.catalog import Catalog


_FORMS = ("table", "json", "csv", "xlsx")
_HINTS = (
    "--rehearsed shows what rehearsals would have cost",
    "--simulated shows what calls of a simulated provider cost",
)
_ADVICE_FORMS = ("table", "json")

_By = Annotated[str, typer.Option(help=f"Group by one of {', '.join(DIMENSIONS)}.")]
_Form = Annotated[
    str,
    typer.Option(
        "-f",
        "--format",
        help="table, json, csv (an apostrophe marks a key that looks like a formula),"
        " or xlsx (all dimensions; needs -o).",
    ),
]
_Since = Annotated[str | None, typer.Option(help=f"From this UTC day or time: {options.PERIODS}.")]
_Until = Annotated[str | None, typer.Option(help="Up to this UTC day or time, in the same forms.")]
_Rehearsed = Annotated[bool, typer.Option("--rehearsed", help="Include rehearsed calls.")]
_Simulated = Annotated[
    bool, typer.Option("--simulated", help="Include calls of a simulated provider.")
]


def costs(
    by: _By = "node",
    run: Annotated[str | None, typer.Option(help="Only this run: an id or `last`.")] = None,
    batch: Annotated[
        str | None, typer.Option(metavar="BATCH", help="Only this batch: an id or `last`.")
    ] = None,
    since: _Since = None,
    until: _Until = None,
    top: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Only the N most expensive rows.")
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="PROVIDER:MODEL", help="Also show what the same tokens cost with this model."
        ),
    ] = None,
    advice: Annotated[
        bool, typer.Option("--advice", help="Print suggestions instead of figures (table or json).")
    ] = False,
    rehearsed: _Rehearsed = False,
    simulated: _Simulated = False,
    form: _Form = "table",
    out: options.Out = None,
    as_json: options.SameAsJson = False,
) -> None:
    """Show what was spent, by node or another dimension, the most expensive first."""
    from aideon_agents.ledger.batches import find_batch

    form = "json" if as_json else form
    _check_form(form, out, advice=advice)
    if advice and (top or against):
        raise InputError("--advice covers all figures: leave out --top and --against")
    dimension = _dimension(by)
    model = None if against is None else _priced(against)
    first, last = period(since, until, now())
    with options.ledger() as ledger:
        run_id = ledger.find_run(run).run_id if run else None
        batch_id = find_batch(ledger, batch).batch_id if batch else None
        calls = Selection(
            run_id=run_id,
            batch_id=batch_id,
            since=first,
            until=last,
            rehearsed=rehearsed,
            simulated=simulated,
        )
        if advice:
            made = _advice(ledger, calls, form)
        else:
            made = _report(ledger, calls, dimension, model, top, form, out)
    if out is not None:
        output.write(out, made)
    elif made:
        is_safe = form in {"table", "csv"} and not advice  # bold, and the line ends of CSV
        output.line(made.decode().removesuffix("\n"), is_ours=is_safe)
    else:
        hints = zip(_HINTS, (rehearsed, simulated), strict=True)
        hint = "; ".join(words for words, is_included in hints if not is_included)
        output.note(f"nothing was spent ({hint})" if hint else "nothing was spent")


def _check_form(form: str, out: Path | None, *, advice: bool) -> None:
    known = _ADVICE_FORMS if advice else _FORMS
    if form not in known:
        where = " with --advice" if advice else ""
        raise InputError(f"-f {form}: use one of {', '.join(known)}{where}")
    if form == "xlsx" and out is None:
        raise InputError("-f xlsx needs a file: add -o costs.xlsx")


def _dimension(by: str) -> ReportBy:
    for known in DIMENSIONS:
        if by == known:
            return known
    raise InputError(f"--by {by}: use one of {', '.join(DIMENSIONS)}")


def _priced(name: str) -> PricedModel:
    """The model to compare with; an unknown, retired or unpriced one is an error."""
    from aideon_agents.ledger.pricing import PricedModel

    known = _catalog()
    try:
        return PricedModel(str(known.checked(name)))
    except ModelNameError as error:
        raise ModelNameError(f"--against: {error}") from None


def _catalog() -> Catalog:
    from aideon_agents.models import catalog

    settings = options.settings()
    return catalog.load(settings.catalog, settings.profile)


def _report(
    ledger: Ledger,
    calls: Selection,
    by: ReportBy,
    against: PricedModel | None,
    top: int | None,
    form: str,
    out: Path | None,
) -> bytes:
    """The content of the report; empty if a table would have no rows."""
    from aideon_agents.cli import cost_forms
    from aideon_agents.ledger import report_files
    from aideon_agents.ledger.documents import report_document
    from aideon_agents.ledger.reports import reports

    dimensions = DIMENSIONS if form == "xlsx" else (by,)
    made = reports(ledger, dimensions, calls, against=against, top=top)
    if form == "xlsx":
        return report_files.workbook(made)
    if form == "json":
        return output.encoded(output.as_json(report_document(made[0])))
    if form == "csv":
        return report_files.csv_text(made[0]).encode("utf-8", "replace")
    if not made[0].rows and out is None:
        return b""
    return output.encoded(cost_forms.table(made[0], to_file=out is not None))


def _advice(ledger: Ledger, calls: Selection, form: str) -> bytes:
    from aideon_agents.ledger.advice import advice, advice_document

    rungs = {rung: [str(name) for name in names] for rung, names in _catalog().rungs.items()}
    found = advice(ledger, calls, rungs)
    if form == "json":
        return output.encoded(output.as_json(advice_document(found)))
    if not found:
        return output.encoded("no suggestions: no figure is beyond a threshold")
    shown = "\n\n".join(f"{one.kind}: {one.where}\n  {one.text}" for one in found)
    return output.encoded(output.printable(shown))


Moment = dt.date | dt.datetime


def period(
    since: str | None, until: str | None, now: dt.datetime
) -> tuple[Moment | None, Moment | None]:
    """Parse the two ends of a period."""
    first = None if since is None else moments("--since", since, now)[0]
    last = None if until is None else moments("--until", until, now)[1]
    if first is not None and last is not None and first_moment(first) >= moment_after(last):
        raise InputError(
            f"--since {since} --until {until}: the period ends before it begins; swap them"
        )
    return first, last


def moments(flag: str, text: str, now: dt.datetime) -> tuple[Moment, Moment]:
    """Parse a day or a time: its meaning as a beginning, and as an end; the flag is for the error."""
    named = _NAMED.get(text)
    if named:
        return named(now.date())
    try:
        if back := re.fullmatch(r"(\d+)([dh])", text):
            unit = "days" if back[2] == "d" else "hours"
            moment = now - dt.timedelta(**{unit: int(back[1])})
        elif "T" not in text and " " not in text:
            moment = dt.date.fromisoformat(text)
        else:
            written = dt.datetime.fromisoformat(text)
            moment = (written if written.tzinfo else written.replace(tzinfo=dt.UTC)).astimezone(
                dt.UTC
            )
    except (ValueError, OverflowError):
        raise InputError(f"{flag} {text}: write {options.PERIODS} (all UTC)") from None
    return moment, moment


def _month(day: dt.date) -> tuple[dt.date, dt.date]:
    """The first and the last day of the month that a day lies in."""
    first = day.replace(day=1)
    return first, (first + dt.timedelta(days=31)).replace(day=1) - dt.timedelta(days=1)


def _day(day: dt.date) -> tuple[dt.date, dt.date]:
    return day, day


_NAMED: dict[str, Callable[[dt.date], tuple[dt.date, dt.date]]] = {
    "today": _day,
    "yesterday": lambda day: _day(day - dt.timedelta(days=1)),
    "this-month": _month,
    "last-month": lambda day: _month(day.replace(day=1) - dt.timedelta(days=1)),
}
