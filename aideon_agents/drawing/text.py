"""The graph as an outline for a terminal: downwards what follows, indented what branches."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size

from aideon_agents.drawing.annotations import Annotations, Note
from aideon_agents.drawing.flow import ENTRY, EXIT, Flow, levels
from aideon_agents.graphs.topology import Edge, Node, Topology

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


WIDTH = 80
"""Cells: a terminal's, unless its width is known."""


def text(topology: Topology, annotations: Annotations | None = None, *, width: int = WIDTH) -> str:
    """Draw a graph as an outline."""
    said = annotations or Annotations()
    # How a run ended stands at the end of a title, and is not to be cut off.
    title = textwrap.wrap(said.title or topology.name, width, break_long_words=False)
    head = [*title, *filter(None, [said.caption]), ""]
    lines = [*head, *_Outline(topology, said, max(1, width // 2)).level(None)]
    return "".join(_cut(line, width).rstrip() + "\n" for line in lines)


class _Outline:
    """Draws the levels of one graph, each item once; a second way to it points there."""

    def __init__(self, topology: Topology, annotations: Annotations, room: int) -> None:
        self._said = annotations
        self._room = room
        self._flows = {group: Flow(level) for group, level in levels(topology).items()}
        self._items = {one.id: one for one in (*topology.nodes, *topology.groups)}
        self._drawn: set[str] = set()

    def level(self, group: str | None) -> Iterator[str]:
        flow = self._flows[group]
        for root in flow.roots:
            yield from self._chain(flow, root, EXIT)

    def _chain(self, flow: Flow, first: str, stop: str) -> Iterator[str]:
        """Everything from `first` on, as far as `stop`."""
        item = first
        while item not in {stop, EXIT}:
            if item in self._drawn:
                yield f"→ {self._name(item)}, drawn above"
                return
            if item != ENTRY:
                self._drawn.add(item)
                yield from self._item(item)
                yield from self._loops(flow, item)
            if len(flow.forward[item]) > 1:
                yield from self._branches(flow, item)
            if item != ENTRY:
                yield from self._arrow(flow, item, stop)
            item = flow.joins[item]

    def _item(self, item: str) -> Iterator[str]:
        one = self._items[item]
        if item in self._flows:
            yield f"▾ {self._name(item)}"
            yield from self._figures(item)
            yield from (f"  {line}" for line in self.level(item))
            return
        if isinstance(one, Node) and one.kind == "graph":
            yield f"▸ {self._name(item)}"
        elif isinstance(one, Node) and one.kind not in {"start", "end", "function", one.label}:
            yield f"{self._name(item)} ({one.kind})"
        else:
            yield self._name(item)
        yield from self._figures(item)

    def _figures(self, item: str) -> Iterator[str]:
        note = self._said.notes.get(item, Note())
        said = " · ".join(filter(None, [*note.figures, note.foot, note.subtitle]))
        marks = " ".join(f"[{badge.text}]" for badge in note.badges)
        if said or marks:
            yield "  " + " ".join(filter(None, [said, marks]))

    def _loops(self, flow: Flow, item: str) -> Iterator[str]:
        ways_out = [edge for edges in flow.forward[item].values() for edge in edges]
        out = self._conditions(ways_out)
        until = f" until {out}" if out else ""
        for target, edges in flow.back[item].items():
            condition = self._conditions(edges)
            when = f"{condition}: " if condition else ""
            idle = ", not taken" if self._is_idle(edges) else ""
            yield f"  ↺ {when}back to {self._name(target)}{until}{idle}"

    def _is_idle(self, edges: Iterable[Edge]) -> bool:
        """Whether it is known that none of some edges was taken."""
        ways = {(edge.source, edge.target) for edge in edges}
        known = self._said.taken
        return known is not None and not ways & {*known, *self._said.unknown}

    def _branches(self, flow: Flow, item: str) -> Iterator[str]:
        conditions = {way: self._conditions(edges) for way, edges in flow.forward[item].items()}
        # What leads into a group as a whole has been said before the group.
        said = item == ENTRY and len(set(conditions.values())) == 1
        for index, (way, condition) in enumerate(conditions.items(), 1):
            last = index == len(conditions)
            lines = list(self._chain(flow, way, flow.joins[item])) or ["↓"]
            when = f"{condition}: " if condition and not said else ""
            yield f"{'└─' if last else '├─'} {when}{lines[0]}"
            yield from (f"{' ' if last else '│'}  {line}" for line in lines[1:])

    def _arrow(self, flow: Flow, item: str, stop: str) -> Iterator[str]:
        """The way from an item, or from where its branches meet, to the next."""
        ways = flow.forward[item]
        # A group's conditions stand inside it, and a loop has said when it ends.
        says = len(ways) == 1 and item not in self._flows and not flow.back[item]
        condition = self._conditions(ways[flow.joins[item]]) if says else ""
        if condition or flow.joins[item] not in {stop, EXIT}:
            yield f"↓ {condition}"

    def _name(self, item: str) -> str:
        return _cut(self._items[item].label, self._room)

    def _conditions(self, edges: Iterable[Edge]) -> str:
        """The conditions of parallel edges in words; empty when one of them is always taken."""
        labels = list(dict.fromkeys(edge.label for edge in edges))
        if None in labels:
            return ""
        return " or ".join(_cut(label, self._room) for label in labels if label is not None)


def _cut(line: str, width: int) -> str:
    """At most `width` terminal cells: an emoji takes two, a cut is marked."""
    return line if cell_len(line) <= width else set_cell_size(line, width - 1) + "…"
