"""What came of a run, for people: its text on stdout, and what it cost beside it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from aideon_agents.cli import output

if TYPE_CHECKING:
    from aideon_agents.runner import RunResult


def show(result: RunResult) -> None:
    """Print a run's text on stdout, and each node's cost on stderr."""
    if result.output:
        said = result.output.rstrip("\n")
        output.line(output.printable(said) if sys.stdout.isatty() else said)
    cost = result.cost
    output.table(
        ("node", "model", "calls", "in", "out", "cost", "time"),
        [
            (
                node.node_path,
                ", ".join(name.partition(":")[2] for name in node.models),
                _calls(node.calls, node.failed_calls),
                f"{node.input_tokens:,}",
                f"{node.output_tokens:,}",
                output.money(node.usd, complete=node.complete),
                output.duration(node.duration_ms),
            )
            for node in result.nodes
        ],
        total=(
            "rehearsed" if result.rehearsed else "total",
            "",
            _calls(cost.calls, cost.failed_calls),
            f"{cost.input_tokens:,}",
            f"{cost.output_tokens:,}",
            output.money(cost.usd, complete=cost.complete),
            "",
        ),
        numbers=5,
        to_stderr=True,
    )
    if result.status != "cancelled":  # which has a line of its own
        reason = f" ({result.stop_reason})" if result.stop_reason else ""
        output.note(f"run {result.run_id} {result.status}{reason}")


def _calls(calls: int, failed: int) -> str:
    return f"{calls} ({failed} failed)" if failed else str(calls)
