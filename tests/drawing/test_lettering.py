"""Room for text: an upper bound in every common font, and cuts that leave characters whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aideon_agents.drawing.picture import ELLIPSIS, fitted, width

# Advances in thousandths of the font's size, of the widest cut that a browser may take.
DEJAVU_SANS_BOLD = {"W": 1103, "m": 1042, "@": 1000, "i": 343, "e": 678, " ": 348, "0": 696}
NOTO_SANS_BOLD = {"W": 989, "m": 982, "i": 305, "n": 657}


@pytest.mark.parametrize("font", [DEJAVU_SANS_BOLD, NOTO_SANS_BOLD])
def test_a_width_is_an_upper_bound_for_common_fonts(font):
    for char, advance in font.items():
        assert width(char, 1000) >= advance, char


@pytest.mark.parametrize(
    ("text", "least"),
    [
        ("é", 678),
        ("Ж", 1224),
        ("日", 1000),
        ("🦊", 1370),
        ("س", 900),
        ("…", 1000),
        ("→", 838),
        ("\ufdfd", 10_000),
    ],
)
def test_other_scripts_have_room_too(text, least):
    assert width(text, 1000) >= least


def test_accents_and_joiners_take_no_room():
    assert width("e\u0301\u200d", 10) == width("e", 10)


def test_what_fits_is_left_alone():
    assert fitted("planner", 14, 100) == "planner"


def test_what_does_not_fit_ends_in_an_ellipsis():
    assert fitted("a_rather_long_name", 10, 60) == "a_rather…"
    assert fitted("two words", 10, 40) == "two…"


def test_an_emoji_of_several_parts_is_never_cut_in_two():
    family = "👨‍👩‍👧"
    flag, tone = "🇩🇪", "👍🏽"
    for whole in (family, flag, tone, "e\u0301"):
        room = width(whole, 10) * 3 + width(ELLIPSIS, 10)
        kept = fitted(whole * 9, 10, room).removesuffix(ELLIPSIS)
        assert kept == whole * 3


def test_the_ellipsis_of_a_name_read_from_the_right_stays_at_its_end():
    kept = fitted("שלום עולם " * 9, 10, 90)
    assert kept.endswith(ELLIPSIS + "\u200f")
    assert fitted("שלום latin " * 9, 10, 65) == "שלום lati…"


@given(st.text(st.characters(exclude_categories=["C"])), st.integers(20, 300))
def test_what_is_left_always_fits(text, room):
    kept = fitted(text, 12, room)
    assert width(kept, 12) <= room
    assert text.startswith(kept.rstrip(ELLIPSIS + "\u200f")) or ELLIPSIS in text


def test_a_name_that_leaves_no_room_at_all_is_an_ellipsis():
    assert fitted("wide", 10, 11) == ELLIPSIS
