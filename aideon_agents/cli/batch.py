"""`aideon batch`: run a workflow on many items, show the progress, and print a summary.

`aideon worker` runs items of distributed batches until it is interrupted.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from aideon_agents.cli import options, output
from aideon_agents.cli.execution import interruptible, load
from aideon_agents.cli.options import (
    DONE,
    FAILED,
    INTERRUPTED,
    STOPPED,
    WAITING,
    chains,
    pairs,
    rehearsing,
    why_rehearsed,
)

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine, Generator, Sequence

    from rich.console import RenderableType

    from aideon_agents.batch import BatchResult
    from aideon_agents.batch.distributed.worker import Worker
    from aideon_agents.batch.options import Control, Progress
    from aideon_agents.batch.running import BatchRunning
    from aideon_agents.ledger.costs import NodeCost


T = TypeVar("T")

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
    spent = output.money(progress.spent, complete=progress.complete)
    of = "" if progress.budget is None else f" of {output.money(progress.budget)}"
    slow = [output.printable(progress.slowed_by)] if progress.slowed_by else []
    speed = f"{progress.items_per_s:,.1f} items/s"
    return [f"{', '.join(items)}; {speed}{left}", *slow, f"{spent}{of} spent"]


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
        f"results in {out}"
    )
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


_Items = Annotated[
    str, typer.Argument(metavar="ITEMS", help="A JSONL or CSV file of items, or - for stdin.")
]
_Out = Annotated[
    Path, typer.Option("-o", "--out", metavar="OUT", help="Write the results to this JSONL file.")
]
_Budget = Annotated[
    str | None, typer.Option(metavar="USD", help="Stop before all items together cost more.")
]
_ItemBudget = Annotated[
    str | None, typer.Option(metavar="USD", help="Stop an item before it costs more.")
]
_MaxFailures = Annotated[
    str | None, typer.Option(metavar="N|P%", help="Start no more items after this many failures.")
]
_Unordered = Annotated[
    bool, typer.Option("--unordered", help="Write results as items end, not in their order.")
]
_Rehearse = Annotated[bool, typer.Option("--rehearse", help="Call no model and pay nothing.")]
_RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Run failed items again.")]
_Checkpoint = Annotated[
    bool,
    typer.Option(
        "--checkpoint", help="Keep the result of each node, so that an item resumes there."
    ),
]
_Timeout = Annotated[
    float | None, typer.Option(metavar="SECONDS", help="Stop an item after this many seconds.")
]
_Progress = Annotated[
    Literal["auto", "json", "none"],
    typer.Option(help="auto: live on a terminal. json: one line per second on stderr."),
]
_AsJson = Annotated[
    bool, typer.Option("--json", help="Print only the JSON document, without the summary.")
]


def batch(
    target: options.Target,
    items: _Items,
    out: _Out,
    max_concurrency: Annotated[int, typer.Option(help="Items in progress at once.")] = 50,
    budget: _Budget = None,
    item_budget: _ItemBudget = None,
    max_failures: _MaxFailures = None,
    unordered: _Unordered = False,
    retry_failed: _RetryFailed = False,
    checkpoint: _Checkpoint = False,
    timeout: _Timeout = None,
    parameter: options.Parameters = None,
    tier: options.Tier = None,
    user: options.User = None,
    model: options.Models = None,
    engine: Annotated[
        Literal["local", "distributed"],
        typer.Option(help="Where items run; distributed uses `aideon worker`."),
    ] = "local",
    rehearse: _Rehearse = False,
    record_content: options.RecordContent = False,
    no_fallback: options.NoFallback = False,
    on_rate_limit: options.OnRateLimit = None,
    progress: _Progress = "auto",
    as_json: _AsJson = False,
) -> int:
    """Run a workflow on many items. Repeat the command to continue a stopped batch."""
    from aideon_agents.batch.running import BatchRunning

    settings = options.settings()
    why = why_rehearsed(settings, asked=rehearse, elsewhere=engine == "distributed")
    found = load(target, settings, models := chains(model))
    with progress_shown(progress) as watch:
        given: dict[str, Any] = {
            "inputs": pairs(parameter, "-p", may_be_empty=True),
            "tier": tier,
            "user": user,
            "model": models,
            "max_concurrency": max_concurrency,
            "budget": budget,
            "item_budget": item_budget,
            "max_failures": max_failures,
            "unordered": unordered,
            "retry_failed": retry_failed,
            "checkpoint": checkpoint or None,
            "timeout": timeout,
            "engine": engine,
            "rehearse": why is not None,
            "record_content": record_content,
            "fallback": not no_fallback,
            "on_rate_limit": on_rate_limit,
            "settings": settings,
            "workflow": found.name,
            "target": found.address,
            "target_hash": found.content_hash,
            "watch": watch,
        }
        result = _to_end(BatchRunning(found.graph, items, out, **given), why)
    return _report(result, out, as_json=as_json)


def _to_end(running: BatchRunning, why: str | None) -> BatchResult:
    def announce() -> None:
        if why:
            output.note(rehearsing(why))

    return run_many(running.control, lambda: running.to_end(announce))


def run_many(control: Control, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run items. The first interrupt drains them, the second cancels them, the third ends the process."""
    import asyncio

    with interruptible() as interruption, asyncio.Runner() as on_loop:

        def drain() -> None:
            interruption.ends(control.cancel, on_loop.get_loop())
            control.drain()
            output.note(
                f"interrupted: waiting for {control.count} items in progress, "
                "no other item starts; interrupt again to cancel them"
            )

        interruption.ends(drain, on_loop.get_loop())
        return _completed(work(), on_loop.get_loop())


def _completed(work: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop) -> T:
    """The result of running many items, which may call `sys.exit` or print."""
    with redirect_stdout(sys.stderr):  # output of a workflow is not the result
        task = loop.create_task(work)
        while not task.done():
            # sys.exit in a node fails its item, and also leaves the event loop.
            with contextlib.suppress(SystemExit):
                loop.run_until_complete(task)
        return task.result()


def _report(result: BatchResult, out: Path, *, as_json: bool) -> int:
    """Print the result of a batch and return the exit code."""
    from aideon_agents.batch import document

    if not as_json:
        show(result, out)
    if as_json or not sys.stdout.isatty():  # a person has just read it
        output.line(json.dumps(document(result)))
    if result.stop_reason in ("interrupted", "cancelled"):
        return INTERRUPTED
    if result.stop_reason in ("budget", "rate_limit"):
        return STOPPED
    if result.stop_reason == "waiting":
        return WAITING
    return FAILED if result.failed or result.invalid else DONE


def worker(
    max_concurrency: Annotated[int, typer.Option(help="Items in progress at once.")] = 50,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="At the end, print one JSON document with the number of items."
        ),
    ] = False,
) -> int:
    """Run items of batches that were started with --engine distributed."""
    from aideon_agents.batch.distributed.worker import Worker

    output.report_ledger_errors_once()
    host, pid = socket.gethostname(), os.getpid()
    made = Worker(options.settings(), max_concurrency, output.note)
    output.note(
        f"worker {pid} on {host}: up to {max_concurrency} items at once; interrupt it to stop it"
    )
    code = _work(made)
    output.note(f"worker {pid} has stopped after {made.ran:,} items")
    if as_json:
        output.document({"host": host, "pid": pid, "items": made.ran})
    return code


def _work(made: Worker) -> int:
    """Work. The first interrupt lets begun items finish, the second gives them back."""
    import asyncio

    code = 0
    with interruptible() as interruption, asyncio.Runner() as on_loop:

        def cut_off() -> None:
            nonlocal code
            code = INTERRUPTED
            made.cut_off()

        def leave() -> None:
            interruption.ends(cut_off, on_loop.get_loop())
            made.leave()
            output.note(
                f"stopping: waiting for {made.in_flight} items in progress; interrupt again to "
                "give them back"
            )

        interruption.ends(leave, on_loop.get_loop())
        _completed(made.work(), on_loop.get_loop())
    return code
