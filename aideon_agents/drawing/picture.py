"""What a picture consists of, in pixels from its top left, and the room that its texts take.

It lies between the layout and the renderers, so that a test can check a picture (nothing overlaps,
every edge is there) before it is SVG.

Long names are cut here, once, so that the layout and every renderer agree on what is shown. The
card keeps the full name for the tooltip.

Text widths are upper bounds, because a picture is opened on machines with other fonts than the one
it was made on. For ASCII the bound is the widest of DejaVu Sans, Liberation Sans (as wide as
Arial), Noto Sans, Roboto and Inter in bold; for other characters it is a bound for their kind.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

from aideon_agents.drawing.annotations import Annotations, Badge, Note
from aideon_agents.graphs.topology import Group, Kind, Node

if TYPE_CHECKING:
    from collections.abc import Iterable


ELLIPSIS = "…"
_MARK = "\u200f"
"""Right-to-left mark: keeps the ellipsis at the end of what is read from the right."""

_WIDTHS = {
    350: " 'ijl",
    400: ",.:;I",
    460: "!()/[\\]f",
    500: "-`rt",
    560: '"*_|',
    600: "Jcsz",
    650: "?Lx",
    700: "$0123456789EFTaekovy",
    720: "bdghnpqu{}",
    780: "ABCKPRSVXYZ",
    840: "#+<=>DGHNU^~",
    880: "&OQ",
    930: "w",
    1050: "%@Mm",
    1110: "W",
}
"""Thousandths of the font's size."""
_OTHERS = {
    460: "Ιιגוזיןנ",
    560: "εг",
    660: "ΓζξςτχГвзстухьэяבדךכלפצר",
    730: "ΕΖΞΣΤΥαβγδηθκλνορυЕЗТабеийкнопрчאהחטםמסעףץת",
    790: "ΑΒΔΚΛΡΧμσАБВРСУХЬЭЯлцъקש",
    860: "ΗΘΝΟΠΩπφψИЙКЛНОПЧдм",
    960: "ΦΨωДЦЪы",
    1130: "ΜМФЫжфшщю",
    1340: "ЖШЩЮ",
}
"""The same for Greek, Cyrillic and Hebrew."""
_KNOWN = {
    char: width for some in (_WIDTHS, _OTHERS) for width, chars in some.items() for char in chars
}
_ELLIPSIS_WIDTH = 1000
_ACCENT = 60
_KINDS = {"Ll": 1050, "Lu": 1350, "Lo": 1200}
_ARABIC = 1000
"""A few letters are wider, but not where they join others."""
_SYMBOL = 1450
_IDEOGRAPH = 1050
_LONG = {ELLIPSIS: _ELLIPSIS_WIDTH, "\ufdfa": 4000, "\ufdfb": 4000, "\ufdfd": 12000}
"""Among them whole sentences in one character."""


def width(text: str, size: float) -> float:
    """The most room that a line takes, in any common font, up to bold."""
    return sum(_thousandths(char) for char in text) * size / 1000


def fitted(text: str, size: float, room: float) -> str:
    """The beginning of a line that fits, with an ellipsis where it was cut."""
    if width(text, size) <= room:
        return text
    left = room - _ELLIPSIS_WIDTH * size / 1000
    kept = ""
    for cluster in _clusters(text):
        left -= width(cluster, size)
        if left < 0:
            break
        kept += cluster
    kept = kept.rstrip()
    is_leftward = kept and unicodedata.bidirectional(kept[-1]) in {"R", "AL"}
    return kept + ELLIPSIS + (_MARK if is_leftward else "")


def _thousandths(char: str) -> int:
    """The width of one character in thousandths of the font's size."""
    known = _KNOWN.get(char) or _LONG.get(char)
    if known is not None:
        return known
    category = unicodedata.category(char)
    if category in {"Mn", "Me", "Cf"}:
        return 0
    letter = unicodedata.normalize("NFD", char)[0]
    if letter in _KNOWN:
        return _KNOWN[letter] + _ACCENT
    is_picture = category in {"So", "Sk"}
    if unicodedata.east_asian_width(char) in {"W", "F"} and not is_picture:
        return _IDEOGRAPH
    if unicodedata.bidirectional(char) == "AL":
        return _ARABIC
    return _KINDS.get(category, _SYMBOL)


def _clusters(text: str) -> list[str]:
    """The characters of a line as people see them, nearly as Unicode's annex 29 has them."""
    clusters: list[str] = []
    joins = False
    for char in text:
        is_mark = unicodedata.category(char) in {"Mn", "Mc", "Me", "Cf"}
        is_tone = "\U0001f3fb" <= char <= "\U0001f3ff"
        pair = clusters[-1] + char if clusters else ""
        is_flag = len(pair) == 2 and all("\U0001f1e6" <= one <= "\U0001f1ff" for one in pair)  # noqa: PLR2004 - two letters make a flag
        if clusters and (is_mark or is_tone or joins or is_flag):
            clusters[-1] += char
        else:
            clusters.append(char)
        joins = char == "\u200d"
    return clusters


NAME_SIZE = 14
SMALL_SIZE = 12
BADGE_SIZE = 11
TITLE_SIZE = 12

TILE = 28
"""The side of the tile with the role's sign, in pixels."""
INSETS: dict[Kind, tuple[int, int]] = {"planner": (12, 22), "validator": (18, 18)}
"""Pixels from a card's left and right edge to its content, where its outline needs more."""
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
        """Pixels from its left and right edge to its content."""
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
    kind = " · ".join([node.kind, *([", ".join(node.tools)] if node.tools else [])])
    below = kind if note.subtitle is None else note.subtitle
    subtitle = "" if below == node.label else fitted(below, SMALL_SIZE, ROOM)
    badges = tuple(_badges(note.badges))
    first = width(name, NAME_SIZE) + sum(GAP + room for _, room in badges)
    inside = TILE + GAP + max(first, width(subtitle, SMALL_SIZE))
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
    texts = [*note.figures, *(badge.text for badge in note.badges)]
    caption = fitted(" · ".join(texts), SMALL_SIZE, _CAPTION_ROOM)
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


Point: TypeAlias = tuple[float, float]
ContentT = TypeVar("ContentT")


@dataclass(frozen=True)
class Box(Generic[ContentT]):
    """A rectangle and what is shown in it: a node's card, a group's title, an edge's conditions."""

    content: ContentT
    x: float
    y: float
    width: float
    height: float

    def moved(self, x: float, y: float) -> Box[ContentT]:
        """Move it."""
        return replace(self, x=self.x + x, y=self.y + y)


Label: TypeAlias = Box[tuple[str, ...]]
"""The conditions of an edge, cut where they are too long, one below the other."""


@dataclass(frozen=True)
class Line:
    """One edge, or several that share both ends."""

    source: str
    target: str
    conditions: tuple[str, ...]
    """The full conditions, also those that were cut off."""
    conditional: bool
    points: tuple[Point, ...]
    """Points, joined by straight lines where they share a coordinate and by S-curves elsewhere."""
    label: Label | None = None
    """None: it has no condition."""
    ends_in_arrow: bool = True

    def moved(self, x: float, y: float) -> Line:
        """Move it with its label."""
        points = tuple((at + x, down + y) for at, down in self.points)
        return replace(self, points=points, label=self.label and self.label.moved(x, y))


@dataclass(frozen=True)
class Picture:
    """A whole graph. Frames come before what is drawn over them."""

    title: str
    caption: str
    width: float
    height: float
    boxes: tuple[Box[Card], ...]
    """The nodes."""
    frames: tuple[Box[Title], ...]
    """The groups."""
    lines: tuple[Line, ...]
    dots: tuple[Point, ...]
    """Points where lines meet on the edge of a group."""


ROW = 16
PAD = 10
"""Pixels at each side of a condition."""

_CONDITION_ROOM = 170
"""Pixels that a condition may take."""

_MOST_CONDITIONS = 5
"""Rows; beyond that the rest is counted."""


def written(conditions: tuple[str, ...], room: float = _CONDITION_ROOM) -> Label:
    """Measure conditions; the label is empty when there are none."""
    if not conditions:
        return Box((), 0, 0, 0, 0)
    shown = conditions
    if len(conditions) > _MOST_CONDITIONS:
        more = f"+{len(conditions) - _MOST_CONDITIONS + 1} more"
        shown = (*conditions[: _MOST_CONDITIONS - 1], more)
    texts = tuple(fitted(text, SMALL_SIZE, room) or " " for text in shown)
    taken = max(width(text, SMALL_SIZE) for text in texts) + 2 * PAD
    return Box(texts, 0, 0, _even(taken), ROW * len(texts) + 4)


def centred(label: Label, x: float, y: float) -> Label | None:
    """Place a label around a point; None: nothing is written on it."""
    return label.moved(x - label.width / 2, y - label.height / 2) if label.content else None
