"""What a caller knows of a graph beyond its shape: figures, badges, the way that was taken.

A drawing shows them beside the nodes without knowing what they mean: a run's costs and a batch's
medians are drawn the same way.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from aideon_agents.drawing.edges import Edge

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
