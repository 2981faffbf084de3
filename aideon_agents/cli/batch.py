"""`aideon batch`: many items through one workflow.

How far a batch has come, on stderr: drawn on a terminal, or a JSON line a second.

What came of a batch, for people: its counts, and what each node cost over all items.
"""

from __future__ import annotations

import contextlib
import json
import sys
from contextlib import redirect_stdout
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aideon_agents.cli import options, output
from aideon_agents.cli.execution import interruptible, load
from aideon_agents.cli.options import chains, pairs, rehearsing, why_rehearsed

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from decimal import Decimal

    from rich.console import RenderableType

    from aideon_agents.batch import BatchResult
    from aideon_agents.batch.progress import Progress
    from aideon_agents.batch.running import BatchRunning
    from aideon_agents.ledger.costs import NodeCost


_MINUTE, _HOUR = 60, 3600


@contextlib.contextmanager
def watching(form: str) -> Generator[Callable[[Progress], None] | None]:
    """Show progress while a block lasts."""
    if form == "json":
        yield lambda progress: output.note(json.dumps(progress.document()))
    elif form == "auto" and sys.stderr.isatty():
        with _drawn() as draw:
            yield draw
    else:
        yield None


@contextlib.contextmanager
def _drawn() -> Generator[Callable[[Progress], None]]:
    from rich.console import Console  # noqa: PLC0415 - help must not wait for it
    from rich.live import Live  # noqa: PLC0415 - as above

    console = Console(stderr=True, highlight=False, markup=False, emoji=False)
    with Live(console=console, auto_refresh=False, transient=True) as live:
        yield lambda progress: live.update(_picture(progress), refresh=True)


def _picture(progress: Progress) -> RenderableType:
    from rich.console import Group  # noqa: PLC0415 - as above
    from rich.progress_bar import ProgressBar  # noqa: PLC0415 - as above
    from rich.table import Table  # noqa: PLC0415 - as above
    from rich.text import Text  # noqa: PLC0415 - as above

    bar = Table.grid(padding=(0, 1))
    share = 100 * progress.done // progress.items
    counts = f"{progress.done:,} of {progress.items:,} ({share} %)"
    bar.add_row(ProgressBar(progress.items, progress.done, width=40), Text(counts))
    dearest = Table.grid(padding=(0, 2))
    for path, usd in progress.top_nodes:
        dearest.add_row(Text(f"  {path}"), Text(output.money(usd), justify="right"))
    return Group(bar, *(Text(line) for line in lines(progress)), dearest)


def lines(progress: Progress) -> list[str]:
    """How far a batch has come, in words."""
    troubles = [
        f"{count:,} {word}"
        for count, word in ((progress.failed, "failed"), (progress.invalid, "invalid"))
        if count
    ]
    left = "" if progress.seconds_left is None else f", {_time(progress.seconds_left)} left"
    items = [f"{progress.completed:,} completed", *troubles, f"{progress.in_flight:,} in flight"]
    spent = output.money(progress.spent, complete=progress.complete)
    of = "" if progress.budget is None else f" of {output.money(progress.budget)}"
    return [f"{', '.join(items)}; {progress.items_per_s:,.1f} items/s{left}", f"{spent}{of} spent"]


def _time(seconds: float) -> str:
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    hours, rest = divmod(whole, _HOUR)
    minutes, second = divmod(rest, _MINUTE)
    return f"{hours}:{minutes:02}:{second:02}" if hours else f"{minutes}:{second:02}"


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
    found: Sequence[NodeCost], usd: Decimal, *, complete: bool, to_stderr: bool = False
) -> None:
    """Print what nodes cost over a whole batch."""
    from aideon_agents.ledger.costs import Totals  # noqa: PLC0415 - help must not wait

    whole = sum(found, Totals())
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
            _calls(whole.calls, whole.failed_calls),
            f"{whole.input_tokens:,}",
            f"{whole.output_tokens:,}",
            output.money(usd, complete=complete),
        ),
        numbers=4,
        to_stderr=to_stderr,
    )


def _calls(calls: int, failed: int) -> str:
    return f"{calls:,} ({failed:,} failed)" if failed else f"{calls:,}"


_FAILED, _STOPPED, _WAITING, _INTERRUPTED = 1, 3, 4, 130


class Engine(StrEnum):
    """Where items are run."""

    local = "local"
    distributed = "distributed"


class ProgressForm(StrEnum):
    """How progress is shown."""

    auto = "auto"
    json = "json"
    none = "none"


_Items = Annotated[str, typer.Argument(metavar="ITEMS", help="A JSONL or CSV file; - reads stdin.")]
_Out = Annotated[
    Path, typer.Option("-o", "--out", metavar="OUT", help="The JSONL file of the results.")
]
_Budget = Annotated[
    str | None, typer.Option(metavar="USD", help="What all items may cost together.")
]
_ItemBudget = Annotated[str | None, typer.Option(metavar="USD", help="What each item may cost.")]
_MaxFailures = Annotated[
    str | None, typer.Option(metavar="N|P%", help="Start none any more once so many failed.")
]
_RetryFailed = Annotated[
    bool, typer.Option("--retry-failed", help="Run items again that have failed.")
]
_Checkpoint = Annotated[
    bool, typer.Option("--checkpoint", help="Keep what each node gave, as with a budget.")
]
_Progress = Annotated[
    ProgressForm,
    typer.Option(help="auto: drawn on a terminal. json: a line a second on stderr."),
]
_AsJson = Annotated[
    bool, typer.Option("--json", help="Only the JSON document, without the summary.")
]


def batch(
    target: options.Target,
    items: _Items,
    out: _Out,
    max_concurrency: Annotated[int, typer.Option(help="Items in flight at once.")] = 50,
    budget: _Budget = None,
    item_budget: _ItemBudget = None,
    max_failures: _MaxFailures = None,
    retry_failed: _RetryFailed = False,
    checkpoint: _Checkpoint = False,
    timeout: Annotated[float | None, typer.Option(help="Seconds until an item is stopped.")] = None,
    parameter: options.Parameters = None,
    tier: options.Tier = None,
    user: options.User = None,
    model: options.Models = None,
    engine: Annotated[Engine, typer.Option(help="Where items are run.")] = Engine.local,
    rehearse: Annotated[
        bool, typer.Option("--rehearse", help="Answer by rule, pay nothing.")
    ] = False,
    record_content: options.RecordContent = False,
    progress: _Progress = ProgressForm.auto,
    as_json: _AsJson = False,
) -> int:
    """Run many items through a workflow. The same command again goes on where it stopped."""
    from aideon_agents.batch.running import BatchRunning  # noqa: PLC0415 - help must not wait

    settings = options.settings()
    why = why_rehearsed(settings, asked=rehearse, elsewhere=engine is Engine.distributed)
    chosen = chains(model)
    found = load(target, settings, chosen)
    with watching(progress.value) as watch:
        given: dict[str, Any] = {
            "inputs": pairs(parameter, "-p", may_be_empty=True),
            "tier": tier,
            "user": user,
            "model": chosen,
            "max_concurrency": max_concurrency,
            "budget": budget,
            "item_budget": item_budget,
            "max_failures": max_failures,
            "retry_failed": retry_failed,
            "checkpoint": checkpoint or None,
            "timeout": timeout,
            "engine": engine.value,
            "rehearse": why is not None,
            "record_content": record_content,
            "settings": settings,
            "workflow": found.name,
            "target": found.address,
            "target_hash": found.content_hash,
            "watch": watch,
        }
        running = BatchRunning(found.graph, items, out, **given)
        result = _to_end(running, why)
    return _told(result, out, as_json=as_json)


def _to_end(running: BatchRunning, why: str | None) -> BatchResult:
    """Run a batch; the first interrupt drains it, the second cuts it off, the third ends us."""
    import asyncio  # noqa: PLC0415 - help must not wait

    with interruptible() as interruption, asyncio.Runner() as on_loop:
        loop = on_loop.get_loop()

        def drain() -> None:
            interruption.ends(running.control.cancel, loop)
            running.control.drain()
            output.note(
                f"interrupted: {running.control.count} items in flight come to their end "
                "and no other starts; interrupt again to cut them off"
            )

        def begins() -> None:
            if why:
                output.note(rehearsing(why))

        interruption.ends(drain, loop)
        with redirect_stdout(sys.stderr):  # what a workflow prints is no result
            task = loop.create_task(running.to_end(begins))
            while not task.done():
                # A node's sys.exit fails its item, and breaks through the loop as well.
                with contextlib.suppress(SystemExit):
                    loop.run_until_complete(task)
        return task.result()


def _told(result: BatchResult, out: Path, *, as_json: bool) -> int:
    """Print what came of a batch, and say what the exit code is."""
    from aideon_agents.batch import document  # noqa: PLC0415 - help must not wait

    if not as_json:
        show(result, out)
    output.line(json.dumps(document(result)))
    if result.stop_reason in ("interrupted", "cancelled"):
        return _INTERRUPTED
    if result.stop_reason == "budget":
        return _STOPPED
    if result.failed or result.invalid:
        return _FAILED
    return _WAITING if result.stop_reason == "waiting" else 0
