"""The progress of a batch on a terminal, and its summary."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from aideon_agents.cli import output

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from decimal import Decimal

    from rich.console import RenderableType

    from aideon_agents.batch import BatchResult
    from aideon_agents.batch.options import Progress
    from aideon_agents.ledger.costs import NodeCost


_MINUTE, _HOUR = 60, 3600


@contextlib.contextmanager
def progress_shown(form: str) -> Generator[Callable[[Progress], None] | None]:
    """Show progress within a block; yields the function that shows it, or None."""
    if form == "json":
        yield lambda progress: output.note(json.dumps(progress.document()))
    elif form == "auto" and sys.stderr.isatty():
        from rich.console import Console
        from rich.live import Live

        console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        with Live(console=console, auto_refresh=False, transient=True) as live:
            yield lambda progress: live.update(_picture(progress), refresh=True)
    else:
        yield None


def _picture(progress: Progress) -> RenderableType:
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    bar = Table.grid(padding=(0, 1))
    share = 100 * progress.done // progress.items
    counts = f"{progress.done:,} of {progress.items:,} ({share} %)"
    bar.add_row(ProgressBar(progress.items, progress.done, width=40), Text(counts))
    dearest = Table.grid(padding=(0, 2))
    for path, usd in progress.top_nodes:
        dearest.add_row(Text(f"  {path}"), Text(output.money(usd), justify="right"))
    return Group(bar, *(Text(line) for line in lines(progress)), dearest)


def lines(progress: Progress) -> list[str]:
    """The progress of a batch as text: its items and speed, and its cost."""
    problems = [
        f"{count:,} {word}"
        for count, word in ((progress.failed, "failed"), (progress.invalid, "invalid"))
        if count
    ]
    left = "" if progress.seconds_left is None else f", {_time(progress.seconds_left)} left"
    items = [f"{progress.completed:,} completed", *problems, f"{progress.in_flight:,} in flight"]
    money = spent(progress.spent, progress.held, progress.complete, progress.budget)
    slow = [output.printable(progress.slowed_by)] if progress.slowed_by else []
    speed = f"{progress.items_per_s:,.1f} items/s"
    return [f"{', '.join(items)}; {speed}{left}", *slow, money]


def spent(usd: Decimal, held: Decimal, complete: bool, budget: Decimal | None = None) -> str:  # noqa: FBT001 - as the fields that it is given
    """What a batch has spent, and what it holds besides: the worst cases of unknown costs."""
    of = "" if budget is None else f" of {output.money(budget)}"
    besides = f" (held {output.money(held)})" if held else ""
    return f"{output.money(usd, complete=complete)}{of} spent{besides}"


def _time(seconds: float) -> str:
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    hours, rest = divmod(whole, _HOUR)
    minutes, second = divmod(rest, _MINUTE)
    return f"{hours}:{minutes:02}:{second:02}" if hours else f"{minutes}:{second:02}"


_NEXT_STEP = {
    "budget": (
        "repeat the command with a higher --budget to continue; if a standing limit refused, "
        "raise that one (see aideon budget list)"
    ),
    "rate_limit": "repeat the command then to continue, or now with --on-rate-limit fallback",
    "interrupted": "repeat the command to continue",
    "cancelled": "repeat the command to continue",
    "max_failures": "too many items failed; repeat the command to continue",
    "waiting": "answer, then repeat the command to write the results",
}


def show(result: BatchResult, out: Path) -> None:
    """Print the summary of a batch on stderr."""
    nodes(result.nodes, to_stderr=True)
    pending = f", {result.pending:,} pending" if result.pending else ""
    output.note(
        f"batch {result.batch_id}: {result.items:,} items, {result.completed:,} completed, "
        f"{result.failed:,} failed, {result.invalid:,} invalid{pending}, in {result.wall_s:.1f} s; "
        f"{spent(result.usd, result.held, result.complete)}; results in {out}"
    )
    if result.carried:
        output.note(
            f"{result.carried:,} carried over from {result.carried_from}, at no cost; "
            f"{result.items - result.carried:,} new"
        )
        if result.earlier_out:
            output.note(f"all results of that batch stay in {result.earlier_out}")
    if result.truncated:
        output.note(
            f"{output.counted(result.truncated, 'answer')} met max_tokens and "
            f"{'is' if result.truncated == 1 else 'are'} cut off: raise max_tokens"
        )
    if result.failed:
        output.note(
            f"see the failed items with `aideon batches show {result.batch_id}`; "
            "run them again with --retry-failed"
        )
    elif result.invalid:
        output.note(f"see the invalid items with `aideon batches show {result.batch_id}`")
    if waiting := len(result.waiting):
        output.note(
            f"{output.counted(waiting, 'item')} {'waits' if waiting == 1 else 'wait'} for an answer: "
            f"see and answer with `aideon batches approve {result.batch_id}`, or decline with "
            f"`aideon batches decline {result.batch_id} --feedback TEXT`"
        )
    if result.stop_reason is not None:
        by = (
            f"{result.stopped_by}; "
            if result.stop_reason == "rate_limit" and result.stopped_by
            else ""
        )
        output.note(f"stopped ({result.stop_reason}): {by}{_NEXT_STEP[result.stop_reason]}")


def nodes(found: Sequence[NodeCost], *, to_stderr: bool = False) -> None:
    """Print what each node cost in a batch."""
    from aideon_agents.ledger.costs import Totals

    output.table(
        ("node", "calls", "in", "out", "cost"),
        [(node.node_path, *output.figures(node)) for node in found],
        total=("total", *output.figures(sum(found, Totals()))),
        numbers=4,
        to_stderr=to_stderr,
    )
