"""`aideon graph`: a workflow, drawn."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aideon_agents.cli import output
from aideon_agents.errors import InputError

if TYPE_CHECKING:
    from aideon_agents.drawing.png import Scale
    from aideon_agents.drawing.themes import Theme
    from aideon_agents.drawing.topology import Topology

_FORMS = ("svg", "png", "mermaid", "text", "json")
_SUFFIXES = {".svg": "svg", ".png": "png", ".mmd": "mermaid", ".txt": "text", ".json": "json"}
_THEMES: dict[str, Theme] = {"light": "light", "dark": "dark", "auto": "auto"}
_SCALES: dict[int, Scale] = {1: 1, 2: 2}


def graph(
    target: Annotated[str, typer.Argument(help="brief, file.py:graph, ...")],
    form: Annotated[
        str | None,
        typer.Option("-f", "--format", help=f"{', '.join(_FORMS)}; else by -o's ending, or text."),
    ] = None,
    out: Annotated[Path | None, typer.Option("-o", help="Write to this file.")] = None,
    depth: Annotated[
        int | None, typer.Option(min=0, help="Levels to open; all unless said.")
    ] = None,
    theme: Annotated[
        str, typer.Option(help="Of svg and png: light, dark, or auto, as the reader prefers.")
    ] = "auto",
    scale: Annotated[int, typer.Option(help="Of png: 1 or 2.")] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="As -f json: the plain model.")] = False,
) -> None:
    """Draw a workflow's graph."""
    from aideon_agents import tasks  # noqa: PLC0415 - help must not wait for LangGraph
    from aideon_agents.drawing.topology import read  # noqa: PLC0415 - as above

    wanted = "json" if as_json else form or _SUFFIXES.get(out.suffix if out else "", "text")
    if wanted not in _FORMS:
        raise InputError(f"-f {wanted}: one of {', '.join(_FORMS)}")
    if theme not in _THEMES:
        raise InputError(f"--theme {theme}: one of {', '.join(_THEMES)}")
    if scale not in _SCALES:
        raise InputError(f"--scale {scale}: 1 or 2")
    if wanted == "png" and out is None and sys.stdout.isatty():
        raise InputError("-f png: a terminal shows no PNG: add -o FILE.png")
    topology = read(tasks.load(target).graph, depth)
    if wanted == "png":
        from aideon_agents.drawing.png import png  # noqa: PLC0415 - as above

        drawn = png(topology, theme=_THEMES[theme], scale=_SCALES[scale])
    else:
        text = _drawn(wanted, topology, _THEMES[theme], _columns(out))
        drawn = text.rstrip("\n") + "\n"
    if out is not None:
        _save(drawn, out)
    elif isinstance(drawn, bytes):
        sys.stdout.buffer.write(drawn)
    else:
        output.line(drawn.removesuffix("\n"))


def _save(drawn: str | bytes, out: Path) -> None:
    try:
        out.write_bytes(drawn if isinstance(drawn, bytes) else drawn.encode())
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error.strerror or error}") from None


def _drawn(form: str, topology: Topology, theme: Theme, columns: int) -> str:
    """A drawing that is text."""
    if form == "svg":
        from aideon_agents.drawing.svg import svg  # noqa: PLC0415 - as above

        return svg(topology, theme=theme)
    if form == "mermaid":
        from aideon_agents.drawing.mermaid import mermaid, too_much  # noqa: PLC0415 - as above

        source = mermaid(topology)
        if complaint := too_much(source):
            output.complain(complaint)
        return source
    if form == "text":
        from aideon_agents.drawing.text import text  # noqa: PLC0415 - as above

        return text(topology, width=columns)
    return json.dumps(dataclasses.asdict(topology), ensure_ascii=False, indent=2)


def _columns(out: Path | None) -> int:
    """How wide text may be: as the terminal that it goes to, a page elsewhere."""
    page = 80
    if out is not None or not sys.stdout.isatty():
        return page
    return shutil.get_terminal_size((page, 24)).columns
