"""What `aideon costs` was asked for, made and written; imported when it runs, help must not wait.

Everything that can be wrong with the asking is found before the ledger is opened.

Periods as people write them: UTC days, UTC times, `today`, `last-month`, `7d`.

A day or a month named as an end is part of the period; a time is not.
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
    """Read the two ends of a period."""
    from aideon_agents.ledger.selection import (  # noqa: PLC0415 - help must not wait
        first_moment,
        moment_after,
    )

    first = None if since is None else _moment("--since", since, now)[0]
    last = None if until is None else _moment("--until", until, now)[1]
    if first is not None and last is not None and first_moment(first) >= moment_after(last):
        raise InputError(
            f"--since {since} --until {until}: the period ends before it begins, turn them round"
        )
    return first, last


def beginning(flag: str, text: str, now: dt.datetime) -> Moment:
    """Read a time as the beginning of something."""
    return _moment(flag, text, now)[0]


def _moment(flag: str, text: str, now: dt.datetime) -> tuple[Moment, Moment]:
    """What a text means as a beginning, and as an end."""
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
        raise InputError(
            f"{flag} {text}: write 2026-11-20, 2026-11-20T08:00, {options.PERIODS} (all UTC)"
        ) from None
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
class Asked:
    """The flags of `aideon costs`, as they were typed."""

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


def show(asked: Asked) -> None:
    """Make what was asked for and write it where it belongs."""
    _check_form(asked)
    by = _dimension(asked.by)
    against = None if asked.against is None else _priced(asked.against)
    since, until = period(asked.since, asked.until, now())
    with options.ledger() as ledger:
        run_id = ledger.find_run(asked.run).run_id if asked.run else None
        calls = Selection(run_id=run_id, since=since, until=until, rehearsed=asked.rehearsed)
        if asked.advice:
            made = _advice(asked, ledger, calls)
        else:
            made = _report(asked, ledger, calls, by, against)
    if asked.out is not None:
        output.write(asked.out, made)
    elif made:
        output.line(made.decode().removesuffix("\n"))
    else:
        hint = "" if asked.rehearsed else " (--rehearsed shows what rehearsals would have cost)"
        output.note(f"nothing was spent{hint}")


def _check_form(asked: Asked) -> None:
    known = _ADVICE_FORMS if asked.advice else _FORMS
    if asked.form not in known:
        where = " with --advice" if asked.advice else ""
        raise InputError(f"-f {asked.form}: one of {', '.join(known)}{where}")
    if asked.advice and (asked.top or asked.against):
        raise InputError("--advice is about all figures: leave out --top and --against")
    if asked.form == "xlsx" and asked.out is None:
        raise InputError("-f xlsx is a file and no text: say where with -o costs.xlsx")


def _dimension(by: str) -> ReportBy:
    for known in DIMENSIONS:
        if by == known:
            return known
    raise InputError(f"--by {by}: one of {', '.join(DIMENSIONS)}")


def _priced(name: str) -> PricedModel:
    """The model to compare with; a name that is none, retired or without a price is an error."""
    known = _catalog()
    try:
        return PricedModel(str(known.checked(name)))
    except ModelNameError as error:
        raise ModelNameError(f"--against: {error}") from None


def _catalog() -> catalog.Catalog:
    settings = options.settings()
    return catalog.load(settings.catalog, settings.profile)


def _report(
    asked: Asked, ledger: Ledger, calls: Selection, by: ReportBy, against: PricedModel | None
) -> bytes:
    """The report as it is written; empty when there is nothing to show to a person."""
    if asked.form == "xlsx":
        from aideon_agents.cli.cost_forms import workbook  # noqa: PLC0415 - tables do not need it

        return workbook(reports(ledger, DIMENSIONS, calls, against=against, top=asked.top))
    (made,) = reports(ledger, (by,), calls, against=against, top=asked.top)
    if asked.form == "json":
        return _encoded(json_text(made))
    if asked.form == "csv":
        return csv_text(made).encode()
    if not made.rows and asked.out is None:
        return b""
    return _encoded(table(made, to_file=asked.out is not None))


def _advice(asked: Asked, ledger: Ledger, calls: Selection) -> bytes:
    rungs = {rung: [str(name) for name in names] for rung, names in _catalog().rungs.items()}
    found = advice(ledger, calls, rungs)
    if asked.form == "json":
        return _encoded(output.as_json(advice_document(found)))
    return _encoded(advice_text(found))


def _encoded(text: str) -> bytes:
    return f"{text}\n".encode()
