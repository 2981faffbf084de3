"""The graph as a Mermaid flowchart (version 11), for READMEs, pull requests and chats.

Mermaid reads Markdown, HTML, entities, comments and keywords in places where a name may hold them.
So ids are made up of harmless letters and carry a prefix (`end` is a keyword), and in a label
every character that could mean something is written as an entity.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from aideon_agents.drawing.edges import without
from aideon_agents.drawing.lettering import fitted
from aideon_agents.drawing.themes import LIGHT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aideon_agents.drawing.edges import Edge
    from aideon_agents.drawing.topology import Kind, Node, Topology

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


def mermaid(topology: Topology) -> str:
    """Draw a graph as Mermaid source.

    Args:
        topology: The graph.

    Returns:
        A flowchart with the graph's name as its title, ending in a newline.
    """
    meetings, edges = _meetings(topology)
    short = ids(topology)
    lines = ["---", f"title: {json.dumps(topology.name, ensure_ascii=False)}", "---"]
    lines.append("flowchart TD")
    lines += _inside(topology, None, short, "  ")
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
    return "\n".join(lines) + "\n"


def ids(topology: Topology) -> dict[str, str]:
    """What nodes, groups and the points where lines meet are called in the source.

    Args:
        topology: The graph.

    Returns:
        Names made of harmless letters, by id, each once.
    """
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
    """What keeps a drawing from being shown.

    Args:
        source: What `mermaid` returned.

    Returns:
        A sentence; None when nothing does.
    """
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


def _inside(
    topology: Topology, parent: str | None, ids: dict[str, str], indent: str
) -> Iterator[str]:
    for node in topology.nodes:
        if node.parent == parent:
            yield indent + _node(node, ids)
    for group in topology.groups:
        if group.parent == parent:
            yield f'{indent}subgraph {ids[group.id]}["{_escaped(group.label)}"]'
            for end in (group.entry, group.exit):
                if end in ids:
                    yield f'{indent}  {ids[end]}((" "))'
            yield from _inside(topology, group.id, ids, indent + "  ")
            yield f"{indent}end"


def _node(node: Node, ids: dict[str, str]) -> str:
    before, after = SHAPES[node.kind]
    says_its_kind = node.kind in {"start", "end", "function", node.label}
    kind = "" if says_its_kind else f"<br/>({node.kind})"
    return f'{ids[node.id]}{before}"{_escaped(node.label)}{kind}"{after}'


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
