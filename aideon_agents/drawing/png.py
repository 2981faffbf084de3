"""A picture as PNG: the SVG, painted by resvg on this machine.

Inter comes with the package (two weights, the letters of European languages, 70 kB each), so that
text is there on a machine without fonts and the picture is the same on all. Only for what Inter
lacks, Chinese or emoji say, the machine's own fonts are looked through.
"""

from __future__ import annotations

import re
from importlib import resources
from typing import Literal

from aideon_agents.drawing.annotations import Annotations
from aideon_agents.drawing.heights import missing_extra
from aideon_agents.drawing.svg import svg
from aideon_agents.drawing.themes import Theme
from aideon_agents.graphs.topology import Topology

Scale = Literal[1, 2]

MOST = 32_000_000
"""Pixels; a picture that would have more is made smaller. Four bytes each while it is painted."""

COVERED = re.compile(
    "[\n -~\u00a0-\u00ac\u00ae-\u0148\u014a-\u017f\u0192\u0218-\u021b\u02c6\u02c7\u02d8-\u02dd\u0384-\u038a\u038c"
    "\u038e-\u03a1\u03a3-\u03ce\u0400-\u045f\u0490\u0491\u2010-\u2015\u2018-\u201e"
    "\u2020-\u2022\u2026\u2030\u2032\u2033\u2039\u203a\u20ac\u2122\u2190-\u2199\u2212\u221e"
    "\u2248\u2260\u2264\u2265\u2713\u2717]*"
)
"""Text that the fonts of the package have all characters of."""

_FONTS = ("Inter-Regular.ttf", "Inter-SemiBold.ttf")


def png(
    topology: Topology,
    annotations: Annotations | None = None,
    *,
    theme: Theme = "light",
    scale: Scale = 2,
) -> bytes:
    """Draw a graph as PNG."""
    try:
        import resvg_py  # noqa: PLC0415 - an optional dependency
    except ImportError:
        raise missing_extra() from None
    document = svg(topology, annotations, theme="dark" if theme == "dark" else "light")
    folder = resources.files("aideon_agents.drawing") / "fonts"
    return bytes(
        resvg_py.svg_to_bytes(
            svg_string=document,
            zoom=_zoom(document, scale),
            skip_system_fonts=COVERED.fullmatch(document) is not None,
            font_files=[str(folder / name) for name in _FONTS],
            font_family="Inter",
            sans_serif_family="Inter",
        )
    )


def _zoom(document: str, scale: Scale) -> float:
    """The scale, or less where the picture would grow beyond measure."""
    found = re.search(r'width="(\d+)" height="(\d+)"', document)
    width, height = map(int, found.groups()) if found else (1, 1)
    return min(scale, (MOST / (width * height)) ** 0.5)
