"""A costs report as a table for a terminal."""

from __future__ import annotations

import io
import sys
import textwrap
from typing import TYPE_CHECKING

from rich.console import Console

from aideon_agents.cli import output

if TYPE_CHECKING:
    from collections.abc import Callable

    from aideon_agents.ledger.reports import Report, ReportRow


_KEY_AT_MOST = 32
"""Characters that are kept free for a key; a longer key takes several lines."""
_GAP = 3
"""Characters between two columns."""
_EDGES = 2
"""Characters around a line."""


def table(made: Report, *, to_file: bool = False) -> str:
    """A table with the columns that fit, and remarks on what it does not show."""
    figures: list[ReportRow] = [*made.rows, made.total]
    keys = [*(row.key or "-" for row in made.rows), "total"]
    wanted = _wanted(made)
    is_shown = not to_file and sys.stdout.isatty()
    width = Console(file=sys.stdout).width if is_shown else output.NO_TERMINAL
    columns = _fitting(wanted, figures, width, max(map(len, [made.by, *keys])))
    *rows, total = [
        (key, *(_COLUMNS[title](one) for title in columns))
        for key, one in zip(keys, figures, strict=True)
    ]
    drawn = output.drawn(
        (made.by, *columns),
        rows,
        io.StringIO() if to_file else sys.stdout,
        total=total,
        numbers=len(columns),
    )
    hidden = [title for title in wanted if title not in columns]
    remarks = (textwrap.fill(remark, width) for remark in _remarks(made, hidden))
    return "\n".join([drawn, *remarks])


def _against(one: ReportRow) -> str:
    return output.money(one.against.usd, complete=one.against.complete) if one.against else ""


def _speed(one: ReportRow) -> str:
    speed = one.tokens_per_second
    return "-" if speed is None else f"{speed:,.1f}"


_COLUMNS: dict[str, Callable[[ReportRow], str]] = {
    "calls": lambda one: f"{one.calls:,}",
    "failed": lambda one: f"{one.failed_calls:,}",
    "in": lambda one: output.token_figures(one)[0],
    "out": lambda one: output.token_figures(one)[1],
    "cost": lambda one: output.money(one.usd, complete=one.complete),
    "against": _against,
    "median": lambda one: output.duration(one.median_ms),
    "p95": lambda one: output.duration(one.p95_ms),
    "failed %": lambda one: share(one.failed_share),
    "tokens/s": _speed,
    "success": lambda one: share(one.success_rate),
    "runs done": lambda one: share(one.run_success_rate),
}
"""In the order of the columns."""
_FIRST = ("cost", "against", "calls", "failed", "in", "out")
"""The columns that get space first."""


def _wanted(made: Report) -> list[str]:
    """The columns that have values, the most important first."""
    wanted = [*_FIRST, *(title for title in _COLUMNS if title not in _FIRST)]
    if made.total.against is None:
        wanted.remove("against")
    # A run belongs to no node, so rows by node have no share of completed runs.
    if all(row.run_success_rate is None for row in made.rows):
        wanted.remove("runs done")
    return wanted


def _fitting(wanted: list[str], figures: list[ReportRow], width: int, key: int) -> list[str]:
    """The columns that fit on a line beside a key of this length."""
    room = width - min(key, _KEY_AT_MOST) - _EDGES
    shown: list[str] = []
    for title in wanted:
        room -= max(len(title), *(len(_COLUMNS[title](one)) for one in figures)) + _GAP
        if room < 0 and shown:
            break
        shown.append(title)
    return [title for title in _COLUMNS if title in shown]


def _remarks(made: Report, hidden: list[str]) -> list[str]:
    total = made.total
    remarks = [f"not shown: {', '.join(hidden)} (-f csv has every column)"] if hidden else []
    if made.left_out:
        shown, rows = len(made.rows), len(made.rows) + made.left_out
        remarks.append(f"the {shown} most expensive of {rows} rows; the total includes all")
    if total.against:
        amount = output.money(total.against.usd, complete=total.against.complete)
        remarks.append(f"the same tokens at {total.against.model}'s price (against): {amount}")
    if total.economized_calls:
        remarks.append(
            "calls that used a cheaper model because a budget was nearly used up:"
            f" {total.economized_calls:,}"
        )
    if total.shortened_calls:
        remarks.append(f"answers that got fewer tokens to fit a budget: {total.shortened_calls:,}")
    return remarks


def share(part: float | None) -> str:
    """Format a share: `4.2 %`; it shows 0 % and 100 % only when they are exact."""
    if part is None:
        return "-"
    if 0 < part < _LEAST:
        return "< 0.1 %"
    return "> 99.9 %" if 1 - _LEAST < part < 1 else f"{part:.1%}".replace("%", " %")


_LEAST = 0.001
