"""How models and providers do: from the calls of a time, and the circuit breakers of every process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from aideon_agents.ledger.models.states import CLOSED, WORST_FIRST, states
from aideon_agents.ledger.reports import ReportRow, reports
from aideon_agents.ledger.selection import CALL_KEYS, Selection

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Mapping

    from aideon_agents.ledger.store import Ledger

    Document = dict[str, Any]

_LAST_ERRORS = """
    SELECT key, error_type, error, started_at FROM (
        SELECT {key} AS key, calls.error_type, calls.error, calls.started_at,
            ROW_NUMBER() OVER (
                PARTITION BY {key} ORDER BY calls.started_at DESC, calls.call_id DESC
            ) AS place
        FROM calls WHERE {where} AND calls.status IN ('error', 'broken')
    ) AS failed WHERE place = 1
"""


def statuses(
    ledger: Ledger,
    since: dt.date | dt.datetime,
    *,
    by: Literal["model", "provider"] = "model",
    simulated: bool = False,
) -> list[Document]:
    """Every model or provider that was called or has a breaker, the worst first."""
    calls = Selection(since=since, simulated=simulated)
    (report,) = reports(ledger, (by,), calls)
    rows = {row.key: row for row in report.rows}
    statement = _LAST_ERRORS.format(key=CALL_KEYS[by], where=calls.where("calls"))
    errors = {row["key"]: row for row in ledger.select(statement, calls.values)}
    breakers: dict[str, list[Document]] = {}
    for row in states(ledger.database, simulated=simulated):
        model = f":{row['model']}" if by == "model" else ""
        breakers.setdefault(f"{row['provider']}{model}", []).append(row)
    # A breaker of a key is shown only where it is not closed: it has no calls of its own.
    ours = {
        key: kept for key, kept in breakers.items() if key[-1] != ":" or kept[0]["state"] != CLOSED
    }
    found = [
        _document(key, ours.get(key, []), rows.get(key), errors.get(key))
        for key in sorted({*rows, *ours})
    ]
    return sorted(found, key=lambda one: WORST_FIRST.index(one["state"]))


def _document(
    key: str,
    breakers: Iterable[Document],
    calls: ReportRow | None,
    error: Mapping[str, Any] | None,
) -> Document:
    provider, _, model = key.partition(":")
    shown = [
        {
            "state": one["state"],
            "key": one["key_name"],
            "rests_until": one["rests_until"] if one["state"] == "open" else None,
            "reason": one["reason"],
            "changed_at": one["changed_at"],
            "host": one["host"],
            "pid": one["pid"],
            "has_ended": one["is_gone"],
        }
        for one in breakers
    ]
    rests = [one["rests_until"] for one in shown if one["rests_until"]]
    return {
        "provider": provider,
        "model": model or None,
        "state": shown[0]["state"] if shown else "closed",
        "rests_until": max(rests, default=None),
        "calls": calls.calls if calls else 0,
        "failed_calls": calls.failed_calls if calls else 0,
        "success_rate": _rounded(calls and calls.success_rate, 4),
        "p50_ms": calls.median_ms if calls else None,
        "p95_ms": calls.p95_ms if calls else None,
        "tokens_per_second": _rounded(calls and calls.tokens_per_second, 1),
        "last_error": error
        and {"type": error["error_type"], "message": error["error"], "at": error["started_at"]},
        "breakers": shown,
    }


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
