"""What stands in a node's box and in a group's title, and how much room it takes.

Long names are cut here, once, so that the layout and every renderer agree on what is shown. The
full name stays with the card: it becomes the tooltip.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from aideon_agents.drawing.annotations import Badge, Note
from aideon_agents.drawing.lettering import fitted, width

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aideon_agents.drawing.annotations import Annotations
    from aideon_agents.drawing.topology import Group, Kind, Node

NAME_SIZE = 14
SMALL_SIZE = 12
BADGE_SIZE = 11
TITLE_SIZE = 12

ICON = 28
"""The side of the tile with the role's sign, in pixels."""
INSETS: dict[Kind, tuple[int, int]] = {"planner": (12, 22), "validator": (18, 18)}
"""From a card's left and right edge to what stands in it, where its outline needs more."""
INSET = (12, 12)
GAP = 10
ROOM = 190
"""Pixels that a name may take."""

_LEAST = 132
PLAIN_HEIGHT = 52
_FIGURES_HEIGHT = 96
_FOOT_HEIGHT = 20
_FIGURES_LEAST = 226
_ENDS: tuple[Kind, ...] = ("start", "end")
_END_HEIGHT = 32
_END_INSET = 18
_SHOWN_BADGES = 2
_BADGE_PAD = 18
_BADGE_ROOM = 120
_TITLE_ROOM = 320
_CAPTION_ROOM = 400


@dataclass(frozen=True)
class Card:
    """A node as it is shown."""

    node: Node
    name: str
    subtitle: str
    """Empty when the name says it already."""
    note: Note
    badges: tuple[tuple[Badge, int], ...]
    """Each with its width in pixels."""
    width: int
    height: int
    """Pixels, both even: centres then fall on whole ones."""

    @property
    def inset(self) -> tuple[int, int]:
        """Pixels from its left and right edge to what stands in it."""
        return INSETS.get(self.node.kind, INSET)

    @property
    def is_end(self) -> bool:
        """Whether it is the graph's start or end."""
        return self.node.kind in _ENDS

    @property
    def has_figures(self) -> bool:
        """Whether there is room for figures."""
        return self.height >= _FIGURES_HEIGHT


@dataclass(frozen=True)
class Title:
    """A group as it is shown."""

    group: Group
    name: str
    caption: str
    emphasis: str
    width: int
    """Pixels that both take."""


def card(node: Node, annotations: Annotations) -> Card:
    """Measure a node's card."""
    note = annotations.notes.get(node.id, Note())
    if node.kind in _ENDS:
        taken = _even(width(node.label, NAME_SIZE) + 2 * _END_INSET)
        return Card(node, node.label, "", note, (), taken, _END_HEIGHT)
    name = fitted(node.label, NAME_SIZE, ROOM) or " "
    said = node.kind if note.subtitle is None else note.subtitle
    subtitle = "" if said == node.label else fitted(said, SMALL_SIZE, ROOM)
    badges = tuple(_badges(note.badges))
    first = width(name, NAME_SIZE) + sum(GAP + room for _, room in badges)
    inside = ICON + GAP + max(first, width(subtitle, SMALL_SIZE))
    least, height = _LEAST, PLAIN_HEIGHT
    if annotations.has_figures:
        least, height = _FIGURES_LEAST, _FIGURES_HEIGHT
        figures = sum(width(figure, SMALL_SIZE) + GAP for figure in note.figures) - GAP
        inside = max(inside, figures, width(note.foot, BADGE_SIZE))
        height += _FOOT_HEIGHT if annotations.has_feet else 0
    return Card(
        node,
        name,
        subtitle,
        note,
        badges,
        _even(max(least, inside + sum(INSETS.get(node.kind, INSET)))),
        height,
    )


def title(group: Group, annotations: Annotations) -> Title:
    """Measure a group's title."""
    note = annotations.notes.get(group.id, Note())
    said = [*note.figures, *(badge.text for badge in note.badges)]
    caption = fitted(" · ".join(said), SMALL_SIZE, _CAPTION_ROOM)
    name = fitted(group.label, TITLE_SIZE, _TITLE_ROOM) or " "
    taken = width(name, TITLE_SIZE) + (GAP + width(caption, SMALL_SIZE) if caption else 0)
    return Title(group, name, caption, note.emphasis, _even(taken))


def _badges(badges: tuple[Badge, ...]) -> Iterable[tuple[Badge, int]]:
    shown = list(badges[:_SHOWN_BADGES])
    if left := len(badges) - len(shown):
        shown.append(Badge(f"+{left}"))
    for badge in shown:
        text = fitted(badge.text, BADGE_SIZE, _BADGE_ROOM)
        yield replace(badge, text=text), _even(width(text, BADGE_SIZE) + _BADGE_PAD)


def _even(pixels: float) -> int:
    return 2 * -int(-pixels // 2)
