"""Which edges a drawing shows, read from the drawing itself: SVG, Mermaid, LangGraph's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from aideon_agents.drawing.mermaid import ids

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aideon_agents.graphs.topology import Topology

Way = tuple[str, str]

_SVG = "{http://www.w3.org/2000/svg}"


def in_svg(document: str) -> set[Way]:
    """The edges in an SVG, those through the sides of groups joined."""
    root = ET.fromstring(document)  # noqa: S314 - we have just drawn it
    groups = {
        one.attrib["data-id"]
        for one in root.iter(f"{_SVG}g")
        if "frame" in one.get("class", "").split()
    }
    ways = [
        (one.attrib["data-source"], one.attrib["data-target"])
        for one in root.iter(f"{_SVG}g")
        if "way" in one.get("class", "").split()
    ]
    passages = [f"{group}|{end}" for group in groups for end in ("__start__", "__end__")]
    return joined(ways, passages)


def in_mermaid(answer: dict[str, Any], topology: Topology) -> set[Way]:
    """The edges that Mermaid's parser found, those through meeting points joined."""
    known = {short: one for one, short in ids(topology).items()}
    ways = [(known[source], known[target]) for source, target, _ in answer["edges"]]
    nodes = {node.id for node in topology.nodes}
    return joined(ways, [one for one in known.values() if one not in nodes])


def in_langgraph(graph: Any) -> tuple[set[str], set[Way]]:
    """The nodes and edges of LangGraph's own drawing, all levels open.

    Where it shows the start or the end of a subgraph as a node, the edges are joined there, as ours
    are: that much is a matter of taste.
    """
    made = graph.get_graph(xray=True)
    names = {one: one.replace(":", "|") for one in made.nodes}
    ways = [(names[edge.source], names[edge.target]) for edge in made.edges]
    passages = {one for one in names.values() if one.endswith(("|__start__", "|__end__"))}
    return set(names.values()) - passages, joined(ways, passages)


def conditions_in_langgraph(graph: Any) -> int:
    """How many conditional edges LangGraph's own drawing shows, all levels open."""
    return sum(edge.conditional for edge in graph.get_graph(xray=True).edges)


def joined(ways: Iterable[Way], passages: Iterable[str]) -> set[Way]:
    """Ways with those that meet in a passage joined."""
    remaining = set(ways)
    for passage in passages:
        into = {source for source, target in remaining if target == passage}
        out = {target for source, target in remaining if source == passage}
        remaining = {way for way in remaining if passage not in way}
        remaining |= {(source, target) for source in into for target in out}
    return remaining
