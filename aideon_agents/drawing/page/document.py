"""The page as one file: template, style, script and data.

Its Content-Security-Policy lets a browser run this script alone, by its hash, and make no request.
A live page may ask the server that it came from, and no other.

The page's colours are those of the drawings, as custom properties and as rules of the graph. A
reader's choice of theme wins over the system's; without a script the system's theme applies.
"""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from html import escape
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING, Any

from aideon_agents.drawing.folding import outermost
from aideon_agents.drawing.page.record import (
    FIELDS,
    Annotate,
    Record,
    content_line,
    drawn_views,
    rows,
    summary,
    views,
    without_run,
)
from aideon_agents.drawing.themes import DARK, LIGHT, SIGNS, Palette, Theme, style
from aideon_agents.graphs.topology import Topology

if TYPE_CHECKING:
    from collections.abc import Iterable


_FACES = {"Inter-Regular": "100 500", "Inter-SemiBold": "501 900"}
"""Files of fonts, and the weights that each is used for."""

_CHOSEN = ':root[data-theme="dark"]'
_PREFERRED = ':root:not([data-theme="light"])'
_GRAPH = ".aideon-page"


def colours() -> str:
    """The rules of both themes."""
    dark = _properties(DARK)
    return "\n".join(
        [
            f":root{{color-scheme:light;{_properties(LIGHT)}}}",
            f"@media (prefers-color-scheme:dark){{{_PREFERRED}{{color-scheme:dark;{dark}}}}}",
            f"{_CHOSEN}{{color-scheme:dark;{dark}}}",
            style("light", _GRAPH),
            "@media (prefers-color-scheme:dark){",
            style("dark", f"{_PREFERRED} {_GRAPH}"),
            "}",
            style("dark", f"{_CHOSEN} {_GRAPH}"),
            "",
        ]
    )


def _properties(palette: Palette) -> str:
    plain = ("ground", "ink", "muted", "line", "idle", "card", "frame_edge", "track")
    found = {name.replace("_", "-"): getattr(palette, name) for name in plain}
    found |= {f"role-{kind}": colour for kind, colour in palette.roles.items()}
    for tone, (ground, ink) in palette.tones.items():
        found |= {f"{tone}-ground": ground, f"{tone}-ink": ink}
    return "".join(f"--{name}:{colour};" for name, colour in found.items())


_ASSETS = files("aideon_agents.drawing.page") / "assets"
_SCRIPTS = (
    "words.js",
    "making.js",
    "story.js",
    "graph.js",
    "rows.js",
    "timeline.js",
    "table.js",
    "costs.js",
    "items.js",
    "spread.js",
    "details.js",
    "live.js",
    "page.js",
)
"""Listed in the order of their dependencies."""


def page(
    topology: Topology | None,
    record: Record | None,
    annotate: Annotate,
    *,
    theme: Theme = "auto",
    depth: int | None = None,
) -> str:
    """A run, or a graph alone, as a self-contained page."""
    values = {
        **(summary(record) if record else without_run(topology.name if topology else "")),
        "calls": rows(record) if record else [],
    }
    contents = (
        (content_line(one, record.pictures.get(one.call_id, ())) for one in record.contents)
        if record
        else ()
    )
    return with_graph(values, topology, annotate, contents, theme=theme, depth=depth)


def with_graph(
    values: dict[str, Any],
    topology: Topology | None,
    annotate: Annotate,
    contents: Iterable[str] = (),
    *,
    theme: Theme = "auto",
    depth: int | None = None,
) -> str:
    """A page of some values and of the graph in all its states."""
    values = {
        "fields": FIELDS,
        "calls": [],
        **values,
        "views": drawn_views(views(topology), annotate) if topology else [],
        "theme": theme,
    }
    if topology and depth is not None:
        values["first"] = sorted(outermost(topology, depth))
    return written(values, contents)


def written(values: dict[str, Any], contents: Iterable[str], *, live: bool = False) -> str:
    """A page with the data for its script."""
    workflow, began = values["run"]["workflow"], values["run"]["started_at"]
    minute = began and f"{began[:10]} {began[11:16]} UTC"  # a run id would say nothing to a reader
    return _template().substitute(
        policy=policy(live=live),
        title=escape(" · ".join(filter(None, [workflow, minute]))),
        style=_sheet(),
        signs=_signs(),
        data=_inert(json.dumps(values, ensure_ascii=False, separators=(",", ":"))),
        contents=_inert("\n".join(contents)),
        script=_script(),
    )


def policy(*, live: bool) -> str:
    """The page's Content-Security-Policy."""
    digest = base64.b64encode(hashlib.sha256(_script().encode()).digest()).decode()
    connect = "'self'" if live else "'none'"
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; "
        f"img-src data:; font-src data:; connect-src {connect}; base-uri 'none'; form-action 'none'"
    )


def _inert(text: str) -> str:
    """JSON that cannot end the element it is in, nor a line of a script."""
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


@cache
def _script() -> str:
    parts = "\n".join((_ASSETS / name).read_text("utf-8") for name in _SCRIPTS)
    return f'"use strict";\n(() => {{\n{parts}}})();\n'


@cache
def _sheet() -> str:
    faces = "".join(map(_face, _FACES, _FACES.values()))
    return faces + colours() + (_ASSETS / "page.css").read_text("utf-8")


def _face(name: str, weights: str) -> str:
    """A font of the pictures, so that a page looks the same where Inter is not installed.

    The .woff2 files are the .ttf files, compressed by fontTools.
    """
    font = (files("aideon_agents.drawing") / "fonts" / f"{name}.woff2").read_bytes()
    source = f"url(data:font/woff2;base64,{base64.b64encode(font).decode()})"
    return f"@font-face{{font-family:Inter;font-weight:{weights};src:{source} format('woff2')}}\n"


@cache
def _template() -> Template:
    return Template((_ASSETS / "template.html").read_text("utf-8"))


def _signs() -> str:
    """The signs of the roles, for nodes shown outside the graph."""
    return "".join(
        f'<symbol id="sign-{kind}" viewBox="0 0 16 16"><path d="{line}"/></symbol>'
        for kind, line in SIGNS.items()
    )
