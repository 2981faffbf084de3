"""`aideon graph`: a workflow, drawn."""

from __future__ import annotations

import contextlib
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

_FORMS = ("svg", "png", "html", "mermaid", "text", "json")
_SUFFIXES = {
    ".svg": "svg",
    ".png": "png",
    ".html": "html",
    ".mmd": "mermaid",
    ".txt": "text",
    ".json": "json",
}
_THEMES: dict[str, Theme] = {"light": "light", "dark": "dark", "auto": "auto"}
_SCALES: dict[int, Scale] = {1: 1, 2: 2}


def graph(
    target: Annotated[
        str | None, typer.Argument(help="brief, file.py:graph, ...", show_default=False)
    ] = None,
    run: Annotated[
        list[str] | None,
        typer.Option(
            "--run", metavar="RUN", help="Instead: a run and what each node cost; several add up."
        ),
    ] = None,
    batch: Annotated[
        str | None, typer.Option(metavar="BATCH", help="Instead: all runs of a batch.")
    ] = None,
    form: Annotated[
        str | None,
        typer.Option("-f", "--format", help=f"{', '.join(_FORMS)}; else by -o's ending, or text."),
    ] = None,
    out: Annotated[Path | None, typer.Option("-o", help="Write to this file.")] = None,
    depth: Annotated[
        int | None, typer.Option(min=0, help="Levels to open; all unless said.")
    ] = None,
    theme: Annotated[
        str, typer.Option(help="Of svg, png and html: light, dark, or auto, as the reader prefers.")
    ] = "auto",
    scale: Annotated[int, typer.Option(help="Of png: 1 or 2.")] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="As -f json: the plain model.")] = False,
) -> None:
    """Draw a workflow's graph; with --run, what each node cost and the way that was taken."""
    wanted = "json" if as_json else form or _by_ending(out)
    if wanted not in _FORMS:
        raise InputError(f"-f {wanted}: one of {', '.join(_FORMS)}")
    if theme not in _THEMES:
        raise InputError(f"--theme {theme}: one of {', '.join(_THEMES)}")
    if scale not in _SCALES:
        raise InputError(f"--scale {scale}: 1 or 2")
    if [target is not None, bool(run), batch is not None].count(True) != 1:
        raise InputError("draw one of: a workflow (aideon graph brief), --run RUN, --batch BATCH")
    if wanted == "png" and out is None and sys.stdout.isatty():
        raise InputError("-f png: a terminal shows no PNG: add -o FILE.png")
    from aideon_agents.cli.drawings import Asked, drawn  # noqa: PLC0415 - help must not wait for LangGraph

    asked = Asked(
        target=target,
        runs=run or (),
        batch=batch,
        form=wanted,
        depth=depth,
        theme=_THEMES[theme],
        scale=_SCALES[scale],
        columns=_columns(out),
    )
    with contextlib.redirect_stdout(sys.stderr):  # what a workflow prints is no result
        made = drawn(asked)
    if out is not None:
        output.write(out, made)
    elif wanted == "png":
        sys.stdout.buffer.write(made)
    else:
        output.line(made.decode().removesuffix("\n"))


def _by_ending(out: Path | None) -> str:
    """The form that a file's name asks for; text where it asks for nothing."""
    ending = out.suffix.lower() if out else ""
    if ending and ending not in _SUFFIXES:
        raise InputError(f"-o {out}: no form ends so; one of {', '.join(_SUFFIXES)}, or say -f")
    return _SUFFIXES.get(ending, "text")


def _columns(out: Path | None) -> int:
    """How wide text may be: as the terminal that it goes to, a page elsewhere."""
    page = 80
    if out is not None or not sys.stdout.isatty():
        return page
    return shutil.get_terminal_size((page, 24)).columns
