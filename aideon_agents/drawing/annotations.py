"""What a caller knows of a graph beyond its shape: figures, badges, the way that was taken.

A drawing shows them beside the nodes without knowing what they mean: a run's costs and a batch's
medians are drawn the same way.

A graph in words: what a screen reader says of a picture, and what a tooltip shows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

from aideon_agents.graphs.topology import Edge, Node, Topology

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence


Tone = Literal["good", "bad", "warning", "busy", "quiet"]
Emphasis = Literal["strong", "plain", "faint"]


@dataclass(frozen=True)
class Badge:
    """A word or two on a node."""

    text: str
    tone: Tone = "quiet"


@dataclass(frozen=True)
class Note:
    """What is said of one node or group."""

    subtitle: str | None = None
    """Stands where the role would; None: the role does."""
    figures: tuple[str, ...] = ()
    """At most three, in a row; the first stands out."""
    share: float | None = None
    """Of the whole, 0 to 1, drawn as a bar; None: unknown, no bar."""
    badges: tuple[Badge, ...] = ()
    emphasis: Emphasis = "plain"
    """`faint` for what was not run."""
    foot: str = ""
    """A line below the figures, in small print."""


Way: TypeAlias = tuple[str, str]
"""From one node's id to another's."""


@dataclass(frozen=True)
class Annotations:
    """What is said of a whole graph."""

    title: str | None = None
    """Stands where the graph's name would; None: the name does."""
    caption: str = ""
    """A line for the whole, totals say."""
    notes: Mapping[str, Note] = field(default_factory=dict[str, Note])
    """By the id of a node or group."""
    taken: Collection[Way] | None = None
    """The edges that were taken: the others are drawn faintly. None: nothing is known of that."""
    unknown: Collection[Way] = ()
    """Edges beside them that may have been taken: they are drawn as without a run."""

    @property
    def has_figures(self) -> bool:
        """Whether any node has figures: then all leave room for them, so that rows stay even."""
        return any(note.figures for note in self.notes.values())

    @property
    def has_feet(self) -> bool:
        """Whether any node has a line below its figures: then all leave room for it."""
        return any(note.foot for note in self.notes.values())


def taken_legs(
    legs: Iterable[Edge], taken: Collection[Way], ends: Collection[str] = ()
) -> set[Way]:
    """Which legs the edges that were taken pass over."""
    onward: dict[str, list[str]] = {}
    for leg in legs:
        onward.setdefault(leg.source, []).append(leg.target)
    nodes = {*ends, *(end for way in taken for end in way)}
    found: set[Way] = set()
    for source, target in taken:
        before = _reached(source, onward, nodes)
        if target in before:
            found |= _back(source, target, before)
    return found


def _reached(source: str, onward: Mapping[str, list[str]], nodes: set[str]) -> dict[str, set[str]]:
    """What a node leads to without passing another node, and from where each is reached."""
    before: dict[str, set[str]] = {}
    ahead = [source]
    while ahead:
        here = ahead.pop()
        for one in onward.get(here, ()):
            if one not in before and one not in nodes:
                ahead.append(one)
            before.setdefault(one, set()).add(here)
    return before


def _back(source: str, target: str, before: Mapping[str, set[str]]) -> set[Way]:
    found: set[Way] = set()
    ahead = [target]
    while ahead:
        here = ahead.pop()
        for one in before.get(here, ()):
            if (one, here) not in found:
                found.add((one, here))
                if one != source:
                    ahead.append(one)
    return found


_MOST = 40
"""Nodes that a description names; the picture itself names all."""


class Teller:
    """Puts a graph into words."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._names = {one.id: one.label for one in (*topology.nodes, *topology.groups)}
        self._names |= {group.entry: f"start of {group.label}" for group in topology.groups}
        self._names |= {group.exit: f"end of {group.label}" for group in topology.groups}

    def whole(self) -> str:
        """What there is to see, and where each node leads."""
        inner = [node for node in self._topology.nodes if node.kind not in {"start", "end"}]
        groups = len(self._topology.groups)
        counted = f"{_counted(len(inner), 'node')}"
        if groups:
            counted += f" in {_counted(groups, 'group')}"
        ways = [
            f"{node.label} leads to {targets}"
            for node in self._topology.nodes[:_MOST]
            if (targets := self._targets(node))
        ]
        return f"A workflow of {counted}. {'; '.join(ways)}."

    def node(self, node: Node, note: Note) -> str:
        """A node, its kind, and what is said of it."""
        kind = "" if node.kind in {node.label, "start", "end"} else node.kind
        said = [node.label, kind, note.subtitle or "", *note.figures, note.foot]
        return ", ".join(filter(None, [*said, *(badge.text for badge in note.badges)]))

    def way(self, source: str, target: str, conditions: Sequence[str]) -> str:
        """A line from one end to the other."""
        when = f", if {' or '.join(conditions)}" if conditions else ""
        return f"{self._names[source]} leads to {self._names[target]}{when}"

    def _targets(self, node: Node) -> str:
        named = [
            f"{self._names[edge.target]} ({edge.label})" if edge.label else self._names[edge.target]
            for edge in self._topology.edges
            if edge.source == node.id
        ]
        return ", ".join(named)


def _counted(count: int, name: str) -> str:
    return f"{count} {name}{'' if count == 1 else 's'}"
