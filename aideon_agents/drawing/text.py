"""The graph as an outline for a terminal: a sequence goes down, branches are indented."""

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
"""Terminal cells, when the terminal's width is unknown."""


def text(topology: Topology, annotations: Annotations | None = None, *, width: int = WIDTH) -> str:
    """Draw a graph as an outline."""
    annotations = annotations or Annotations()
    # A title ends with the run's status, which must not be cut off.
    title = textwrap.wrap(annotations.title or topology.name, width, break_long_words=False)
    head = [*title, *filter(None, [annotations.caption]), ""]
    lines = [*head, *_Outline(topology, annotations, max(1, width // 2)).level(None)]
    return "".join(_cut(line, width).rstrip() + "\n" for line in lines)


class _Outline:
    """Draws the levels of one graph, each item once; later it is only referred to."""

    def __init__(self, topology: Topology, annotations: Annotations, room: int) -> None:
        self._annotations = annotations
        self._room = room
        self._flows = {group: Flow(level) for group, level in levels(topology).items()}
        self._items = {one.id: one for one in (*topology.nodes, *topology.groups)}
        self._drawn: set[str] = set()

    def level(self, group: str | None) -> Iterator[str]:
        flow = self._flows[group]
        for root in flow.roots:
            yield from self._chain(flow, root, EXIT)

    def _chain(self, flow: Flow, first: str, stop: str) -> Iterator[str]:
        """Draw the items from `first` on, up to `stop`."""
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
        note = self._annotations.notes.get(item, Note())
        figures = " · ".join(filter(None, [*note.figures, note.foot, note.subtitle]))
        marks = " ".join(f"[{badge.text}]" for badge in note.badges)
        if figures or marks:
            yield "  " + " ".join(filter(None, [figures, marks]))

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
        """Whether none of some edges is known to have been taken."""
        taken = self._annotations.taken
        ends = {(edge.source, edge.target) for edge in edges}
        return taken is not None and not ends & {*taken, *self._annotations.unknown}

    def _branches(self, flow: Flow, item: str) -> Iterator[str]:
        conditions = {
            target: self._conditions(edges) for target, edges in flow.forward[item].items()
        }
        # The conditions into a whole group have been written before the group.
        is_written = item == ENTRY and len(set(conditions.values())) == 1
        for index, (target, condition) in enumerate(conditions.items(), 1):
            last = index == len(conditions)
            lines = list(self._chain(flow, target, flow.joins[item])) or ["↓"]
            when = f"{condition}: " if condition and not is_written else ""
            yield f"{'└─' if last else '├─'} {when}{lines[0]}"
            yield from (f"{' ' if last else '│'}  {line}" for line in lines[1:])

    def _arrow(self, flow: Flow, item: str, stop: str) -> Iterator[str]:
        """Where an item, or the point where its branches join, leads next."""
        leaving = flow.forward[item]
        # A group's conditions are inside it, and a loop has shown when it ends.
        is_shown = len(leaving) == 1 and item not in self._flows and not flow.back[item]
        condition = self._conditions(leaving[flow.joins[item]]) if is_shown else ""
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
    """Cut to `width` terminal cells and mark the cut; an emoji takes two cells."""
    return line if cell_len(line) <= width else set_cell_size(line, width - 1) + "…"
