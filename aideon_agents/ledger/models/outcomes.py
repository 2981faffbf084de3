"""What is known of how well models answered: a row per outcome, and what calls tell of failures.

An outcome is a score from 0 to 1 that a person, code, a verdict or a user gave to a model's answer. A
call whose answer was malformed is an outcome of 0 without a row of its own: its call says so.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from aideon_agents.errors import UserError
from aideon_agents.ledger.identity import now, utc_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from aideon_agents.ledger.database import Row, Statements
    from aideon_agents.ledger.rows import Call

OutcomeSource = Literal["person", "code", "verdict", "failure", "user"]
"""Who says how well a model answered."""

COUNTED = 100
"""The newest outcomes of a class and a model that count; older ones are deleted."""

_RECENT_CALLS = 2000
"""The newest calls, in which failures are looked for. They are read in a few milliseconds."""


class Outcome(NamedTuple):
    """How well a model answered once."""

    task_class: str
    """As `task_class` names it."""
    model: str
    """`provider:model`, as it was requested."""
    score: float
    """0 to 1."""
    source: OutcomeSource
    run_id: str | None = None
    """None: it belongs to no run."""
    node_path: str | None = None
    rehearsed: bool = False
    """The answer was rehearsed or simulated."""


class Record(NamedTuple):
    """What the outcomes of a class and a model add up to."""

    outcomes: int
    """Outcomes, failed calls included."""
    total: float
    """The sum of their scores."""
    answered: int = 0
    """Recent calls that gave an answer."""
    failed: int = 0
    """Recent calls that gave a malformed one."""


def task_class(role: str, purpose: str | None = None, content: str | None = None) -> str:
    """The class of a task: the role, what it is for, and what it is about, joined by `/`.

    What is not known is left out at the end, and `-` in between: `executor`, `executor/-/code`.
    """
    known = [role or "-", (purpose or "-").replace("/", "_"), content or "general"]
    while len(known) > 1 and known[-1] in {"-", "general"}:
        known.pop()
    return "/".join(known)


def class_of(call: Mapping[str, Any]) -> str:
    """The class of the task of a call, by its row."""
    choice = json.loads(call["choice"]) if call["choice"] else {}
    return task_class(call["role"], choice.get("use") or call["purpose"], choice.get("content"))


def check_score(score: object) -> float:
    """A score that a user gave, if it is one."""
    if isinstance(score, int | float) and not isinstance(score, bool) and 0 <= score <= 1:
        return float(score)
    raise UserError(f"the score {score!r} is no number from 0 to 1")


def record(tx: Statements, outcomes: Iterable[Outcome]) -> None:
    """Write outcomes in an open transaction, and delete those that no longer count.

    A person who rates a run again changes their mind: the earlier rating of a node is replaced.
    """
    for one in outcomes:
        values = {**one._asdict(), "rehearsed": int(one.rehearsed), "recorded_at": utc_text(now())}
        if one.run_id is not None and one.source == "person":
            tx.write(_REPLACED, values)
        tx.write(_RECORD, values)
        tx.write(_OLDER, {**values, "most": COUNTED})


def rated(calls: Sequence[Call], score: float) -> list[Outcome]:
    """The outcomes of a person's view of a run: one for each model that answered in each of its nodes."""
    answered = {
        (call.node_path, f"{call.provider}:{call.requested_model}"): call
        for call in calls
        if call.status in {"ok", "cached"}
    }
    return [
        Outcome(
            class_of(vars(call)),
            model,
            score,
            "person",
            call.run_id,
            node_path,
            call.rehearsed or call.simulated,
        )
        for (node_path, model), call in answered.items()
    ]


def records(db: Statements, *, rehearsed: bool = False) -> dict[tuple[str, str], Record]:
    """What is known, by class and model. Rehearsed and simulated answers are left out unless asked for."""
    counts = {"rehearsed": int(rehearsed)}
    known = {
        (row["task_class"], row["model"]): Record(int(row["outcomes"]), float(row["total"]))
        for row in db.select(_RECORDS, {**counts, "most": COUNTED})
    }
    for row in db.select(_FAILURES, {**counts, "most": _RECENT_CALLS}):
        key = class_of(row), f"{row['provider']}:{row['requested_model']}"
        old = known.get(key, Record(0, 0.0))
        answered, failed = old.answered + int(row["answered"]), old.failed + int(row["failed"])
        known[key] = Record(old.outcomes, old.total, answered, failed)
    return known


def ratings_by_tier(db: Statements, since: str) -> list[Row]:
    """How good people found runs since a time, by tier: `tier`, the mean `score`, and how many `ratings`."""
    return list(db.select(_BY_TIER, {"since": since}))


SOURCES = get_args(OutcomeSource)

_SAME = (
    "run_id = :run_id AND model = :model AND source = :source"
    " AND COALESCE(node_path, '') = COALESCE(CAST(:node_path AS TEXT), '')"
)
_REPLACED = f"DELETE FROM outcomes WHERE {_SAME}"  # noqa: S608 - our words
_RECORD = (
    "INSERT INTO outcomes"
    " (task_class, model, score, source, run_id, node_path, rehearsed, recorded_at) VALUES"
    " (:task_class, :model, :score, :source, :run_id, :node_path, :rehearsed, :recorded_at)"
)
_OF_ONE = "task_class = :task_class AND model = :model AND rehearsed = :rehearsed"
_OLDER = (
    f"DELETE FROM outcomes WHERE {_OF_ONE} AND recorded_at < (SELECT MIN(recorded_at) FROM"  # noqa: S608 - our words
    f" (SELECT recorded_at FROM outcomes WHERE {_OF_ONE} ORDER BY recorded_at DESC LIMIT :most)"
    " AS newest)"
)
_RECORDS = (
    "SELECT task_class, model, COUNT(*) AS outcomes, SUM(score) AS total FROM (SELECT task_class,"
    " model, score, ROW_NUMBER() OVER (PARTITION BY task_class, model ORDER BY recorded_at DESC)"
    " AS nth FROM outcomes WHERE rehearsed <= :rehearsed) AS newest WHERE nth <= :most"
    " GROUP BY task_class, model"
)
_FAILURES = (
    "SELECT role, purpose, choice, provider, requested_model,"
    " COUNT(*) FILTER (WHERE status = 'ok') AS answered,"
    " COUNT(*) FILTER (WHERE error_type = 'Malformed') AS failed"
    " FROM (SELECT role, purpose, choice, provider,"
    " requested_model, status, error_type, rehearsed, simulated FROM calls"
    " ORDER BY started_at DESC LIMIT :most) AS recent"
    " WHERE rehearsed <= :rehearsed AND simulated <= :rehearsed"
    " GROUP BY role, purpose, choice, provider, requested_model"
)
_BY_TIER = (
    "SELECT COALESCE(runs.tier, 'none') AS tier, AVG(outcomes.score) AS score,"
    " COUNT(DISTINCT runs.run_id) AS ratings FROM outcomes JOIN runs ON runs.run_id = outcomes.run_id"
    " WHERE outcomes.source IN ('person', 'user') AND outcomes.rehearsed = 0"
    " AND outcomes.recorded_at >= :since GROUP BY COALESCE(runs.tier, 'none') ORDER BY 1"
)
