"""`aideon runs rate`: a person's view of a run, which later choices of models take into account."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from aideon_agents.cli import options, output
from aideon_agents.cli.approvals import Ref
from aideon_agents.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aideon_agents.ledger.models.outcomes import Outcome


def rate(
    run: Ref,
    score: Annotated[
        float, typer.Argument(metavar="SCORE", help="From 0 (useless) to 1 (nothing to improve).")
    ],
    as_json: options.AsJson = False,
) -> None:
    """Say how good a run was: later choices of models take it into account."""
    from aideon_agents.ledger.models.outcomes import check_score, rated, record

    check_score(score)
    with options.ledger() as ledger:
        found = ledger.find_run(run)
        outcomes = rated(ledger.calls(found.run_id), score)
        if not outcomes:
            raise UserError(
                f"no model answered in run {found.run_id}, so there is nothing to rate: "
                f"`aideon runs show {found.run_id}` shows its calls"
            )
        with ledger.database.transaction() as tx:
            record(tx, outcomes)
    if as_json:
        fields = ("task_class", "model", "score", "node_path", "rehearsed")
        listed = [{name: getattr(one, name) for name in fields} for one in outcomes]
        output.document({"run_id": found.run_id, "score": score, "outcomes": listed})
        return
    _show(found.run_id, score, outcomes)


def _show(run_id: str, score: float, outcomes: Sequence[Outcome]) -> None:
    output.line(f"rated {run_id}: {score:g}, {output.counted(len(outcomes), 'outcome')}")
    output.table(
        ("node", "model", "task"),
        [(one.node_path or "", one.model, one.task_class) for one in outcomes],
    )
    if all(one.rehearsed for one in outcomes):
        output.note("the answers were rehearsed or simulated: choices leave this rating out")
