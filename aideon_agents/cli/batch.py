"""`aideon batch`: run a workflow on many items.

`aideon worker` runs items of distributed batches until it is interrupted.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import socket
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from aideon_agents.cli import options, output
from aideon_agents.cli.batch_summary import progress_shown, show
from aideon_agents.cli.execution import interruptible, load
from aideon_agents.cli.options import (
    DONE,
    FAILED,
    INTERRUPTED,
    STOPPED,
    WAITING,
    chains,
    rehearsed_if_needed,
    rehearsing,
)

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine

    from aideon_agents.batch import BatchResult
    from aideon_agents.batch.distributed.worker import Worker
    from aideon_agents.batch.options import Control
    from aideon_agents.batch.running import BatchRunning


T = TypeVar("T")

_Items = Annotated[
    str,
    typer.Argument(
        metavar="ITEMS",
        help="The items: JSON lines, a JSON array, CSV or TSV, XLSX, or - for stdin.",
    ),
]
_Out = Annotated[
    Path,
    typer.Option(
        "-o", "--out", metavar="OUT", help="The file of the results: .jsonl, .csv or .xlsx."
    ),
]
_TaskColumn = Annotated[str | None, typer.Option(metavar="C", help="The column of the task.")]
_IdColumn = Annotated[str | None, typer.Option(metavar="C", help="The column of the id.")]
_Template = Annotated[
    str | None,
    typer.Option(metavar="T", help='Make each task of columns: "Summarise {title}: {body}".'),
]
_Limit = Annotated[int | None, typer.Option(metavar="N", help="Read only the first N items.")]
_Sample = Annotated[int | None, typer.Option(metavar="N", help="Read only N items, at random.")]
_Seed = Annotated[int | None, typer.Option(metavar="S", help="Choose the sample; 0 by default.")]
_Delimiter = Annotated[
    str | None, typer.Option(metavar="D", help="What separates cells: one character, or tab.")
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
_KeepColumns = Annotated[
    bool, typer.Option("--keep-columns", help="Repeat the columns of the input in OUT.")
]
_Rehearse = Annotated[bool, typer.Option("--rehearse", help="Call no model and pay nothing.")]
_RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Run failed items again.")]
_From = Annotated[
    str | None,
    typer.Option("--from", metavar="BATCH", help="Take over the results of an earlier batch."),
]
_Checkpoint = Annotated[
    bool | None,
    typer.Option(
        "--checkpoint", help="Keep the result of each node, so that an item resumes there."
    ),
]
_Timeout = Annotated[
    float | None, typer.Option(metavar="SECONDS", help="Stop an item after this many seconds.")
]
_Engine = Annotated[
    Literal["local", "distributed", "provider"],
    typer.Option(
        help="Where items run: distributed uses `aideon worker`, provider batches of OpenAI or Together."
    ),
]
_Wait = Annotated[
    bool, typer.Option("--wait", help="Wait for the provider's batches, which take up to a day.")
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
    task_column: _TaskColumn = None,
    id_column: _IdColumn = None,
    template: _Template = None,
    limit: _Limit = None,
    sample: _Sample = None,
    seed: _Seed = None,
    delimiter: _Delimiter = None,
    max_concurrency: Annotated[int, typer.Option(help="Items in progress at once.")] = 50,
    budget: _Budget = None,
    item_budget: _ItemBudget = None,
    max_failures: _MaxFailures = None,
    unordered: _Unordered = False,
    keep_columns: _KeepColumns = False,
    retry_failed: _RetryFailed = False,
    from_batch: _From = None,
    checkpoint: _Checkpoint = None,
    timeout: _Timeout = None,
    parameter: options.Parameters = None,
    sources: options.Sources = None,
    tier: options.Tier = None,
    user: options.User = None,
    model: options.Models = None,
    engine: _Engine = "local",
    wait: _Wait = False,
    rehearse: _Rehearse = False,
    record_content: options.RecordContent = False,
    no_fallback: options.NoFallback = False,
    fallback: options.Fallback = None,
    cache: options.Cache = None,
    on_rate_limit: options.OnRateLimit = None,
    privacy: options.Privacy = None,
    quality: options.Quality = None,
    replace_retired: options.ReplaceRetired = False,
    allow_outside: options.AllowOutside = False,
    progress: _Progress = "auto",
    as_json: _AsJson = False,
) -> int:
    """Run a workflow on many items. Repeat the command to continue a stopped batch."""
    flags = locals()  # most are options of a batch under the same name
    from aideon_agents.batch.options import BatchOptions
    from aideon_agents.batch.running import BatchRunning

    found = load(target, settings := options.settings(), chains(model), flags)
    with progress_shown(progress, max_concurrency) as watch:
        given: dict[str, Any] = {
            **{name: flags[name] for name in BatchOptions.__annotations__ if name in flags},
            "inputs": options.inputs(parameter, sources),
            "model": chains(model),
            "fallback": options.fallbacks(fallback, none=no_fallback),
            "settings": settings,
            "watch": watch,
            **found.labels,
        }
        make = functools.partial(BatchRunning, found.graph, items, out, **given)
        result = _to_end(*rehearsed_if_needed(make, settings, asked=rehearse))
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
                f"interrupted: waiting for {output.counted(control.count, 'item')} in progress, "
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
    if result.stop_reason in ("budget", "rate_limit", "quota"):
        return STOPPED
    if result.stop_reason in ("waiting", "provider"):
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
        f"worker {pid} on {host}: up to {output.counted(max_concurrency, 'item')} at once; interrupt it to stop it"
    )
    code = _work(made)
    output.note(f"worker {pid} has stopped after {output.counted(made.ran, 'item')}")
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
                f"stopping: waiting for {output.counted(made.in_flight, 'item')} in progress; interrupt again to "
                "give them back"
            )

        interruption.ends(leave, on_loop.get_loop())
        _completed(made.work(), on_loop.get_loop())
    return code
