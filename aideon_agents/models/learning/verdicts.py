"""Verdicts of a run as outcomes of the models that were judged. A model that judges itself says nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aideon_agents.ledger.models.outcomes import Outcome, class_of, record
from aideon_agents.models.admission import run_budget_of
from aideon_agents.models.learning import is_same_model
from aideon_agents.state import latest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.runnables import RunnableConfig

    from aideon_agents.state import StepResult

_LAST_CALL = (
    "SELECT * FROM calls WHERE run_id = :run_id AND node_path = :node_path AND status = 'ok'"
    " ORDER BY started_at DESC, call_id DESC LIMIT 1"
)


def record_verdict(
    config: RunnableConfig, judged: StepResult, judging: Mapping[str, StepResult], score: float
) -> None:
    """Record a verdict on a result, if the run is in a ledger and another model gave it.

    `judging` are the results of the check: the last one says which models gave the verdict. A check
    without models is code.
    """
    judge = latest(dict(judging))
    judges = judge.models if judge else []
    run = run_budget_of(config)
    if run is None or not judged.models:
        return
    answered = judged.models[-1]
    if any(is_same_model(one, answered) for one in judges):
        return
    database, run_id = run.budgets.database, run.run.run
    where = {"run_id": run_id, "node_path": judged.node_path}
    for call in database.select(_LAST_CALL, where):
        outcome = Outcome(
            class_of(call),
            f"{call['provider']}:{call['requested_model']}",
            score,
            "verdict" if judges else "code",
            run_id,
            judged.node_path,
            rehearsed=bool(call["rehearsed"] or call["simulated"]),
        )
        with database.transaction() as tx:
            record(tx, [outcome])
