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
    from aideon_agents.batch.progress import Progress
    from aideon_agents.ledger.costs import NodeCost


_MINUTE, _HOUR = 60, 3600


@contextlib.contextmanager
def progress_shown(form: str, at_once: int) -> Generator[Callable[[Progress], None] | None]:
    """Show progress within a block; yields the function that shows it, or None.

    `at_once` is `--max-concurrency`.
    """
    if form == "json":
        yield lambda progress: output.note(json.dumps(progress.document()))
    elif form == "auto" and sys.stderr.isatty():
        from rich.console import Console
        from rich.live import Live

        console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        with Live(console=console, auto_refresh=False, transient=True) as live:
            yield lambda progress: live.update(_picture(progress, at_once), refresh=True)
    else:
        yield None


def _picture(progress: Progress, at_once: int) -> RenderableType:
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
    return Group(bar, *(Text(line) for line in lines(progress, at_once)), dearest)


def lines(progress: Progress, at_once: int) -> list[str]:
    """The progress of a batch as text: its items and speed, what limits it, and its cost."""
    left = "" if progress.seconds_left is None else f", {_time(progress.seconds_left)} left"
    items = _counts(completed=progress.completed, failed=progress.failed, invalid=progress.invalid)
    limit = progress.slowed_by
    if limit is None and at_once <= progress.in_flight < progress.items - progress.done:
        limit = f"--max-concurrency is {at_once}: other items wait"
    return [
        f"{items}, {progress.in_flight:,} in flight; {progress.items_per_s:,.1f} items/s{left}",
        *([output.printable(limit)] if limit else []),
        spent(progress.spent, progress.held, progress.complete, progress.budget),
    ]


def _counts(*, completed: int, **others: int) -> str:
    """Items by status; the others only where there are some."""
    return ", ".join(
        [f"{completed:,} completed", *(f"{one:,} {word}" for word, one in others.items() if one)]
    )


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


_STOPPED = {
    "budget": (
        "stopped at a budget: repeat the command with a higher --budget to continue,",
        "or raise the standing limit that refused: see `aideon budget list`",
    ),
    "rate_limit": (
        "stopped at a rate limit: repeat the command then to continue,",
        "or now with --on-rate-limit fallback",
    ),
    "quota": ("stopped at a quota of the service: repeat the command when it resets",),
    "interrupted": ("interrupted: repeat the command to continue",),
    "cancelled": ("cancelled: repeat the command to continue",),
    "max_failures": ("stopped, as too many items failed: repeat the command to continue",),
    "provider": (
        "repeat the command to see whether it has ended and to continue, or with",
        "--wait; `aideon batches cancel` ends it at the provider",
    ),
    "waiting": ("answer, then repeat the command to write the results",),
}
"""Why a batch stopped, and what to do, in lines."""


def show(result: BatchResult, out: Path) -> None:
    """Print the summary of a batch on stderr, in lines of at most 80 characters where ours are all."""
    nodes(result.nodes, to_stderr=True)
    batch = result.batch_id
    others = {word: getattr(result, word) for word in ("failed", "invalid", "pending")}
    output.note(
        f"{output.counted(result.items, 'item')} in {_took(result.wall_s)}: "
        f"{_counts(completed=result.completed, **others)}"
    )
    output.note(spent(result.usd, result.held, result.complete))
    _show_provider(result)
    output.note(f"results in {out} (batch {batch})")
    if result.carried:
        output.note(
            f"{result.carried:,} carried over at no cost, {result.items - result.carried:,} new; "
            f"from {result.carried_from}"
        )
        if result.earlier_out:
            output.note(f"all results of that batch stay in {result.earlier_out}")
    if result.truncated:
        output.note(
            f"{output.counted(result.truncated, 'answer')} met max_tokens and "
            f"{'is' if result.truncated == 1 else 'are'} cut off: raise max_tokens"
        )
    if result.failed or result.invalid:
        output.note(f"what is wrong: `aideon batches show {batch} --failed`")
    if result.failed:
        output.note("run failed items again: repeat the command with --retry-failed")
    if waiting := len(result.waiting):
        output.note(
            f"{output.counted(waiting, 'item')} {'waits' if waiting == 1 else 'wait'} for an answer:"
        )
        output.note(f"`aideon batches approve {batch}`, or")
        output.note(f"`aideon batches decline {batch} --feedback TEXT`")
    if result.stop_reason == "rate_limit" and result.stopped_by:
        output.note(result.stopped_by)
    for line in _STOPPED.get(result.stop_reason or "", ()):
        output.note(line)


def _show_provider(result: BatchResult) -> None:
    """Print what the batches of a provider saved, and which are in progress."""
    if result.saved:
        listed = output.money(result.usd + result.saved)
        output.note(f"list price {listed}, saved {output.money(result.saved)} by batches")
    for job in result.jobs:
        output.note(f"in progress at the provider: {job}")


def _took(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < _MINUTE else _time(seconds)


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
