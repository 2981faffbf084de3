"""The page's colours: those of the drawings, as custom properties and as the graph's own rules.

A reader's choice wins over what the system prefers, and without a script the system's does.
"""

from __future__ import annotations

from aideon_agents.drawing.themes import DARK, LIGHT, Palette, style

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
