"""Colours, light and dark.

The roles' are Okabe and Ito's ("Color Universal Design", 2008), moved as little as needed: every
two of them stay apart for every common kind of colour blindness, and each has a contrast of at
least 3 to 1 with its ground. Text has 4.5 to 1. The tests hold these figures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aideon_agents.drawing.annotations import Tone
    from aideon_agents.drawing.topology import Kind

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
    """Of ways; of those that were not taken where others were."""
    idle: str
    card: str
    frame: str
    """Laid thinly over the ground, once for each group around."""
    frame_edge: str
    track: str
    """Behind the bar of a share."""
    roles: Mapping[Kind, str]
    tones: Mapping[Tone, tuple[str, str]]
    """Of badges: ground and text."""


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
