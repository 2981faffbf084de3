"""The command that goes on with a run which ended before its end, for people."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from aideon_agents.cli import opening
from aideon_agents.errors import BudgetExceeded

if TYPE_CHECKING:
    from aideon_agents.runner import RunResult

_FLAGS = {"run": "--budget", "batch": "--budget", "item": "--item-budget"}
"""What raises a limit that stands nowhere but in the command itself."""


def command(result: RunResult, *, of_batch: bool) -> str | None:
    """How to go on with a run."""
    if result.status in {"completed", "running"} or result.stop_reason == "declined":
        return None
    again = "aideon batch ..." if of_batch else f"aideon runs resume {result.run_id}"
    if result.stop_reason == "budget":
        return _with_more(again, result.exception, of_batch=of_batch)
    return f"{again} --retry-failed" if of_batch and result.status == "failed" else again


def _with_more(again: str, refused: BaseException | None, *, of_batch: bool) -> str:
    """How to go on with what a budget stopped."""
    if not isinstance(refused, BudgetExceeded):
        items = "or --item-budget, " if of_batch else ""
        return f"{again} --budget MORE  ({items}or raise the standing limit: aideon budget list)"
    if scope := _standing(refused):
        return f"{again}  (after: aideon budget set {scope} MORE)"
    flag = _FLAGS.get(refused.scope.partition(":")[0])
    return f"{again} {flag} MORE" if flag else again


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
