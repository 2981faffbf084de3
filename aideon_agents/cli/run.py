"""`aideon run`: one run of one workflow."""

from __future__ import annotations

import dataclasses
import functools
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aideon_agents.cli import options
from aideon_agents.cli.execution import Showing, execute, load
from aideon_agents.cli.options import chains, pairs, why_rehearsed
from aideon_agents.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from aideon_agents.cli.watch import Watched
    from aideon_agents.ledger.costs import Cost
    from aideon_agents.runner.running import Running


def run(
    context: typer.Context,
    target: options.Target,
    source: Annotated[str, typer.Argument(metavar="[-]", help="Read the task from stdin.")] = "",
    task: Annotated[str | None, typer.Option(help="The task as text.")] = None,
    file: Annotated[Path | None, typer.Option(help="Read the task from a text file.")] = None,
    parameter: options.Parameters = None,
    tier: options.Tier = None,
    user: options.User = None,
    model: options.Models = None,
    budget: Annotated[
        str | None, typer.Option(metavar="USD", help="Stop the run before it costs more.")
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(help="Stop the run after this many seconds.")
    ] = None,
    rehearse: Annotated[
        bool,
        typer.Option("--rehearse", help="Call no model, pay nothing, and estimate the cost."),
    ] = False,
    stream: Annotated[
        bool, typer.Option("--stream", help="Show tokens and nodes on stderr during the run.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show the run as a page in the browser.")
    ] = False,
    thread: Annotated[
        str | None,
        typer.Option(
            metavar="ID", help="Continue a conversation. Its texts are kept beside the ledger."
        ),
    ] = None,
    record_content: options.RecordContent = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> int:
    """Run a workflow once. The result goes to stdout."""
    settings = options.settings()
    text = _task(source, task, file)
    why = why_rehearsed(settings, asked=rehearse)
    given: dict[str, Any] = {
        "inputs": pairs(parameter, "-p", may_be_empty=True),
        "tier": tier,
        "user": user,
        "model": chains(model),
        "budget": budget,
        "timeout": timeout,
        "rehearse": why is not None,
        "thread": thread,
        "record_content": record_content,
        "settings": settings,
    }
    showing = Showing(
        why=why,
        streams=stream,
        as_json=as_json,
        debug=bool(context.obj),
        page=_page(as_json=as_json) if watch else None,
    )
    return _run(target, text, given, showing, estimates=rehearse)


def _run(
    target: str, task: str, given: dict[str, Any], showing: Showing, *, estimates: bool
) -> int:
    from aideon_agents import runner  # noqa: PLC0415 - help must not wait
    from aideon_agents.models.bridge import blocking  # noqa: PLC0415 - as above

    found = load(target, given["settings"], given["model"])
    running = runner.prepare(
        found.graph,
        task,
        stream=showing.streams,
        workflow=found.name,
        target=found.address,
        target_hash=found.content_hash,
        **given,
    )
    if estimates:

        def at_most() -> Cost:
            with redirect_stdout(sys.stderr):  # output of the workflow is not the result
                return blocking(runner.worst_case_cost(running))

        showing = dataclasses.replace(showing, estimate=at_most)
    return execute(running, showing)


def _page(*, as_json: bool) -> Callable[[Running], AbstractContextManager[Watched]]:
    from aideon_agents.cli.watch import can_open, watched  # noqa: PLC0415 - help must not wait

    return functools.partial(watched, opens=can_open(as_json=as_json))


def _task(source: str, task: str | None, file: Path | None) -> str:
    if [source != "", task is not None, file is not None].count(True) != 1:
        raise InputError("give the task in one way: --task TEXT, --file PATH, or - for stdin")
    if task is not None:
        return task
    if source not in ("", "-"):
        raise InputError(
            f"unexpected argument {source!r}: give the task with --task TEXT, or - for stdin"
        )
    name = str(file) if file else "stdin"
    try:
        return (file.read_bytes() if file else sys.stdin.buffer.read()).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{name} is not text in UTF-8: convert it to UTF-8") from None
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror or error}") from None
