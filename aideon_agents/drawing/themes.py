"""Colours, light and dark, and the outline and sign of every role.

The role colours are Okabe and Ito's ("Color Universal Design", 2008), changed as little as needed:
every two differ for every common kind of colour blindness, and each has a contrast of at least 3 to
1 with its ground. Text has 4.5 to 1. The tests check these figures.

Outlines distinguish roles without colour. A planner has a folded corner, an executor is a rounded
card, a validator is pointed at its sides like a decision, a creative is a leaf, a function has
sharp corners, a folded graph is a stack of cards, and an approval is an octagon.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from aideon_agents.drawing.annotations import Tone
from aideon_agents.graphs.topology import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping


Theme = Literal["light", "dark", "auto"]

FONTS = (
    'Inter,"Segoe UI",system-ui,-apple-system,BlinkMacSystemFont,Roboto,"Helvetica Neue",'
    'Arial,"Noto Sans","DejaVu Sans",sans-serif'
)


@dataclass(frozen=True)
class Palette:
    """The colours of one theme."""

    ground: str
    ink: str
    muted: str
    line: str
    """The colours of edges, and of edges that were not taken where others were."""
    idle: str
    card: str
    frame: str
    """A thin layer over the ground, once for each surrounding group."""
    frame_edge: str
    track: str
    """The ground of a share's bar."""
    roles: Mapping[Kind, str]
    tones: Mapping[Tone, tuple[str, str]]
    """The colours of badges: ground and text."""


LIGHT = Palette(
    ground="#ffffff",
    ink="#111827",
    muted="#566070",
    line="#7b8797",
    idle="#c3cad4",
    card="#ffffff",
    frame="#475b78",
    frame_edge="#ccd4de",
    track="#e9edf2",
    roles={
        "start": "#111827",
        "end": "#111827",
        "planner": "#0063a2",
        "executor": "#018b63",
        "validator": "#ae3d00",
        "creative": "#ca71b5",
        "function": "#6a7280",
        "graph": "#2f3b4d",
        "approval": "#c27b17",
    },
    tones={
        "good": ("#dcefe2", "#135f33"),
        "bad": ("#fadfdc", "#9f1c16"),
        "warning": ("#f8e6d0", "#8a4300"),
        "busy": ("#dde7fb", "#1c46a8"),
        "quiet": ("#e9ecf1", "#4b5563"),
    },
)

DARK = Palette(
    ground="#0d1117",
    ink="#e8edf3",
    muted="#9ba6b4",
    line="#7a8695",
    idle="#3a434e",
    card="#161c24",
    frame="#a9bbd3",
    frame_edge="#343d49",
    track="#2a323d",
    roles={
        "start": "#e8edf3",
        "end": "#e8edf3",
        "planner": "#3a97d0",
        "executor": "#30c392",
        "validator": "#f27f39",
        "creative": "#e99ccc",
        "function": "#86909b",
        "graph": "#dbe7f2",
        "approval": "#f7ca4e",
    },
    tones={
        "good": ("#12351f", "#7ee2a0"),
        "bad": ("#43191a", "#ffa79f"),
        "warning": ("#3f2a10", "#f6bd72"),
        "busy": ("#172d57", "#a3c4ff"),
        "quiet": ("#262d37", "#b3bdc9"),
    },
)


def style(theme: Theme, scope: str) -> str:
    """The style sheet of a picture."""
    lines = [*_FIXED, *_coloured(DARK if theme == "dark" else LIGHT)]
    if theme == "auto":
        lines += ["@media (prefers-color-scheme:dark){", *_coloured(DARK), "}"]
    return "\n".join(_scoped(line, scope) for line in lines)


def _scoped(rule: str, scope: str) -> str:
    selectors, brace, declarations = rule.partition("{")
    if rule.startswith(("@", "}")):
        return rule
    scoped = ",".join(f"{scope} {one}".rstrip() for one in selectors.split(","))
    return scoped + brace + declarations


_FIXED = (
    f"{{font-family:{FONTS}}}",
    "text{font-weight:400;font-size:12px}",
    ".heading{font-size:16px;font-weight:600}",
    ".caption{font-size:14px}",
    ".title,.badge text{font-weight:600}",
    ".name{font-size:14px;font-weight:600}",
    ".badge text,.foot{font-size:11px}",
    ".first{font-weight:600}",
    ".way path{fill:none;stroke-width:1.5;stroke-linejoin:round}",
    ".if path{stroke-dasharray:5 4}",
    ".way.strong path{stroke-width:2.25}",
    ".node.strong .box{stroke-width:3}",
    ".sign{fill:none;stroke-width:1.7;stroke-linecap:round;stroke-linejoin:round}",
    ".box{stroke-width:1.5}",
    ".faint .box{stroke-dasharray:4 3}",
    ".more{fill:none;stroke-width:1.5}",
    ".frame rect{fill-opacity:.055}",
)


def _coloured(palette: Palette) -> list[str]:
    p = palette
    rules = [
        f".ground{{fill:{p.ground}}}",
        f"text,.figures .first{{fill:{p.ink}}}",
        f".caption,.title,.sub,.pill text,.figures,.foot{{fill:{p.muted}}}",
        f".way path{{stroke:{p.line}}}",
        f".way .head,.dot{{fill:{p.line};stroke:none}}",
        f".way.strong path{{stroke:{p.ink}}}",
        f".way.strong .head{{fill:{p.ink};stroke:none}}",
        f".way.idle path{{stroke:{p.idle}}}",
        f".way.idle .head{{fill:{p.idle};stroke:none}}",
        f".pill rect{{fill:{p.ground};stroke:{p.frame_edge}}}",
        f".frame rect{{fill:{p.frame};stroke:{p.frame_edge}}}",
        f".box{{fill:{p.card}}}",
        f".sign{{stroke:{p.card}}}",
        f".track{{fill:{p.track}}}",
    ]
    for kind, colour in p.roles.items():
        rules.append(f".{kind} .box,.{kind} .more{{stroke:{colour}}}")
        rules.append(f".{kind} .tile,.{kind} .share{{fill:{colour}}}")
    rules.append(f".start .box,.end .box{{fill:{p.ink}}}")
    rules.append(f".start .name,.end .name{{fill:{p.ground}}}")
    rules.append(f".faint .box,.faint .more{{stroke:{p.line}}}")
    rules.append(f".faint .tile{{fill:{p.line}}}")
    rules.append(f".faint .name{{fill:{p.muted}}}")
    for tone, (ground, ink) in p.tones.items():
        rules.append(f".{tone} rect{{fill:{ground}}}")
        rules.append(f".{tone} text{{fill:{ink}}}")
    return rules


ICON = 16
"""The side of the square that a sign is drawn in, in pixels."""

SIGNS: dict[Kind, str] = {
    "planner": "M2.5 4h1M6 4h7.5M2.5 8h1M6 8h7.5M2.5 12h1M6 12h7.5",
    "executor": "M9 1.5 3.5 9H8l-1 5.5L12.5 7H8Z",
    "validator": "M2.5 8.5 6.5 12.5 13.5 4",
    "creative": "M3 13 3.8 9.8 11 2.6 13.4 5 6.2 12.2ZM9.4 4.2 11.8 6.6",
    "function": "M6 2.5C3 2.5 5.5 7 2.5 8 5.5 9 3 13.5 6 13.5"
    "M10 2.5C13 2.5 10.5 7 13.5 8 10.5 9 13 13.5 10 13.5",
    "graph": "M2 2.5h4.5v4H2ZM9.5 9.5H14v4H9.5ZM4.2 6.5v5h5.3M9.5 2.5H14v4H9.5ZM6.5 4.5h3",
    "approval": "M8 2a2.7 2.7 0 1 1 0 5.4A2.7 2.7 0 1 1 8 2ZM2.5 14c.4-3.2 2.5-4.6 5.5-4.6"
    "s5.1 1.4 5.5 4.6",
}
"""Paths for a pen of 1.6 pixels."""

_ROUND = 10
_LEAF = 22
_FOLD = 14
_POINT = 10
_CUT = 12
_STACKED = 4


def outline(kind: Kind, width: float, height: float) -> str:
    """The outline of a node."""
    w, h = width, height
    corners: dict[Kind, tuple[float, ...]] = {
        "start": (h / 2,) * 4,
        "end": (h / 2,) * 4,
        "function": (1,) * 4,
        "creative": (_LEAF, 4, _LEAF, 4),
    }
    cut: dict[Kind, str] = {
        "validator": f"M{_POINT} 0H{w - _POINT:g}L{w:g} {h / 2:g}L{w - _POINT:g} {h:g}H{_POINT}"
        f"L0 {h / 2:g}Z",
        "approval": f"M{_CUT} 0H{w - _CUT:g}L{w:g} {_CUT}V{h - _CUT:g}L{w - _CUT:g} {h:g}H{_CUT}"
        f"L0 {h - _CUT:g}V{_CUT}Z",
        "planner": f"M{_ROUND} 0H{w - _FOLD:g}L{w:g} {_FOLD}V{h - _ROUND:g}"
        f"Q{w:g} {h:g} {w - _ROUND:g} {h:g}H{_ROUND}Q0 {h:g} 0 {h - _ROUND:g}"
        f"V{_ROUND}Q0 0 {_ROUND} 0Z",
    }
    return cut.get(kind) or _rounded(w, h, corners.get(kind, (_ROUND,) * 4))


def extra(kind: Kind, width: float, height: float) -> str:
    """Lines that are part of an outline without closing it."""
    if kind == "planner":
        return f"M{width - _FOLD:g} 0V{_FOLD - 3}Q{width - _FOLD:g} {_FOLD} {width - _FOLD + 3:g} {_FOLD}H{width:g}"
    if kind == "graph":
        s, r = _STACKED, _ROUND
        return (
            f"M{r} {height + s:g}H{width - r + s:g}"
            f"Q{width + s:g} {height + s:g} {width + s:g} {height - r + s:g}V{r}"
        )
    return ""


def _rounded(w: float, h: float, radii: tuple[float, ...]) -> str:
    """A rectangle with a radius for each corner, clockwise from the top left."""
    nw, ne, se, sw = radii
    return (
        f"M{nw:g} 0H{w - ne:g}A{ne:g} {ne:g} 0 0 1 {w:g} {ne:g}V{h - se:g}"
        f"A{se:g} {se:g} 0 0 1 {w - se:g} {h:g}H{sw:g}A{sw:g} {sw:g} 0 0 1 0 {h - sw:g}"
        f"V{nw:g}A{nw:g} {nw:g} 0 0 1 {nw:g} 0Z"
    )
