"""The daily report: what was spent yesterday and how well it went, through the channels of alerts.

Every process of the service looks whether it is due. The one whose entry in the ledger is the first
sends it, so it is sent once. The entry is made before the delivery: a process that is killed while it
delivers may leave a report unsent, but never sends a second one.
"""

from __future__ import annotations

import datetime as dt
import logging
from typing import TYPE_CHECKING

from aideon_agents.ledger.budgets.accounts import REPORT
from aideon_agents.ledger.budgets.alerts import read_channels
from aideon_agents.ledger.identity import now
from aideon_agents.ledger.reports import figures, reports
from aideon_agents.ledger.selection import Selection

if TYPE_CHECKING:
    from aideon_agents.ledger.reports import Report, ReportRow
    from aideon_agents.ledger.store import Ledger

_log = logging.getLogger("aideon_agents.budgets")
_TOP = 3
_TITLE = "Aideon Agents: report of"


def send_due(ledger: Ledger) -> bool:
    """Send the report of yesterday (UTC) unless it was sent; returns whether this call has sent it.

    It waits for the channels. Where none takes the report, the next call tries again.
    """
    day = now().date() - dt.timedelta(days=1)
    entry = {"account": f"{REPORT}{day}"}
    if ledger.select(_WAS_SENT, entry):
        return False
    text = report_of(ledger, day)
    if not ledger.database.write(_SEND, entry):
        return False  # another process was first
    _log.info("%s %s", _TITLE, text.replace("\n", "; "))
    usable, problems = read_channels(ledger.database.folder)
    failed = [f"{one.place} {why}" for one in usable if (why := one.send(_TITLE + f" {day}", text))]
    for problem in problems + failed:
        _log.warning("the report of %s: %s", day, problem)
    if failed and len(failed) == len(usable):
        ledger.database.write(_UNSENT, entry)
        return False
    return True


def report_of(ledger: Ledger, day: dt.date) -> str:
    """The report of a UTC day, a figure in each line. Rehearsed and simulated calls do not count."""
    selection = Selection(since=day, until=day)
    workflows, users = reports(ledger, ("workflow", "user"), selection, top=_TOP)
    total, found = workflows.total, figures(ledger, selection)
    mean = "none" if found.mean_ms is None else f"{found.mean_ms / 1000:.2f} s"
    return "\n".join(
        [
            f"{day} (UTC)",
            f"Spent: {_spent(total)}",
            f"Calls: {total.calls:,}, {total.failed_calls:,} failed",
            f"Success rate: {_percent(total.success_rate)}",
            f"Completed runs: {_percent(total.run_success_rate)}",
            f"Mean response time: {mean}",
            f"Fallback rate: {_percent(found.fallback_share)}",
            f"Top workflows: {_top(workflows)}",
            f"Top users: {_top(users)}",
        ]
    )


def _spent(row: ReportRow) -> str:
    return f"{'' if row.complete else 'at least '}${row.usd:,.4f}"


def _percent(share: float | None) -> str:
    return "none" if share is None else f"{share:.1%}"


def _top(found: Report) -> str:
    return ", ".join(f"{row.key or 'without a name'} {_spent(row)}" for row in found.rows) or "none"


_WAS_SENT = "SELECT 1 AS sent FROM told WHERE account = :account"
_SEND = (
    "INSERT INTO told (account, limit_nanousd, percent) VALUES (:account, 0, 0)"
    " ON CONFLICT DO NOTHING"
)
_UNSENT = "DELETE FROM told WHERE account = :account"
