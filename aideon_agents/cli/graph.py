"""`aideon graph`: a workflow, drawn."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aideon_agents.cli import output
from aideon_agents.errors import InputError

if TYPE_CHECKING:
    from aideon_agents.drawing.topology import Topology


def graph(
    target: Annotated[str, typer.Argument(help="brief, file.py:graph, ...")],
    form: Annotated[str, typer.Option("-f", "--format", help="text, mermaid or json.")] = "text",
    out: Annotated[Path | None, typer.Option("-o", help="Write to this file.")] = None,
    depth: Annotated[
        int | None, typer.Option(min=0, help="Levels to open; all unless said.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As -f json: the plain model.")] = False,
) -> None:
    """Draw a workflow's graph."""
    from aideon_agents import tasks  # noqa: PLC0415 - help must not wait for LangGraph
    from aideon_agents.drawing.mermaid import mermaid  # noqa: PLC0415 - as above
    from aideon_agents.drawing.text import text  # noqa: PLC0415 - as above
    from aideon_agents.drawing.topology import read  # noqa: PLC0415 - as above

    draw = {"text": text, "mermaid": mermaid, "json": _json}.get("json" if as_json else form)
    if draw is None:
        raise InputError(f"-f {form}: one of text, mermaid, json")
    drawn = draw(read(tasks.load(target).graph, depth)).rstrip("\n") + "\n"
    if out is None:
        output.line(drawn.removesuffix("\n"))
        return
    try:
        out.write_text(drawn, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error.strerror or error}") from None


def _json(topology: Topology) -> str:
    """The plain model that every picture is drawn from, for other tools."""
    return json.dumps(dataclasses.asdict(topology), ensure_ascii=False, indent=2)
