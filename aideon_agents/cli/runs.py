"""`aideon runs`: what ran."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from aideon_agents.cli import opening, output
from aideon_agents.cli.calls import show as show_calls

if TYPE_CHECKING:
    from aideon_agents.ledger.rows import Run

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
        ("run", "workflow", "status", "started (UTC)", "cost"),
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
    from aideon_agents.runner import document, recall  # noqa: PLC0415 - help must not wait

    with opening.ledger() as ledger:
        found = ledger.find_run(run)
        result = recall(ledger, found)
        calls = ledger.calls(found.run_id)
        contents = ledger.contents(found.run_id) if content else []
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
    if calls:
        output.line("")
        show_calls(calls, contents)
    if content and calls and not contents:
        output.note("no content was recorded: run with --record-content to keep it")
