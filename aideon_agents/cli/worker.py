"""`aideon worker`: runs items of distributed batches until it is told to leave."""

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
from aideon_agents.cli.output import tell_ledger_errors_once

if TYPE_CHECKING:
    from aideon_agents.batch.distributed.worker import Worker

_INTERRUPTED = 130


def worker(
    max_concurrency: Annotated[int, typer.Option(help="Items in flight at once.")] = 50,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON document at its end: what it ran.")
    ] = False,
) -> int:
    """Run items of the batches that were started with --engine distributed."""
    from aideon_agents.batch.distributed.worker import Worker  # noqa: PLC0415 - an extra, and slow

    tell_ledger_errors_once()
    settings = options.settings()
    made = Worker(settings, max_concurrency, output.note)
    output.note(
        f"worker {os.getpid()} on {socket.gethostname()}: up to {max_concurrency} items at once; "
        "interrupt it to have it leave"
    )
    code = _work(made)
    if as_json:
        output.document({"host": socket.gethostname(), "pid": os.getpid(), "items": made.ran})
    return code


def _work(made: Worker) -> int:
    """Work; the first interrupt lets it finish what it has begun, the second cuts that off."""
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
                f"leaving: {made.in_flight} items in flight come to their end; interrupt again to "
                "give them back"
            )

        interruption.ends(leave, loop)
        with redirect_stdout(sys.stderr):  # what a workflow prints is no result
            task = loop.create_task(made.work())
            while not task.done():
                # A node's sys.exit fails its item, and breaks through the loop as well.
                with contextlib.suppress(SystemExit):
                    loop.run_until_complete(task)
            task.result()
    output.note(f"worker {os.getpid()} has left after {made.ran:,} items")
    return code
