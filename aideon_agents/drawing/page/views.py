"""A graph in every state that a reader can fold it into, drawn beforehand.

The layout is ours and happens here: a page that had to lay a graph out again would need a second
one in another language. Where the groups of a graph can be folded in too many ways, each level is
folded as a whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aideon_agents.drawing.folding import with_closed
from aideon_agents.drawing.svg import unstyled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from aideon_agents.drawing.annotations import Annotations
    from aideon_agents.drawing.topology import Topology

    Annotate = Callable[[Topology], Annotations | None]

MOST = 24
"""Ways to fold a graph that are drawn one by one."""
_NODES = 1_500
"""Nodes that are drawn for them, all pictures together."""


@dataclass(frozen=True)
class View:
    """A graph in one state."""

    closed: frozenset[str]
    """The ids of the groups that are folded; those inside them are not named."""
    topology: Topology

    def document(self, annotate: Annotate) -> dict[str, Any]:
        """The state and its picture as JSON values."""
        drawn = unstyled(self.topology, annotate(self.topology))
        return {"closed": sorted(self.closed), "svg": drawn}


def views(topology: Topology, *, by_level: bool = False) -> list[View]:
    """The states that a reader can choose from."""
    inside = _inside(topology)
    most = 1 if by_level else min(MOST, _NODES // len(topology.nodes))
    states = _ways(inside, None, most)
    if states is None:
        levels = {frozenset(level): None for level in _levels(inside)}
        states = [frozenset[str](), *levels]
    return [View(state, with_closed(topology, state)) for state in states]


def outermost(topology: Topology, depth: int) -> set[str]:
    """The groups to fold so that no more than some levels are open."""
    levels: dict[str | None, int] = {None: 0}
    for group in topology.groups:
        levels[group.id] = levels[group.parent] + 1
    return {one.id for one in topology.groups if levels[one.id] == depth + 1}


def _inside(topology: Topology) -> dict[str | None, list[str]]:
    found: dict[str | None, list[str]] = {}
    for group in topology.groups:
        found.setdefault(group.parent, []).append(group.id)
    return found


def _ways(
    inside: Mapping[str | None, list[str]], around: str | None, most: int
) -> list[frozenset[str]] | None:
    """Every way to fold what is inside a group; None: there are too many."""
    ways = [frozenset[str]()]
    for group in inside.get(around, ()):
        within = _ways(inside, group, most)
        if within is None or len(ways) * (len(within) + 1) > most:
            return None
        ways = [one | other for other in (*within, frozenset([group])) for one in ways]
    return ways


def _levels(inside: Mapping[str | None, list[str]]) -> Iterator[list[str]]:
    """The groups of each level, the outermost last."""
    level = inside.get(None, [])
    deeper = [one for group in level for one in inside.get(group, ())]
    found = [level]
    while deeper:
        found.append(deeper)
        deeper = [one for group in deeper for one in inside.get(group, ())]
    yield from reversed(found)
