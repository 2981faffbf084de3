"""Calls, costs and reports as the JSON documents that scripts rely on.

Money is an exact decimal string; what is unknown is null. The names and their order are the
project's contract: changing one is a new major version.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from aideon_agents.ledger.clock import utc_text
from aideon_agents.ledger.pricing import usd_text

if TYPE_CHECKING:
    from aideon_agents.ledger.reports import Cost, NodeCost, Report, Totals
    from aideon_agents.ledger.rows import Call

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
)


def cost_document(cost: Cost) -> dict[str, Any]:
    """The `cost` of a run.

    Args:
        cost: What the run cost.

    Returns:
        JSON values.
    """
    return {
        "usd": usd_text(cost.usd),
        "complete": cost.complete,
        "calls": cost.calls,
        "failed_calls": cost.failed_calls,
        "input_tokens": cost.input_tokens,
        "output_tokens": cost.output_tokens,
    }


def node_document(node: NodeCost) -> dict[str, Any]:
    """One of the `nodes` of a run.

    Args:
        node: What the node cost.

    Returns:
        JSON values.
    """
    return {
        "node_path": node.node_path,
        "role": node.role,
        **_sums(node),
        "models": list(node.models),
        "duration_ms": node.duration_ms,
    }


def call_document(call: Call) -> dict[str, Any]:
    """One of the `calls` of a run.

    Args:
        call: The call's row.

    Returns:
        JSON values; `usd` is null where the cost is unknown.
    """
    return {
        **{name: getattr(call, name) for name in _BEFORE_MONEY},
        "usd": None if call.usd is None else usd_text(call.usd),
        **{name: getattr(call, name) for name in _AFTER_MONEY},
    }


def report_document(report: Report) -> dict[str, Any]:
    """A costs report.

    Args:
        report: What was spent.

    Returns:
        JSON values.
    """
    return {
        "by": report.by,
        "since": _moment(report.since),
        "until": _moment(report.until),
        "rows": [{"key": row.key, **_sums(row)} for row in report.rows],
        "total": _sums(report.total),
    }


def _sums(totals: Totals) -> dict[str, Any]:
    return {
        "calls": totals.calls,
        "failed_calls": totals.failed_calls,
        "input_tokens": totals.input_tokens,
        "output_tokens": totals.output_tokens,
        "usd": usd_text(totals.usd),
        "complete": totals.complete,
    }


def _moment(moment: date | datetime | None) -> str | None:
    if moment is None:
        return None
    return utc_text(moment) if isinstance(moment, datetime) else moment.isoformat()
