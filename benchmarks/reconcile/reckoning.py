"""The ledger beside the provider's own bill, call by call.

A row and a request belong together by the call's id, which every request carries in its header.
What the ledger claims to know must be the bill to the last token and nano-dollar; what it could not
know must be a row that says so; and nothing may have been asked without a row.
"""

from __future__ import annotations

import collections
import dataclasses
from typing import TYPE_CHECKING, Any

from aideon_agents.ledger.reports import report

if TYPE_CHECKING:
    from aideon_agents import Ledger
    from aideon_agents.ledger.rows import Call
    from aideon_agents.ledger.selection import ReportBy
    from aideon_agents.testing import BilledCall, SimulatedProvider

_DIMENSIONS: tuple[ReportBy, ...] = ("node", "role", "model", "provider", "run", "day")
_REFUSED = 400


@dataclasses.dataclass
class Reckoning:
    """What came of the comparison."""

    runs: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter[str])
    rows: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter[str])
    requests: int = 0
    unsent: int = 0
    """Rows without a request: it was stopped, or nobody could be reached, before it was sent."""
    known: int = 0
    """Rows whose cost the ledger knows."""
    known_tokens: int = 0
    known_nanousd: int = 0
    tokens_off: int = 0
    """The sum of all differences between a known row and its line of the bill, without signs."""
    nanousd_off: int = 0
    unknown: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter[str])
    """Rows that say that nobody here can know, by status."""
    unknown_nanousd: int = 0
    """What the provider charged for those."""
    silent: int = 0
    """Requests without a row."""
    late: int = 0
    """Rows of calls that began after their run had ended. When a branch fails, LangGraph does not
    stop what is nested deeper in the branches beside it: the handler has to refuse those calls."""
    budgets: int = 0
    """Those of runs, and the standing ones of users."""
    exceeded: int = 0
    """Those of which more was spent or charged than they allow."""
    holds_taken: int = 0
    left_open: int = 0
    """Holds of calls that have ended, or whose processes have."""
    held: int = 0
    """Nano-dollars that are held at rest."""
    complaints: list[str] = dataclasses.field(default_factory=list[str])

    @property
    def holds(self) -> bool:
        """Whether the ledger is exact."""
        off = self.tokens_off or self.nanousd_off or self.silent or self.late
        off = off or self.exceeded or self.left_open or self.held
        return not off and not self.complaints


def reckon(ledger: Ledger, provider: SimulatedProvider) -> Reckoning:
    """Compare everything.

    Args:
        ledger: With all rows.
        provider: With the bill for exactly these calls.

    Returns:
        The figures, and a line for everything that is wrong.
    """
    found = Reckoning()
    lines = _lines(provider, found)
    _check_budgets(ledger, lines, found)
    names: set[str] = set()
    for run in reversed(ledger.runs()):
        is_stray = run.workflow in names
        names.add(run.workflow)
        if not is_stray:
            found.runs[run.status] += 1
        for row in ledger.calls(run.run_id):
            found.rows[row.status] += 1
            found.late += is_stray or row.started_at > (run.ended_at or row.started_at)
            _compare(row, lines.pop(row.call_id, None), found, crashed=run.status == "crashed")
    found.silent = len(lines)
    found.complaints += [f"no row for {line}" for line in lines.values()]
    _check_sums(ledger, found)
    return found


def _check_budgets(ledger: Ledger, lines: dict[str, BilledCall | None], found: Reckoning) -> None:
    """Hold each budget against the bill, and each account against the rows and the holds."""
    ledger.budgets.forfeit_dead()
    holds = ledger.select("SELECT * FROM holds")
    limits = {one["scope"]: one["limit_nanousd"] for one in ledger.select("SELECT * FROM budgets")}
    runs = ledger.runs()
    for account in ledger.select("SELECT * FROM accounts"):
        kind, name = account["account"].split(":", 1)
        limit = account["limit_nanousd"] or limits.get(account["account"])
        if kind not in {"run", "user"} or limit is None:
            continue
        its = {run.run_id for run in runs if name in {run.run_id, run.user}}
        calls = {call.call_id: call for run_id in its for call in ledger.calls(run_id)}
        billed = (lines.get(call_id) for call_id in calls)
        charged = sum(line.nanousd or 0 for line in billed if line)
        # A hold stands for a call whose cost is unknown, and for one that was killed before its row.
        known = {
            key: call.cost_nanousd for key, call in calls.items() if call.cost_nanousd is not None
        }
        worst = sum(
            hold["amount_nanousd"]
            for hold in holds
            if hold["run_id"] in its
            and hold["call_id"] not in known
            and hold["status"] != "released"
        )
        found.budgets += 1
        found.exceeded += charged > limit or account["spent_nanousd"] > limit
        if sum(known.values()) + worst != account["spent_nanousd"]:
            told = f"{sum(known.values())} and {worst} held for what is unknown"
            found.complaints.append(f"{dict(account)}, its rows {told}")
    found.holds_taken = len(holds)
    found.left_open = sum(hold["status"] == "held" for hold in holds)
    (all_held,) = ledger.select("SELECT SUM(held_nanousd) AS nanousd FROM accounts")
    found.held = int(all_held["nanousd"] or 0)


def _lines(provider: SimulatedProvider, found: Reckoning) -> dict[str, BilledCall | None]:
    """The bill by call id. A request that was not even a chat has no line."""
    billed = {line.request_id: line for line in provider.bill.calls}
    lines: dict[str, BilledCall | None] = {}
    for request in provider.requests:
        found.requests += 1
        call_id = request.headers.get("x-aideon-call", f"nameless {request.request_id}")
        if call_id in lines:
            found.complaints.append(f"{call_id} was sent twice")
        lines[call_id] = billed.get(request.request_id)
    return lines


def _compare(row: Call, line: BilledCall | None, found: Reckoning, *, crashed: bool) -> None:
    if row.status == "started" and not crashed:
        found.complaints.append(f"{row.call_id} never ended, and its run did")
    if line is None:
        found.unsent += 1
    charged = (line.input_tokens, line.output_tokens, line.nanousd or 0) if line else (0, 0, 0)
    if row.cost_nanousd is None:
        found.unknown[row.status] += 1
        found.unknown_nanousd += charged[2]
        found.complaints += _unknown_without_need(row, line)
        return
    told = (row.input_tokens or 0, row.output_tokens or 0, row.cost_nanousd)
    found.known += 1
    found.known_tokens += told[0] + told[1]
    found.known_nanousd += told[2]
    tokens_off = abs(told[0] - charged[0]) + abs(told[1] - charged[1])
    found.tokens_off += tokens_off
    found.nanousd_off += abs(told[2] - charged[2])
    if told != charged:
        found.complaints.append(f"{row.status} row says {told}, the bill {charged}: {row} {line}")


def _unknown_without_need(row: Call, line: BilledCall | None) -> list[str]:
    """A row may not know only what nobody could have told it."""
    refused = line is not None and (line.status or 0) >= _REFUSED
    had_gone = "gave no answer in time" in (row.error or "")  # it was refused later than that
    if row.status == "error" and refused and not had_gone:
        return [f"{row.call_id} was refused with a status, and its row does not know: {row}"]
    if row.status == "ok" and (line is None or line.fault != "no_usage"):
        return [f"{row.call_id} was answered with usage, and its row does not know: {line}"]
    return []


def _check_sums(ledger: Ledger, found: Reckoning) -> None:
    """Sums by any dimension are the sum of the rows."""
    rows: Any = (sum(found.rows.values()), found.known_nanousd, not found.unknown)
    for by in _DIMENSIONS:
        total = report(ledger, by).total
        sums = (total.calls, int(total.usd.scaleb(9)), total.complete)
        if sums != rows:
            found.complaints.append(f"by {by} it adds up to {sums}, the rows to {rows}")
