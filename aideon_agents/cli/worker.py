"""`aideon worker`: run items of distributed batches until it is interrupted."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Annotated

import typer

from aideon_agents.cli import options, output
from aideon_agents.cli.execution import interruptible
from aideon_agents.cli.output import report_ledger_errors_once

if TYPE_CHECKING:
    from aideon_agents.batch.distributed.worker import Worker

_INTERRUPTED = 130


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
    from aideon_agents.batch.distributed.worker import Worker  # noqa: PLC0415 - an extra, and slow

    report_ledger_errors_once()
    settings = options.settings()
    made = Worker(settings, max_concurrency, output.note)
    output.note(
        f"worker {os.getpid()} on {socket.gethostname()}: up to {max_concurrency} items at once; "
        "interrupt it to stop it"
    )
    code = _work(made)
    if as_json:
        output.document({"host": socket.gethostname(), "pid": os.getpid(), "items": made.ran})
    return code


def _work(made: Worker) -> int:
    """Work. The first interrupt lets begun items finish, the second gives them back."""
    import asyncio  # noqa: PLC0415 - help must not wait

    code = 0
    with interruptible() as interruption, asyncio.Runner() as on_loop:
        loop = on_loop.get_loop()

        def cut_off() -> None:
            nonlocal code
            code = _INTERRUPTED
            made.cut_off()

        def leave() -> None:
            interruption.ends(cut_off, loop)
            made.leave()
            output.note(
                f"stopping: waiting for {made.in_flight} items in progress; interrupt again to "
                "give them back"
            )

        interruption.ends(leave, loop)
        with redirect_stdout(sys.stderr):  # output of a workflow is not the result
            task = loop.create_task(made.work())
            while not task.done():
                # sys.exit in a node fails its item, and also leaves the event loop.
                with contextlib.suppress(SystemExit):
                    loop.run_until_complete(task)
            task.result()
    output.note(f"worker {os.getpid()} has stopped after {made.ran:,} items")
    return code
