"""The command that goes on with a run which ended before its end, for people."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from aideon_agents.cli import opening
from aideon_agents.errors import BudgetExceeded

if TYPE_CHECKING:
    from aideon_agents.runner import RunResult

_OF_A_BATCH = {"batch": "--budget", "item": "--item-budget"}
"""The flag that raises a limit which is a batch's own."""


def command(result: RunResult) -> str | None:
    """How to go on with a run.

    Args:
        result: What came of it, as it ended now or as it is recorded. Of a recorded one nobody
            knows any more which budget refused.

    Returns:
        The command, and what it needs before; None: nothing is left to do, or nothing can be.
    """
    if result.status in {"completed", "running"} or result.stop_reason == "declined":
        return None
    plain = f"aideon runs resume {result.run_id}"
    return _with_more(result, plain) if result.stop_reason == "budget" else plain


def _with_more(result: RunResult, plain: str) -> str:
    """How to go on with a run that a budget stopped."""
    refused = result.exception
    if not isinstance(refused, BudgetExceeded):
        standing = "or raise the standing limit: aideon budget list"
        if _is_of_batch(result):
            return f"aideon batch ... --budget MORE  (or --item-budget, {standing})"
        return f"{plain} --budget MORE  ({standing})"
    if scope := _standing(refused):
        return f"{plain}  (after: aideon budget set {scope} MORE)"
    if flag := _OF_A_BATCH.get(refused.scope):
        return f"aideon batch ... {flag} MORE  (the command of its batch)"
    return f"{plain} --budget MORE" if refused.scope == "run" else plain


def _is_of_batch(result: RunResult) -> bool:
    """Whether it was run for an item: then what may limit it is its batch's, and not its own."""
    with opening.ledger() as ledger:
        return ledger.find_run(result.run_id).batch_id is not None


def _standing(refused: BudgetExceeded) -> str | None:
    """The scope of the standing limit that refused; None: it is the run's own, or its batch's.

    A limit for each user refuses as the limit of one of them, and is raised for all.
    """
    from aideon_agents.ledger.budgets.budget import nanousd  # noqa: PLC0415 - help must not wait
    from aideon_agents.ledger.budgets.limits import limits  # noqa: PLC0415 - as above
    from aideon_agents.ledger.budgets.scopes import Scope  # noqa: PLC0415 - as above

    with opening.ledger() as ledger:
        standing = {one.scope: one.limit_nanousd for one in limits(ledger.database)}
    one = Scope.parse(refused.scope)
    both = (str(one), str(dataclasses.replace(one, name=None)))
    limit = nanousd(str(refused.limit))
    return next((scope for scope in both if standing.get(scope) == limit), None)
