"""Calls, costs and reports as the JSON documents that scripts rely on.

Money is an exact decimal string; what is unknown is null. The names and their order are the
project's contract: changing one is a new major version.
"""

from __future__ import annotations

import json
from datetime import date, datetime
from typing import Any, cast

from aideon_agents.ledger.costs import Cost, NodeCost, Totals
from aideon_agents.ledger.identity import is_gone, utc_text
from aideon_agents.ledger.money import usd, usd_text
from aideon_agents.ledger.pricing.shapes import SCALES, Measure
from aideon_agents.ledger.reports import Report, ReportRow
from aideon_agents.ledger.rows import Call
from aideon_agents.ledger.store import Ledger

_BEFORE_MONEY = (
    "call_id",
    "node_path",
    "role",
    "round",
    "candidate",
    "attempt",
    "provider",
    "requested_model",
    "response_model",
    "status",
    "error_type",
    "finish_reason",
    "shortened",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_creation_tokens",
    "reasoning_tokens",
    "usage_source",
)
_AFTER_MONEY = (
    "price_source",
    "started_at",
    "duration_ms",
    "time_to_first_token_ms",
    "rehearsed",
    "simulated",
    "truncated",
)

_SHARE_PLACES = 6
"""Places of a share: one call in a million still shows."""
_SPEED_PLACES = 3


def cost_document(cost: Cost) -> dict[str, Any]:
    """The `cost` of a run."""
    sums = _sums(cost)
    return {"usd": sums.pop("usd"), "complete": sums.pop("complete"), **sums}


def node_document(node: NodeCost) -> dict[str, Any]:
    """One of the `nodes` of a run."""
    return {
        "node_path": node.node_path,
        "role": node.role,
        **_sums(node),
        "models": list(node.models),
        "duration_ms": node.duration_ms,
        "truncated": node.truncated,
    }


def call_document(call: Call) -> dict[str, Any]:
    """One of the `calls` of a run; a call that was answered from the cache also says what that saved."""
    saved = None if call.saved_nanousd is None else usd_text(usd(call.saved_nanousd))
    return {
        **{name: getattr(call, name) for name in _BEFORE_MONEY},
        "usd": None if call.usd is None else usd_text(call.usd),
        **{name: getattr(call, name) for name in _AFTER_MONEY},
        "choice": None if call.choice is None else json.loads(call.choice),
        "feature": call.feature,
        "modality": call.modality,
        "unit": call.unit,
        "quantity": _in_unit(call),
        "provider_job": call.provider_job,
        "cost_told": None if call.cost_reported is None else usd_text(usd(call.cost_reported)),
        "processing": call.processing or "live",
        "key_source": call.key_source,
        **({"saved_usd": saved} if call.status == "cached" else {}),
    }


def _in_unit(call: Call) -> float | None:
    """How much of its unit a call of media was: 2.5 seconds, or 1 image."""
    if call.unit is None or call.quantity is None:
        return None
    whole, part = divmod(call.quantity, scale := SCALES.get(cast("Measure", call.unit), 1))
    return call.quantity / scale if part else whole


def report_document(report: Report) -> dict[str, Any]:
    """A costs report."""
    return {
        "by": report.by,
        "since": _moment(report.since),
        "until": _moment(report.until),
        "rows": [{"key": row.key, **figures_document(row)} for row in report.rows],
        "total": {
            **figures_document(report.total),
            "economized_calls": report.total.economized_calls,
            "shortened_calls": report.total.shortened_calls,
        },
    }


def figures_document(figures: ReportRow) -> dict[str, Any]:
    """The figures of a report's row, or of its total."""
    against = figures.against
    return {
        **_sums(figures),
        "failed_share": _rounded(figures.failed_share, _SHARE_PLACES),
        "success_rate": _rounded(figures.success_rate, _SHARE_PLACES),
        "tokens_per_second": _rounded(figures.tokens_per_second, _SPEED_PLACES),
        "median_ms": figures.median_ms,
        "p95_ms": figures.p95_ms,
        "run_success_rate": _rounded(figures.run_success_rate, _SHARE_PLACES),
        **({"against": {**vars(against), "usd": usd_text(against.usd)}} if against else {}),
    }


def _sums(totals: Totals) -> dict[str, Any]:
    return {
        "calls": totals.calls,
        "failed_calls": totals.failed_calls,
        "input_tokens": totals.input_tokens,
        "output_tokens": totals.output_tokens,
        "usd": usd_text(totals.usd),
        "complete": totals.complete and totals.counted,
    }


def _rounded(value: float | None, places: int) -> float | None:
    return None if value is None else round(value, places)


def _moment(moment: date | datetime | None) -> str | None:
    if moment is None:
        return None
    return utc_text(moment) if isinstance(moment, datetime) else moment.isoformat()


def guarded(text: str) -> str:
    """A text as the cell of a CSV file that no spreadsheet reads as a formula.

    It has an apostrophe before it where it may be read as one, or begins with an apostrophe: the
    text is what follows the first apostrophe.
    """
    return f"'{text}" if text.startswith(_SPECIAL) else text


_SPECIAL = ("=", "+", "-", "@", "\t", "\r", "\n", "'")


def losses(ledger: Ledger, run_id: str) -> dict[str, int]:
    """The worst cases, in nano-dollars, of a run's calls whose cost is unknown, by call.

    Budgets count them as spent and reports do not, so the two differ by these amounts.
    """
    return {
        hold["call_id"]: hold["amount_nanousd"]
        for hold in ledger.select(_UNSETTLED, {"run_id": run_id})
        if hold["status"] != "held" or is_gone(hold)
    }


_UNSETTLED = (
    "SELECT call_id, amount_nanousd, status, host, pid, process_start FROM holds WHERE run_id = :run_id AND amount_nanousd > 0"
    " AND status IN ('held', 'unknown', 'forfeited') ORDER BY taken_at, call_id"
)
