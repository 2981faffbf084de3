"""The graph as a Mermaid flowchart (version 11), for READMEs, pull requests and chats.

Mermaid reads Markdown, HTML, entities, comments and keywords in places where a name may hold them.
So ids are made up of harmless letters and carry a prefix (`end` is a keyword), and in a label
every character that could mean something is written as an entity.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import TYPE_CHECKING

from aideon_agents.drawing.annotations import Annotations, Note, taken_segments
from aideon_agents.drawing.picture import fitted
from aideon_agents.drawing.themes import LIGHT
from aideon_agents.graphs.topology import Edge, Kind, Node, Topology, without

if TYPE_CHECKING:
    from collections.abc import Iterator


SHAPES: dict[Kind, tuple[str, str]] = {
    "start": ("([", "])"),
    "end": ("([", "])"),
    "planner": ("(", ")"),
    "executor": ("(", ")"),
    "validator": ("{{", "}}"),
    "creative": ("(", ")"),
    "function": ("[", "]"),
    "graph": ("[[", "]]"),
    "approval": ("[/", "\\]"),
}

GROUNDS: dict[Kind, str] = {
    "planner": "#e3f0f8",
    "executor": "#e1f2ec",
    "validator": "#fbe9de",
    "creative": "#f6e7f0",
    "function": "#f1f3f6",
    "graph": "#eceff3",
    "approval": "#f6edda",
}
"""The roles' colours, as pale as paper."""

MOST_EDGES, MOST_CHARACTERS = 500, 50_000
"""Mermaid's default limits, which GitHub keeps."""

HARMLESS = re.compile(r"[A-Za-z0-9 ,/?]|[^\x00-\x7f]|(?<=\d)\.(?=\d)|(?<=[^\W_])[-_](?=[^\W_])")
"""What a label may hold unescaped: `0.8` and `my_node`, but not `1. item` or `_stressed_`."""

SIZE, ROOM = 16, 640
"""The widths of Mermaid's letters and of a label, in pixels; longer text is cut."""

ID_LENGTH = 40
"""Characters of a name that an id keeps; a number makes ids unique."""


def mermaid(topology: Topology, annotations: Annotations | None = None) -> str:
    """Draw a graph as Mermaid source."""
    meetings, edges = _meetings(topology)
    short = ids(topology)
    annotations = annotations or Annotations()
    name = " · ".join(filter(None, [annotations.title or topology.name, annotations.caption]))
    lines = ["---", f"title: {json.dumps(name, ensure_ascii=False)}", "---"]
    lines.append("flowchart TD")
    lines += _Inside(topology, short, annotations).lines(None, "  ")
    lines += [f"  {_edge(edge, short)}" for edge in edges]
    kinds = {node.id: node.kind for node in topology.nodes}
    for kind, colours in _colours().items():
        lines += _styled(kind, [short[one] for one in short if kinds.get(one) == kind], colours)
    colours = f"fill:{LIGHT.line},stroke:{LIGHT.line}"
    lines += _styled("meeting", [short[one] for one in meetings], colours)
    lines += _marks(topology, short, annotations)
    lines += _taken(topology, edges, annotations)
    return "\n".join(lines) + "\n"


def ids(topology: Topology) -> dict[str, str]:
    """The ids of nodes, groups and junctions in the source."""
    found: dict[str, str] = {}
    taken: set[str] = set()
    drawn = [one.id for one in (*topology.groups, *topology.nodes)]
    for one in (*drawn, *_meetings(topology)[0]):
        wanted = "n_" + re.sub(r"[^A-Za-z0-9]+", "_", one).strip("_")[:ID_LENGTH]
        free, number = wanted, 2
        while free in taken:
            free, number = f"{wanted}__{number}", number + 1
        taken.add(free)
        found[one] = free
    return found


def too_much(source: str) -> str | None:
    """A message when Mermaid would refuse to show a drawing; None: it shows it."""
    edges = len(re.findall(r"^ +n_\w+ (?:-->|-\.->)", source, re.MULTILINE))
    if edges <= MOST_EDGES and len(source) <= MOST_CHARACTERS:
        return None
    return (
        f"Mermaid shows {MOST_EDGES} edges and {MOST_CHARACTERS:,} characters unless configured "
        f"otherwise, and this has {edges:,} and {len(source):,}: close groups with --depth, "
        "or draw it as svg"
    )


def _meetings(topology: Topology) -> tuple[list[str], list[Edge]]:
    """Where several lines meet and several part, and all edges, those to and from there included.

    Three branches after three others are six lines through such a point, and nine without it.
    """
    passages = [end for group in topology.groups for end in (group.entry, group.exit)]
    edges = without(topology.legs, passages, spare=True)
    order = {node.id: index for index, node in enumerate(topology.nodes)}
    edges.sort(key=lambda edge: order.get(edge.source, len(order)))
    met = {edge.source for edge in edges}
    return [passage for passage in passages if passage in met], edges


def _colours() -> dict[Kind, str]:
    """A style per kind: the role's colour on the outline, a light ground for dark text."""
    return {
        kind: f"fill:{LIGHT.ink},stroke:{LIGHT.ink},color:{LIGHT.ground}"
        if kind in {"start", "end"}
        else f"fill:{GROUNDS[kind]},stroke:{LIGHT.roles[kind]},color:{LIGHT.ink}"
        for kind in SHAPES
    }


class _Inside:
    """Draw the items in the levels of a graph."""

    def __init__(self, topology: Topology, ids: dict[str, str], annotations: Annotations) -> None:
        self._topology = topology
        self._ids = ids
        self._notes = annotations.notes

    def lines(self, parent: str | None, indent: str) -> Iterator[str]:
        """One level, and those below it."""
        ids = self._ids
        for node in self._topology.nodes:
            if node.parent == parent:
                yield indent + self._node(node)
        for group in self._topology.groups:
            if group.parent == parent:
                label = " · ".join([_escaped(group.label), *self._note_lines(group.id)])
                yield f'{indent}subgraph {ids[group.id]}["{label}"]'
                for end in (group.entry, group.exit):
                    if end in ids:
                        yield f'{indent}  {ids[end]}((" "))'
                yield from self.lines(group.id, indent + "  ")
                yield f"{indent}end"

    def _node(self, node: Node) -> str:
        before, after = SHAPES[node.kind]
        says_its_kind = node.kind in {"start", "end", "function", node.label}
        rows = [_escaped(node.label), *([] if says_its_kind else [f"({node.kind})"])]
        rows += self._note_lines(node.id)
        return f'{self._ids[node.id]}{before}"{"<br/>".join(rows)}"{after}'

    def _note_lines(self, one: str) -> Iterator[str]:
        """The note of a node or group, one row each."""
        note = self._notes.get(one, Note())
        badges = ", ".join(badge.text for badge in note.badges)
        for row in (" · ".join(note.figures), note.foot, note.subtitle, badges):
            if row:
                yield _escaped(row)


def _marks(topology: Topology, ids: dict[str, str], annotations: Annotations) -> Iterator[str]:
    """The styles of nodes that did not run, or that have a badge."""
    for look, colours in (
        ("faint", "opacity:0.6,stroke-dasharray:4 3"),
        ("bad", f"stroke:{LIGHT.tones['bad'][1]},stroke-width:3px"),
    ):
        members = [
            ids[node.id]
            for node in topology.nodes
            if (note := annotations.notes.get(node.id))
            and (note.emphasis == look or any(badge.tone == look for badge in note.badges))
        ]
        yield from _styled(look, members, colours)


def _styled(name: str, members: list[str], style: str) -> Iterator[str]:
    """The style of some nodes. The prefix is needed because `end` is a keyword here too."""
    if members:
        yield f"  classDef is_{name} {style}"
        yield f"  class {','.join(members)} is_{name}"


def _taken(topology: Topology, edges: list[Edge], annotations: Annotations) -> Iterator[str]:
    """Emphasize the edges that were taken and fade the others."""
    if annotations.taken is None:
        return
    ends = {node.id for node in topology.nodes}
    taken = taken_segments(edges, annotations.taken, ends)
    known = taken | taken_segments(edges, annotations.unknown, ends)
    pairs = [(edge.source, edge.target) for edge in edges]
    # of several conditions on one edge it is unknown which one held
    times = Counter(pairs)
    strong = [str(index) for index, pair in enumerate(pairs) if pair in taken and times[pair] == 1]
    idle = [str(index) for index, pair in enumerate(pairs) if pair not in known]
    if strong:
        yield f"  linkStyle {','.join(strong)} stroke-width:3px"
    if idle:
        yield f"  linkStyle {','.join(idle)} opacity:0.4"


def _edge(edge: Edge, ids: dict[str, str]) -> str:
    arrow = "-.->" if edge.conditional else "-->"
    label = "" if edge.label is None else f'|"{_escaped(edge.label)}"|'
    return f"{ids[edge.source]} {arrow}{label} {ids[edge.target]}"


def _escaped(label: str) -> str:
    def entity(match: re.Match[str]) -> str:
        char = match.group()
        return char if HARMLESS.match(match.string, match.start()) else f"#{ord(char)};"

    # Mermaid has no empty label, and breaks no long word.
    return re.sub(".", entity, fitted(label, SIZE, ROOM)) or " "
