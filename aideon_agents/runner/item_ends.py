"""What the end of a run means for the item of a batch that it was run for.

Whoever runs it: the batch, or somebody who answers what the item asks with `aideon runs resume`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aideon_agents.errors import BudgetExceeded
from aideon_agents.ledger import batch_items
from aideon_agents.ledger.budgets.scopes import Scope
from aideon_agents.ledger.redaction import one_line, safe_text
from aideon_agents.runner.result import recorded

if TYPE_CHECKING:
    from aideon_agents.ledger.batch_items import ItemEnd, ItemStatus
    from aideon_agents.ledger.database import Statements
    from aideon_agents.ledger.rows import RunStart
    from aideon_agents.runner.outcome import Outcome

_OF_ONE_ITEM = ("item", "run")
"""Kinds of budget that others have no part in: only this item has to stop at them."""


def end_item(tx: Statements, start: RunStart, outcome: Outcome, output: str | None) -> ItemEnd:
    """Write down how an item's run ended, beside the run's own row."""
    error = outcome.error
    if error is None and outcome.exception is not None:
        error = one_line(safe_text(outcome.exception))
    return batch_items.end(
        tx,
        start.run_id,
        _status(outcome),
        batch_id=str(start.batch_id),
        item_id=str(start.item_id),
        output=output,
        results=recorded(outcome.results),
        error=error,
        error_type=outcome.error_type,
    )


def _status(outcome: Outcome) -> ItemStatus:
    if outcome.status in ("completed", "waiting"):
        return "completed" if outcome.status == "completed" else "waiting"
    if outcome.status == "cancelled" or is_out_of_budget(outcome):
        return "pending"
    is_drained = outcome.status == "stopped" and outcome.stop_reason == "interrupted"
    return "pending" if is_drained else "failed"


def is_out_of_budget(outcome: Outcome) -> bool:
    """Whether a budget ended a run that others have a part in, so that they have to stop as well."""
    error = outcome.exception
    return isinstance(error, BudgetExceeded) and Scope.parse(error.scope).kind not in _OF_ONE_ITEM
