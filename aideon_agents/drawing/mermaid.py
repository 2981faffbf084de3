"""The graph as a Mermaid flowchart (version 11), for READMEs, pull requests and chats.

Mermaid reads Markdown, HTML, entities, comments and keywords in places where a name may hold them.
So ids are made up of harmless letters and carry a prefix (`end` is a keyword), and in a label
every character that could mean something is written as an entity.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from aideon_agents.drawing.edges import Edge
    from aideon_agents.drawing.topology import Group, Kind, Node, Topology

SHAPES: dict[Kind, tuple[str, str]] = {
    "start": ("([", "])"),
    "end": ("([", "])"),
    "planner": ("(", ")"),
    "executor": ("(", ")"),
    "validator": ("{{", "}}"),
    "creative": ("(", ")"),
    "function": ("[", "]"),
    "graph": ("[[", "]]"),
}

COLOURS: dict[Kind, str] = {
    "start": "fill:#111827,stroke:#111827,color:#ffffff",
    "end": "fill:#111827,stroke:#111827,color:#ffffff",
    "planner": "fill:#dbe7fd,stroke:#1d4ed8,color:#111827",
    "executor": "fill:#dcf1e2,stroke:#15803d,color:#111827",
    "validator": "fill:#fbe3e1,stroke:#b91c1c,color:#111827",
    "creative": "fill:#f7e7d5,stroke:#b45309,color:#111827",
    "function": "fill:#f1f3f6,stroke:#6b7280,color:#111827",
    "graph": "fill:#f1f3f6,stroke:#6b7280,color:#111827",
}

HARMLESS = re.compile(r"[A-Za-z0-9 ,/?]|[^\x00-\x7f]|(?<=\d)\.(?=\d)|(?<=[^\W_])[-_](?=[^\W_])")
"""What may stand in a label as it is: `0.8` and `my_node`, but not `1. item` or `_stressed_`."""

ID_LENGTH = 40
"""Characters of a name that an id takes over; a number keeps ids apart beyond that."""


def mermaid(topology: Topology) -> str:
    """Draw a graph as Mermaid source.

    Args:
        topology: The graph.

    Returns:
        A flowchart with the graph's name as its title, ending in a newline.
    """
    ids = _ids([*topology.groups, *topology.nodes])
    lines = ["---", f"title: {json.dumps(topology.name, ensure_ascii=False)}", "---"]
    lines.append("flowchart TD")
    lines += _inside(topology, None, ids, "  ")
    lines += [f"  {_edge(edge, ids)}" for edge in topology.edges]
    for kind, colours in COLOURS.items():
        members = [ids[node.id] for node in topology.nodes if node.kind == kind]
        if members:
            # Not named after the kind alone: `end` is a keyword here too.
            lines.append(f"  classDef is_{kind} {colours}")
            lines.append(f"  class {','.join(members)} is_{kind}")
    return "\n".join(lines) + "\n"


def _inside(
    topology: Topology, parent: str | None, ids: dict[str, str], indent: str
) -> Iterator[str]:
    for node in topology.nodes:
        if node.parent == parent:
            yield indent + _node(node, ids)
    for group in topology.groups:
        if group.parent == parent:
            yield f'{indent}subgraph {ids[group.id]}["{_escaped(group.label)}"]'
            yield from _inside(topology, group.id, ids, indent + "  ")
            yield f"{indent}end"


def _node(node: Node, ids: dict[str, str]) -> str:
    before, after = SHAPES[node.kind]
    says_its_kind = node.kind in {"start", "end", "function", node.label}
    kind = "" if says_its_kind else f"<br/><small>{node.kind}</small>"
    return f'{ids[node.id]}{before}"{_escaped(node.label)}{kind}"{after}'


def _edge(edge: Edge, ids: dict[str, str]) -> str:
    arrow = "-.->" if edge.conditional else "-->"
    label = "" if edge.label is None else f'|"{_escaped(edge.label)}"|'
    return f"{ids[edge.source]} {arrow}{label} {ids[edge.target]}"


def _ids(drawn: Iterable[Node | Group]) -> dict[str, str]:
    ids: dict[str, str] = {}
    taken: set[str] = set()
    for one in drawn:
        wanted = "n_" + re.sub(r"[^A-Za-z0-9]+", "_", one.id).strip("_")[:ID_LENGTH]
        free, number = wanted, 2
        while free in taken:
            free, number = f"{wanted}__{number}", number + 1
        taken.add(free)
        ids[one.id] = free
    return ids


def _escaped(label: str) -> str:
    def entity(match: re.Match[str]) -> str:
        char = match.group()
        return char if HARMLESS.match(match.string, match.start()) else f"#{ord(char)};"

    # Mermaid has no empty label.
    return re.sub(".", entity, label) or " "
