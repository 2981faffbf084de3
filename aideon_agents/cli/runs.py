"""`aideon runs`: what ran, going on with it, and removing what it left."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aideon_agents.cli import going_on, opening, output, periods, questions
from aideon_agents.cli.calls import show as show_calls
from aideon_agents.cli.execution import Showing, carry_out, load
from aideon_agents.errors import InputError

if TYPE_CHECKING:
    from aideon_agents.ledger.rows import Run
    from aideon_agents.settings import Settings
    from aideon_agents.tasks.target import Target

app = typer.Typer(help="What ran: every run, and every call of one.", no_args_is_help=True)


@app.command("list")
def list_runs(
    limit: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """List runs, newest first."""
    from aideon_agents.ledger.documents import cost_document  # noqa: PLC0415 - help must not wait
    from aideon_agents.ledger.reports import run_cost  # noqa: PLC0415 - help must not wait

    with opening.ledger() as ledger:
        found = [(run, run_cost(ledger, run.run_id)) for run in ledger.runs(limit)]
    if as_json:
        output.document(
            [
                {
                    "run_id": run.run_id,
                    "workflow": run.workflow,
                    "status": run.status,
                    "stop_reason": run.stop_reason,
                    "user": run.user,
                    "started_at": run.started_at,
                    "ended_at": run.ended_at,
                    "rehearsed": run.rehearsed,
                    "cost": cost_document(cost),
                }
                for run, cost in found
            ]
        )
        return
    if not found:
        output.note("no runs yet: start one with `aideon run brief --task TEXT`")
        return
    output.table(
        ("run", "workflow", "status", "start (UTC)", "cost"),
        [
            (
                run.run_id,
                run.workflow,
                _status(run),
                run.started_at[5:16].replace("T", " "),
                output.money(cost.usd, complete=cost.complete),
            )
            for run, cost in found
        ],
        numbers=1,
        whole=True,
    )


def _status(run: Run) -> str:
    if not run.rehearsed:
        return run.status
    return "rehearsed" if run.status == "completed" else f"{run.status}, rehearsed"


@app.command()
def show(
    run: Annotated[str, typer.Argument(help="A run id, a unique beginning of one, or last.")],
    content: Annotated[
        bool, typer.Option("--content", help="Prompts and answers, where they were recorded.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Show one run: its nodes and every call, failed ones included."""
    from aideon_agents.ledger.budgets.losses import losses  # noqa: PLC0415 - help must not wait
    from aideon_agents.ledger.pricing import usd  # noqa: PLC0415 - as above
    from aideon_agents.runner import document, recall  # noqa: PLC0415 - as above

    with opening.ledger() as ledger:
        found = ledger.find_run(run)
        result = recall(ledger, found)
        calls = ledger.calls(found.run_id)
        contents = ledger.contents(found.run_id) if content else []
        lost = losses(ledger, found.run_id)
    if as_json:
        from aideon_agents.ledger.documents import call_document  # noqa: PLC0415 - as above

        recorded = {"contents": [vars(one) for one in contents]} if content else {}
        rows = [call_document(call) for call in calls]
        output.document({**document(result), "calls": rows, **recorded})
        return
    cost = output.money(result.cost.usd, complete=result.cost.complete)
    reason = f" ({result.stop_reason})" if result.stop_reason else ""
    mark = ", rehearsed" if result.rehearsed else ""
    output.line(f"{result.workflow} {result.run_id}: {result.status}{reason}, {cost}{mark}")
    if found.thread:
        output.line(f"thread: {found.thread}")
    if result.error:
        output.line(f"error: {result.error}")
    if lost:
        output.line(
            f"budgets count {output.money(usd(sum(lost.values())))} more as spent: the worst case "
            f"of {output.counted(len(lost), 'call')} whose cost nobody knows"
        )
    if calls:
        output.line("")
        show_calls(calls, contents, {one: usd(amount) for one, amount in lost.items()})
    if result.status == "waiting":
        output.line("")
        questions.show(result.questions, result.run_id, output.line)
    elif found.target and (how := going_on.command(result, of_batch=bool(found.batch_id))):
        output.note(f"go on with: {how}")
    if content and calls and not contents:
        output.note("no content was recorded: run with --record-content to keep it")


@app.command()
def resume(
    context: typer.Context,
    run: Annotated[str, typer.Argument(help="A run id, a unique beginning of one, or last.")],
    answer: Annotated[
        str | None,
        typer.Option(metavar="JSON", help="What it asks; of several questions {id: answer}."),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(metavar="USD", help="What it may cost in all; what it has spent counts."),
    ] = None,
    stream: Annotated[
        bool, typer.Option("--stream", help="Show on stderr what nodes say, as they say it.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> int:
    """Go on with a run that was stopped, failed, was killed, or waits for an answer."""
    from aideon_agents import runner  # noqa: PLC0415 - help must not wait

    said = runner.NOTHING if answer is None else _json(answer)
    settings = opening.settings()
    with opening.ledger() as ledger:
        found = ledger.find_run(run)
    runner.refuse_unless_resumable(found)
    target = _target(found, settings)
    running = runner.prepare_resume(
        target.graph,
        found.run_id,
        answer=said,
        budget=budget,
        stream=stream,
        settings=settings,
    )
    if found.target_hash not in (None, target.content_hash):
        output.note(
            f"{target.path} has changed since the run began; its nodes and edges are the same, "
            "so it goes on with them"
        )
    why = "as from its beginning" if found.rehearsed else None
    showing = Showing(
        why=why,
        watched=stream,
        as_json=as_json,
        debug=bool(context.obj),
        of_batch=found.batch_id is not None,
    )
    return carry_out(running, showing)


@app.command()
def prune(
    before: Annotated[
        str, typer.Option(metavar="D", help=f"A UTC day or time, or {periods.WORDS} ago.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Remove what runs left that ended before a day: states, questions, recorded content."""
    import asyncio  # noqa: PLC0415 - help must not wait

    from aideon_agents.ledger.clock import now  # noqa: PLC0415 - help must not wait
    from aideon_agents.ledger.dimensions import first_moment  # noqa: PLC0415 - as above
    from aideon_agents.ledger.pruning import prune as remove  # noqa: PLC0415 - as above

    moment = first_moment(periods.beginning("--before", before, now()))
    with opening.ledger() as ledger:
        done = asyncio.run(remove(ledger, moment))
    if as_json:
        output.document({"before": moment, **dataclasses.asdict(done)})
        return
    output.line(
        f"removed of {output.counted(done.runs, 'run')} that ended before {before}: "
        f"{output.counted(done.checkpoints, 'state')} to go on from, "
        f"{output.counted(done.conversations, 'conversation')}, "
        f"{output.counted(done.contents, 'recorded prompt')} with answers, "
        f"{output.counted(done.results, 'recorded result')}; rows and costs stay"
    )


def _json(answer: str) -> Any:
    try:
        return json.loads(answer)
    except ValueError as error:
        raise InputError(
            f"--answer is no JSON ({error}); a text needs quotes: --answer '\"yes\"'"
        ) from None


def _target(found: Run, settings: Settings) -> Target:
    """The workflow that a run began with, as it is now."""
    if found.target is None:
        raise InputError(
            f"run {found.run_id} was given a graph that was at hand, which has no address: go on "
            f'in Python with aideon_agents.resume(graph, "{found.run_id}")'
        )
    return load(found.target, settings, (found.options or {}).get("model", {}))
