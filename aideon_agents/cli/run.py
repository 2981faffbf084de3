"""`aideon run`: one run of one workflow."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aideon_agents.cli import opening, output
from aideon_agents.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aideon_agents.runner import RunResult
    from aideon_agents.settings import Settings

_EXIT = {"completed": 0, "failed": 1, "stopped": 3, "waiting": 4, "cancelled": 130}


def run(
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
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> int:
    """Run a workflow once; its result goes to stdout."""
    settings = opening.settings()
    text = _task(source, task, file)
    why = _why_rehearsed(settings, asked=rehearse)
    options: dict[str, Any] = {
        "inputs": _pairs(parameter or [], "-p"),
        "tier": tier,
        "user": user,
        "model": {role: names.split(",") for role, names in _pairs(model or [], "--model").items()},
        "timeout": timeout,
        "rehearse": why is not None,
        "settings": settings,
    }
    result = _run(target, text, options)
    if why:
        output.note(f"rehearsing: {why}; answers are worked out by rule and nothing is paid")
    if as_json:
        from aideon_agents.runner import document  # noqa: PLC0415 - help must not wait

        output.document(document(result))
    else:
        _show(result)
    return _EXIT[result.status]


def _run(target: str, task: str, options: dict[str, Any]) -> RunResult:
    from aideon_agents import runner, tasks  # noqa: PLC0415 - help must not wait

    found = tasks.load(target)
    return asyncio.run(
        runner.arun(found.graph, task, workflow=found.name, target=found.address, **options)
    )


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


def _pairs(words: Sequence[str], flag: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not (key and equals and value):
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


def _show(result: RunResult) -> None:
    if result.output:
        sys.stdout.write(result.output.rstrip("\n") + "\n")
        sys.stdout.flush()
    cost = result.cost
    output.table(
        ("node", "model", "calls", "in", "out", "cost", "time"),
        [
            (
                node.node_path,
                ", ".join(name.partition(":")[2] for name in node.models),
                _calls(node.calls, node.failed_calls),
                f"{node.input_tokens:,}",
                f"{node.output_tokens:,}",
                output.money(node.usd, complete=node.complete),
                output.duration(node.duration_ms),
            )
            for node in result.nodes
        ],
        total=(
            "rehearsed" if result.rehearsed else "total",
            "",
            _calls(cost.calls, cost.failed_calls),
            f"{cost.input_tokens:,}",
            f"{cost.output_tokens:,}",
            output.money(cost.usd, complete=cost.complete),
            "",
        ),
        numbers=5,
        to_stderr=True,
    )
    reason = f" ({result.stop_reason})" if result.stop_reason else ""
    output.note(f"run {result.run_id} {result.status}{reason}")
    if result.error:
        output.complain(result.error)
    elif result.status == "stopped":
        output.complain(str(result.exception))


def _calls(calls: int, failed: int) -> str:
    return f"{calls} ({failed} failed)" if failed else str(calls)
