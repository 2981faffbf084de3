"""`aideon batch`: many items through one workflow."""

from __future__ import annotations

import contextlib
import json
import sys
from contextlib import redirect_stdout
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aideon_agents.cli import opening, options, output
from aideon_agents.cli.batch_progress import watching
from aideon_agents.cli.batch_summary import show
from aideon_agents.cli.execution import load
from aideon_agents.cli.interrupting import interruptible
from aideon_agents.cli.words import chains, pairs, rehearsing, why_rehearsed

if TYPE_CHECKING:
    from aideon_agents.batch import BatchResult
    from aideon_agents.batch.running import BatchRunning

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

    settings = opening.settings()
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
