"""An order that grows edge by edge and refuses the edge that would close a circle.

Pearce and Kelly, "A Dynamic Topological Sort Algorithm for Directed Acyclic Graphs", 2006: only
what lies between the two ends of a new edge is looked at, so a thousand nodes take no time.
"""

from __future__ import annotations


class Order:
    """Items so that every edge that was taken in leads from an earlier one to a later one."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}
        self._after: dict[str, list[str]] = {}
        self._before: dict[str, list[str]] = {}

    def __contains__(self, item: str) -> bool:
        return item in self._places

    @property
    def items(self) -> list[str]:
        """All items in order."""
        return sorted(self._places, key=self._places.__getitem__)

    def add(self, item: str) -> None:
        """Take in an item, behind all others."""
        self._places[item] = len(self._places)
        self._after[item] = []
        self._before[item] = []

    def join(self, source: str, target: str) -> bool:
        """Take in an edge between items."""
        if self._places[source] >= self._places[target]:
            ahead = self._reached(target, self._after, self._places[source], 1)
            if source in ahead:
                return False
            self._swap(self._reached(source, self._before, self._places[target], -1), ahead)
        self._after[source].append(target)
        self._before[target].append(source)
        return True

    def _reached(self, start: str, onward: dict[str, list[str]], end: int, way: int) -> set[str]:
        """What can be reached without passing a place."""
        reached, ahead = {start}, [start]
        while ahead:
            for item in onward[ahead.pop()]:
                if item not in reached and way * self._places[item] <= way * end:
                    reached.add(item)
                    ahead.append(item)
        return reached

    def _swap(self, first: set[str], second: set[str]) -> None:
        """Put one set before another, each in its order, into the places that both have."""
        moved = [*sorted(first, key=self._places.__getitem__)]
        moved += sorted(second, key=self._places.__getitem__)
        places = sorted(self._places[item] for item in moved)
        self._places |= dict(zip(moved, places, strict=True))
