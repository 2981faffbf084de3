"""`aideon run`: one run of one workflow."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aideon_agents.cli import opening, output
from aideon_agents.cli.interrupting import interruptible
from aideon_agents.cli.quiet import tell_ledger_errors_once
from aideon_agents.cli.result import show
from aideon_agents.cli.watching import Watching
from aideon_agents.errors import InputError, RunError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aideon_agents.runner import RunResult
    from aideon_agents.settings import Settings

_EXIT = {"completed": 0, "failed": 1, "stopped": 3, "waiting": 4, "cancelled": 130}


def run(
    context: typer.Context,
    target: Annotated[str, typer.Argument(help="brief, file.py:graph, ...")],
    source: Annotated[str, typer.Argument(metavar="[-]", help="- reads the task from stdin")] = "",
    task: Annotated[str | None, typer.Option(help="What to do, in words.")] = None,
    file: Annotated[Path | None, typer.Option(help="A text file that holds the task.")] = None,
    parameter: Annotated[
        list[str] | None, typer.Option("-p", metavar="KEY=VALUE", help="Sets an input.")
    ] = None,
    tier: Annotated[str | None, typer.Option(help="free, premium or enterprise.")] = None,
    user: Annotated[str | None, typer.Option(help="Who the run is for.")] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(metavar="ROLE=MODEL[,MODEL]", help="Replaces a role's chain of models."),
    ] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds until it is stopped.")] = None,
    rehearse: Annotated[
        bool, typer.Option("--rehearse", help="Answer by rule; nothing is paid.")
    ] = False,
    stream: Annotated[
        bool, typer.Option("--stream", help="Show on stderr what nodes say, as they say it.")
    ] = False,
    thread: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="Go on with a conversation. What is said is kept, beside the ledger.",
        ),
    ] = None,
    record_content: Annotated[
        bool, typer.Option("--record-content", help="Keep prompts and answers in the ledger.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> int:
    """Run a workflow once; its result goes to stdout."""
    settings = opening.settings()
    text = _task(source, task, file)
    why = _why_rehearsed(settings, asked=rehearse)
    options: dict[str, Any] = {
        "inputs": _pairs(parameter or [], "-p", may_be_empty=True),
        "tier": tier,
        "user": user,
        "model": {role: names.split(",") for role, names in _pairs(model or [], "--model").items()},
        "timeout": timeout,
        "rehearse": why is not None,
        "thread": thread,
        "record_content": record_content,
        "settings": settings,
    }
    showing = _Showing(why=why, watched=stream, as_json=as_json, debug=bool(context.obj))
    return _run(target, text, options, showing)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Showing:
    """How a run is shown."""

    why: str | None
    """Why answers are worked out by rule; None: they are not."""
    watched: bool
    as_json: bool
    debug: bool

    def beginning(self) -> None:
        if self.watched:
            self._rehearsing()

    def end(self, result: RunResult) -> int:
        """Print what came of it, and say what the exit code is."""
        if not self.watched:
            self._rehearsing()
        if self.as_json:
            from aideon_agents.runner import document  # noqa: PLC0415 - help must not wait

            output.document(document(result))
        else:
            show(result)
        if self.debug and result.exception:
            output.trace(result.exception)
        if result.status == "cancelled":
            output.complain(
                f"interrupted: run {result.run_id} is cancelled; "
                f"`aideon runs show {result.run_id}` shows its calls"
            )
        elif result.error or result.status == "stopped":
            output.complain(result.error or str(result.exception))
        return _EXIT[result.status]

    def _rehearsing(self) -> None:
        if self.why:
            output.note(
                f"rehearsing: {self.why}; answers are worked out by rule and nothing is paid"
            )


def _run(target: str, task: str, options: dict[str, Any], showing: _Showing) -> int:
    from aideon_agents import runner, tasks  # noqa: PLC0415 - help must not wait

    tell_ledger_errors_once()
    with redirect_stdout(sys.stderr):  # what a workflow prints is no result
        found = tasks.load(target, check_model=_model_check(options))
    running = runner.prepare(
        found.graph,
        task,
        stream=showing.watched,
        workflow=found.name,
        target=found.address,
        **options,
    )
    showing.beginning()
    with interruptible() as interruption, asyncio.Runner() as on_loop:
        interruption.ends(running.interrupt, on_loop.get_loop())
        try:
            with redirect_stdout(sys.stderr):
                result = on_loop.run(running.to_end(Watching() if showing.watched else None))
        except SystemExit as left:  # it would end this process with the node's code, 0 even
            raise RunError(
                f"a node of {target} called sys.exit({left.code}): let it raise"
            ) from left
        return showing.end(result)


def _model_check(options: dict[str, Any]) -> Callable[[str, str], object]:
    """Refuses a model that a task file names, unless the run replaces that role's models."""
    from aideon_agents.models import catalog  # noqa: PLC0415 - help must not wait

    settings: Settings = options["settings"]
    known = catalog.load(settings.catalog, settings.profile)

    def check(role: str, name: str) -> None:
        if role not in options["model"]:
            known.checked(name)

    return check


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


def _pairs(words: Sequence[str], flag: str, *, may_be_empty: bool = False) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not (key and equals and (value or may_be_empty)):
            raise InputError(f"{flag} takes KEY=VALUE, not {word!r}")
        pairs[key] = value
    return pairs


def _why_rehearsed(settings: Settings, *, asked: bool) -> str | None:
    """Why answers are worked out by rule; None: they are not."""
    if asked:
        return "as asked"
    if settings.offline:
        return "AIDEON_OFFLINE is set"
    if not settings.can_call:
        return "no provider has a key (set TOGETHER_API_KEY)"
    return None
