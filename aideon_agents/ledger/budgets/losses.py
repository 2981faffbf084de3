"""What budgets count as spent though nobody knows whether it was: the worst cases of lost calls.

A report adds up what is known, so it says less than a budget that a lost call was held against.
Whoever compares the two is told by how much.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aideon_agents.ledger.processes import Process, is_gone

if TYPE_CHECKING:
    from aideon_agents.ledger.store import Ledger


def losses(ledger: Ledger, run_id: str) -> dict[str, int]:
    """The worst cases of a run's calls whose cost nobody knows."""
    return {
        hold["call_id"]: hold["amount_nanousd"]
        for hold in ledger.select(_UNSETTLED, {"run_id": run_id})
        if hold["status"] != "held"
        or is_gone(Process(hold["host"], hold["pid"], hold["process_start"]))
    }


_UNSETTLED = (
    "SELECT * FROM holds WHERE run_id = :run_id AND amount_nanousd > 0"
    " AND status IN ('held', 'unknown', 'forfeited') ORDER BY taken_at, call_id"
)
