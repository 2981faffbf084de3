"""What a notebook shows of a graph: the picture where it can be drawn, else Mermaid, and text.

A notebook takes what it can show best. In a terminal that is the text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aideon_agents.drawing.mermaid import mermaid
from aideon_agents.drawing.svg import svg
from aideon_agents.drawing.text import text
from aideon_agents.drawing.topology import read
from aideon_agents.errors import UserError

if TYPE_CHECKING:
    from aideon_agents.drawing.annotations import Annotations
    from aideon_agents.drawing.topology import AnyGraph, Topology


def graph_shown(graph: AnyGraph) -> dict[str, str]:
    """What there is to see of a compiled graph."""
    return shown(read(graph))


def shown(topology: Topology, annotations: Annotations | None = None) -> dict[str, str]:
    """What there is to see of a graph."""
    plain = text(topology, annotations)
    try:
        drawn = svg(topology, annotations)
    except UserError:  # the extra is not installed
        source = mermaid(topology, annotations)
        return {"text/markdown": f"```mermaid\n{source}```\n", "text/plain": plain}
    framed = f'<div style="overflow-x:auto">{drawn}</div>'
    return {"text/html": framed, "image/svg+xml": drawn, "text/plain": plain}
