"""What is learnt from outcomes: which model answers a class of tasks best for its price.

`posterior` orders the candidates of a chain by the scores in the ledger. `router` tells from a prompt
whether a stronger model is worth its price, as labelled examples have shown (`fitting`).
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from aideon_agents import settings as environment
from aideon_agents.errors import UserError
from aideon_agents.ledger.models.outcomes import (
    SOURCES,
    Outcome,
    OutcomeSource,
    check_score,
    record,
)
from aideon_agents.ledger.store import Ledger

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


def record_performance(
    task_class: str,
    model: str,
    score: float,
    *,
    source: OutcomeSource = "user",
    judge: str | None = None,
    run: str | None = None,
    node_path: str | None = None,
    ledger: Ledger | None = None,
) -> None:
    """Record how well a model answered. Later choices for the same class of tasks take it into account.

    The last 100 outcomes of each class and model count.

    Args:
        task_class: The role, the `use` or else the `purpose` of the call, and `code` or `complex`
            where the task is that, joined by `/`: `executor`, `executor/summaries` or
            `executor/-/code`.
        model: `provider:model`, as it was asked for.
        score: From 0 (useless) to 1 (nothing to improve).
        source: Who says so: a `person`, `code` (a test of the answer), a `verdict` of a model,
            `failure` (the call failed through the model's fault) or another `user`.
        judge: With a verdict, the `provider:model` that gave it.
        run: The run that the answer belongs to, as `aideon runs` names it; None: no run of the ledger.
        node_path: The node that the answer is of; None: none.
        ledger: Where to record it; None: the ledger of Settings.

    Raises:
        UserError: The score, the model or the source is not valid, or the model judged itself.
        RunNotFound: There is no such run.
    """
    score = check_score(score)
    if not task_class.strip():
        raise UserError("task_class is empty: give a role, such as executor")
    if source not in SOURCES:
        raise UserError(f"the source {source!r} is not known: give one of {', '.join(SOURCES)}")
    if not all(part.strip() for part in model.partition(":")):
        raise UserError(f"the model {model!r} is no name: write provider:model")
    if source == "verdict" and (judge is None or is_same_model(judge, model)):
        given = "needs its judge" if judge is None else "is one that the model gave itself"
        raise UserError(f"the verdict on {model} {given}: give judge=, another model")
    with _opened(ledger) as opened, opened.database.transaction() as tx:
        found = opened.find_run(run) if run else None
        outcome = Outcome(
            task_class.strip(),
            model,
            score,
            source,
            found and found.run_id,
            node_path,
            rehearsed=bool(found and (found.rehearsed or found.simulated)),
        )
        record(tx, [outcome])


def is_same_model(one: str, other: str) -> bool:
    """Whether two names are of the same model, by any provider."""
    return _bare(one) == _bare(other)


def _bare(name: str) -> str:
    """The model's own name: without its provider, its maker, and the server that a router names."""
    provider, _, model = name.partition(":")
    model = model.partition(":")[0] if provider == "huggingface" else model
    return model.rpartition("/")[2].lower()


def _opened(ledger: Ledger | None) -> AbstractContextManager[Ledger]:
    if ledger is not None:
        return contextlib.nullcontext(ledger)
    return Ledger.from_url(environment.load().ledger)
