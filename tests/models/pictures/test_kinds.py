"""Kind and size of a picture come from its bytes; what models do not take is refused with advice."""

from __future__ import annotations

import random

import pytest
from small_pictures import gif, jpeg, png, webp

from aideon_agents.errors import InputError
from aideon_agents.models.pictures.kinds import LARGEST, kind_of


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (png(640, 480), ("image/png", 640, 480)),
        (jpeg(30, 40), ("image/jpeg", 30, 40)),
        (jpeg(30, 40, after=b"a film that a phone appends"), ("image/jpeg", 30, 40)),
        (gif(5, 6), ("image/gif", 5, 6)),
        (webp(b"VP8X", 70, 80), ("image/webp", 70, 80)),
        (webp(b"VP8L", 71, 81), ("image/webp", 71, 81)),
        (webp(b"VP8 ", 72, 82), ("image/webp", 72, 82)),
    ],
)
def test_the_header_says_kind_and_size(data, kind):
    assert kind_of(data, "cat.txt") == kind


@pytest.mark.parametrize("data", [png(), jpeg(), gif(), webp(b"VP8L")])
def test_a_picture_that_is_cut_off_is_refused_wherever_it_is_cut(data):
    for end in (*range(12, min(len(data), 60)), len(data) - 1):
        with pytest.raises(InputError, match="cat is broken or cut off"):
            kind_of(data[:end], "cat")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "cat is empty: give a picture"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "a HEIC picture, .* convert it"),
        (b"\0\0\0\x18ftypavif\0\0\0\0", "an AVIF picture, .* convert it"),
        (b"\0\0\0\x18ftypisom\0\0\0\0", "a video, .* single frames"),
        (b"\0\0\0\x18ftypM4A \0\0\0\0", "a sound recording"),
        (
            b'\xef\xbb\xbf<?xml version="1.0"?>\n<svg xmlns="x"/>',
            "an SVG drawing, .* export it as PNG",
        ),
        (b"%PDF-1.7\n", "a PDF document: give its pages as PNG"),
        (b"BM\x3a\0\0\0", "a BMP picture"),
        (b"II*\0\x08\0\0\0", "a TIFF picture"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "a sound recording"),
        (b"RIFF\x24\0\0\0AVI LIST", "a video"),
        (b"\x1aE\xdf\xa3\x01", "a video"),
        (b"ID3\x04\0", "a sound recording"),
        (b"PK\3\4\x14", "an Office document"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"hello", "cat is no picture: a picture must be PNG, JPEG, GIF or WebP"),
    ],
)
def test_other_files_are_refused_with_what_to_do(data, says):
    with pytest.raises(InputError, match=says) as refused:
        kind_of(data, "cat")
    assert "\n" not in str(refused.value)


def test_a_picture_above_the_limit_is_refused_with_its_size():
    with pytest.raises(InputError, match=r"cat has 20.0 MB, and a picture may have 20 MB"):
        kind_of(png() + b"\0" * LARGEST, "cat")


def test_no_bytes_at_all_raise_anything_but_our_error():
    dice = random.Random(7)  # noqa: S311 - not a secret
    for start in (png(), jpeg(), gif(), webp(), webp(b"VP8 "), b""):
        for _ in range(300):
            data = start[: dice.randrange(len(start) + 1)] + dice.randbytes(dice.randrange(40))
            try:
                kind = kind_of(data, "cat")
            except InputError:
                continue
            assert kind.width > 0 < kind.height
