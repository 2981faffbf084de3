"""Make and write what `aideon costs` asks for; imported when the command runs.

All options are checked before the ledger is opened. Periods are UTC days, UTC times, or words
(`today`, `last-month`, `7d`). A day or a month at the end belongs to the period; a time does not.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
from typing import TYPE_CHECKING

from aideon_agents.cli import options, output
from aideon_agents.cli.cost_forms import advice_text, csv_text, json_text, table
from aideon_agents.errors import InputError, ModelNameError
from aideon_agents.ledger.advice import advice, advice_document
from aideon_agents.ledger.identity import now
from aideon_agents.ledger.pricing import PricedModel
from aideon_agents.ledger.reports import reports
from aideon_agents.ledger.selection import DIMENSIONS, Selection
from aideon_agents.models import catalog

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from aideon_agents.ledger.selection import ReportBy
    from aideon_agents.ledger.store import Ledger


Moment = dt.date | dt.datetime


def period(
    since: str | None, until: str | None, now: dt.datetime
) -> tuple[Moment | None, Moment | None]:
    """Parse the two ends of a period."""
    from aideon_agents.ledger.selection import (  # noqa: PLC0415 - help must not wait
        first_moment,
        moment_after,
    )

    first = None if since is None else _moment("--since", since, now)[0]
    last = None if until is None else _moment("--until", until, now)[1]
    if first is not None and last is not None and first_moment(first) >= moment_after(last):
        raise InputError(
            f"--since {since} --until {until}: the period ends before it begins; swap them"
        )
    return first, last


def beginning(flag: str, text: str, now: dt.datetime) -> Moment:
    """Parse a day or a time as a beginning; the flag is for the error."""
    return _moment(flag, text, now)[0]


def _moment(flag: str, text: str, now: dt.datetime) -> tuple[Moment, Moment]:
    """The meaning of a text as a beginning, and as an end."""
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


_FORMS = ("table", "json", "csv", "xlsx")
_ADVICE_FORMS = ("table", "json")


@dataclasses.dataclass(frozen=True, kw_only=True)
class CostsOptions:
    """The options of `aideon costs`, as they were typed."""

    by: str
    run: str | None
    since: str | None
    until: str | None
    top: int | None
    against: str | None
    advice: bool
    rehearsed: bool
    form: str
    out: Path | None


def show(chosen: CostsOptions) -> None:
    """Make the report or the suggestions and write them."""
    _check_form(chosen)
    by = _dimension(chosen.by)
    against = None if chosen.against is None else _priced(chosen.against)
    since, until = period(chosen.since, chosen.until, now())
    with options.ledger() as ledger:
        run_id = ledger.find_run(chosen.run).run_id if chosen.run else None
        calls = Selection(run_id=run_id, since=since, until=until, rehearsed=chosen.rehearsed)
        if chosen.advice:
            made = _advice(chosen, ledger, calls)
        else:
            made = _report(chosen, ledger, calls, by, against)
    if chosen.out is not None:
        output.write(chosen.out, made)
    elif made:
        output.line(made.decode().removesuffix("\n"))
    else:
        hint = "" if chosen.rehearsed else " (--rehearsed shows what rehearsals would have cost)"
        output.note(f"nothing was spent{hint}")


def _check_form(chosen: CostsOptions) -> None:
    known = _ADVICE_FORMS if chosen.advice else _FORMS
    if chosen.form not in known:
        where = " with --advice" if chosen.advice else ""
        raise InputError(f"-f {chosen.form}: use one of {', '.join(known)}{where}")
    if chosen.advice and (chosen.top or chosen.against):
        raise InputError("--advice covers all figures: leave out --top and --against")
    if chosen.form == "xlsx" and chosen.out is None:
        raise InputError("-f xlsx needs a file: add -o costs.xlsx")


def _dimension(by: str) -> ReportBy:
    for known in DIMENSIONS:
        if by == known:
            return known
    raise InputError(f"--by {by}: use one of {', '.join(DIMENSIONS)}")


def _priced(name: str) -> PricedModel:
    """The model to compare with; an unknown, retired or unpriced one is an error."""
    known = _catalog()
    try:
        return PricedModel(str(known.checked(name)))
    except ModelNameError as error:
        raise ModelNameError(f"--against: {error}") from None


def _catalog() -> catalog.Catalog:
    settings = options.settings()
    return catalog.load(settings.catalog, settings.profile)


def _report(
    chosen: CostsOptions,
    ledger: Ledger,
    calls: Selection,
    by: ReportBy,
    against: PricedModel | None,
) -> bytes:
    """The content of the report; empty if a table would have no rows."""
    if chosen.form == "xlsx":
        from aideon_agents.cli.cost_forms import workbook  # noqa: PLC0415 - tables do not need it

        return workbook(reports(ledger, DIMENSIONS, calls, against=against, top=chosen.top))
    (made,) = reports(ledger, (by,), calls, against=against, top=chosen.top)
    if chosen.form == "json":
        return _encoded(json_text(made))
    if chosen.form == "csv":
        return csv_text(made).encode()
    if not made.rows and chosen.out is None:
        return b""
    return _encoded(table(made, to_file=chosen.out is not None))


def _advice(chosen: CostsOptions, ledger: Ledger, calls: Selection) -> bytes:
    rungs = {rung: [str(name) for name in names] for rung, names in _catalog().rungs.items()}
    found = advice(ledger, calls, rungs)
    if chosen.form == "json":
        return _encoded(output.as_json(advice_document(found)))
    return _encoded(advice_text(found))


def _encoded(text: str) -> bytes:
    return f"{text}\n".encode()
