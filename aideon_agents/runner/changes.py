"""What a run's graph was when the run began, and what has changed about it since.

A run goes on from what its nodes left. In a graph with other nodes or edges that has no meaning; in
one whose nodes merely do their work differently it has.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from aideon_agents.drawing.topology import read

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aideon_agents.patterns.nodes import Graph

_SHOWN = 5
"""How many changes are named."""


def model(graph: Graph) -> dict[str, Any]:
    """The plain model of a graph, as `aideon graph -f json` gives it."""
    topology = dataclasses.asdict(read(graph))
    return {key: list(one) if isinstance(one, tuple) else one for key, one in topology.items()}


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """What has been added to a graph and removed from it."""
    for parts in ("nodes", "groups", "edges"):
        old, new = ([_name(part) for part in one.get(parts, ())] for one in (before, now))
        told = [f"+ {name}" for name in new if name not in old]
        told += [f"- {name}" for name in old if name not in new]
        if told:
            more = ", ..." if len(told) > _SHOWN else ""
            return ", ".join(told[:_SHOWN]) + more
    return None


def _name(part: Mapping[str, Any]) -> str:
    if "source" not in part:
        return f"{part['id']} ({part['kind']})" if part.get("kind") else str(part["id"])
    label = f" ({part['label']})" if part.get("label") else ""
    return f"{part['source']} -> {part['target']}{label}"
