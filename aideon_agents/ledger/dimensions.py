"""By what costs are counted, and which calls a report is about.

Everything here is SQL that SQLite and Postgres read alike. A condition that nobody asked for is
left out instead of compared with NULL, because a parameter without a column has no type on a
server.
"""

from __future__ import annotations

import dataclasses
from datetime import date, datetime
from typing import TYPE_CHECKING, Literal, get_args

from aideon_agents.ledger.identity import utc_text

if TYPE_CHECKING:
    from collections.abc import Mapping

ReportBy = Literal[
    "node", "role", "model", "provider", "workflow", "purpose", "run", "user", "day", "month"
]
"""A dimension of the costs report. Days and months are UTC."""

DIMENSIONS: tuple[ReportBy, ...] = get_args(ReportBy)

BY_TIME: tuple[ReportBy, ...] = ("day", "month")
"""Dimensions whose rows come in their own order; the others' come by cost."""

MODEL = "calls.provider || ':' || calls.requested_model"
"""SQL: a model as it was asked for."""

CALL_KEYS: Mapping[ReportBy, str] = {
    "node": "calls.node_path",
    "role": "calls.role",
    "model": MODEL,
    "provider": "calls.provider",
    "workflow": "runs.workflow",
    "purpose": "calls.purpose",
    "run": "calls.run_id",
    "user": 'runs."user"',
    "day": "substr(calls.started_at, 1, 10)",
    "month": "substr(calls.started_at, 1, 7)",
}
"""SQL: the row that a call belongs to."""

RUN_KEYS: Mapping[ReportBy, str] = {
    "workflow": "runs.workflow",
    "user": 'runs."user"',
    "day": "substr(runs.started_at, 1, 10)",
    "month": "substr(runs.started_at, 1, 7)",
}
"""SQL: the row that a run belongs to, in the dimensions where it belongs to one."""

CALLS = "calls LEFT JOIN runs ON runs.run_id = calls.run_id"
"""SQL: every call, with its run where that is recorded."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Selection:
    """Which calls, or runs, a report counts."""

    run_id: str | None = None
    """This run's alone, by its whole id; None: every run's."""
    since: date | datetime | None = None
    """Those that started on this UTC day or at this time, or later."""
    until: date | datetime | None = None
    """Those that started before this time, or on this UTC day and before."""
    rehearsed: bool = False
    """Whether rehearsed ones count too."""

    def where(self, table: Literal["calls", "runs"]) -> str:
        """The condition on a table, as SQL that takes `values`."""
        asked = {
            "run_id": f"{table}.run_id = :run_id",
            "since": f"{table}.started_at >= :since",
            "until": f"{table}.started_at < :until",
        }
        said = [sql for name, sql in asked.items() if name in self.values]
        if not self.rehearsed:
            said.append(f"{table}.rehearsed = 0")
        return "WHERE " + (" AND ".join(said) or "1 = 1")

    @property
    def values(self) -> dict[str, object]:
        """The parameters of `where`."""
        known = {
            "run_id": self.run_id,
            "since": None if self.since is None else first_moment(self.since),
            "until": None if self.until is None else moment_after(self.until),
        }
        return {name: value for name, value in known.items() if value is not None}


def first_moment(since: date | datetime) -> str:
    """Where a period begins, as it compares with a row's time."""
    return utc_text(since) if isinstance(since, datetime) else f"{since}T00:00:00.000Z"


def moment_after(until: date | datetime) -> str:
    """The first moment that is past a period's end: a day named as the end is part of it."""
    return utc_text(until) if isinstance(until, datetime) else f"{until}T24:00:00.000Z"
