"""Colours that can be read and told apart: by contrast, by colour-blind eyes, in each theme."""

from __future__ import annotations

from itertools import combinations

import pytest

from aideon_agents.drawing.themes import DARK, LIGHT, SIGNS, outline, style

PALETTES = {"light": LIGHT, "dark": DARK}
ROLES = ("planner", "executor", "validator", "creative", "function", "graph", "approval")

# Machado, Oliveira and Fernandes, "A Physiologically-based Model for Simulation of Color Vision
# Deficiency", 2009: severity 1.
EYES = {
    "protanopia": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "tritanopia": (
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.303900),
    ),
    "any": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
}


def linear(colour):
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    return [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]


def luminance(colour):
    red, green, blue = linear(colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def lab(colour, eye):
    """CIE L*a*b* of a colour as an eye sees it."""
    seen = [sum(w * part for w, part in zip(row, linear(colour), strict=True)) for row in eye]
    red, green, blue = (min(1, max(0, part)) for part in seen)
    xyz = (
        (0.4124 * red + 0.3576 * green + 0.1805 * blue) / 0.9505,
        0.2126 * red + 0.7152 * green + 0.0722 * blue,
        (0.0193 * red + 0.1192 * green + 0.9505 * blue) / 1.089,
    )
    x, y, z = (one ** (1 / 3) if one > 0.008856 else 7.787 * one + 16 / 116 for one in xyz)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def apart(one, other, eye):
    pairs = zip(lab(one, eye), lab(other, eye), strict=True)
    return sum((first - second) ** 2 for first, second in pairs) ** 0.5


@pytest.mark.parametrize("name", PALETTES)
def test_text_has_the_contrast_that_readers_need(name):
    palette = PALETTES[name]
    on_ground = [(palette.ink, palette.ground), (palette.muted, palette.ground)]
    on_cards = [(palette.ink, palette.card), (palette.muted, palette.card)]
    badges = [(ink, ground) for ground, ink in palette.tones.values()]
    for ink, ground in on_ground + on_cards + badges:
        assert contrast(ink, ground) >= 4.5, (ink, ground)


@pytest.mark.parametrize("name", PALETTES)
def test_lines_and_signs_have_the_contrast_that_shapes_need(name):
    palette = PALETTES[name]
    assert contrast(palette.line, palette.ground) >= 3
    for role in ROLES:
        assert contrast(palette.roles[role], palette.ground) >= 3, role
        assert contrast(palette.roles[role], palette.card) >= 3, role


@pytest.mark.parametrize("eye", EYES)
@pytest.mark.parametrize("name", PALETTES)
def test_roles_are_told_apart_by_every_eye(name, eye):
    roles = PALETTES[name].roles
    near = {
        (one, other): apart(roles[one], roles[other], EYES[eye])
        for one, other in combinations(ROLES, 2)
    }
    assert min(near.values()) >= 15, min(near, key=near.get)


def test_roles_are_told_apart_without_any_colour():
    assert len({outline(role, 160, 52) for role in ROLES}) == len(ROLES) - 1
    # An executor and a closed graph have the same outline; the graph is a stack of them.
    assert len({SIGNS[role] for role in ROLES}) == len(ROLES)


def test_an_automatic_theme_is_light_until_the_reader_prefers_dark():
    both, light = style("auto", ".it"), style("light", ".it")
    assert both.startswith(light)
    rest = both.removeprefix(light)
    assert rest.startswith("\n@media (prefers-color-scheme:dark){\n.it ")
    assert rest.endswith("}")
    assert LIGHT.ground in light
    assert DARK.ground in rest


def test_every_rule_keeps_to_its_own_picture():
    rules = [line for line in style("auto", ".it").splitlines() if not line.startswith(("@", "}"))]
    selectors = [one for rule in rules for one in rule.partition("{")[0].split(",")]
    assert all(one == ".it" or one.startswith(".it ") for one in selectors)
