"""`aideon run`: one run of one workflow."""

from __future__ import annotations

import functools
import sys
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aideon_agents.cli import options, output
from aideon_agents.cli.execution import execute, load
from aideon_agents.cli.options import chains, rehearsed_if_needed
from aideon_agents.errors import InputError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from aideon_agents.cli.watch import Watched
    from aideon_agents.runner import RunResult
    from aideon_agents.runner.running import Running


_Budget = Annotated[
    str | None, typer.Option(metavar="USD", help="Stop the run before it costs more.")
]
_Rehearse = Annotated[
    bool, typer.Option("--rehearse", help="Call no model, pay nothing, and estimate the cost.")
]
_Watch = Annotated[bool, typer.Option("--watch", help="Show the run as a page in the browser.")]
_Thread = Annotated[
    str | None,
    typer.Option(
        metavar="ID", help="Continue a conversation. Its texts are kept beside the ledger."
    ),
]


def run(
    context: typer.Context,
    target: options.Target,
    source: Annotated[str, typer.Argument(metavar="-", help="Read the task from stdin.")] = "",
    task: Annotated[str | None, typer.Option(help="The task as text.")] = None,
    file: Annotated[Path | None, typer.Option(help="Read the task from a text file.")] = None,
    parameter: options.Parameters = None,
    sources: options.Sources = None,
    images: options.Images = None,
    tier: options.Tier = None,
    user: options.User = None,
    model: options.Models = None,
    budget: _Budget = None,
    timeout: options.Timeout = None,
    rehearse: _Rehearse = False,
    stream: options.Stream = False,
    watch: _Watch = False,
    thread: _Thread = None,
    record_content: options.RecordContent = False,
    no_fallback: options.NoFallback = False,
    fallback: options.Fallback = None,
    cache: options.Cache = None,
    on_rate_limit: options.OnRateLimit = None,
    privacy: options.Privacy = None,
    quality: options.Quality = None,
    replace_retired: options.ReplaceRetired = False,
    allow_outside: options.AllowOutside = False,
    as_json: options.AsJson = False,
) -> int:
    """Run a workflow once. The result goes to stdout."""
    flags = locals()
    from aideon_agents import runner
    from aideon_agents.runner.options import RunOptions

    found = load(target, settings := options.settings(), models := chains(model), flags)
    given: dict[str, Any] = {
        # Most flags are options of a run under the same name.
        **{name: flags[name] for name in RunOptions.__annotations__ if name in flags},
        "inputs": options.inputs(parameter, sources),
        "model": models,
        "checkpoint": True,
        "fallback": options.fallbacks(fallback, none=no_fallback),
        "settings": settings,
        **found.labels,
    }
    prepare = functools.partial(
        runner.prepare, found.graph, _task(source, task, file), stream=stream, **given
    )
    running, why = rehearsed_if_needed(prepare, settings, asked=rehearse)
    with _page(running, as_json=as_json) if watch else nullcontext() as page:
        return execute(
            running,
            settings,
            why=why,
            stream=stream,
            as_json=as_json,
            debug=bool(context.obj),
            estimate=functools.partial(_estimate, running) if rehearse else None,
            page=page,
        )


def _estimate(running: Running, result: RunResult) -> str:
    """What the run would cost about, and at most, in one line."""
    from aideon_agents.models.bridge import blocking
    from aideon_agents.runner import expected_cost, worst_case
    from aideon_agents.runner.estimate import USUAL_SHARE

    with redirect_stdout(sys.stderr):  # output of the workflow is not the result
        most, calls = blocking(worst_case(running))
    with options.ledger() as ledger:
        about, nodes, known = expected_cost(
            ledger, ledger.calls(result.run_id), running.spec.start.workflow, calls
        )
    least = result.cost
    text = (
        f"estimate: {output.money(least.usd, complete=least.complete)} as rehearsed, "
        f"at most {output.money(most.usd if most.complete else None)} "
        "(every round, every max_tokens; the same routes, no retries)"
    )
    if about is None:
        return text
    usual = f"{USUAL_SHARE:.1%} of max_tokens".replace("%", " %")
    lengths = [f"{known} of {nodes} nodes answer as in earlier runs"] if known else []
    lengths += [f"{'others' if known else 'answers'} have {usual}"] if known < nodes else []
    if not lengths:
        return text
    return f"{text}; about {output.money(about)} ({', '.join(lengths)})"


def _page(running: Running, *, as_json: bool) -> AbstractContextManager[Watched]:
    from aideon_agents.cli.watch import can_open, watched

    return watched(running, opens=can_open(as_json=as_json))


def _task(source: str, task: str | None, file: Path | None) -> str:
    if [source != "", task is not None, file is not None].count(True) != 1:
        raise InputError("give the task in one way: --task TEXT, --file PATH, or - for stdin")
    if task is not None:
        return task
    if source not in ("", "-"):
        raise InputError(
            f"unexpected argument {source!r}: give the task with --task TEXT, or - for stdin"
        )
    return options.text_in(file)
