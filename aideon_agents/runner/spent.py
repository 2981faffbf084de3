"""What a run has cost, as far as its ledger can tell when the run is over.

An answer is paid for by then: it is not lost because its price cannot be read any more.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from aideon_agents.errors import LedgerError, RunNotFound
from aideon_agents.ledger.pricing import usd
from aideon_agents.ledger.reports import Cost, run_cost

if TYPE_CHECKING:
    from aideon_agents.ledger.store import Ledger

_log = logging.getLogger("aideon_agents.runner")


def spent_on(ledger: Ledger, run_id: str, *, told: bool = False) -> Cost:
    """What a run has cost so far."""
    try:
        return run_cost(ledger, run_id)
    except (LedgerError, RunNotFound) as refused:
        if not told:
            _log.warning("what run %s cost is unknown: %s", run_id, refused)
    return Cost(
        calls=0,
        failed_calls=0,
        input_tokens=0,
        output_tokens=0,
        usd=usd(0),
        complete=False,
        by_node={},
    )


def has_called(ledger: Ledger, run_id: str, *, otherwise: bool) -> bool:
    """Whether a model was called for a run."""
    try:
        return bool(ledger.calls(run_id))
    except LedgerError:
        return otherwise
