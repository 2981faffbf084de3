"""A task file, from its bytes to a graph."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from aideon_agents.tasks import reading
from aideon_agents.tasks.building import Site, root
from aideon_agents.tasks.tools import ToolFiles

if TYPE_CHECKING:
    from pathlib import Path

    from aideon_agents.patterns.nodes import Graph
    from aideon_agents.tasks.building import ModelCheck

SUFFIXES = (".yaml", ".yml", ".json")
"""How the names of task files end."""


@dataclasses.dataclass(frozen=True)
class Made:
    """What a task file makes."""

    name: str
    """Its own name, or that of the file."""
    graph: Graph
    tool_files: tuple[bytes, ...]
    """What the files contain that its tools came from."""


def load(path: Path, content: bytes, check_model: ModelCheck | None = None) -> Made:
    """Build the graph that a task file describes."""
    document = reading.read(path, content)
    step = reading.check(document)
    files = ToolFiles(path.parent)
    name = step.name or path.stem
    graph = root(step, Site(document, files, check_model=check_model), name)
    return Made(name, graph, files.contents)
