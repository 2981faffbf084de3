"""Which calls are counted, by which dimension, and the one statement that adds calls up.

Everything here is SQL that SQLite and Postgres read alike. A condition that is not asked for is
left out instead of compared with NULL, because a parameter without a column has no type on a
server.
"""

from __future__ import annotations

import dataclasses
import functools
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Literal, get_args

from aideon_agents.ledger.database import Statements
from aideon_agents.ledger.identity import utc_text
from aideon_agents.ledger.money import OWN_PRICE
from aideon_agents.ledger.rows import SIMULATED_RUN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ReportBy = Literal[
    "node",
    "role",
    "model",
    "provider",
    "workflow",
    "purpose",
    "run",
    "item",
    "batch",
    "user",
    "key",
    "day",
    "month",
]
"""A dimension of the costs report. Days and months are UTC. An item is `BATCH/ITEM`, as budgets name it."""

DIMENSIONS: tuple[ReportBy, ...] = get_args(ReportBy)

BY_TIME: tuple[ReportBy, ...] = ("day", "month")
"""Dimensions whose rows are in order of time; the rows of the others are in order of cost."""

MODEL = "calls.provider || ':' || calls.requested_model"
"""SQL: a model as it was requested."""

CALL_KEYS: Mapping[ReportBy, str] = {
    "node": "calls.node_path",
    "role": "calls.role",
    "model": MODEL,
    "provider": "calls.provider",
    "workflow": "COALESCE(runs.workflow, '')",
    "purpose": "COALESCE(calls.purpose, '')",
    "run": "calls.run_id",
    "item": "COALESCE(runs.batch_id || '/' || runs.item_id, '')",
    "batch": "COALESCE(runs.batch_id, '')",
    "user": "COALESCE(runs.\"user\", '')",
    "key": "COALESCE(runs.key_id, '')",
    "day": "substr(calls.started_at, 1, 10)",
    "month": "substr(calls.started_at, 1, 7)",
}
"""SQL: the row that a call belongs to; empty where a call has no value."""

RUN_KEYS: Mapping[ReportBy, str] = {
    "workflow": "runs.workflow",
    "batch": "COALESCE(runs.batch_id, '')",
    "user": "COALESCE(runs.\"user\", '')",
    "key": "COALESCE(runs.key_id, '')",
    "day": "substr(runs.started_at, 1, 10)",
    "month": "substr(runs.started_at, 1, 7)",
}
"""SQL: the row that a run belongs to, in the dimensions where it belongs to exactly one."""

CALLS = "calls LEFT JOIN runs ON runs.run_id = calls.run_id"
"""SQL: every call, with its run where that is recorded."""

_OF_BATCH = "(SELECT run_id FROM runs WHERE batch_id = :batch_id)"

SUMS: Mapping[str, str] = {
    "calls": "COUNT(*)",
    "failed_calls": "COUNT(*) FILTER (WHERE calls.status IN ('error', 'broken'))",
    "input_tokens": "SUM(calls.input_tokens) FILTER (WHERE calls.status <> 'cached')",
    "output_tokens": "SUM(calls.output_tokens) FILTER (WHERE calls.status <> 'cached')",
    "nanousd": "SUM(calls.cost_nanousd)",
    "known_calls": "COUNT(calls.cost_nanousd)",
    "counted_calls": (
        "COUNT(*) FILTER (WHERE calls.input_tokens IS NOT NULL OR calls.unit <> 'token' OR"
        f" (calls.cost_nanousd = 0 AND COALESCE(calls.price_source, '') <> '{OWN_PRICE}'))"
    ),
    "duration_ms": "SUM(calls.duration_ms)",
}
"""SQL: what is added up for every group of calls. Only whole numbers are, so that the rows of every
dimension add up to the same total. A call that costs nothing used no tokens, but at the user's own
server, where every call costs nothing. Nor did one that is billed by another unit. The tokens in a row
of the cache were used by an earlier call."""


def sums(
    tx: Statements,
    where: str,
    values: Mapping[str, object],
    *,
    by: Mapping[str, str] | None = None,
    also: Mapping[str, str] | None = None,
    in_order: bool = False,
) -> list[dict[str, Any]]:
    """Add up the calls that fit a condition: a row for each combination of the `by` columns.

    A row has the columns of `by`, `SUMS` and `also`; a column of `also` may be text. Without `by`
    there is exactly one row.
    `in_order` sorts the rows by the start of their first calls.
    """
    keys, others = by or {}, also or {}
    found = tx.select(
        _statement(where, tuple(keys.items()), tuple(others.items()), in_order=in_order), values
    )
    # A sum is a Decimal on a server, and NULL where nothing is known.
    return [
        {
            name: row[name] if name in keys or isinstance(row[name], str) else int(row[name] or 0)
            for name in (*keys, *SUMS, *others)
        }
        for row in found
    ]


@functools.lru_cache(maxsize=256)
def _statement(
    where: str,
    keys: Sequence[tuple[str, str]],
    others: Sequence[tuple[str, str]],
    *,
    in_order: bool,
) -> str:
    columns = ", ".join(f"{sql} AS {name}" for name, sql in (*keys, *SUMS.items(), *others))
    groups = ", ".join(str(number) for number, _ in enumerate(keys, start=1))
    return " ".join(
        [
            f"SELECT {columns} FROM {CALLS} WHERE {where}",  # noqa: S608 - all parts are ours
            f"GROUP BY {groups}" if keys else "",
            # Ids of calls grow with time, so they decide between calls of one millisecond.
            "ORDER BY MIN(calls.started_at || calls.call_id)" if in_order else "",
        ]
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Selection:
    """Which calls, or runs, a report counts."""

    run_id: str | None = None
    """Only this run's, by its whole id; None: every run's."""
    batch_id: str | None = None
    """Only this batch's, by its whole id; None: also those of no batch."""
    user: str | None = None
    """Only those of this user's runs; None: every user's."""
    since: date | datetime | None = None
    """Those that started on this UTC day or at this time, or later."""
    until: date | datetime | None = None
    """Those that started before this time, or on this UTC day and before."""
    rehearsed: bool = False
    """Whether rehearsed ones count too."""
    simulated: bool = False
    """Whether those of a simulated provider count too."""

    def where(self, table: Literal["calls", "runs"]) -> str:
        """The condition on a table, as SQL that takes `values`."""
        known = {
            "run_id": f"{table}.run_id = :run_id",
            "batch_id": f"{table}.run_id IN {_OF_BATCH}",
            "user": 'runs."user" = :user',
            "since": f"{table}.started_at >= :since",
            "until": f"{table}.started_at < :until",
        }
        conditions = [sql for name, sql in known.items() if name in self.values]
        if not self.rehearsed:
            conditions.append(f"{table}.rehearsed = 0")
        if not self.simulated:
            is_simulated = "calls.simulated = 1" if table == "calls" else SIMULATED_RUN
            conditions.append(f"NOT {is_simulated}")
        return " AND ".join(conditions) or "1 = 1"

    @property
    def values(self) -> dict[str, object]:
        """The parameters of `where`."""
        known = {
            "run_id": self.run_id,
            "batch_id": self.batch_id,
            "user": self.user,
            "since": None if self.since is None else first_moment(self.since),
            "until": None if self.until is None else moment_after(self.until),
        }
        return {name: value for name, value in known.items() if value is not None}


def first_moment(since: date | datetime) -> str:
    """The first moment of a period, as rows write times."""
    return utc_text(since) if isinstance(since, datetime) else f"{since}T00:00:00.000Z"


def moment_after(until: date | datetime) -> str:
    """The first moment after a period: a day that is given as the end is part of it."""
    return utc_text(until) if isinstance(until, datetime) else f"{until}T24:00:00.000Z"
