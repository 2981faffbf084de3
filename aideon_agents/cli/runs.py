"""`aideon runs`: list, show, resume, rate and prune runs.

`show` prints each call as a line of figures with details below it. On a narrow terminal the node and
the model have their own lines.
"""

from __future__ import annotations

import shutil
import sys
import textwrap
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aideon_agents.cli import options, output
from aideon_agents.cli.approvals import Ref, approve, decline, questions_of, resume_run
from aideon_agents.cli.asking import ask, is_interactive, show_questions
from aideon_agents.cli.backup import prune
from aideon_agents.cli.execution import resume_hint
from aideon_agents.errors import InputError, UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from decimal import Decimal

    from aideon_agents.ledger.rows import Call, Content, Run
    from aideon_agents.ledger.store import Ledger


_TITLES = ("node", "model", "status", "try", "in", "out", "cost", "time")
_NAMES = 2
"""Columns with names, which may be long."""
_WORDS = 3
"""Columns of text, before the figures."""
_GAP, _INDENT = "  ", "    "


def show_calls(
    calls: Sequence[Call],
    contents: Sequence[Content] = (),
    worst: Mapping[str, Decimal] | None = None,
) -> None:
    """Print calls on stdout, in order.

    `worst` has the US dollars by call id that budgets count for calls of unknown cost.
    """
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    rows = [_TITLES, *(_cells(call) for call in calls)]
    title, *lines = _aligned(rows, _WORDS)
    narrow = width is not None and max(map(len, (title, *lines))) > width
    if narrow:
        title, *lines = (_INDENT + line for line in _aligned([row[_NAMES:] for row in rows], 1))
    recorded = {content.call_id: content for content in contents}
    output.line(title)
    for call, cells, line in zip(calls, rows[1:], lines, strict=True):
        if narrow:
            output.line(cells[0])
        output.line(line)
        for more in _details(call, (worst or {}).get(call.call_id), with_model=narrow):
            _show_wrapped(more, width)
        if content := recorded.get(call.call_id):
            _show_content(content)


def _show_wrapped(text: str, width: int | None) -> None:
    """Print an indented text; without a width (a pipe) it is not wrapped."""
    room = len(text) if width is None else width - len(_INDENT)
    for line in textwrap.wrap(text, room, break_on_hyphens=False):
        output.line(_INDENT + line)


def _cells(call: Call) -> tuple[str, ...]:
    return (
        call.node_path + (f" (round {call.round})" if call.round > 1 else ""),
        call.response_model or call.requested_model,
        call.status if not call.error_type else f"{call.status}: {call.error_type}",
        f"{call.candidate + 1}.{call.attempt}",
        "-" if call.input_tokens is None else f"{call.input_tokens:,}",
        "-" if call.output_tokens is None else f"{call.output_tokens:,}",
        output.money(call.usd),
        output.duration(call.duration_ms),
    )


def _aligned(rows: Sequence[Sequence[str]], words: int) -> Iterator[str]:
    """Align the columns of rows; those after the first `words` are figures."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (
            cell.ljust(width) if index < words else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield _GAP.join(cells).rstrip()


def _details(call: Call, worst: Decimal | None, *, with_model: bool) -> Iterator[str]:
    """One line with the other facts of a call, and one with its error."""
    from aideon_agents.ledger.costs import is_fallback
    from aideon_agents.ledger.money import usd

    requested = f"{call.provider}:{call.requested_model}"
    is_other = call.response_model not in {None, call.requested_model}
    facts = {
        requested: with_model or is_other,
        f"answered by {call.response_model}": is_other,
        "fallback": is_fallback(call),
        "met max_tokens and is cut off": call.truncated,
        f"finished: {call.finish_reason}": call.finish_reason and not call.truncated,
        f"{call.cache_read_tokens or 0:,} of the input cached": call.cache_read_tokens,
        f"{call.cache_creation_tokens or 0:,} of the input put into the cache": (
            call.cache_creation_tokens
        ),
        f"{call.reasoning_tokens or 0:,} of the output reasoning": call.reasoning_tokens,
        f"first token after {output.duration(call.time_to_first_token_ms)}": (
            call.time_to_first_token_ms is not None
        ),
        "tokens estimated": call.usage_source == "estimated",
        "no usage reported": call.usage_source == "none"
        and call.modality is None
        and call.status in {"ok", "broken"},
        f"billed by the {call.unit}".replace("_", " "): call.unit is not None,
        f"asked by {call.feature}": call.feature,
        f"saved {output.money(usd(call.saved_nanousd or 0))}": call.saved_nanousd is not None,
        "shortened to fit a budget": call.shortened,
        "a cheaper model, because a budget was nearly used up": call.economized,
        f"budgets count its worst case, {output.money(worst)}": worst is not None,
    }
    if known := [fact for fact, is_known in facts.items() if is_known]:
        yield ", ".join(known)
    if call.error and call.error != call.error_type:
        yield call.error


def _show_lines(lines: Iterable[str]) -> None:
    for one in lines:
        output.line(one)


def _files(ledger: Ledger, calls: Sequence[Call]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The files that calls have made: in words, and as JSON values."""
    if not any(call.modality for call in calls):
        return
    from aideon_agents.cli.media import artifact_document, described
    from aideon_agents.media.artifacts import Artifacts, artifact_in, made_by

    folder = Artifacts.of(options.settings(), ledger)
    for row in made_by(ledger, calls[0].run_id):
        one = artifact_in(row)
        yield described(one), artifact_document(one, folder.path(one))


def _show_content(content: Content) -> None:
    prompt = content.prompt if isinstance(content.prompt, list) else [content.prompt]
    answer = [] if content.answer is None else [content.answer]
    for message in [*prompt, *answer]:
        role, text = _read(message)
        output.line(f"{_INDENT}[{role}]")
        output.line(textwrap.indent(text, _INDENT))


def _read(message: Any) -> tuple[str, str]:
    """The role and text of a chat message; a plain text belongs to a completion."""
    if not isinstance(message, dict):
        return "text", str(message)
    text = str(message.get("content") or "")
    made = [
        f"calls {call['function']['name']}({call['function']['arguments']})"
        for call in message.get("tool_calls") or ()
    ]
    return str(message.get("role", "?")), "\n".join(filter(None, [text, *made]))


app = typer.Typer(help="List, show, answer, resume, rate and prune runs.", no_args_is_help=True)
app.command()(approve)
app.command()(prune)
app.command()(decline)


@app.command()
def rate(
    run: Ref,
    score: Annotated[
        float, typer.Argument(metavar="SCORE", help="From 0 (useless) to 1 (nothing to improve).")
    ],
    as_json: options.AsJson = False,
) -> None:
    """Say how good a run was: later choices of models take it into account."""
    from aideon_agents.ledger.models.outcomes import check_score, rated, record

    check_score(score)
    with options.ledger() as ledger:
        found = ledger.find_run(run)
        outcomes = rated(ledger.calls(found.run_id), score)
        if not outcomes:
            raise UserError(
                f"no model answered in run {found.run_id}, so there is nothing to rate: "
                f"`aideon runs show {found.run_id}` shows its calls"
            )
        with ledger.database.transaction() as tx:
            record(tx, outcomes)
    if as_json:
        fields = ("task_class", "model", "score", "node_path", "rehearsed")
        listed = [{name: getattr(one, name) for name in fields} for one in outcomes]
        output.document({"run_id": found.run_id, "score": score, "outcomes": listed})
        return
    output.line(f"rated {found.run_id}: {score:g}, {output.counted(len(outcomes), 'outcome')}")
    output.table(
        ("node", "model", "task"),
        [(one.node_path or "", one.model, one.task_class) for one in outcomes],
    )
    if all(one.rehearsed for one in outcomes):
        output.note("the answers were rehearsed or simulated: choices leave this rating out")


_LISTED = (
    *("run_id", "workflow", "status", "stop_reason", "user", "started_at", "ended_at"),
    *("rehearsed", "simulated"),
)
"""The fields of a run that a list has in JSON."""


@app.command("list")
def list_runs(limit: options.Limit = 20, as_json: options.AsJson = False) -> None:
    """List runs, newest first."""
    from aideon_agents.ledger.costs import run_cost
    from aideon_agents.ledger.documents import cost_document

    with options.ledger() as ledger:
        found = [(run, run_cost(ledger, run.run_id)) for run in ledger.runs(limit)]
    if as_json:
        output.document(
            [
                {**{name: getattr(run, name) for name in _LISTED}, "cost": cost_document(cost)}
                for run, cost in found
            ]
        )
        return
    if not found:
        output.note("there are no runs: start one with `aideon run brief --task TEXT`")
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
    mark = "rehearsed" if run.rehearsed else "simulated" if run.simulated else ""
    if mark and run.status == "completed":
        return mark
    return ", ".join(filter(None, (run.status, mark)))


@app.command()
def show(
    run: Ref,
    content: Annotated[
        bool, typer.Option("--content", help="Also print recorded prompts and answers.")
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Show one run and all its calls, including failed ones."""
    from aideon_agents.ledger.documents import losses
    from aideon_agents.ledger.money import usd, usd_text
    from aideon_agents.models.pictures import described, referred
    from aideon_agents.runner import document, recall

    with options.ledger() as ledger:
        found = ledger.find_run(run)
        result = recall(ledger, found)
        calls = ledger.calls(found.run_id)
        files = list(_files(ledger, calls))
        contents = ledger.contents(found.run_id) if content else []
        lost = losses(ledger, found.run_id)
    if as_json:
        from aideon_agents.ledger.documents import call_document

        recorded = {"contents": [vars(one) for one in contents]} if content else {}
        rows = [call_document(call) for call in calls]
        kept = [call.saved_nanousd or 0 for call in calls if call.status == "cached"]
        saved = {"saved_usd": usd_text(usd(sum(kept)))} if kept else {}
        made = {"artifacts": [one for _, one in files]} if files else {}
        output.document({**document(result), **saved, **made, "calls": rows, **recorded})
        return
    cost = output.money(result.cost.usd, complete=result.cost.complete)
    reason = f" ({result.stop_reason})" if result.stop_reason else ""
    mark = ", rehearsed" if result.rehearsed else ", simulated" if found.simulated else ""
    output.line(f"{result.workflow} {result.run_id}: {result.status}{reason}, {cost}{mark}")
    if found.thread:
        output.line(f"thread: {found.thread}")
    _show_lines(
        f"picture: {described(one)}, {one.path or one.url or 'given as bytes'}"
        for one in referred((found.options or {}).get("images"), checks=False)
    )
    _show_lines(f"file: {what}, {one['path']}" for what, one in files)
    if result.error:
        output.line(f"error: {result.error}")
    if lost:
        output.line(
            f"budgets count {output.money(usd(sum(lost.values())))} more as spent: the worst case "
            f"of {output.counted(len(lost), 'call')} of unknown cost"
        )
    if calls:
        output.line("")
        show_calls(calls, contents, {one: usd(amount) for one, amount in lost.items()})
    if result.status == "waiting":
        output.line("")
        show_questions(result.questions, result.run_id, output.line)
    elif found.target and (hint := resume_hint(result, of_batch=bool(found.batch_id))):
        output.note(f"continue with: {hint}")
    if content and calls and not contents:
        output.note("no prompts or answers were recorded: run with --record-content to keep them")


@app.command()
def resume(
    context: typer.Context,
    run: Ref,
    answer: Annotated[
        str | None,
        typer.Option(
            metavar="ANSWER",
            help="yes, no, plain words or JSON; for several questions {id: answer}.",
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="USD", help="The new total budget of the run, including what it has spent."
        ),
    ] = None,
    stream: options.Stream = False,
    as_json: options.AsJson = False,
) -> int:
    """Resume a run that stopped, failed, was killed, or waits for an answer."""
    from aideon_agents.runner import NOTHING

    with options.ledger() as ledger:
        found = ledger.find_run(run)
    parsed = NOTHING if answer is None else _parsed(answer)
    asks = answer is None and found.status == "waiting" and not as_json and is_interactive()
    if asks and (questions := questions_of(found)):
        parsed = ask(questions)
        if parsed is None:
            show_questions(questions, found.run_id, output.note)
            return options.WAITING
    return resume_run(found, parsed, context, budget=budget, stream=stream, as_json=as_json)


def _parsed(answer: str) -> Any:
    from aideon_agents.runner.resume_state import from_text

    try:
        return from_text(answer)
    except ValueError as error:
        raise InputError(
            f"--answer begins as JSON and is not JSON ({error}): correct it, or give plain words"
        ) from None
