"""What a drawing shows beside a graph's shape: figures, badges, the edges that were taken.

A drawing shows them without knowing what they mean, so a run's costs and a batch's medians are
drawn by the same code. `Describer` describes a graph in words for screen readers and tooltips.
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
    """A short word on a node, such as `failed`."""

    text: str
    tone: Tone = "quiet"


@dataclass(frozen=True)
class Note:
    """What is shown about one node or group."""

    subtitle: str | None = None
    """Replaces the role below the name; None: the role is shown."""
    figures: tuple[str, ...] = ()
    """At most three, in a row; the first is emphasized."""
    share: float | None = None
    """The part of the whole, 0 to 1, drawn as a bar; None: unknown, no bar."""
    badges: tuple[Badge, ...] = ()
    emphasis: Emphasis = "plain"
    """`faint` for what did not run."""
    foot: str = ""
    """A line in small print below the figures."""


EdgeKey: TypeAlias = tuple[str, str]
"""An edge as (source id, target id)."""


@dataclass(frozen=True)
class Annotations:
    """What is shown about a whole graph."""

    title: str | None = None
    """Replaces the graph's name; None: the name is shown."""
    caption: str = ""
    """A line for the whole graph, such as its totals."""
    notes: Mapping[str, Note] = field(default_factory=dict[str, Note])
    """Notes by the id of a node or group."""
    taken: Collection[EdgeKey] | None = None
    """The edges that were taken; all others are drawn faintly. None: this is unknown."""
    unknown: Collection[EdgeKey] = ()
    """Edges that may have been taken. They are drawn as in a graph without a run."""

    @property
    def has_figures(self) -> bool:
        """Whether any node has figures: then all leave room for them, so that rows align."""
        return any(note.figures for note in self.notes.values())

    @property
    def has_feet(self) -> bool:
        """Whether any node has a foot line: then every node leaves room for it."""
        return any(note.foot for note in self.notes.values())


def taken_segments(
    legs: Iterable[Edge], taken: Collection[EdgeKey], ends: Collection[str] = ()
) -> set[EdgeKey]:
    """The segments that the taken edges run along."""
    onward: dict[str, list[str]] = {}
    for segment in legs:
        onward.setdefault(segment.source, []).append(segment.target)
    nodes = {*ends, *(end for edge in taken for end in edge)}
    found: set[EdgeKey] = set()
    for source, target in taken:
        before = _reached(source, onward, nodes)
        if target in before:
            found |= _back(source, target, before)
    return found


def _reached(source: str, onward: Mapping[str, list[str]], nodes: set[str]) -> dict[str, set[str]]:
    """The nodes reachable without passing another node, each with its predecessors."""
    before: dict[str, set[str]] = {}
    ahead = [source]
    while ahead:
        here = ahead.pop()
        for one in onward.get(here, ()):
            if one not in before and one not in nodes:
                ahead.append(one)
            before.setdefault(one, set()).add(here)
    return before


def _back(source: str, target: str, before: Mapping[str, set[str]]) -> set[EdgeKey]:
    found: set[EdgeKey] = set()
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


class Describer:
    """Describes a graph in words."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._names = {one.id: one.label for one in (*topology.nodes, *topology.groups)}
        self._names |= {group.entry: f"start of {group.label}" for group in topology.groups}
        self._names |= {group.exit: f"end of {group.label}" for group in topology.groups}

    def whole(self) -> str:
        """Describe the whole graph: its size, and where each node leads."""
        inner = [node for node in self._topology.nodes if node.kind not in {"start", "end"}]
        counted = _counted(len(inner), "node")
        if groups := len(self._topology.groups):
            counted += f" in {_counted(groups, 'group')}"
        leading = [
            f"{node.label} leads to {targets}"
            for node in self._topology.nodes[:_MOST]
            if (targets := self._targets(node))
        ]
        return f"A workflow of {counted}. {'; '.join(leading)}."

    def node(self, node: Node, note: Note) -> str:
        """Describe a node: its kind and its note."""
        kind = "" if node.kind in {node.label, "start", "end"} else node.kind
        badges = (badge.text for badge in note.badges)
        tools = f"tools: {', '.join(node.tools)}" if node.tools else ""
        words = [node.label, kind, tools, note.subtitle, *note.figures, note.foot, *badges]
        return ", ".join(word for word in words if word)

    def edge(self, source: str, target: str, conditions: Sequence[str]) -> str:
        """Describe a line between two nodes."""
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
