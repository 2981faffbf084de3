"""A picture as SVG: one self-contained file, whose text is text.

Nothing in it depends on the machine, the time or the process, so the same graph gives the same
bytes. Every node, group and line has a description for screen readers and `data-` attributes for
scripts. Lines are paths with rounded corners, S-curves and arrowheads.
"""

from __future__ import annotations

import hashlib
import re
from itertools import pairwise
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape, quoteattr

from aideon_agents.drawing.annotations import Annotations, Describer, EdgeKey, taken_segments
from aideon_agents.drawing.layout import HEADING_DOWN, MARGIN, TITLE_DOWN, TITLE_LEFT, laid_out
from aideon_agents.drawing.picture import (
    BADGE_SIZE,
    GAP,
    NAME_SIZE,
    PLAIN_HEIGHT,
    ROW,
    SMALL_SIZE,
    TILE,
    Box,
    Card,
    Label,
    Line,
    Picture,
    Point,
    Title,
    width,
)
from aideon_agents.drawing.themes import ICON, SIGNS, Theme, extra, outline, style
from aideon_agents.graphs.topology import Topology

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


ARROW = 9
"""The length of an arrowhead, in pixels."""

_HALF_ARROW = 4
_SHORT = 7
"""How much earlier a line ends when an arrowhead completes it."""
_ROUND = 14
_BEND = 0.55
"""The length of an S-curve's handles, as a part of its width."""


def number(value: float) -> str:
    """A coordinate, to a tenth of a pixel."""
    return f"{round(value, 1):g}"


def stroke(points: Sequence[Point], *, ends_in_arrow: bool) -> str:
    """The path of a line."""
    corners = list(points)
    if ends_in_arrow:
        x, y = corners[-1]
        right, down = _direction(points)
        corners[-1] = (x - right * _SHORT, y - down * _SHORT)
    # Drawn from its end, so that the dashes of lines that end together coincide.
    corners.reverse()
    return f"M{_at(corners[0])}" + "".join(_pieces(corners))


def head(points: Sequence[Point]) -> str:
    """The arrowhead at the end of a line."""
    (x, y), (right, down) = points[-1], _direction(points)
    back_x, back_y = x - right * ARROW, y - down * ARROW
    across_x, across_y = -down * _HALF_ARROW, right * _HALF_ARROW
    one, other = (back_x + across_x, back_y + across_y), (back_x - across_x, back_y - across_y)
    return f"M{_at((x, y))}L{_at(one)}L{_at(other)}Z"


def _pieces(corners: Sequence[Point]) -> Iterator[str]:
    begun = corners[0]
    for index, (here, there) in enumerate(pairwise(corners)):
        after = corners[index + 2] if index + 2 < len(corners) else None
        if here[0] != there[0] and here[1] != there[1]:
            bend = (there[0] - here[0]) * _BEND
            handles = f"{_at((here[0] + bend, here[1]))} {_at((there[0] - bend, there[1]))}"
            yield f"{_to(begun, here)}C{handles} {_at(there)}"
            begun = there
        elif after is not None and _turns(here, there, after):
            reach = min(_ROUND, _length(here, there) / 2, _length(there, after) / 2)
            before, behind = _towards(there, here, reach), _towards(there, after, reach)
            yield f"{_to(begun, before)}Q{_at(there)} {_at(behind)}"
            begun = behind
        else:
            yield _to(begun, there)
            begun = there


def _to(begun: Point, there: Point) -> str:
    return "" if begun == there else f"L{_at(there)}"


def _turns(here: Point, there: Point, after: Point) -> bool:
    is_level, continues_level = here[1] == there[1], there[1] == after[1]
    is_upright, continues_upright = here[0] == there[0], there[0] == after[0]
    return (is_level and continues_upright) or (is_upright and continues_level)


def _length(one: Point, other: Point) -> float:
    return abs(one[0] - other[0]) + abs(one[1] - other[1])


def _towards(start: Point, end: Point, reach: float) -> Point:
    whole = _length(start, end) or 1
    return (
        start[0] + (end[0] - start[0]) * reach / whole,
        start[1] + (end[1] - start[1]) * reach / whole,
    )


def _direction(points: Sequence[Point]) -> Point:
    """The direction of a line's end: one step right, left, up or down."""
    (before_x, before_y), (x, y) = points[-2:]
    if before_x == x:
        return 0, 1 if y > before_y else -1
    return 1 if x > before_x else -1, 0


def _at(point: Point) -> str:
    return f"{number(point[0])} {number(point[1])}"


_BASELINE = 0.36
"""From the middle of a line of text to its baseline, as a part of the font size."""
_ALONE, _ROWS = 0.5, (0.36, 0.70)
"""The height of a card's name, alone and with a subtitle, as a part of a plain card's height."""
_FIGURES_DOWN, _BAR_DOWN, _BAR_HEIGHT, _FOOT_DOWN = 66, 80, 5, 100
_BADGE_HEIGHT = 20

_UNWRITABLE = re.compile(r"[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML forbids and a node's name may contain."""

_WHOLE = """\
<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" \
viewBox="0 0 {width} {height}" class="aideon-{mark}" role="graphics-document document" \
aria-labelledby="title-{mark}" aria-describedby="about-{mark}">
<title id="title-{mark}">{title}</title>
<desc id="about-{mark}">{description}</desc>
{body}
</svg>
"""


def svg(
    topology: Topology, annotations: Annotations | None = None, *, theme: Theme = "auto"
) -> str:
    """Draw a graph as SVG."""
    picture, body = _drawn(topology, annotations)
    mark = hashlib.sha256(f"{theme} {body}".encode()).hexdigest()[:8]
    sheet = f"<style>\n{style(theme, f'.aideon-{mark}')}\n</style>\n"
    return _whole(topology, picture, mark, sheet + body)


def unstyled(topology: Topology, annotations: Annotations | None = None) -> str:
    """Draw a graph as SVG for a page that styles the class `aideon-page` itself."""
    picture, body = _drawn(topology, annotations)
    return _whole(topology, picture, "page", body)


def _drawn(topology: Topology, annotations: Annotations | None) -> tuple[Picture, str]:
    picture = laid_out(topology, annotations)
    body = _Body(topology, annotations or Annotations())
    return picture, "\n".join(body.lines(picture))


def _whole(topology: Topology, picture: Picture, mark: str, body: str) -> str:
    return _WHOLE.format(
        width=picture.width,
        height=picture.height,
        mark=mark,
        title=escape(picture.title),
        description=escape(Describer(topology).whole()),
        body=body,
    )


class _Body:
    """The elements of the document, from back to front."""

    def __init__(self, topology: Topology, annotations: Annotations) -> None:
        self._describe = Describer(topology)
        self._taken = None
        self._unknown: set[EdgeKey] = set()
        if annotations.taken is not None:
            ends = {node.id for node in topology.nodes}
            self._taken = taken_segments(topology.legs, annotations.taken, ends)
            self._unknown = taken_segments(topology.legs, annotations.unknown, ends) - self._taken

    def lines(self, picture: Picture) -> Iterator[str]:
        wide, high = number(picture.width), number(picture.height)
        yield f'<rect class="ground" width="{wide}" height="{high}" rx="12"/>'
        yield _text("heading", MARGIN, HEADING_DOWN, picture.title)
        if picture.caption:
            at = picture.width - MARGIN
            yield _text("caption", at, HEADING_DOWN, picture.caption, "end")
        yield from (self._frame(frame) for frame in picture.frames)
        # Where two lines meet, the one that was taken is on top.
        yield from (self._line(line) for line in sorted(picture.lines, key=self._weight))
        for x, y in picture.dots:
            yield f'<circle class="dot" cx="{number(x)}" cy="{number(y)}" r="3.5"/>'
        yield from (self._box(box) for box in picture.boxes)

    def _frame(self, frame: Box[Title]) -> str:
        title = frame.content
        name = _text("title", TITLE_LEFT, TITLE_DOWN, title.name)
        if title.caption:
            name += _text("sub", frame.width - TITLE_LEFT, TITLE_DOWN, title.caption, "end")
        group = title.group
        return (
            f'<g class="frame {title.emphasis}" transform="{_moved(frame.x, frame.y)}"'
            f" {_data(id=group.id, path=group.path)} {_role('object group', group.label)}>"
            f"<title>{escape(group.label)}</title>"
            f'<rect x=".5" y=".5" width="{number(frame.width - 1)}"'
            f' height="{number(frame.height - 1)}" rx="14"/>{name}</g>'
        )

    def _weight(self, line: Line) -> int:
        """1: the line was taken; -1: it was not; 0: unknown."""
        edge_key = (line.source, line.target)
        if self._taken is None or edge_key in self._unknown:
            return 0
        return 1 if edge_key in self._taken else -1

    def _line(self, line: Line) -> str:
        kinds = ["way"]
        if line.conditional:
            kinds.append("if")
        if weight := self._weight(line):
            kinds.append("strong" if weight > 0 else "idle")
        words = self._describe.edge(line.source, line.target, line.conditions)
        drawn = f'<path d="{stroke(line.points, ends_in_arrow=line.ends_in_arrow)}"/>'
        if line.ends_in_arrow:
            drawn += f'<path class="head" d="{head(line.points)}"/>'
        return (
            f'<g class="{" ".join(kinds)}" {_data(source=line.source, target=line.target)}'
            f" {_role('symbol img', words)}><title>{escape(words)}</title>"
            f"{drawn}{_label(line.label)}</g>"
        )

    def _box(self, box: Box[Card]) -> str:
        card, kind = box.content, box.content.node.kind
        words = self._describe.node(card.node, card.note)
        drawn = f'<path class="box" d="{outline(kind, box.width - 1, box.height - 1)}"/>'
        if more := extra(kind, box.width - 1, box.height - 1):
            drawn += f'<path class="more" d="{more}"/>'
        if card.is_end:
            drawn += _text("name", box.width / 2, box.height / 2, card.name, "middle")
        else:
            drawn += "".join(_words(card, box.width))
        return (
            f'<g class="node {kind} {card.note.emphasis}"'
            f' transform="{_moved(box.x + 0.5, box.y + 0.5)}"'
            f" {_data(id=card.node.id, path=card.node.path)} {_role('symbol img', words)}>"
            f"<title>{escape(words)}</title>{drawn}</g>"
        )


def _words(card: Card, wide: float) -> Iterator[str]:
    """The sign, the name and the texts below it."""
    top = (PLAIN_HEIGHT - TILE) / 2 - 0.5
    inset = (TILE - ICON) / 2
    yield (
        f'<g transform="{_moved(card.inset[0], top)}">'
        f'<rect class="tile" width="{TILE}" height="{TILE}" rx="7"/>'
        f'<path class="sign" transform="{_moved(inset, inset)}" d="{SIGNS[card.node.kind]}"/></g>'
    )
    left = card.inset[0] + TILE + GAP
    down = (_ROWS[0] if card.subtitle else _ALONE) * PLAIN_HEIGHT
    yield _text("name", left, down, card.name)
    if card.subtitle:
        yield _text("sub", left, _ROWS[1] * PLAIN_HEIGHT, card.subtitle)
    at = wide - card.inset[1]
    for badge, room in reversed(card.badges):
        yield (
            f'<g class="badge {badge.tone}"><rect x="{number(at - room)}"'
            f' y="{number(down - _BADGE_HEIGHT / 2)}" width="{room}" height="{_BADGE_HEIGHT}"'
            f' rx="{_BADGE_HEIGHT / 2:g}"/>'
            f"{_text('word', at - room / 2, down, badge.text, 'middle')}</g>"
        )
        at -= room + 6
    if card.has_figures:
        yield from _figures(card, wide)


def _figures(card: Card, wide: float) -> Iterator[str]:
    left, right = card.inset[0], wide - card.inset[1]
    figures = card.note.figures[:3]
    taken = [width(figure, SMALL_SIZE) for figure in figures]
    yield '<g class="figures">'
    for index, figure in enumerate(figures):
        if index == 0:
            yield _text("first", left, _FIGURES_DOWN, figure)
        elif index == len(figures) - 1:
            yield _text("", right, _FIGURES_DOWN, figure, "end")
        else:
            between = (left + taken[0] + right - taken[-1]) / 2
            yield _text("", between, _FIGURES_DOWN, figure, "middle")
    yield "</g>"
    share = card.note.share
    if share is not None:
        bar = f'x="{left}" y="{_BAR_DOWN}" height="{_BAR_HEIGHT}" rx="{_BAR_HEIGHT / 2:g}"'
        yield f'<rect class="track" {bar} width="{number(right - left)}"/>'
        filled = (right - left) * min(1.0, max(0.0, share))
        if filled:
            yield f'<rect class="share" {bar} width="{number(max(_BAR_HEIGHT, filled))}"/>'
    if card.note.foot:
        yield _text("foot", left, _FOOT_DOWN, card.note.foot)


def _label(label: Label | None) -> str:
    if label is None:
        return ""
    middle, rows = label.x + label.width / 2, len(label.content)
    first = label.y + (label.height - ROW * rows) / 2 + ROW / 2
    texts = [
        _text("", middle, first + ROW * index, text, "middle")
        for index, text in enumerate(label.content)
    ]
    return (
        f'<g class="pill"><rect x="{number(label.x + 0.5)}" y="{number(label.y + 0.5)}"'
        f' width="{number(label.width - 1)}" height="{number(label.height - 1)}" rx="9.5"/>'
        f"{''.join(texts)}</g>"
    )


def _text(kind: str, x: float, middle: float, text: str, anchor: str = "start") -> str:
    size = _SIZES.get(kind, SMALL_SIZE)
    named = f' class="{kind}"' if kind else ""
    anchored = "" if anchor == "start" else f' text-anchor="{anchor}"'
    down = number(middle + _BASELINE * size)
    return f'<text{named} x="{number(x)}" y="{down}"{anchored}>{escape(text)}</text>'


_SIZES = {"heading": 16, "caption": 14, "name": NAME_SIZE, "word": BADGE_SIZE, "foot": BADGE_SIZE}


def _moved(x: float, y: float) -> str:
    return f"translate({number(x)} {number(y)})"


def _data(**values: str) -> str:
    written = {name: _UNWRITABLE.sub("\ufffd", value) for name, value in values.items()}
    return " ".join(f"data-{name}={quoteattr(value)}" for name, value in written.items())


def _role(role: str, label: str) -> str:
    return f'role="graphics-{role}" aria-label={quoteattr(label)}'
