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

from aideon_agents.drawing.annotations import Annotations, Note, taken_legs
from aideon_agents.drawing.cards import fitted
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
"""What Mermaid draws unless whoever shows it has said otherwise, as GitHub has not."""

HARMLESS = re.compile(r"[A-Za-z0-9 ,/?]|[^\x00-\x7f]|(?<=\d)\.(?=\d)|(?<=[^\W_])[-_](?=[^\W_])")
"""What may stand in a label as it is: `0.8` and `my_node`, but not `1. item` or `_stressed_`."""

SIZE, ROOM = 16, 640
"""Of Mermaid's letters, and of a label, in pixels: what is longer is cut."""

ID_LENGTH = 40
"""Characters of a name that an id takes over; a number keeps ids apart beyond that."""


def mermaid(topology: Topology, annotations: Annotations | None = None) -> str:
    """Draw a graph as Mermaid source."""
    meetings, edges = _meetings(topology)
    short = ids(topology)
    said = annotations or Annotations()
    name = " · ".join(filter(None, [said.title or topology.name, said.caption]))
    lines = ["---", f"title: {json.dumps(name, ensure_ascii=False)}", "---"]
    lines.append("flowchart TD")
    lines += _Inside(topology, short, said).lines(None, "  ")
    lines += [f"  {_edge(edge, short)}" for edge in edges]
    kinds = {node.id: node.kind for node in topology.nodes}
    for kind, colours in _colours().items():
        members = [short[one] for one in short if kinds.get(one) == kind]
        if members:
            # Not named after the kind alone: `end` is a keyword here too.
            lines.append(f"  classDef is_{kind} {colours}")
            lines.append(f"  class {','.join(members)} is_{kind}")
    if meetings:
        lines.append(f"  classDef is_meeting fill:{LIGHT.line},stroke:{LIGHT.line}")
        lines.append(f"  class {','.join(short[one] for one in meetings)} is_meeting")
    lines += _marks(topology, short, said)
    lines += _way(topology, edges, said)
    return "\n".join(lines) + "\n"


def ids(topology: Topology) -> dict[str, str]:
    """What nodes, groups and the points where lines meet are called in the source."""
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
    """What keeps a drawing from being shown."""
    edges = len(re.findall(r"^ +n_\w+ (?:-->|-\.->)", source, re.MULTILINE))
    if edges <= MOST_EDGES and len(source) <= MOST_CHARACTERS:
        return None
    return (
        f"Mermaid shows {MOST_EDGES} edges and {MOST_CHARACTERS:,} characters unless told "
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
    """Of each kind: its role's on an outline, around a ground that dark text stands on."""
    return {
        kind: f"fill:{LIGHT.ink},stroke:{LIGHT.ink},color:{LIGHT.ground}"
        if kind in {"start", "end"}
        else f"fill:{GROUNDS[kind]},stroke:{LIGHT.roles[kind]},color:{LIGHT.ink}"
        for kind in SHAPES
    }


class _Inside:
    """What stands in the levels of a graph."""

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
                label = " · ".join([_escaped(group.label), *self._said(group.id)])
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
        rows += self._said(node.id)
        return f'{self._ids[node.id]}{before}"{"<br/>".join(rows)}"{after}'

    def _said(self, one: str) -> Iterator[str]:
        """What is said of a node or group, a row each."""
        note = self._notes.get(one, Note())
        badges = ", ".join(badge.text for badge in note.badges)
        for row in (" · ".join(note.figures), note.foot, note.subtitle, badges):
            if row:
                yield _escaped(row)


def _marks(topology: Topology, ids: dict[str, str], said: Annotations) -> Iterator[str]:
    """The looks of nodes that were not run, or that something happened to."""
    for look, colours in (
        ("faint", "opacity:0.6,stroke-dasharray:4 3"),
        ("bad", f"stroke:{LIGHT.tones['bad'][1]},stroke-width:3px"),
    ):
        members = [
            ids[node.id]
            for node in topology.nodes
            if (note := said.notes.get(node.id))
            and (note.emphasis == look or any(badge.tone == look for badge in note.badges))
        ]
        if members:
            yield f"  classDef is_{look} {colours}"
            yield f"  class {','.join(members)} is_{look}"


def _way(topology: Topology, edges: list[Edge], said: Annotations) -> Iterator[str]:
    """The way that was taken stands out, and what was not taken stands back."""
    if said.taken is None:
        return
    ends = {node.id for node in topology.nodes}
    taken = taken_legs(edges, said.taken, ends)
    known = taken | taken_legs(edges, said.unknown, ends)
    ways = [(edge.source, edge.target) for edge in edges]
    # Of several conditions on one way nobody knows which it was.
    times = Counter(ways)
    strong = [str(index) for index, way in enumerate(ways) if way in taken and times[way] == 1]
    idle = [str(index) for index, way in enumerate(ways) if way not in known]
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
