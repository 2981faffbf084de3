"""A graph in the form that `aideon graph` was asked for; imported when it draws."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from aideon_agents import tasks
from aideon_agents.cli import opening, output, pages, ran
from aideon_agents.drawing import mermaid, png, svg, text
from aideon_agents.drawing.spent_document import spent_document
from aideon_agents.drawing.topology import Topology, read

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aideon_agents.cli.ran import Ran
    from aideon_agents.drawing.annotations import Annotations
    from aideon_agents.drawing.png import Scale
    from aideon_agents.drawing.themes import Theme


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked:
    """What to draw and how."""

    target: str | None
    """A workflow's address; None: runs are drawn."""
    runs: Sequence[str] = ()
    batch: str | None = None
    """A reference to a batch, whose runs are drawn; None: no batch's are."""
    form: str
    depth: int | None
    """How many levels stay open; None: all."""
    theme: Theme
    scale: Scale
    columns: int
    """How many cells a line of text may take."""


def drawn(asked: Asked) -> bytes:
    """Draw it."""
    if asked.form == "html":
        return pages.made(asked)
    if asked.target is not None:
        return _drawn(asked, read(tasks.load(asked.target).graph, asked.depth), None)
    with opening.ledger() as ledger:
        if asked.batch is not None:
            found = ran.batch(ledger, asked.batch, asked.depth)
        else:
            found = ran.runs(ledger, asked.runs, asked.depth)
    return _drawn(asked, found.drawn, found)


def _drawn(asked: Asked, topology: Topology, found: Ran | None) -> bytes:
    said = found.annotations if found else None
    if asked.form == "png":
        return png.png(topology, said, theme=asked.theme, scale=asked.scale)
    made = _text(asked, topology, said, found)
    return (made.rstrip("\n") + "\n").encode()


def _text(asked: Asked, topology: Topology, said: Annotations | None, found: Ran | None) -> str:
    if asked.form == "svg":
        return svg.svg(topology, said, theme=asked.theme)
    if asked.form == "text":
        return text.text(topology, said, width=asked.columns)
    if asked.form == "mermaid":
        source = mermaid.mermaid(topology, said)
        if complaint := mermaid.too_much(source):
            output.complain(complaint)
        return source
    model: dict[str, Any] = (
        spent_document(found.figures, topology, found.annotations)
        if found
        else dataclasses.asdict(topology)
    )
    return output.as_json(model)
