"""Verdicts of a run as outcomes of the models that were judged. A model that judges itself says nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aideon_agents.ledger.models.outcomes import Outcome, class_of, record
from aideon_agents.ledger.rows import CALL_COLUMNS
from aideon_agents.models.admission import run_budget_of
from aideon_agents.models.learning import is_same_model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.runnables import RunnableConfig

    from aideon_agents.state import StepResult

_LAST_CALL = (
    f"SELECT {CALL_COLUMNS} FROM calls WHERE run_id = :run_id AND node_path = :node_path AND status = 'ok'"  # noqa: S608 - our names
    " ORDER BY :model IN (provider || ':' || requested_model,"
    " provider || ':' || COALESCE(response_model, '')) DESC,"
    " role = :role DESC, started_at DESC, call_id DESC LIMIT 1"
)
"""The call of an answer. The judge of its quality is called at the same node, in another role."""


def record_verdict(
    config: RunnableConfig, judged: StepResult, judges: Sequence[str], score: float
) -> None:
    """Record a verdict on a result, if the run is in a ledger and another model gave it.

    `judges` are the models that gave the verdict; empty: code did.
    """
    run = run_budget_of(config)
    if run is None or not judged.models:
        return
    answered = judged.models[-1]
    if any(is_same_model(one, answered) for one in judges):
        return
    database, run_id = run.budgets.database, run.run.run
    where = {"run_id": run_id, "node_path": judged.node_path, "model": answered}
    where["role"] = judged.role
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
