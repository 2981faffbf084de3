"""What came of a batch, for people: its counts, and what each node cost over all items."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aideon_agents.cli import output

if TYPE_CHECKING:
    from collections.abc import Sequence
    from decimal import Decimal
    from pathlib import Path

    from aideon_agents.batch import BatchResult
    from aideon_agents.ledger.batches import NodeTotals

_GO_ON = {
    "budget": (
        "the same command with a higher --budget goes on (or once a standing limit that refused "
        "is raised: aideon budget list)"
    ),
    "interrupted": "the same command goes on",
    "cancelled": "the same command goes on",
    "max_failures": "too many items failed; the same command goes on",
    "waiting": "answer what they ask, then the same command takes their results",
}


def show(result: BatchResult, out: Path) -> None:
    """Print a batch on stderr."""
    nodes(result.nodes, result.usd, complete=result.complete, to_stderr=True)
    pending = f", {result.pending:,} pending" if result.pending else ""
    output.note(
        f"batch {result.batch_id}: {result.items:,} items, {result.completed:,} completed, "
        f"{result.failed:,} failed, {result.invalid:,} invalid{pending}, in {result.wall_s:.1f} s; "
        f"results in {out}"
    )
    if result.failed:
        output.note(
            f"what failed: `aideon batches show {result.batch_id}`; --retry-failed tries it again"
        )
    for run_id in result.waiting:
        output.note(
            f"run {run_id} waits for an answer: `aideon runs resume {run_id} --answer JSON`"
        )
    if result.stop_reason is not None:
        output.note(f"stopped ({result.stop_reason}): {_GO_ON[result.stop_reason]}")


def nodes(
    found: Sequence[NodeTotals], usd: Decimal, *, complete: bool, to_stderr: bool = False
) -> None:
    """Print what nodes cost over a whole batch."""
    output.table(
        ("node", "calls", "in", "out", "cost"),
        [
            (
                node.node_path,
                _calls(node.calls, node.failed_calls),
                f"{node.input_tokens:,}",
                f"{node.output_tokens:,}",
                output.money(node.usd, complete=node.complete),
            )
            for node in found
        ],
        total=(
            "total",
            _calls(sum(node.calls for node in found), sum(node.failed_calls for node in found)),
            f"{sum(node.input_tokens for node in found):,}",
            f"{sum(node.output_tokens for node in found):,}",
            output.money(usd, complete=complete),
        ),
        numbers=4,
        to_stderr=to_stderr,
    )


def _calls(calls: int, failed: int) -> str:
    return f"{calls:,} ({failed:,} failed)" if failed else f"{calls:,}"
