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
from aideon_agents.cli.execution import Showing, carry_out, load
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
    source: Annotated[str, typer.Argument(metavar="[-]", help="- reads the task from stdin")] = "",
    task: Annotated[str | None, typer.Option(help="What to do, in words.")] = None,
    file: Annotated[Path | None, typer.Option(help="A text file that holds the task.")] = None,
    parameter: options.Parameters = None,
    tier: options.Tier = None,
    user: options.User = None,
    model: options.Models = None,
    budget: Annotated[
        str | None, typer.Option(metavar="USD", help="What it may cost; then it is stopped.")
    ] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds until it is stopped.")] = None,
    rehearse: Annotated[
        bool,
        typer.Option("--rehearse", help="Answer by rule, pay nothing, and say what it would cost."),
    ] = False,
    stream: Annotated[
        bool, typer.Option("--stream", help="Show on stderr what nodes say, as they say it.")
    ] = False,
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Open a page in the browser that fills as the run goes on."),
    ] = False,
    thread: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="Go on with a conversation. What is said is kept, beside the ledger.",
        ),
    ] = None,
    record_content: options.RecordContent = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> int:
    """Run a workflow once; its result goes to stdout."""
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
        watched=stream,
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
        stream=showing.watched,
        workflow=found.name,
        target=found.address,
        target_hash=found.content_hash,
        **given,
    )
    if estimates:

        def at_most() -> Cost:
            with redirect_stdout(sys.stderr):  # what the workflow prints is no result
                return blocking(runner.worst_case_cost(running))

        showing = dataclasses.replace(showing, estimate=at_most)
    return carry_out(running, showing)


def _page(*, as_json: bool) -> Callable[[Running], AbstractContextManager[Watched]]:
    from aideon_agents.cli.watch import can_open, watched  # noqa: PLC0415 - help must not wait

    return functools.partial(watched, opens=can_open(as_json=as_json))


def _task(source: str, task: str | None, file: Path | None) -> str:
    ways = (source != "", task is not None, file is not None)
    if sum(ways) != 1:
        raise InputError("say what to do in one way: --task TEXT, --file PATH, or - for stdin")
    if task is not None:
        return task
    if source not in ("", "-"):
        raise InputError(f"what is {source!r}? Give the task with --task TEXT, or - for stdin")
    name = str(file) if file else "stdin"
    try:
        return (file.read_bytes() if file else sys.stdin.buffer.read()).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{name} is not text in UTF-8: the task must be") from None
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror or error}") from None
