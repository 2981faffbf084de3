"""`aideon graph`: draw a workflow, a run or a batch."""

from __future__ import annotations

import contextlib
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aideon_agents.cli import options, output
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
        str | None,
        typer.Argument(
            help="A workflow: its name (brief), file.py:graph, or a task file.", show_default=False
        ),
    ] = None,
    run: Annotated[
        list[str] | None,
        typer.Option("--run", metavar="RUN", help="Draw a run with its costs; repeat to add runs."),
    ] = None,
    batch: Annotated[
        str | None, typer.Option(metavar="BATCH", help="Draw all runs of a batch with their costs.")
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(
            "-f", "--format", help=f"{', '.join(_FORMS)}. Default: by the ending of -o, or text."
        ),
    ] = None,
    out: options.Out = None,
    depth: Annotated[
        int | None, typer.Option(min=0, help="Show this many levels; default all.")
    ] = None,
    theme: Annotated[
        str,
        typer.Option(help="For svg, png and html: light, dark, or auto (as the reader's system)."),
    ] = "auto",
    scale: Annotated[int, typer.Option(help="For png: 1 or 2.")] = 2,
    allow_outside: options.AllowOutside = False,
    as_json: options.SameAsJson = False,
) -> None:
    """Draw a workflow. With --run, show what each node cost and which edges the run took."""
    wanted = "json" if as_json else form or _by_ending(out)
    _check_choices(wanted, theme, scale, out)
    if [target is not None, bool(run), batch is not None].count(True) != 1:
        raise InputError("give one of: a workflow (aideon graph brief), --run RUN, --batch BATCH")
    from aideon_agents.cli.drawings import drawn

    columns = _columns(out)
    with contextlib.redirect_stdout(sys.stderr):  # output of a workflow is not the result
        made = drawn(
            wanted,
            target=target,
            run_refs=run or (),
            batch=batch,
            allow_outside=allow_outside,
            depth=depth,
            theme=_THEMES[theme],
            scale=_SCALES[scale],
            columns=columns,
        )
    if out is not None:
        output.write(out, made)
        output.note(f"written to {out}")
    elif wanted == "png":
        output.binary(made)
    else:
        output.line(made.decode().removesuffix("\n"))


def _check_choices(form: str, theme: str, scale: int, out: Path | None) -> None:
    if form not in _FORMS:
        raise InputError(f"-f {form}: use one of {', '.join(_FORMS)}")
    if theme not in _THEMES:
        raise InputError(f"--theme {theme}: use one of {', '.join(_THEMES)}")
    if scale not in _SCALES:
        raise InputError(f"--scale {scale}: use 1 or 2")
    if form == "png" and out is None and sys.stdout.isatty():
        raise InputError("-f png: a terminal cannot show a PNG: add -o FILE.png")


def _by_ending(out: Path | None) -> str:
    """The form for the ending of a file; text without an ending."""
    ending = out.suffix.lower() if out else ""
    if ending and ending not in _SUFFIXES:
        raise InputError(f"-o {out}: unknown ending; use one of {', '.join(_SUFFIXES)}, or add -f")
    return _SUFFIXES.get(ending, "text")


def _columns(out: Path | None) -> int:
    """Characters per line of text: those of the terminal, or of a page in a file."""
    page = 80
    if out is not None or not sys.stdout.isatty():
        return page
    return shutil.get_terminal_size((page, 24)).columns
