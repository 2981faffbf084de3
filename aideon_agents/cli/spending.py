"""What `aideon costs` was asked for, made and written; imported when it runs, help must not wait.

Everything that can be wrong with the asking is found before the ledger is opened.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from aideon_agents.cli import files, opening, output, periods
from aideon_agents.cli.cost_forms import advice_text, csv_text, json_text, table
from aideon_agents.errors import InputError, ModelNameError
from aideon_agents.ledger.advice.given import advice
from aideon_agents.ledger.clock import now
from aideon_agents.ledger.dimensions import DIMENSIONS, Selection
from aideon_agents.ledger.documents import advice_document
from aideon_agents.ledger.rates import PricedModel
from aideon_agents.ledger.reports import reports
from aideon_agents.models import catalog

if TYPE_CHECKING:
    from pathlib import Path

    from aideon_agents.ledger.dimensions import ReportBy
    from aideon_agents.ledger.store import Ledger

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
    since, until = periods.period(asked.since, asked.until, now())
    with opening.ledger() as ledger:
        run_id = ledger.find_run(asked.run).run_id if asked.run else None
        calls = Selection(run_id=run_id, since=since, until=until, rehearsed=asked.rehearsed)
        if asked.advice:
            made = _advice(asked, ledger, calls)
        else:
            made = _report(asked, ledger, calls, by, against)
    if asked.out is not None:
        files.write(asked.out, made)
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
    settings = opening.settings()
    return catalog.load(settings.catalog, settings.profile)


def _report(
    asked: Asked, ledger: Ledger, calls: Selection, by: ReportBy, against: PricedModel | None
) -> bytes:
    """The report as it is written; empty when there is nothing to show to a person."""
    if asked.form == "xlsx":
        from aideon_agents.cli.cost_sheets import workbook  # noqa: PLC0415 - tables do not need it

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
