"""The outline and the sign of every role: what tells them apart where there is no colour.

A planner has a folded corner like a sheet of paper, an executor is a plain rounded card, a
validator is pointed at its sides like a decision, a creative is a leaf, a function has sharp
corners, a closed graph is a stack of cards, and an approval is an octagon like a stop sign.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aideon_agents.drawing.topology import Kind

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
"""Lines for a pen of 1.6 pixels."""

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
    """Lines that belong to an outline without closing it."""
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
    """A rectangle with its own radius at each corner, from the left top clockwise."""
    nw, ne, se, sw = radii
    return (
        f"M{nw:g} 0H{w - ne:g}A{ne:g} {ne:g} 0 0 1 {w:g} {ne:g}V{h - se:g}"
        f"A{se:g} {se:g} 0 0 1 {w - se:g} {h:g}H{sw:g}A{sw:g} {sw:g} 0 0 1 0 {h - sw:g}"
        f"V{nw:g}A{nw:g} {nw:g} 0 0 1 {nw:g} 0Z"
    )
